"""The page's server: on this machine alone unless asked otherwise, without a request to anywhere, its files deleted."""

from __future__ import annotations

import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops.errors import InputError

if TYPE_CHECKING:
    import gradio as gr

LOOPBACK, EVERYWHERE = "127.0.0.1", "0.0.0.0"
FIRST_PORT, TRIED_PORTS = 7860, 100
MB = 2**20  # as Gradio's own message counts
FORM_BYTES = 10_000  # of an upload, beside the file
# What Gradio, and what it is made of, would otherwise ask or tell others, or do when the environment says so.
SILENT = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_RUN_HISTORY": "False",
    "GRADIO_SSR_MODE": "False",
    "GRADIO_MCP_SERVER": "False",
    "GRADIO_SHARE": "False",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}


@contextmanager
def prepared() -> Iterator[Path]:
    """A folder for all that the server writes, deleted at the end; to be called before Gradio is imported.

    Until then the environment is as Gradio shall find it.
    """
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="fexnet-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        try:
            os.environ.update(SILENT)
            os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
            os.environ["GRADIO_EXAMPLES_CACHE"] = str(folder / "examples_cache")
            for variable in ("NO_PROXY", "no_proxy"):  # a proxy does not know this machine
                os.environ[variable] = ",".join(filter(None, (before.get(variable), "localhost", LOOPBACK)))
            logging.getLogger("httpx").setLevel(logging.WARNING)  # of a request to itself
            yield folder
        finally:
            os.environ.clear()
            os.environ.update(before)


def free_port(host: str, port: int | None) -> int:
    """The given one, or the first that is free from FIRST_PORT on. Raises InputError if there is none."""
    for tried in [port] if port is not None else range(FIRST_PORT, FIRST_PORT + TRIED_PORTS):
        with socket.socket() as trial, suppress(OSError):
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((host, tried))
            return tried
    if port is None:
        raise InputError(
            f"ports {FIRST_PORT} to {FIRST_PORT + TRIED_PORTS - 1} are all taken; give another one by --port"
        )
    raise InputError(f"--port {port}: taken by another program, or not allowed; give another one, or none")


@contextmanager
def served(page: gr.Blocks, host: str, port: int | None, most_bytes: int, **looks: Any) -> Iterator[int]:
    """Serves the page until the end of the block; the port. looks: how `launch` shall show it."""
    port = free_port(host, port)
    page.launch(
        server_name=host,
        server_port=port,
        max_file_size=most_bytes,
        prevent_thread_lock=True,
        share=False,
        quiet=True,
        footer_links=[],
        app_kwargs={"middleware": [_upload_guard(most_bytes)]},
        **looks,
    )
    try:
        yield port
    finally:
        page.close(verbose=False)


def wait_for_the_end() -> None:
    """Until Ctrl-C, or a request to terminate, which are KeyboardInterrupts."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Event().wait()


def _upload_guard(most_bytes: int) -> Any:
    from starlette.middleware import Middleware

    return Middleware(UploadGuard, most_bytes=most_bytes)


class UploadGuard:
    """ASGI middleware: refuses what is said to be too large before it comes, and keeps nothing of what stops.

    An upload that stops in the middle is handed on as a fault of its form: then Gradio deletes what it has of it. Where
    it learns that the sender has gone it keeps that part, and logs a fault.
    """

    def __init__(self, app: Any, most_bytes: int) -> None:
        self.app, self.most_bytes = app, most_bytes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not scope["path"].endswith("/upload"):
            await self.app(scope, receive, send)
            return
        from starlette.formparsers import MultiPartException
        from starlette.responses import PlainTextResponse

        said = dict(scope["headers"]).get(b"content-length", b"0")
        if said.isdigit() and int(said) > self.most_bytes + FORM_BYTES:
            await PlainTextResponse(too_large(self.most_bytes), 413)(scope, receive, send)
            return
        complete = False

        async def receive_whole() -> Any:
            nonlocal complete
            message = await receive()
            if message["type"] == "http.disconnect" and not complete:
                raise MultiPartException("The upload stopped in the middle.")
            complete = complete or (message["type"] == "http.request" and not message.get("more_body"))
            return message

        await self.app(scope, receive_whole, send)


def too_large(most_bytes: int) -> str:
    """What is said of a file of more than that."""
    return f"The file is larger than {most_bytes / MB:g} MB, which this page takes (tools/demo_app.py --max_upload MB)."
