"""Who opens files that must stay closed, and who comes over the network."""

import ctypes
import ctypes.util
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

__all__ = ["hits", "listening", "watching"]

_IN_OPEN, _IN_ISDIR, _IN_NONBLOCK = 0x20, 0x40000000, 0o4000


class _Listener(BaseHTTPRequestHandler):
    hits = 0

    def do_GET(self) -> None:
        type(self).hits += 1
        self.send_error(404)

    do_HEAD = do_POST = do_GET  # noqa: N815  # the names are the library's

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  # the name is the library's
        pass


@contextmanager
def listening() -> Iterator[int]:
    """Give the port of a server on this machine that counts who comes."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Listener)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def watching(folder: Path) -> Iterator[set[str]]:
    """Give a set that holds, after the block, the names of the files in a folder that anybody has opened."""
    opened: set[str] = set()
    libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
    descriptor = libc.inotify_init1(_IN_NONBLOCK)
    assert descriptor >= 0
    try:
        assert libc.inotify_add_watch(descriptor, os.fsencode(folder), _IN_OPEN) >= 0
        yield opened
        try:
            data = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            data = b""
        while data:
            mask, length = struct.unpack_from("4xI4xI", data)
            if not mask & _IN_ISDIR:
                opened.add(data[16 : 16 + length].rstrip(b"\0").decode())
            data = data[16 + length :]
    finally:
        os.close(descriptor)


def hits() -> int:
    """Return how many have come so far."""
    return _Listener.hits
