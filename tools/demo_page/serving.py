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
KEPT_UPLOADS = 20  # of the largest size, at a time
ENDS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # asked to, terminal closed
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

    Until then the environment is as Gradio shall find it, and what asks the process to end is a KeyboardInterrupt.
    """
    before = dict(os.environ)
    with _ended_by_signals(), tempfile.TemporaryDirectory(prefix="fexnet-", ignore_cleanup_errors=True) as name:
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


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """The first of ENDS is a KeyboardInterrupt, others are ignored; and so is what was (nohup)."""

    def interrupt(*_: object) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)  # a closed terminal says so twice: itself, and the shell
        raise KeyboardInterrupt

    before = {each: signal.getsignal(each) for each in ENDS if signal.getsignal(each) != signal.SIG_IGN}
    try:
        for each in before:
            signal.signal(each, interrupt)
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


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
        app_kwargs={"middleware": [_upload_guard(most_bytes, Path(os.environ["GRADIO_TEMP_DIR"]))]},
        **looks,
    )
    try:
        yield port
    finally:
        page.close(verbose=False)


def wait_for_the_end() -> None:
    """Until a KeyboardInterrupt."""
    threading.Event().wait()


def _upload_guard(most_bytes: int, folder: Path) -> Any:
    from starlette.middleware import Middleware

    return Middleware(UploadGuard, most_bytes=most_bytes, folder=folder)


class UploadGuard:
    """ASGI middleware: refuses uploads that are too large or for which there is no room, and keeps nothing of a part.

    What is said to be too large is refused before it comes; what says nothing of its size is counted. The `folder` of
    uploads takes KEPT_UPLOADS times `most_bytes`.

    An upload that stops in the middle is handed on as a fault of its form: then Gradio deletes what it has of it. Where
    it learns that the sender has gone it keeps that part, and logs a fault.
    """

    def __init__(self, app: Any, most_bytes: int, folder: Path) -> None:
        self.app, self.most_bytes, self.folder = app, most_bytes, folder
        self.coming = 0  # bytes, of uploads that have begun

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not scope["path"].endswith("/upload"):
            await self.app(scope, receive, send)
            return
        from starlette.responses import PlainTextResponse

        said, most = dict(scope["headers"]).get(b"content-length", b""), self.most_bytes + FORM_BYTES
        expected = int(said) if said.isdigit() else most
        if expected > most:
            await PlainTextResponse(too_large(self.most_bytes), 413)(scope, receive, send)
        elif stored(self.folder) + self.coming + expected > KEPT_UPLOADS * self.most_bytes:
            await PlainTextResponse(no_room(self.most_bytes), 507)(scope, receive, send)
        else:
            self.coming += expected
            try:
                await self.app(scope, self._counted(receive, most), send)
            finally:
                self.coming -= expected

    def _counted(self, receive: Any, most: int) -> Any:
        from starlette.formparsers import MultiPartException

        count, complete = 0, False

        async def receive_whole() -> Any:
            nonlocal count, complete
            message = await receive()
            if message["type"] == "http.disconnect" and not complete:
                raise MultiPartException("The upload stopped in the middle.")
            count += len(message.get("body", b""))
            if count > most:
                raise MultiPartException(too_large(self.most_bytes))
            complete = complete or (message["type"] == "http.request" and not message.get("more_body"))
            return message

        return receive_whole


def stored(folder: Path) -> int:
    """Bytes of the uploads that are complete, each in a folder of its own; parts lie beside these folders."""
    total = 0
    for file in folder.glob("*/*"):
        with suppress(OSError):  # deleted meanwhile
            total += file.stat().st_size
    return total


def too_large(most_bytes: int) -> str:
    """What is said of an upload of more than that. Gradio knows by "maximum allowed size" what kind of fault it is."""
    return (
        f"The file is larger than {most_bytes / MB:g} MB, the maximum allowed size (tools/demo_app.py --max_upload MB)."
    )


def no_room(most_bytes: int) -> str:
    """What is said where so many uploads are kept that there is no room for another one."""
    return (
        f"This page keeps up to {KEPT_UPLOADS * most_bytes / MB:g} MB of uploads, and these are there: wait until they "
        "are deleted, an hour after they came, or start the page anew (tools/demo_app.py)."
    )
