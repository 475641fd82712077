"""Whether the coded data of a JPEG are whole: what libjpeg, and with it Pillow and OpenCV, only warns about."""

import struct
from collections.abc import Iterator

import av
import av.error

__all__ = ["is_whole_jpeg"]

_BEGIN, _START_OF_SCAN = b"\xff\xd8", 0xDA
_METADATA = frozenset({*range(0xE0, 0xF0), 0xFE})  # APP0 to APP15 and comments


def is_whole_jpeg(data: bytes) -> bool:
    """Return whether a JPEG can be decoded to its last block without a fault.

    libjpeg fills the rest with grey where a scan ends early or a code makes no sense, and its users do not hear of it.
    FFmpeg's decoder stops there if told to. Not seen are an end within the very last block, and damage that happens to
    make other valid codes; what FFmpeg does not know, such as arithmetic coding, counts as whole.
    """
    try:
        picture = b"".join([_BEGIN, *_without_metadata(data)])
    except (struct.error, IndexError):
        return False
    decoder = av.CodecContext.create("mjpeg", "r")
    decoder.options = {"err_detect": "explode"}
    decoder.thread_count = 1
    try:
        frames = [*decoder.decode(av.Packet(picture)), *decoder.decode(None)]
    except av.error.InvalidDataError:
        return False
    except av.error.FFmpegError:
        return True
    return len(frames) == 1 and not frames[0].is_corrupt


def _without_metadata(data: bytes) -> Iterator[bytes]:
    """Yield the segments up to the first scan but for those that say nothing of the pixels, then all the rest."""
    position = len(_BEGIN)
    while data[position + 1] != _START_OF_SCAN:
        if data[position] != 0xFF:
            raise IndexError
        if data[position + 1] == 0xFF:  # padding
            position += 1
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        if data[position + 1] not in _METADATA:
            yield data[position : position + 2 + length]
        position += 2 + length
    yield data[position:]
