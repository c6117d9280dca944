"""The parts of `tools/demo_app.py`: the page, what it answers, the clips it keeps, the server."""
