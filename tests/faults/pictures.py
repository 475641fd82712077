"""Photographs that are damaged, odd, hostile, or not photographs."""

# ruff: noqa: E501  # a case is a line of a table

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, PngImagePlugin

from faults.goods import picture
from faults.runner import Case, Sandbox

__all__ = ["CASES", "bomb", "png"]

Maker = Callable[[Path, Sandbox], object]
_DEBLUR = ("deblur", "--checkpoint", "tiny.safetensors", "--device", "cpu", "-o", "sharp", "--suffix", "")


def _photo(
    fault: str, name: str, make: Maker, code: int, message: str = "", *, more: str = "", unmended: str = ""
) -> Case:
    def prepare(sandbox: Sandbox) -> None:
        sandbox.take("tiny.safetensors")
        make(sandbox.work / name, sandbox)

    command = (*_DEBLUR, *more.split(), "--", name)
    writes = ("sharp/*",) if code in {0, 3} else ()
    return Case("photograph", fault, command, code, message, prepare, writes, max_lines=4, unmended=unmended)


def _changed(name: str, change: Callable[[bytearray], object]) -> Maker:
    def make(path: Path, sandbox: Sandbox) -> None:
        data = bytearray(sandbox.goods.path(name).read_bytes())
        path.write_bytes(changed if isinstance(changed := change(data), (bytes, bytearray)) else data)

    return make


def _saved(array: Any = None, mode: str = "", **options: Any) -> Maker:
    def make(path: Path, _sandbox: Sandbox) -> None:
        image = Image.fromarray(picture() if array is None else array)
        (image.convert(mode) if mode else image).save(path, **options)

    return make


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, packed: bytes, *more: bytes, depth: int = 8, colour: int = 2) -> bytes:
    """Return a PNG whose header and packed pixels need not fit each other."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [_chunk(b"IHDR", header), *more, _chunk(b"IDAT", packed), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def bomb(path: Path, _sandbox: Sandbox) -> None:
    """Write 30 000 x 30 000 px of nought in a hundred kilobytes."""
    pack = zlib.compressobj(9)
    row = bytes(1 + 30_000 // 8)
    packed = b"".join(pack.compress(row) for _ in range(30_000)) + pack.flush()
    path.write_bytes(png(30_000, 30_000, packed, depth=1, colour=0))


def _bytes(data: bytes) -> Maker:
    return lambda path, _box: path.write_bytes(data)


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _animated(path: Path, _sandbox: Sandbox) -> None:
    frames = [Image.fromarray(picture(seed=seed)) for seed in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def _deep(dtype: type[np.uint16] | type[np.float32]) -> Maker:
    scale = 257.0 if dtype is np.uint16 else 1 / 255
    pixels = picture().astype(np.float64) * scale
    return lambda path, _box: path.write_bytes(cv2.imencode(path.suffix, pixels.astype(dtype))[1].tobytes())


def _noted(text: str) -> Maker:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", text, zip=True)
    return _saved(pnginfo=info)


def _good(path: Path, sandbox: Sandbox) -> None:
    path.write_bytes(sandbox.goods.path("photo0.png").read_bytes())


def _flip(data: bytearray) -> None:
    data[len(data) // 2] ^= 4


_RANDOM = np.random.default_rng(0).bytes(9000)
_NOT = "not a JPEG, PNG, TIFF, WebP, BMP"
_BROKEN = (
    _photo("no bytes", "p.jpg", _bytes(b""), 4, r"p\.jpg: empty file"),
    _photo("text", "p.jpg", _bytes(b"no picture\n" * 99), 4, _NOT),
    _photo("random bytes", "p.jpg", _bytes(_RANDOM), 4, _NOT),
    _photo("random bytes behind a JPEG's first", "p.jpg", _bytes(b"\xff\xd8\xff\xe0" + _RANDOM), 4, r"p\.jpg: "),
    _photo("half a JPEG", "p.jpg", _changed("photo.jpg", lambda d: d[: len(d) // 2]), 4, r"p\.jpg: .*truncated"),
    _photo("half a PNG", "p.png", _changed("photo0.png", lambda d: d[: len(d) // 2]), 4, r"p\.png: "),
    _photo("half a TIFF", "p.tif", lambda p, b: (_saved()(p, b), p.write_bytes(p.read_bytes()[:9000])), 4, r"p\.tif: "),
    _photo("a flipped bit in a PNG", "p.png", _changed("photo0.png", _flip), 4, r"p\.png: "),
    _photo("no pixels", "p.png", _bytes(png(0, 10, b"")), 4, r"p\.png: "),
    _photo("two million pixels a side in a header", "p.png", _bytes(png(2_000_000, 2_000_000, b"")), 4, "over the limit|exceeds limit"),
    _photo("bomb of 900 megapixels", "p.png", bomb, 4, "--max-pixels"),
    _photo("one pixel over the limit", "p.png", _good, 4, "--max-pixels", more="--max-pixels 6143"),
    _photo("just at the limit", "p.png", _good, 0, more="--max-pixels 6144"),
    _photo("animated GIF", "p.gif", _animated, 4, _NOT),
    _photo("animated WebP", "p.webp", _animated, 4, "3 pages or frames"),
    _photo("TIFF of three pages", "p.tif", _animated, 4, "3 pages or frames"),
    _photo("CMYK", "p.jpg", _saved(mode="CMYK"), 4, "CMYK samples"),
    _photo("LAB", "p.tif", _saved(mode="LAB"), 4, "LAB samples"),
    _photo("float TIFF", "p.tiff", _deep(np.float32), 4, r"p\.tiff: "),
    _photo("PDF", "p.pdf", _bytes(b"%PDF-1.7\n"), 4, _NOT),
    _photo("PostScript", "p.jpg", _bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) (r) file\n"), 4, _NOT),
    _photo("SVG with a link", "p.png", _bytes(b"<svg><image href='http://127.0.0.1/x'/></svg>"), 4, _NOT),
    _photo("folder named as a photograph", "p.jpg", lambda p, _b: p.mkdir(), 2, "no files ending in"),
    _photo("link to a device", "p.jpg", lambda p, _b: p.symlink_to("/dev/zero"), 4, "not a regular file"),
    _photo("link to nowhere", "p.jpg", lambda p, _b: p.symlink_to("nowhere"), 4, "cannot be read"),
)  # fmt: skip
_ODD = (
    _photo("PNG named .jpg", "p.jpg", _good, 0),
    _photo("1 x 1 px", "p.png", _saved(picture(1, 1)), 0),
    _photo("3 x 5 px", "p.png", _saved(picture(3, 5)), 0),
    _photo("1 px high", "p.png", _saved(picture(1, 3000)), 0),
    _photo("palette", "p.png", _saved(mode="P"), 0),
    _photo("one bit", "p.png", _saved(mode="1"), 0),
    _photo("grey with transparency", "p.png", _saved(mode="LA"), 0),
    _photo("transparency", "p.png", _saved(mode="RGBA"), 0),
    _photo("16-bit PNG", "p.png", _deep(np.uint16), 0),
    _photo("16-bit TIFF", "p.tif", _deep(np.uint16), 0),
    _photo("orientation 9", "p.jpg", _saved(exif=_exif(9)), 0),
    _photo("orientation 65535", "p.jpg", _saved(exif=_exif(65535)), 0),
    _photo("EXIF that is no EXIF", "p.jpg", _saved(exif=b"Exif\0\0" + _RANDOM), 0),
    _photo("EXIF that points into itself", "p.jpg", _saved(exif=b"Exif\0\0II*\0\x08\0\0\0\1\0\x69\x87\4\0\1\0\0\0\x08\0\0\0\x08\0\0\0"), 0),
    _photo("EXIF of 60 kB", "p.jpg", _saved(exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + bytes(60_000)), 0),
    _photo("broken ICC profile", "p.jpg", _saved(icc_profile=_RANDOM), 0),
    _photo("ICC profile of 5 MB", "p.png", _saved(icc_profile=bytes(5_000_000)), 0),
    _photo("bomb of text", "p.png", _noted("x" * 50_000_000), 0, "more than 16 MB is left out"),
    _photo("all black", "p.png", _saved(np.zeros((40, 50, 3), np.uint8)), 0),
    _photo("all white", "p.png", _saved(np.full((40, 50, 3), 255, np.uint8)), 0),
)  # fmt: skip
_NAMES = tuple(
    _photo(f"name: {what}", name, _good, 0)
    for what, name in {
        "begins with a dash": "-p.png", "newline": "a\nb.png", "markup": "<img src=x onerror=alert(1)>.png",
        "other scripts": "ünï 日本.png", "only an ending": "..png", "250 bytes": "x" * 246 + ".png",
    }.items()
)  # fmt: skip


def _many(sandbox: Sandbox) -> None:
    sandbox.take("tiny.safetensors", "photos")
    (sandbox.work / "photos" / "bad.jpg").write_bytes(b"no photograph")


def _named(*names: str) -> Callable[[Sandbox], object]:
    return lambda sandbox: sandbox.take("tiny.safetensors", *names)


def _transparent(sandbox: Sandbox) -> None:
    sandbox.take("tiny.safetensors")
    _saved(mode="RGBA")(sandbox.work / "photo0.png", sandbox)


def _damaged_bracket(sandbox: Sandbox) -> None:
    _bracket(sandbox)
    data = bytearray((sandbox.work / "bracket2.png").read_bytes())
    _flip(data)
    (sandbox.work / "bracket2.png").write_bytes(data)


def _black_bracket(sandbox: Sandbox) -> None:
    _bracket(sandbox)
    Image.new("RGB", (320, 320)).save(sandbox.work / "bracket0.png")


def _bracket(sandbox: Sandbox) -> None:
    sandbox.take(*(f"bracket{number}.png" for number in range(5)))


def _bad_frames(sandbox: Sandbox) -> None:
    folder = sandbox.work / "all" / "train" / "GOPR0372_07_00"
    folder.mkdir(parents=True)
    for number in range(47, 56):
        data = bytearray(sandbox.goods.path("photo0.png").read_bytes())
        _flip(data)
        (folder / f"{number:06}.png").write_bytes(data)


_TIMES = "--exposures 1/400,1/200,1/100,1/50,1/25"
_BRACKET = " ".join(f"bracket{number}.png" for number in range(5))
_OUT = "deblur --checkpoint tiny.safetensors --device cpu photo0.png"
_OTHERS = (
    Case("photograph", "one bad photograph of five", "deblur --checkpoint tiny.safetensors --device cpu photos -o sharp", 3, r"bad\.jpg", _many, ("sharp/*",), max_lines=6),
    Case("photograph", "one bad photograph of five, to shake", "shake photos --per-photo 1 --jobs 2", 3, r"bad\.jpg", _many, ("shards/*",), max_lines=6),
    Case("photograph", "the result is there already", f"{_OUT} -o photo1.png", 2, "photo1.png: exists already", _named("photo0.png", "photo1.png")),
    Case("photograph", "the result is the photograph", f"{_OUT} -o photo0.png --overwrite", 2, "would replace", _named("photo0.png")),
    Case("photograph", "the result leaves its folder by a suffix", (*_OUT.split(), "--suffix", "/../../bait/x"), 2, "suffix", _named("photo0.png")),
    Case("photograph", "an unknown format to write", f"{_OUT} -o out.xyz", 2, r"out\.xyz", _named("photo0.png")),
    Case("photograph", "transparency into JPEG", f"{_OUT} -o out.jpg", 2, "transparency", _transparent),
    Case("photograph", "a name too long to write", f"{_OUT} -o {'x' * 252}.png", 5, "too long", _named("photo0.png")),
    Case("photograph", "damaged bracket", f"calibrate-crf {_BRACKET} {_TIMES}", 4, r"bracket2\.png", _damaged_bracket),
    Case("photograph", "a bracket with a black one", f"calibrate-crf {_BRACKET} {_TIMES}", 0, r"bracket0\.png: says nothing", _black_bracket, ("camera.json",), max_lines=4),
    Case("photograph", "two photographs are no bracket", "calibrate-crf bracket0.png bracket1.png --exposures 1,2", 2, "three or more", _bracket),
    Case("photograph", "damaged frames of GOPRO", "gopro rebuild all -o out --clip GOPR0372_07_00", 3, "lack frames", _bad_frames, ("out/*",), max_lines=12),
)  # fmt: skip
CASES = _BROKEN + _ODD + _NAMES + _OTHERS
