"""What stands in a photograph's file besides its pixels, byte by byte: EXIF, XMP, PNG chunks, TIFF tags, JPEG coding.

The pixels are turned upright when they are read, so every word about how to turn them is set to "as it is".
"""

import logging
import re
import struct
import zlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from PIL import Image
from PIL.ExifTags import IFD, Base
from PIL.JpegImagePlugin import JpegImageFile, get_sampling

from blursynth.photos.photo import PNG_COLOUR, JpegCoding, Photo
from blursynth.photos.png import chunks

__all__ = [
    "EXIF_PREFIX",
    "exif_of_tiff",
    "exif_orientation",
    "is_lossless_webp",
    "jpeg_coding",
    "neutral_exif",
    "neutral_xmp",
    "pack_png_chunks",
    "png_chunks",
    "resolution",
    "tiff_tags",
    "xmp_orientation",
]

logger = logging.getLogger(__name__)

EXIF_PREFIX = b"Exif\0\0"
_PNG_TEXT = {b"iTXt", b"tEXt", b"zTXt"}
_PNG_XMP = b"XML:com.adobe.xmp\0"
_TIFF_TAGS = (  # what describes a photograph; the other tags describe the file it came in
    *(Base.ImageDescription, Base.Make, Base.Model, Base.Orientation, Base.Software, Base.DateTime, Base.Artist),
    *(Base.HostComputer, Base.Copyright, Base.Rating, Base.RatingPercent),
    *(Base.XPTitle, Base.XPComment, Base.XPAuthor, Base.XPKeywords, Base.XPSubject),
)
_XMP_VALUE = rb"(?:\s*=\s*[\"']|\s*>)\s*)"
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation" + _XMP_VALUE + rb"([1-8])(?!\d)")
_XMP_SIDE = re.compile(
    rb"((?:tiff|exif):(ImageWidth|ImageLength|PixelXDimension|PixelYDimension)" + _XMP_VALUE + rb"\d+"
)
_XMP_FILM = re.compile(rb"(Camera:(?:MotionPhoto|MicroVideo)" + _XMP_VALUE + rb"1(?!\d)")  # behind a telephone's JPEG


def exif_orientation(exif: bytes) -> int:
    """Return how a block of EXIF says that the photograph is to be turned: 1 to 8, or 0 if it does not."""
    block = bytearray(exif.removeprefix(EXIF_PREFIX))
    with suppress(struct.error):
        if order := _order(block):
            entries, _ = _directory(block, order, _long(block, order, 4))
            if (entry := entries.get(Base.Orientation)) is not None:
                value = _number(block, order, entry)
                return value if 1 <= value <= 8 else 1
    return 0


def neutral_exif(exif: bytes, width: int, height: int) -> bytes | None:
    """Return the EXIF of an upright photograph, without its prefix: orientation 1, its sides in px, no thumbnail.

    It is changed in place: laying it out anew would break the offsets inside maker notes.
    """
    block = bytearray(exif.removeprefix(EXIF_PREFIX))
    order = _order(block)
    if order is None:
        return None
    with suppress(struct.error):  # cut short: what comes before the cut holds
        entries, end = _directory(block, order, _long(block, order, 4))
        if (entry := entries.get(Base.Orientation)) is not None:
            struct.pack_into(order + "HIHH", block, entry + 2, 3, 1, 1, 0)
        _state(block, order, entries, {Base.ImageWidth: width, Base.ImageLength: height})
        if IFD.Exif in entries:
            inside, _ = _directory(block, order, _long(block, order, entries[IFD.Exif] + 8))
            _state(block, order, inside, {Base.ExifImageWidth: width, Base.ExifImageHeight: height})
        struct.pack_into(order + "I", block, end, 0)  # nobody finds the thumbnail, which shows the old pixels
    return bytes(block)


def _order(block: bytearray) -> str | None:
    return {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(block[:4]))


def _state(block: bytearray, order: str, entries: Mapping[int, int], sides: Mapping[Base, int]) -> None:
    """Set tags that are there to numbers, where they say something else."""
    for tag, side in sides.items():
        entry = entries.get(tag)
        if entry is not None and _number(block, order, entry) != side:
            struct.pack_into(order + "HII", block, entry + 2, 4, 1, side)


def _number(block: bytearray, order: str, entry: int) -> int:
    """Return the value of an entry, a SHORT or a LONG."""
    kind, value = struct.unpack_from(order + "H4xH", block, entry + 2)
    return _long(block, order, entry + 8) if kind == 4 else int(value)


def _directory(block: bytearray, order: str, start: int) -> tuple[dict[int, int], int]:
    """Return where each tag's entry (tag, type, count, value: 2 + 2 + 4 + 4 bytes) begins, and where the last ends."""
    (num_entries,) = struct.unpack_from(order + "H", block, start)
    end = start + 2 + 12 * num_entries
    places = range(start + 2, min(end, len(block) - 11), 12)
    return {struct.unpack_from(order + "H", block, place)[0]: place for place in places}, end


def _long(block: bytearray, order: str, at: int) -> int:
    return int(struct.unpack_from(order + "I", block, at)[0])


def xmp_orientation(xmp: Any) -> int:
    """Return how a packet of XMP says that the photograph is to be turned: 1 to 8, or 0 if it does not."""
    match = _XMP_ORIENTATION.search(xmp) if isinstance(xmp, bytes) else None
    return int(match[2]) if match else 0


def neutral_xmp(xmp: Any, width: int, height: int) -> bytes | None:
    """Return the XMP of an upright photograph: orientation 1, its sides in px, no film behind the picture."""
    if not isinstance(xmp, bytes) or not xmp:
        return None
    sides = {b"ImageWidth": width, b"PixelXDimension": width, b"ImageLength": height, b"PixelYDimension": height}
    xmp = _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)
    xmp = _XMP_SIDE.sub(lambda match: match[1] + b"%d" % sides[match[2]], xmp)
    return _XMP_FILM.sub(rb"\g<1>0", xmp)


def resolution(info: Mapping[Any, Any], *, is_sideways: bool) -> tuple[float, float] | None:
    """Return the pixels per inch of the upright photograph from Pillow's ``info``; None if absent or absurd."""
    try:
        x, y = (float(value) for value in info["dpi"])
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return None
    if not (1 <= x <= 65535 and 1 <= y <= 65535):  # NaN and what fits no header
        return None
    return (y, x) if is_sideways else (x, y)


def jpeg_coding(image: JpegImageFile, *, is_sideways: bool) -> JpegCoding:
    """Return how to code a JPEG again; ``is_sideways`` if its pixels have been turned by 90 degrees."""
    tables = [tuple(image.quantization[component[3]]) for component in image.layer]
    if tables[1:2] == tables[2:]:
        del tables[2:]  # the encoder uses the last one for the rest
    sampling = get_sampling(image)
    # What the encoder has no word for, or what means something else now that the picture is turned, is coded in full.
    is_in_full = sampling < 0 or (is_sideways and sampling == 1)
    segments = [struct.pack(">HH", 0xFFED, len(body) + 2) + body for name, body in image.applist if name == "APP13"]
    return JpegCoding(
        qtables=tuple(tables),
        subsampling=0 if is_in_full else sampling,
        progressive=bool(image.info.get("progressive")),
        comment=image.info.get("comment", b""),
        extra=b"".join(segments),
    )


def is_lossless_webp(data: bytes) -> bool:
    """Say whether the first picture of a WebP file is coded without loss."""
    at = 12
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, at)
        if kind in {b"VP8L", b"VP8 "}:
            return bool(kind == b"VP8L")
        at += 8 + size + size % 2
    return False


def png_chunks(data: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Return (type, body) of the chunks with colour and text.

    XMP is kept elsewhere, and EXIF disguised as text would still say how to turn.
    """
    kept = []
    for kind, begin, end in chunks(data):
        body = data[begin + 8 : end - 4] if kind in PNG_COLOUR | _PNG_TEXT else b""
        if body and not body.startswith((_PNG_XMP, b"Raw profile type ")):
            kept.append((kind, body))
    return tuple(kept)


def pack_png_chunks(photo: Photo) -> bytes:
    """Return a PNG's metadata as the chunks to stand between its header and its pixels."""
    packed = list(photo.png_chunks)
    if photo.icc_profile:
        packed.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(photo.icc_profile)))
    if photo.dpi:
        packed.append((b"pHYs", struct.pack(">IIB", *(round(value / 0.0254) for value in photo.dpi), 1)))  # per metre
    if photo.exif:
        packed.append((b"eXIf", photo.exif))
    if photo.xmp:
        packed.append((b"iTXt", _PNG_XMP + b"\0\0\0\0" + photo.xmp))
    return b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))
        for kind, body in packed
    )


def tiff_tags(exif: Image.Exif) -> dict[int, Any]:
    """Return what describes the photograph, with the Exif and GPS directories as dictionaries."""
    tags: dict[int, Any] = {tag: exif[tag] for tag in _TIFF_TAGS if tag in exif}
    for pointer in (IFD.Exif, IFD.GPSInfo):
        if directory := {tag: value for tag, value in exif.get_ifd(pointer).items() if tag != IFD.Interop}:
            tags[pointer] = directory
    # Pillow reads text as Latin-1 and would write it as ASCII, with question marks.
    return {
        tag: value.encode("latin-1") if isinstance(value, str) and not value.isascii() else value
        for tag, value in tags.items()
    }


def exif_of_tiff(source: Image.Exif) -> bytes:
    """Return a TIFF's own description as a block of EXIF, empty if there is none or it is damaged."""
    exif = Image.Exif()
    try:
        exif.update(tiff_tags(source))
        return exif.tobytes() if exif else b""
    except Exception as error:  # values of types that no such tag has
        logger.warning("damaged EXIF is left out: %s", error)
        return b""
