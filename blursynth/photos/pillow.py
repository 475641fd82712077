"""Pillow, held so that it does what we say: each format by an opener of its own, and our limit of pixels."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from PIL import Image, PngImagePlugin
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from blursynth.errors import PhotoError
from blursynth.photos.photo import PhotoFormat
from blursynth.photos.png import MAX_INFLATED_BYTES

__all__ = ["open_photo", "pillow_limits"]

# Not Image.open: it would take a telephone's JPEG with a second picture inside for a film, and warn of large ones.
_OPENERS: dict[PhotoFormat, type[ImageFile]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "TIFF": TiffImageFile,
    "WEBP": WebPImageFile,
    "BMP": BmpImageFile,
    "AVIF": AvifImageFile,
}
_lock = threading.Lock()


def open_photo(file: IO[bytes], file_format: PhotoFormat) -> ImageFile:
    """Open a file as what it is known to be.

    Raises
    ------
    PhotoError
        If it is a HEIC and pillow-heif is not there. Damaged files raise nearly anything.
    """
    if file_format != "HEIF":
        return _OPENERS[file_format](file)
    try:
        from pillow_heif.as_plugin import HeifImageFile  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise PhotoError("HEIC needs pillow-heif: pip install 'blursynth[heic]', or convert it to JPEG") from error
    opener: type[ImageFile] = HeifImageFile
    return opener(file)


@contextmanager
def pillow_limits(max_pixels: int) -> Iterator[None]:
    """Put our limits in the place of Pillow's, and silence its warnings of odd metadata.

    All are settings of the process: without the lock, two threads would each restore what the other had set.
    """
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK
        Image.MAX_IMAGE_PIXELS = max_pixels
        PngImagePlugin.MAX_TEXT_CHUNK = MAX_INFLATED_BYTES  # colour profiles of 1 MB and more are real
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = before
