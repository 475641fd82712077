"""Photographs: their pixels, what is refused, and what becomes of the disk."""

import io
import os
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pillow_heif
import pytest
from PIL import Image

from blursynth import files, photos
from blursynth.errors import MachineError, OutputError, PhotoError, SettingsError
from blursynth.photos import reading, writing
from blursynth.photos.photo import PhotoFormat
from blursynth.photos.pillow import open_photo
from photo_samples import PROFILE, STORED, XMP, Array, chunk, exif_block, noise, patches, png, save, save_deep, tiff


@pytest.mark.parametrize("is_lossless", [False, True])
def test_webp_stays_lossless(tmp_path: Path, *, is_lossless: bool) -> None:
    source = save(tmp_path / "a.webp", noise(20, 30, 4), lossless=is_lossless, exact=True, exif=exif_block())
    photo = photos.read_photo(source)
    photos.write_photo(tmp_path / "b.webp", photo, photo.pixels)
    again = photos.read_photo(tmp_path / "b.webp")
    assert photo.is_lossless == again.is_lossless == is_lossless
    assert np.array_equal(again.pixels, photo.pixels) == is_lossless
    np.testing.assert_array_equal(again.alpha, photo.alpha)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_survive(tmp_path: Path, suffix: str, channels: int) -> None:
    array = noise(70, 90, channels, dtype=np.uint16).squeeze()
    source = save_deep(tmp_path / f"a{suffix}", array)
    photo = photos.read_photo(source)
    np.testing.assert_array_equal(photo.pixels, array[..., :3] if channels > 1 else np.dstack([array] * 3))
    assert photo.pixels.dtype == np.uint16
    assert photo.is_grey == (channels == 1)
    if channels == 4:
        np.testing.assert_array_equal(photo.alpha, array[..., 3])

    changed = 65535 - photo.pixels
    photos.write_photo(tmp_path / f"b{suffix}", photo, changed)
    again = photos.read_photo(tmp_path / f"b{suffix}")
    np.testing.assert_array_equal(again.pixels, changed)
    assert again.is_grey == photo.is_grey
    seen = cv2.imread(os.fspath(tmp_path / f"b{suffix}"), cv2.IMREAD_UNCHANGED)
    assert seen is not None
    assert seen.dtype == np.uint16
    np.testing.assert_array_equal(seen[..., 0] if channels > 1 else seen, changed[..., 2])
    if channels == 4:
        np.testing.assert_array_equal(seen[..., 3], array[..., 3])


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey_with_alpha_keeps_its_values(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "a.png").write_bytes(png(2, 1, depth=16, colour=4, rows=b"\0" + struct.pack(">4H", 1000, 7, 65535, 9)))
    photo = photos.read_photo(tmp_path / "a.png")
    assert photo.is_grey
    photos.write_photo(tmp_path / f"b{suffix}", photo, photo.pixels)
    again = photos.read_photo(tmp_path / f"b{suffix}")
    assert again.pixels.tolist() == [[[1000] * 3, [65535] * 3]]
    assert again.alpha is not None
    assert again.alpha.tolist() == [[7, 9]]


@pytest.mark.parametrize(("colour", "key"), [(0, [1000]), (2, [1000, 1001, 1002])])
def test_the_one_transparent_colour_of_a_16_bit_png(tmp_path: Path, colour: int, key: list[int]) -> None:
    other = [5000] * len(key)
    rows = b"\0" + struct.pack(f">{2 * len(key)}H", *key, *other)
    before = chunk(b"tRNS", struct.pack(f">{len(key)}H", *key))
    (tmp_path / "a.png").write_bytes(png(2, 1, depth=16, colour=colour, rows=rows, before=before))
    photo = photos.read_photo(tmp_path / "a.png")
    assert photo.alpha is not None
    assert photo.alpha.tolist() == [[0, 65535]]
    assert photo.pixels[0, 0].tolist() == (key * 3)[:3]


def test_white_may_be_zero_in_a_16_bit_tiff(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(np.array([[0, 1000]], np.uint16), t262=0))
    assert photos.read_photo(tmp_path / "a.tif").pixels[0, :, 0].tolist() == [65535, 64535]


def test_unnamed_fourth_channel_of_a_16_bit_tiff_is_no_alpha(tmp_path: Path) -> None:
    array = noise(2, 3, 4, dtype=np.uint16)
    (tmp_path / "a.tif").write_bytes(tiff(array, t338=(0,)))
    photo = photos.read_photo(tmp_path / "a.tif")
    assert photo.alpha is None
    np.testing.assert_array_equal(photo.pixels, array[..., :3])


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif", ".bmp", ".heic"])
def test_16_bits_become_the_nearest_8(tmp_path: Path, suffix: str) -> None:
    codes = np.array([0, 128, 129, 32768, 65406, 65407, 65535], np.uint16)
    array: Array = np.kron(np.dstack([codes] * 3), np.ones((16, 16, 1), np.uint16))
    photo = photos.Photo(pixels=array, alpha=None, format="PNG")
    photos.write_photo(tmp_path / f"a{suffix}", photo, array)
    seen = photos.read_photo(tmp_path / f"a{suffix}").pixels[8, 8::16, 1].astype(int)
    assert np.abs(seen - [0, 0, 1, 128, 254, 255, 255]).max() <= (0 if suffix in {".webp", ".bmp"} else 1)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".jpg", ".webp", ".avif"])
def test_grey_stays_grey(tmp_path: Path, suffix: str) -> None:
    array = np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[None], 16, axis=0)
    photo = photos.read_photo(save(tmp_path / "a.png", array))
    assert photo.is_grey
    pixels = photo.pixels.copy()
    pixels[..., 0] //= 2  # the three differ; their mean is written
    photos.write_photo(tmp_path / f"b{suffix}", photo, pixels)
    again = photos.read_photo(tmp_path / f"b{suffix}")
    assert again.is_grey == (suffix != ".webp")  # it has no grey
    tolerance = {".jpg": 3, ".avif": 3}.get(suffix, 0)
    assert np.abs(again.pixels - np.rint(pixels.mean(axis=2, keepdims=True))).max() <= tolerance


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_one_bit_becomes_grey(tmp_path: Path, suffix: str) -> None:
    array = noise(5, 11) > 127
    photo = photos.read_photo(save(tmp_path / f"a{suffix}", array))
    assert photo.is_grey
    np.testing.assert_array_equal(photo.pixels, np.dstack([array] * 3) * np.uint8(255))


@pytest.mark.parametrize("has_alpha", [False, True])
def test_palette_becomes_colour(tmp_path: Path, *, has_alpha: bool) -> None:
    image = Image.fromarray(patches()).quantize(8)
    options: dict[str, Any] = {"transparency": 0} if has_alpha else {}
    image.save(tmp_path / "a.png", **options)
    photo = photos.read_photo(tmp_path / "a.png")
    np.testing.assert_array_equal(photo.pixels, patches())
    if has_alpha:
        np.testing.assert_array_equal(photo.alpha, np.where(np.asarray(image) == 0, 0, 255))
    else:
        assert photo.alpha is None


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".avif"])
@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_untouched(tmp_path: Path, channels: int, suffix: str) -> None:
    array = np.kron(noise(4, 5, channels), np.ones((16, 16, 1), np.uint8))
    photo = photos.read_photo(save(tmp_path / "a.png", array))
    np.testing.assert_array_equal(photo.alpha, array[..., -1])
    assert photo.is_grey == (channels == 2)
    photos.write_photo(tmp_path / f"b{suffix}", photo, photo.pixels)
    again = photos.read_photo(tmp_path / f"b{suffix}")
    assert again.alpha is not None
    tolerance = 6 if suffix == ".avif" else 0
    assert np.abs(again.alpha.astype(int) - array[..., -1]).max() <= tolerance
    if suffix != ".avif":
        np.testing.assert_array_equal(again.pixels, photo.pixels)


@pytest.mark.parametrize("suffix", [".jpg", ".bmp"])
def test_alpha_is_not_silently_lost(tmp_path: Path, suffix: str) -> None:
    photo = photos.read_photo(save(tmp_path / "a.png", noise(4, 5, 4)))
    with pytest.raises(SettingsError, match=r"transparency.*\.png"):
        photos.write_photo(tmp_path / f"b{suffix}", photo, photo.pixels)
    assert not (tmp_path / f"b{suffix}").exists()


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (1, 2000), (700, 1)])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".webp"])
def test_odd_sizes(tmp_path: Path, suffix: str, shape: tuple[int, int]) -> None:
    array = noise(*shape, 3)
    photo = photos.Photo(pixels=array, alpha=None, format="PNG")
    photos.write_photo(tmp_path / f"a{suffix}", photo, array)
    np.testing.assert_array_equal(photos.read_photo(tmp_path / f"a{suffix}").pixels, array)


def test_tiff_of_several_strips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_TIFF_STRIP_BYTES", 1000)
    array = noise(50, 30, 3, dtype=np.uint16)
    photos.write_photo(tmp_path / "a.tif", photos.Photo(pixels=array, alpha=None, format="TIFF"), array)
    seen = cv2.imread(os.fspath(tmp_path / "a.tif"), cv2.IMREAD_UNCHANGED)
    assert seen is not None
    np.testing.assert_array_equal(seen[..., ::-1], array)


def test_pixels_can_be_written_to(tmp_path: Path) -> None:
    for array in (noise(4, 5), noise(4, 5, 3), noise(4, 5, 4)):
        photo = photos.read_photo(save(tmp_path / "a.png", array))
        assert photo.pixels.flags.writeable
        assert photo.pixels.flags.c_contiguous


def test_content_decides_and_not_the_name(tmp_path: Path) -> None:
    array = noise(4, 5, 3)
    save(tmp_path / "a.jpg", array, format="PNG")
    photo = photos.read_photo(tmp_path / "a.jpg")
    assert photo.format == "PNG"
    np.testing.assert_array_equal(photo.pixels, array)
    photos.write_photo(tmp_path / "b.jpg", photo, photo.pixels)
    assert (tmp_path / "b.jpg").read_bytes().startswith(b"\xff\xd8")
    photos.write_photo(tmp_path / "no ending", photo, photo.pixels)
    np.testing.assert_array_equal(photos.read_photo(tmp_path / "no ending").pixels, array)


@pytest.mark.parametrize("name", ["-rf.png", "new\nline.png", "✨ é.PNG", "<img src=x>.png", "%s{0}.png"])
def test_strange_names(tmp_path: Path, name: str) -> None:
    photo = photos.read_photo(save(tmp_path / "a.png", noise(4, 5, 3)))
    photos.write_photo(tmp_path / name, photo, photo.pixels)
    np.testing.assert_array_equal(photos.read_photo(tmp_path / name).pixels, photo.pixels)
    (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(PhotoError) as caught:
        photos.read_photo(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert files.printable(name) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"Dear photograph,\n", "not a JPEG"),
        (b"GIF89a\1\0\1\0\0\0\0;", "not a JPEG"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "cannot be decoded"),
        (b"\xff\xd8\xff\xe0 nothing more", "cannot be decoded"),
        (b"\x89PNG\r\n\x1a\n", "cannot be decoded"),
        (b"II*\0\x08\0\0\0\0\0", "cannot be decoded"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "cannot be decoded"),
        (b"BM", "cannot be decoded"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1", "cannot be decoded"),
        (png(0, 10, depth=8, colour=2, rows=b""), "cannot be decoded"),
    ],
    ids=["empty", "text", "gif", "heic", "jpeg", "png", "tiff", "webp", "bmp", "avif", "no columns"],
)
def test_what_is_no_photograph_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(PhotoError, match=rf"^{path}: .*{reason}"):
        photos.read_photo(path)


@pytest.mark.parametrize("name", ["missing.jpg", "folder.jpg", "pipe.jpg", "nul\0.jpg"])
def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(PhotoError, match=r"jpg: "):
        photos.read_photo(tmp_path / name)


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".bmp", ".avif"])
def test_cut_short(tmp_path: Path, suffix: str, share: float) -> None:
    data = save(tmp_path / f"a{suffix}", noise(64, 64, 3)).read_bytes()
    (tmp_path / f"b{suffix}").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(PhotoError, match="cannot be decoded"):
        photos.read_photo(tmp_path / f"b{suffix}")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_cut_short(tmp_path: Path, suffix: str) -> None:
    data = save_deep(tmp_path / f"a{suffix}", noise(64, 64, 3, dtype=np.uint16)).read_bytes()
    (tmp_path / f"b{suffix}").write_bytes(data[: len(data) // 2])
    with pytest.raises(PhotoError, match="cannot be decoded"):
        photos.read_photo(tmp_path / f"b{suffix}")


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_is_refused(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(patches()).convert("CMYK").save(tmp_path / f"a{suffix}")
    with pytest.raises(PhotoError, match=r"CMYK.*convert it to sRGB"):
        photos.read_photo(tmp_path / f"a{suffix}")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (tiff(noise(2, 3, 3), t262=8), "LAB.*sRGB"),
        (tiff(np.full((2, 3), np.nan, np.float32), t339=(3,)), "F samples"),
        (tiff(np.zeros((2, 3, 3), np.float32), t339=(3, 3, 3)), "unknown pixel mode.*8- or 16-bit RGB"),
        (tiff(noise(2, 3, dtype=np.uint32)), "I samples"),
        (tiff(noise(2, 3, dtype=np.uint16), t258=(12,)), "12 bits"),
        (tiff(noise(2, 3, 4, dtype=np.uint16), t338=(1,)), "premultiplied.*plain"),
        (tiff(noise(2, 3, 3, dtype=np.uint16), t284=2, t273=(0, 12, 24), t279=(12, 12, 12)), "planes.*plain"),
    ],
)
def test_unusual_tiffs_are_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(PhotoError, match=reason):
        photos.read_photo(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".avif"])
def test_films_and_several_pages_are_refused(tmp_path: Path, suffix: str) -> None:
    frames = [Image.fromarray(patches()), Image.fromarray(255 - patches())]
    frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:])
    with pytest.raises(PhotoError, match="2 pages or frames; save the one"):
        photos.read_photo(tmp_path / f"a{suffix}")


def huge(suffix: str) -> bytes:
    if suffix == ".png":
        return png(30000, 30000, depth=8, colour=2, rows=bytes(90001) * 50)
    if suffix == ".tif":
        return tiff(np.zeros((1, 1, 3), np.uint8), t256=30000, t257=30000)
    size = (30000 - 1).to_bytes(3, "little") * 2
    data = b"WEBPVP8X" + struct.pack("<II", 10, 0) + size + b"VP8L" + struct.pack("<I", 8) + bytes(8)
    return b"RIFF" + struct.pack("<I", len(data)) + data


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_bombs_are_refused_by_their_header(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"a{suffix}").write_bytes(huge(suffix))

    def refuse(*args: Any) -> None:
        raise AssertionError("memory was asked for")

    monkeypatch.setattr("PIL.Image.core.new", refuse)
    monkeypatch.setattr("PIL.Image.core.fill", refuse)
    with pytest.raises(PhotoError, match=r"30000|900000000"):
        photos.read_photo(tmp_path / f"a{suffix}", max_pixels=400_000_000)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".bmp", ".avif"])
def test_the_limit_of_pixels_is_ours_and_not_pillows(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = noise(20, 30, 3)
    save(tmp_path / f"a{suffix}", array)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 7)
    photo = photos.read_photo(tmp_path / f"a{suffix}", max_pixels=600)
    assert photo.pixels.shape == array.shape
    photos.write_photo(tmp_path / f"b{suffix}", photo, photo.pixels)
    with pytest.raises(PhotoError, match="--max-pixels"):
        photos.read_photo(tmp_path / f"a{suffix}", max_pixels=599)
    assert Image.MAX_IMAGE_PIXELS == 7


def test_threads_leave_pillows_limit_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, identify = Image.MAX_IMAGE_PIXELS, reading._identify
    path = save(tmp_path / "a.png", noise(20, 30, 3))

    def identify_slowly(head: bytes) -> PhotoFormat:
        time.sleep(0.01)  # long enough for all to be inside at once, were there no lock
        return identify(head)

    monkeypatch.setattr(reading, "_identify", identify_slowly)
    threads = [threading.Thread(target=photos.read_photo, args=(path,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert before == Image.MAX_IMAGE_PIXELS


def test_nothing_is_overwritten_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = photos.read_photo(save(tmp_path / "a.png", noise(4, 5, 3)))
    (tmp_path / "b.png").write_bytes(b"precious")
    with monkeypatch.context() as patch, pytest.raises(SettingsError, match="exists already"):
        patch.delattr(writing, "_encode")  # it is found out before the long work of encoding
        photos.write_photo(tmp_path / "b.png", photo, photo.pixels)
    assert (tmp_path / "b.png").read_bytes() == b"precious"
    photos.write_photo(tmp_path / "b.png", photo, photo.pixels, overwrite=True)
    np.testing.assert_array_equal(photos.read_photo(tmp_path / "b.png").pixels, photo.pixels)


@pytest.mark.parametrize(
    ("name", "pixels", "reason"),
    [
        ("b.gif", noise(4, 5, 3), r"cannot write \.gif"),
        ("b.jxl", noise(4, 5, 3), r"cannot write \.jxl"),
        ("b.png", noise(4, 6, 3), r"must be \(4, 5, 3\) uint8"),
        ("b.png", noise(4, 5, 3, dtype=np.uint16), r"must be \(4, 5, 3\) uint8"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path: Path, name: str, pixels: Array, reason: str) -> None:
    photo = photos.read_photo(save(tmp_path / "a.png", noise(4, 5, 3)))
    with pytest.raises(SettingsError, match=reason):
        photos.write_photo(tmp_path / name, photo, pixels)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_too_wide_for_the_format(tmp_path: Path) -> None:
    array = np.zeros((1, 17000, 3), np.uint8)
    with pytest.raises(SettingsError, match=r"WEBP cannot hold it.*\.png"):
        photos.write_photo(tmp_path / "a.webp", photos.Photo(pixels=array, alpha=None, format="PNG"), array)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".bmp", ".avif"])
def test_what_does_not_read_back_is_not_committed(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    array = noise(40, 50, 3)

    def lose(descriptor: int, data: bytes | memoryview, offset: int) -> None:
        os.pwrite(descriptor, bytes(len(data)), offset)

    monkeypatch.setattr(writing, "write_at", lose)
    with pytest.raises(OutputError, match="does not read back"):
        photos.write_photo(tmp_path / f"a{suffix}", photos.Photo(pixels=array, alpha=None, format="PNG"), array)
    assert not any(tmp_path.iterdir())


def test_full_disk_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = noise(4, 5, 3)

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "write_at", full)
    with pytest.raises(OutputError, match="disk is full"):
        photos.write_photo(tmp_path / "a.png", photos.Photo(pixels=array, alpha=None, format="PNG"), array)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("pixels", "alpha"),
    [
        (noise(4, 5), None),
        (noise(4, 5, 4), None),
        (noise(4, 5, 3).astype(np.float32), None),
        (noise(4, 5, 3), noise(4, 6)),
        (noise(4, 5, 3), noise(4, 5, dtype=np.uint16)),
    ],
)
def test_photo_checks_its_arrays(pixels: Array, alpha: Array | None) -> None:
    with pytest.raises(ValueError, match="must be"):
        photos.Photo(pixels=pixels, alpha=alpha, format="PNG")


def save_heif(path: Path, array: Array, **options: Any) -> Path:
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[array[0, 0].size]
    pillow_heif.encode(mode, array.shape[1::-1], array.tobytes(), path, quality=-1, chroma=444, **options)
    return path


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_heic_comes_back_in_kind(tmp_path: Path, channels: int) -> None:
    array = np.kron(noise(3, 4, channels), np.ones((16, 16, 1), np.uint8)).squeeze()
    photo = photos.read_photo(save_heif(tmp_path / "a.heic", array))
    assert photo.format == "HEIF"
    shown = array[..., None].repeat(3, axis=2) if array.ndim == 2 else array[..., :3]
    assert np.abs(photo.pixels.astype(int) - shown).max() <= 4
    photos.write_photo(tmp_path / "b.heic", photo, photo.pixels)
    again = photos.read_photo(tmp_path / "b.heic")
    assert again.is_grey == photo.is_grey == (channels == 1)
    assert np.abs(again.pixels.astype(int) - photo.pixels).mean() < 3
    if channels == 4:
        assert again.alpha is not None
        assert np.abs(again.alpha.astype(int) - array[..., 3]).max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_heic_is_turned_upright_once_and_keeps_its_metadata(tmp_path: Path, orientation: int) -> None:
    stored = np.ascontiguousarray(STORED[orientation](patches()))
    exif = exif_block(orientation=orientation)
    source = save_heif(tmp_path / "a.heic", stored, exif=exif, xmp=XMP, icc_profile=PROFILE)
    photo = photos.read_photo(source)
    assert np.abs(photo.pixels.astype(int) - patches()).mean() < 12
    photos.write_photo(tmp_path / "b.heic", photo, photo.pixels)
    again = photos.read_photo(tmp_path / "b.heic")
    assert np.abs(again.pixels.astype(int) - patches()).mean() < 16
    assert (again.icc_profile, again.xmp) == (PROFILE, XMP)
    with open_photo(io.BytesIO((tmp_path / "b.heic").read_bytes()), "HEIF") as image:
        assert image.getexif().get(0x0112, 1) == 1
        assert image.getexif()[0x0110] == "Shaky 1"


def test_the_colours_of_a_heic_without_a_profile_are_kept(tmp_path: Path) -> None:
    display_p3 = {"color_primaries": 12, "transfer_characteristics": 13, "matrix_coefficients": 6, "full_range_flag": 1}
    photo = photos.read_photo(save_heif(tmp_path / "a.heic", patches(), nclx_profile=display_p3))
    photos.write_photo(tmp_path / "b.heic", photo, photo.pixels)
    again = photos.read_photo(tmp_path / "b.heic")
    assert again.nclx is not None
    assert (again.nclx["color_primaries"], again.nclx["transfer_characteristics"]) == (12, 13)


def test_a_heic_cut_short_is_refused(tmp_path: Path) -> None:
    data = save_heif(tmp_path / "a.heic", noise(64, 64, 3)).read_bytes()
    (tmp_path / "b.heic").write_bytes(data[: len(data) // 2])
    with pytest.raises(PhotoError, match="cannot be decoded"):
        photos.read_photo(tmp_path / "b.heic")


def test_without_pillow_heif_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = save_heif(tmp_path / "a.heic", patches())
    photo = photos.read_photo(source)
    for name in ("pillow_heif", "pillow_heif.as_plugin"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(PhotoError, match=r"a\.heic: HEIC needs pillow-heif: pip install 'blursynth\[heic\]'"):
        photos.read_photo(source)
    with pytest.raises(MachineError, match=r"b\.heic: HEIC needs pillow-heif"):
        photos.write_photo(tmp_path / "b.heic", photo, photo.pixels)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".bmp", ".avif"])
def test_bytes_are_decoded_and_encoded_like_files(tmp_path: Path, suffix: str) -> None:
    source = save(tmp_path / f"a{suffix}", patches())
    photo = photos.decode_photo(source.read_bytes(), "what came in")
    np.testing.assert_array_equal(photo.pixels, photos.read_photo(source).pixels)
    photos.write_photo(tmp_path / f"b{suffix}", photo, photo.pixels)
    assert photos.encode_photo(photo, photo.pixels, "what goes out") == (tmp_path / f"b{suffix}").read_bytes()
    for data in (b"", b"no photograph"):
        with pytest.raises(PhotoError, match=r"^what came in: "):
            photos.decode_photo(data, "what came in")


@pytest.mark.parametrize(("suffix", "dtype", "bytes_per_pixel"), [(".jpg", np.uint8, 7), (".png", np.uint16, 16)])
def test_what_decoding_would_take_is_known_from_the_header(
    tmp_path: Path, suffix: str, dtype: Any, bytes_per_pixel: int
) -> None:
    source = save_deep(tmp_path / f"a{suffix}", noise(20, 30, 3, dtype=dtype))
    photos.read_photo(source, max_bytes=bytes_per_pixel * 600)
    with pytest.raises(PhotoError, match=r"30x20 takes .* --memory"):
        photos.read_photo(source, max_bytes=bytes_per_pixel * 600 - 1)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_samples_are_copied_in_bands(tmp_path: Path, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    array = noise(37, 11, channels).squeeze()
    source = save(tmp_path / "a.png", array)
    expected = photos.read_photo(source)
    monkeypatch.setattr(reading, "_BAND_PX", 25)
    photo = photos.read_photo(source)
    np.testing.assert_array_equal(photo.pixels, expected.pixels)
    np.testing.assert_array_equal(photo.pixels[..., 0], array if channels == 1 else array[..., 0])
    if photo.alpha is not None:
        np.testing.assert_array_equal(photo.alpha, array[..., -1])


def test_reading_and_writing_take_seven_bytes_a_pixel(tmp_path: Path) -> None:
    height, width = 3000, 4000
    save(tmp_path / "a.jpg", np.full((height, width, 3), 128, np.uint8))
    script = (
        "import re, sys\n"
        "from pathlib import Path\n"
        "from blursynth import photos\n"
        # not getrusage, whose peak begins at that of the process that started this one
        "peak = lambda: 1024 * int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
        "photos.read_photo(sys.argv[2])\n"  # what is only loaded once is loaded now
        "before = peak()\n"
        "photo = photos.read_photo(sys.argv[1])\n"
        "photos.write_photo(sys.argv[1] + '.jpg', photo, photo.pixels)\n"
        "print(peak() - before)"
    )
    small = save(tmp_path / "small.jpg", np.full((30, 40, 3), 128, np.uint8))
    command = [sys.executable, "-c", script, str(tmp_path / "a.jpg"), str(small)]
    taken = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert 6 * height * width < taken < 8 * height * width
