"""Read a photograph: check that the file is one, decode it to full depth, turn it upright."""

import io
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from PIL import Image
from PIL.ExifTags import Base
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from blursynth.errors import MachineError, PhotoError
from blursynth.files import check_regular_file, printable
from blursynth.photos.jpeg import is_whole_jpeg
from blursynth.photos.metadata import (
    exif_of_tiff,
    exif_orientation,
    is_lossless_webp,
    jpeg_coding,
    neutral_exif,
    neutral_xmp,
    png_chunks,
    resolution,
    xmp_orientation,
)
from blursynth.photos.photo import Photo, PhotoFormat, Samples, recolour
from blursynth.photos.pillow import open_photo, pillow_limits
from blursynth.photos.png import MAX_INFLATED_BYTES, without_swelling

__all__ = ["decode_photo", "identify_photo", "read_photo"]

logger = logging.getLogger(__name__)

_FORMAT_OF_MAGIC: dict[bytes, PhotoFormat] = {
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "TIFF"),
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"BM": "BMP",
}
# What Pillow calls the samples -> what we decode them to, without and with transparency. Others are refused.
_MODES = {
    **dict.fromkeys(("1", "L", "LA", "La"), ("L", "LA")),
    **dict.fromkeys(("I;16", "I;16B"), ("I;16", "I;16")),
    **dict.fromkeys(("P", "PA", "RGB", "RGBA", "RGBX", "YCbCr"), ("RGB", "RGBA")),
}
_BAND_PX = 1 << 18
_BESIDE_PX = 50_000_000  # up to here, what the check of a JPEG takes may lie in memory beside the photograph


def read_photo(path: str | os.PathLike[str], *, max_pixels: int = 500_000_000, max_bytes: int | None = None) -> Photo:
    """Read a photograph and turn it upright.

    Parameters
    ----------
    path
        A JPEG, PNG, TIFF, WebP, BMP, AVIF or, with pillow-heif, HEIC; the content decides, not the name.
    max_pixels
        More are refused before memory is taken for them. During the call, this stands in the place of Pillow's own
        limit, which photographs of telephones exceed; calls of several threads take turns.
    max_bytes
        How much memory there is for it: what would take more is refused by its header too.

    Raises
    ------
    PhotoError
        If the file is missing, empty, not a regular file, of another format, cut short, damaged, too large, of several
        pages or frames, or neither grey nor RGB of 8 or 16 bits.
    MachineError
        If the memory is too small for it.
    """
    path = Path(path)
    identify_photo(path)
    with _refusing(path):
        return _decode_data(path.read_bytes(), max_pixels, max_bytes)


def identify_photo(path: Path) -> PhotoFormat:
    """Return the format that the first bytes of a file say.

    Raises
    ------
    PhotoError
        If it is none that `read_photo` knows, or no file that can be read.
    """
    check_regular_file(path, PhotoError)
    with _refusing(path), path.open("rb") as file:
        return _identify(file.read(64))


def decode_photo(data: bytes, name: str, *, max_pixels: int = 500_000_000, max_bytes: int | None = None) -> Photo:
    """Do the same as `read_photo` with the bytes of a file; ``name`` stands for it in messages."""
    with _refusing(Path(name)):
        if not data:
            raise PhotoError("empty file")
        return _decode_data(data, max_pixels, max_bytes)


def _decode_data(data: bytes, max_pixels: int, max_bytes: int | None) -> Photo:
    file_format = _identify(data[:64])
    if file_format == "PNG" and len(lean := without_swelling(data)) < len(data):
        logger.warning("a colour profile or text of more than %d MB is left out", MAX_INFLATED_BYTES >> 20)
        data = lean
    with pillow_limits(max_pixels), open_photo(io.BytesIO(data), file_format) as image:
        _check_header(image, max_pixels)
        is_deep = _is_deep(image, file_format, data)
        if max_bytes is not None and (needed := _needed_bytes(image, is_deep=is_deep)) > max_bytes:
            raise PhotoError(
                f"{image.width}x{image.height} takes {needed / 1e9:.2g} GB to decode, and there are "
                f"{max(0, max_bytes) / 1e9:.2g} GB: give more with --memory, or use a machine with more"
            )
        with ThreadPoolExecutor(1) as beside:
            is_whole = beside.submit(is_whole_jpeg, data) if file_format == "JPEG" else None
            if is_whole and image.width * image.height > _BESIDE_PX:
                wait([is_whole])
            photo = _read(image, file_format, data, is_deep=is_deep)
        if is_whole and not is_whole.result():
            logger.warning("damaged: its scan breaks off or makes no sense; part of it is not the photograph")
        return photo


def _needed_bytes(image: ImageFile, *, is_deep: bool) -> int:
    """Return what lies in memory at once: Pillow's image, our array, and of 16 bits the one in OpenCV's order."""
    return image.width * image.height * (16 if is_deep else 7)


def _is_deep(image: ImageFile, file_format: PhotoFormat, data: bytes) -> bool:
    if isinstance(image, TiffImageFile):
        return 16 in image.tag_v2.get(Base.BitsPerSample, ())
    return file_format == "PNG" and data[24] == 16


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Name the file in every error, whatever a decoder raises."""
    name = printable(path)
    try:
        yield
    except PhotoError as error:
        raise PhotoError(f"{name}: {error}") from error
    except MemoryError as error:
        raise MachineError(
            f"{name}: out of memory while decoding; use a machine with more or a smaller file"
        ) from error
    except Image.DecompressionBombError as error:
        raise PhotoError(f"{name}: {error}; raise --max-pixels if you trust it") from error
    except Exception as error:  # on damaged files, decoders raise nearly anything
        raise PhotoError(
            f"{name}: cannot be decoded ({printable(str(error))}); if it is whole, save it as 8- or 16-bit RGB"
        ) from error


def _identify(head: bytes) -> PhotoFormat:
    for magic, file_format in _FORMAT_OF_MAGIC.items():
        if head.startswith(magic):
            return file_format
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp" and (b"avif" in head or b"avis" in head):
        return "AVIF"
    if head[4:8] == b"ftyp" and (b"hei" in head or b"hev" in head or b"mif1" in head):
        return "HEIF"
    raise PhotoError("not a JPEG, PNG, TIFF, WebP, BMP, AVIF or HEIC photograph; convert it first")


def _check_header(image: ImageFile, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise PhotoError(
            f"{width}x{height} is over the limit of {max_pixels} pixels; raise --max-pixels if you trust it"
        )
    num_frames = getattr(image, "n_frames", 1)
    if num_frames > 1:
        raise PhotoError(f"{num_frames} pages or frames; save the one you want as a file of its own")
    if image.mode not in _MODES:
        raise PhotoError(f"{image.mode} samples, neither grey nor RGB of 8 or 16 bits; convert it to sRGB first")
    if isinstance(image, TiffImageFile):
        tags = image.tag_v2
        bits = set(tags.get(Base.BitsPerSample, (1,)))
        is_planar, is_premultiplied = tags.get(Base.PlanarConfiguration) == 2, 1 in tags.get(Base.ExtraSamples, ())
        if max(bits) > 8 and (bits != {16} or is_planar or is_premultiplied):
            raise PhotoError("a TIFF of 12 bits, or of 16 in planes or premultiplied; save it as plain 16-bit RGB")


def _read(image: ImageFile, file_format: PhotoFormat, data: bytes, *, is_deep: bool) -> Photo:
    first_info, is_turned = dict(image.info), file_format == "HEIF"  # pillow-heif turns it and says so
    if isinstance(image, TiffImageFile):
        # Pillow turns the pixels while it loads them, and forgets how; OpenCV too, but by the tag alone, not by XMP.
        first_info["exif"] = exif_of_tiff(image.getexif())
        if Base.XResolution not in image.tag_v2 or Base.YResolution not in image.tag_v2:
            first_info["dpi"] = None  # Pillow would say 1
        is_turned = not is_deep or Base.Orientation in image.tag_v2
    mode = _MODES[image.mode][image.has_transparency_data]
    image.load()  # the 16-bit ones too: only Pillow notices when a file is cut short
    pixels, alpha = _decode_deep(image, data, mode) if is_deep else _decode(image, mode)

    info = {**image.info, **first_info}  # a PNG may have metadata behind its pixels
    exif, xmp = info.get("exif") or b"", info.get("xmp")
    orientation = exif_orientation(exif) or xmp_orientation(xmp)
    if not is_turned:
        pixels, alpha = _upright(pixels, orientation), None if alpha is None else _upright(alpha, orientation)
    is_sideways = orientation > 4
    height, width = pixels.shape[:2]
    return Photo(
        pixels=pixels,
        alpha=alpha,
        format=file_format,
        is_grey=mode in {"L", "LA", "I;16"} or (file_format == "PNG" and data[25] == 4),  # Pillow: 16-bit LA is RGBA
        is_lossless=file_format in {"PNG", "TIFF", "BMP"} or (file_format == "WEBP" and is_lossless_webp(data)),
        exif=neutral_exif(exif, width, height),
        icc_profile=info.get("icc_profile") or None,
        xmp=neutral_xmp(xmp, width, height),
        dpi=resolution(info, is_sideways=is_sideways),
        jpeg=jpeg_coding(image, is_sideways=is_sideways) if isinstance(image, JpegImageFile) else None,
        png_chunks=png_chunks(data) if file_format == "PNG" else (),
        nclx=None if info.get("icc_profile") else info.get("nclx_profile"),
    )


def _decode(image: Image.Image, mode: str) -> tuple[Samples, Samples | None]:
    if image.mode != mode:
        image = image.convert(mode)
    array = _array_of(image)
    if mode == "RGB":
        return array, None
    if mode == "L":
        return recolour(array, cv2.COLOR_GRAY2RGB), None
    if mode == "LA":
        return recolour(array[..., 0].copy(), cv2.COLOR_GRAY2RGB), array[..., 1].copy()
    return recolour(array, cv2.COLOR_RGBA2RGB), array[..., 3].copy()


def _array_of(image: Image.Image) -> Samples:
    """Copy the samples out of Pillow band by band: all at once would take two more copies for a while."""
    num_channels = len(image.getbands())
    array = np.empty((image.height, image.width, num_channels), np.uint8)
    step = max(1, _BAND_PX // image.width)
    for top in range(0, image.height, step):
        bottom = min(top + step, image.height)
        band = image.crop((0, top, image.width, bottom))
        array[top:bottom] = np.asarray(band).reshape(bottom - top, image.width, num_channels)
    return array[..., 0] if num_channels == 1 else array


def _decode_deep(image: ImageFile, data: bytes, mode: str) -> tuple[Samples, Samples | None]:
    array: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16:
        raise PhotoError("its 16-bit samples cannot be decoded; save it as plain 16-bit RGB")
    if array.ndim == 2:
        transparent = image.info.get("transparency")  # the one transparent grey of a PNG, which OpenCV passes over
        alpha = None if transparent is None else np.where(array == transparent, 0, 65535).astype(np.uint16)
        if isinstance(image, TiffImageFile) and image.tag_v2.get(Base.PhotometricInterpretation) == 0:
            array = 65535 - array  # in this file, 0 is white
        return recolour(array, cv2.COLOR_GRAY2RGB), alpha
    if array.shape[2] == 3:
        return recolour(array, cv2.COLOR_BGR2RGB), None
    return recolour(array, cv2.COLOR_BGRA2RGB), array[..., 3].copy() if mode == "RGBA" else None


def _upright(array: Samples, orientation: int) -> Samples:
    turned = cv2.transpose(array) if orientation > 4 else array
    axis = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)
    return cast("Samples", turned if axis is None else cv2.flip(turned, axis))
