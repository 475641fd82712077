"""Photographs for the tests, made by Pillow, OpenCV and by hand."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="1" dc:creator="Zo\xc3\xab"/></x:xmpmeta>'
MAKER_NOTE = bytes(range(256))
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif", "WEBP": ".webp", "BMP": ".bmp", "AVIF": ".avif"}
Array = NDArray[Any]

# How a camera stores an upright picture so that the tag's rotation or reflection brings it back.
STORED: dict[int, Callable[[Array], Array]] = {
    1: lambda upright: upright,
    2: np.fliplr,
    3: lambda upright: np.rot90(upright, 2),
    4: np.flipud,
    5: lambda upright: np.swapaxes(upright, 0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: np.rot90(np.swapaxes(upright, 0, 1), 2),
    8: lambda upright: np.rot90(upright, -1),
}


def noise(*shape: int, dtype: Any = np.uint8) -> Array:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def patches(dtype: Any = np.uint8) -> Array:
    """Six flat patches, two high and three wide, no two alike: coding with loss leaves them recognisable."""
    colours = np.array(
        [[[250, 10, 10], [10, 250, 10], [10, 10, 250]], [[240, 240, 20], [20, 20, 20], [235, 235, 235]]], dtype
    )
    return np.kron(colours * dtype(np.iinfo(dtype).max // 255), np.ones((16, 16, 1), dtype))


def exif_block(*, orientation: int = 1, size: tuple[int, int] | None = None) -> bytes:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x8298] = "Blur & Co", "Shaky 1", "Ana Example"
    exif[0x0112] = orientation
    exif[0x8769] = {0x9003: "2024:05:06 07:08:09", 0x829A: (1, 30), 0x927C: MAKER_NOTE}
    if size:
        exif[0x8769] |= {0xA002: size[0], 0xA003: size[1]}
    exif[0x8825] = {1: "N", 2: (48.0, 51.0, 29.5), 3: "E", 4: (2.0, 17.0, 40.25)}
    return exif.tobytes()


def save(path: Path, array: Array, **options: Any) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


def save_with_metadata(path: Path, array: Array, *, exif: bytes, xmp: bytes = XMP) -> Path:
    options: dict[str, Any] = {"exif": exif, "icc_profile": PROFILE, "dpi": (300, 240)}
    if path.suffix == ".png":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode())
    elif path.suffix == ".tif":
        options["exif"] = Image.Exif()
        options["exif"].load(exif)
        options["exif"][700] = xmp
    else:
        options["xmp"] = xmp
    return save(path, array, **options)


def save_deep(path: Path, array: Array) -> Path:
    codes = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    array = cv2.cvtColor(array, codes[array.shape[2]]) if array.ndim == 3 else array
    path.write_bytes(cv2.imencode(path.suffix, array)[1].tobytes())
    return path


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int, height: int, *, depth: int, colour: int, rows: bytes, before: bytes = b"", after: bytes = b""
) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(rows, 9))
    return b"\x89PNG\r\n\x1a\n" + header + before + pixels + after + chunk(b"IEND", b"")


def tiff(array: Array, **tags: Any) -> bytes:
    """Write an uncompressed TIFF of any kind; tags by number, as in t262=5."""
    height, width, channels = (*array.shape, 1)[:3]
    directory = Image.Exif()
    directory.endian = "<"
    values: dict[int, Any] = {256: width, 257: height, 258: (array.itemsize * 8,) * channels, 259: 1}
    values |= {262: 2 if channels > 2 else 1, 277: channels, 278: height, 279: (array.nbytes,), 273: (0,)}
    for tag, value in (values | {int(name[1:]): value for name, value in tags.items()}).items():
        directory[tag] = value
    return directory.tobytes().removeprefix(b"Exif\0\0") + array.tobytes()


def oriented(path: Path) -> Array:
    """Read a file as a viewer that knows nothing of us."""
    with Image.open(path) as image:
        image.load()  # Pillow turns a TIFF by itself now, and would turn it twice
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
