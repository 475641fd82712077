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
    "is_lossless_webp",
    "jpeg_coding",
    "neutral_exif",
    "neutral_xmp",
    "pack_png_chunks",
    "png_chunks",
    "resolution",
    "tiff_tags",
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
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|\s*>)\s*)([1-8])(?!\d)")


def neutral_exif(exif: bytes) -> tuple[int, bytes | None]:
    """Return the orientation (1 to 8; 0: not stated) and the EXIF of the upright photograph, without its prefix.

    It is changed in place: laying it out anew would break the offsets inside maker notes.
    """
    block = bytearray(exif.removeprefix(EXIF_PREFIX))
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(block[:4]))
    if order is None:
        return 0, None
    orientation = 0
    with suppress(struct.error):  # cut short: what comes before the cut holds
        entries, end = _directory(block, order, _long(block, order, 4))
        if (entry := entries.get(Base.Orientation)) is not None:
            kind, value = struct.unpack_from(order + "H4xH", block, entry + 2)
            value = _long(block, order, entry + 8) if kind == 4 else value
            orientation = value if 1 <= value <= 8 else 1
            struct.pack_into(order + "HIHH", block, entry + 2, 3, 1, 1, 0)
        if orientation > 4 and IFD.Exif in entries:
            sides, _ = _directory(block, order, _long(block, order, entries[IFD.Exif] + 8))
            if Base.ExifImageWidth in sides and Base.ExifImageHeight in sides:
                a, b = sides[Base.ExifImageWidth] + 2, sides[Base.ExifImageHeight] + 2  # behind the tags
                block[a : a + 10], block[b : b + 10] = block[b : b + 10], block[a : a + 10]
        struct.pack_into(order + "I", block, end, 0)  # nobody finds the thumbnail, which shows the old pixels
    return orientation, bytes(block)


def _directory(block: bytearray, order: str, start: int) -> tuple[dict[int, int], int]:
    """Return where each tag's entry (tag, type, count, value: 2 + 2 + 4 + 4 bytes) begins, and where the last ends."""
    (num_entries,) = struct.unpack_from(order + "H", block, start)
    end = start + 2 + 12 * num_entries
    places = range(start + 2, min(end, len(block) - 11), 12)
    return {struct.unpack_from(order + "H", block, place)[0]: place for place in places}, end


def _long(block: bytearray, order: str, at: int) -> int:
    return int(struct.unpack_from(order + "I", block, at)[0])


def neutral_xmp(xmp: Any) -> tuple[int, bytes | None]:
    """Return the orientation (1 to 8; 0: not stated) and the XMP of the upright photograph."""
    if not isinstance(xmp, bytes) or not xmp:
        return 0, None
    match = _XMP_ORIENTATION.search(xmp)
    return int(match[2]) if match else 0, _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


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
