"""A folder over HTTP on this machine, with ranges and ETags as the large stores have them, and faults to order."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


class FolderServer(ThreadingHTTPServer):
    """`asked`: the ranges of the GETs by name. Faults: `status` is answered to all, `ranges` False ignores them."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.ranges = True
        self.hangs = 0.0
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/data"


class Handler(BaseHTTPRequestHandler):
    """Of one connection."""

    protocol_version = "HTTP/1.1"
    server: FolderServer

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        server = self.server
        server.headers.append(dict(self.headers))
        time.sleep(server.hangs)
        name = unquote(urlsplit(self.path).path).removeprefix("/data/")
        file, status, body = server.folder / name, server.status, b""
        if status == 200 and not file.is_file():
            status = 404
        if status == 200:
            state, range_ = file.stat(), self.headers.get("Range", "")
            mark, size, start, end = f'"{state.st_mtime_ns}"', state.st_size, 0, state.st_size
            if with_body:
                server.asked.append((name, range_))
            if range_ and server.ranges:
                start, last = map(int, range_.removeprefix("bytes=").split("-"))
                end, status = min(last + 1, size), 206
            if with_body:
                with file.open("rb") as opened:
                    opened.seek(start)
                    body = opened.read(end - start)
        self.send_response(status)
        if status in (200, 206):
            self.send_header("ETag", mark)
            self.send_header("Accept-Ranges", "bytes")
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        self.send_header("Content-Length", str(end - start if status in (200, 206) else 0))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Not to the terminal."""


@contextmanager
def serving(folder: Path) -> Iterator[FolderServer]:
    """The server, while the block lasts."""
    with FolderServer(folder) as server:
        thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.02), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
