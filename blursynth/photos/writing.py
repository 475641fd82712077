"""Write a photograph: encode it as it was coded, with its metadata, and see that it reads back."""

import io
import logging
import os
import zlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from PIL import Image
from PIL.ExifTags import Base
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from blursynth.errors import MachineError, OutputError, SettingsError
from blursynth.files import printable, refuse_existing, replacing, write_at
from blursynth.photos.metadata import EXIF_PREFIX, pack_png_chunks, tiff_tags
from blursynth.photos.photo import FORMAT_OF_SUFFIX, Photo, PhotoFormat, Samples, recolour
from blursynth.photos.pillow import open_photo, pillow_limits

__all__ = ["check_name", "check_target", "encode_photo", "write_photo"]

logger = logging.getLogger(__name__)

_JPEG_LIMITS = {"exif": 65533, "xmp": 65504}  # bytes, for each must fit one segment
_PNG_HEADER_BYTES = 33  # the signature and the first chunk
_TIFF_STRIP_BYTES = 1 << 20
_DEFLATE_LEVEL = 4  # on photographs twice as fast as 6, for one or two percent


def write_photo(
    path: str | os.PathLike[str],
    photo: Photo,
    pixels: Samples,
    *,
    overwrite: bool = False,
    strip_metadata: bool = False,
) -> None:
    """Write new pixels with everything else as it was in ``photo``; calls of several threads take turns.

    Parameters
    ----------
    path
        Its ending chooses the format; without one, it is that of ``photo``. Of 16 bits, JPEG, WebP, BMP, AVIF and HEIC
        get the nearest 8.
    photo
        Where the pixels came from: transparency, metadata and the way of coding are taken from it.
    pixels
        Shape and dtype of ``photo.pixels``, RGB display codes. If ``photo.is_grey``, the mean of the three is written.
    overwrite
        Replace a file that stands at ``path``.
    strip_metadata
        Leave out EXIF, XMP, IPTC, comments and text. The colour profile stays, or the colours would be others.

    Raises
    ------
    SettingsError
        If the file exists, the arrays do not match, or the format cannot hold the photograph.
    OutputError
        If the disk says no, or what was written does not read back.
    MachineError
        If the memory is too small to encode it.
    """
    path = Path(path)
    file_format = check_target(path, photo)
    _check_pixels(path, photo, pixels)
    refuse_existing(path, overwrite=overwrite)  # now, and not only after a minute of encoding
    with pillow_limits(pixels.size):
        parts = _encode_or_refuse(path, photo.stripped() if strip_metadata else photo, pixels, file_format)
    with replacing(path, overwrite=overwrite) as temporary:
        descriptor, offset = os.open(temporary, os.O_WRONLY), 0
        try:
            for part in parts:
                write_at(descriptor, part, offset)
                offset += len(part)
        finally:
            os.close(descriptor)
        if not _reads_back(temporary, file_format, pixels.shape[:2]):
            raise OutputError(f"{printable(path)}: what was written does not read back; check the disk and try again")


def encode_photo(photo: Photo, pixels: Samples, name: str, *, strip_metadata: bool = False) -> bytes:
    """Return the bytes of the file that `write_photo` would write in the format of ``photo``.

    ``name`` stands for the file in messages; what may be raised is the same but for what concerns the disk.
    """
    path = Path(name)
    _check_pixels(path, photo, pixels)
    with pillow_limits(pixels.size):
        return b"".join(_encode_or_refuse(path, photo.stripped() if strip_metadata else photo, pixels, photo.format))


def check_name(path: Path) -> PhotoFormat | None:
    """Return the format that a name asks for; None if it has no ending.

    Raises
    ------
    SettingsError
        If no format has this ending.
    """
    if path.suffix and path.suffix.lower() not in FORMAT_OF_SUFFIX:
        raise SettingsError(f"{printable(path)}: cannot write {path.suffix} files; choose .jpg, .png, .tif or .webp")
    return FORMAT_OF_SUFFIX.get(path.suffix.lower())


def check_target(path: Path, photo: Photo) -> PhotoFormat:
    """Return the format in which `write_photo` would write a photograph.

    Raises
    ------
    SettingsError
        If there is none of this ending, or it cannot hold the photograph.
    """
    file_format = check_name(path) or photo.format
    if photo.alpha is not None and file_format in {"JPEG", "BMP"}:
        raise SettingsError(f"{printable(path)}: {file_format} cannot hold the transparency; choose .png or .tif")
    return file_format


def _check_pixels(path: Path, photo: Photo, pixels: Samples) -> None:
    if (pixels.shape, pixels.dtype) != (photo.pixels.shape, photo.pixels.dtype):
        raise SettingsError(f"{printable(path)}: pixels must be {photo.pixels.shape} {photo.pixels.dtype}")


def _reads_back(path: Path, file_format: PhotoFormat, shape: tuple[int, ...]) -> bool:
    try:
        with pillow_limits(shape[0] * shape[1]), path.open("rb") as file, open_photo(file, file_format) as image:
            return image.size[::-1] == shape
    except Exception:  # on damaged files, decoders raise nearly anything
        return False


def _encode_or_refuse(path: Path, photo: Photo, pixels: Samples, file_format: PhotoFormat) -> list[bytes | memoryview]:
    try:
        return _encode(photo, pixels, file_format)
    except MachineError as error:
        raise MachineError(f"{printable(path)}: {error}") from error
    except MemoryError as error:
        raise MachineError(f"{printable(path)}: out of memory while encoding; use a machine with more") from error
    except Exception as error:  # encoders too raise nearly anything
        if photo.exif is None:
            reason = printable(str(error))
            raise SettingsError(f"{printable(path)}: {file_format} cannot hold it ({reason}); choose .png") from error
        parts = _encode_or_refuse(path, replace(photo, exif=None), pixels, file_format)
        logger.warning("%s: damaged EXIF is left out: %s", printable(path), error)  # for without it, it worked
        return parts


def _encode(photo: Photo, pixels: Samples, file_format: PhotoFormat) -> list[bytes | memoryview]:
    samples = _samples(photo, pixels, file_format)
    if photo.icc_profile and photo.icc_profile[16:20] == b"GRAY" and (samples.ndim == 3 or file_format == "WEBP"):
        photo = replace(photo, icc_profile=None)  # it says nothing about three channels
    if file_format == "PNG":
        return _encode_png(photo, samples)
    if file_format == "TIFF":
        return _encode_tiff(photo, samples)
    if file_format == "HEIF":
        return [_encode_heif(photo, samples)]
    options = _pillow_options(photo, file_format, is_grey=samples.ndim == 2)
    image, buffer = Image.fromarray(samples), io.BytesIO()
    try:
        image.save(buffer, file_format, **options)
    except OSError:
        if not options.pop("progressive", False):
            raise
        buffer = io.BytesIO()  # Pillow's buffer is too small for the finest of progressive JPEGs
        image.save(buffer, file_format, **options)
    return [buffer.getbuffer()]


def _samples(photo: Photo, pixels: Samples, file_format: PhotoFormat) -> Samples:
    """Return (H, W) or (H, W, C) in the order L, LA, RGB or RGBA, and of the depth that the format has."""
    is_deep = pixels.dtype == np.uint16
    samples = cast("Samples", cv2.transform(pixels, np.full((1, 3), 1 / 3))) if photo.is_grey else pixels
    if photo.alpha is not None:
        if photo.is_grey and is_deep:
            samples = recolour(samples, cv2.COLOR_GRAY2RGB)  # neither library can write 16-bit LA
        samples = np.dstack((samples, photo.alpha))
    if is_deep and file_format not in {"PNG", "TIFF"}:
        samples = ((np.arange(65536) + 128) // 257).astype(np.uint8)[samples]
    return samples


def _pillow_options(photo: Photo, file_format: PhotoFormat, *, is_grey: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"icc_profile": photo.icc_profile, "xmp": photo.xmp, "dpi": photo.dpi}
    options["exif"] = photo.exif and EXIF_PREFIX + photo.exif
    if file_format == "WEBP":
        options |= {"lossless": photo.is_lossless, "quality": 50 if photo.is_lossless else 95, "exact": True}
    elif file_format == "AVIF":
        options |= {"quality": 95, "subsampling": "4:0:0" if is_grey else "4:4:4"}
    elif file_format == "HEIF":
        options |= {"quality": 95, "chroma": 420 if is_grey else 444, "nclx_profile": photo.nclx}
    elif file_format == "JPEG":
        options |= asdict(photo.jpeg) if photo.jpeg else {"quality": 95, "subsampling": 0}
    for name, limit in _JPEG_LIMITS.items() if file_format == "JPEG" else ():
        if len(options.get(name) or b"") > limit:
            logger.warning("a JPEG cannot hold %s of %d bytes; it is left out", name, len(options.pop(name)))
    return {name: value for name, value in options.items() if value is not None}


def _encode_heif(photo: Photo, samples: Samples) -> memoryview:
    try:
        import pillow_heif  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise MachineError("HEIC needs pillow-heif: pip install 'blursynth[heic]', or choose .jpg or .png") from error
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[samples[0, 0].size]
    options = _pillow_options(photo, "HEIF", is_grey=samples.ndim == 2)
    buffer = io.BytesIO()
    data = np.ascontiguousarray(samples).tobytes()
    pillow_heif.encode(mode, samples.shape[1::-1], data, buffer, **options)
    return buffer.getbuffer()


def _encode_png(photo: Photo, samples: Samples) -> list[bytes | memoryview]:
    if samples.dtype == np.uint8:
        buffer = io.BytesIO()
        Image.fromarray(samples).save(buffer, "PNG", compress_level=_DEFLATE_LEVEL)
        data = buffer.getbuffer()
    else:
        if samples.ndim == 3:
            samples = recolour(samples, cv2.COLOR_RGB2BGR if samples.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
        data = cv2.imencode(".png", samples)[1].data
    return [data[:_PNG_HEADER_BYTES], pack_png_chunks(photo), data[_PNG_HEADER_BYTES:]]


def _encode_tiff(photo: Photo, samples: Samples) -> list[bytes | memoryview]:
    """Deflate with horizontal differences, written here because neither library writes 16 bits and metadata."""
    num_rows = max(1, _TIFF_STRIP_BYTES // samples[0].nbytes)
    strips: list[bytes | memoryview] = []
    for top in range(0, len(samples), num_rows):
        rows = samples[top : top + num_rows]
        differences = rows.astype(rows.dtype.newbyteorder("<"))
        differences[:, 1:] -= rows[:, :-1]
        strips.append(zlib.compress(differences.data, _DEFLATE_LEVEL))
    return [_tiff_header(photo, samples, num_rows, [len(strip) for strip in strips]), *strips]


def _tiff_header(photo: Photo, samples: Samples, num_rows: int, strip_sizes: list[int]) -> bytes:
    """Return what stands before the strips of ``num_rows`` rows: the description of the samples and the metadata."""
    height, width, num_channels = (*samples.shape, 1)[:3]
    exif = Image.Exif()
    exif.load(photo.exif or b"")
    tags = tiff_tags(exif) | {
        Base.ImageWidth: width,
        Base.ImageLength: height,
        Base.BitsPerSample: (samples.itemsize * 8,) * num_channels,
        Base.Compression: 8,
        Base.PhotometricInterpretation: 2 if num_channels > 2 else 1,
        Base.StripOffsets: tuple(np.cumsum([0, *strip_sizes[:-1]]).tolist()),  # Pillow adds where the first begins
        Base.SamplesPerPixel: num_channels,
        Base.RowsPerStrip: num_rows,
        Base.StripByteCounts: tuple(strip_sizes),
        Base.PlanarConfiguration: 1,
        Base.Predictor: 2,
    }
    if photo.alpha is not None:
        tags[Base.ExtraSamples] = (2,)  # not premultiplied
    if photo.dpi:
        tags |= {Base.XResolution: photo.dpi[0], Base.YResolution: photo.dpi[1], Base.ResolutionUnit: 2}
    if photo.icc_profile:
        tags[Base.InterColorProfile] = photo.icc_profile
    if photo.xmp:
        tags[Base.XMLPacket] = photo.xmp
    directory, header = ImageFileDirectory_v2(), io.BytesIO()
    for tag, value in tags.items():
        directory[int(tag)] = value
    directory.save(header)
    return header.getvalue()
