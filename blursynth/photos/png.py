"""The chunks of a PNG file: where they are, whether all are whole, and none that would swell too much."""

import struct
import zlib
from collections.abc import Iterator

__all__ = ["MAX_INFLATED_BYTES", "chunks", "is_whole", "without_swelling"]

MAX_INFLATED_BYTES = 1 << 24  # of a chunk; a JPEG has no room for a larger colour profile either
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SWELLING = {b"iCCP", b"zTXt", b"iTXt"}


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, begin and end of the chunks that are all there; the body is ``data[begin + 8 : end - 4]``."""
    begin = len(_SIGNATURE)
    while begin + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, begin)
        end = begin + 12 + length
        if end > len(data):
            return
        yield kind, begin, end
        begin = end


def is_whole(data: bytes) -> bool:
    """Return whether a PNG has all its chunks up to the last one, each with its checksum."""
    view, is_first = memoryview(data), True
    if not data.startswith(_SIGNATURE):
        return False
    for kind, begin, end in chunks(data):
        if is_first and (kind != b"IHDR" or end - begin != 25):
            return False
        if zlib.crc32(view[begin + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            return False
        if kind == b"IEND":
            return True
        is_first = False
    return False


def without_swelling(data: bytes) -> bytes:
    """Return a PNG without the colour profiles and texts that take more than `MAX_INFLATED_BYTES` once inflated."""
    gone = [
        (begin, end)
        for kind, begin, end in chunks(data)
        if kind in _SWELLING and _swells(kind, data[begin + 8 : end - 4])
    ]
    for begin, end in reversed(gone):
        data = data[:begin] + data[end:]
    return data


def _swells(kind: bytes, body: bytes) -> bool:
    name_end = body.find(b"\0")
    packed = body[name_end + 2 :]
    if kind == b"iTXt":
        if body[name_end + 1 : name_end + 2] != b"\1":
            return False  # as it is
        packed = packed[1:].split(b"\0", 2)[-1]  # behind method, language and translated name
    try:
        return len(zlib.decompressobj().decompress(packed, MAX_INFLATED_BYTES + 1)) > MAX_INFLATED_BYTES
    except zlib.error:
        return False
