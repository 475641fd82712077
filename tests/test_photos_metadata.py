"""Photographs: what comes back besides the pixels, and how they are turned."""

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image, JpegImagePlugin, PngImagePlugin
from PIL.ExifTags import IFD

from blursynth import photos
from photo_samples import (
    MAKER_NOTE,
    PROFILE,
    STORED,
    SUFFIXES,
    XMP,
    chunk,
    exif_block,
    noise,
    oriented,
    patches,
    png,
    save,
    save_deep,
    save_with_metadata,
    tiff,
)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_is_turned_upright_once(tmp_path: Path, file_format: str, orientation: int) -> None:
    upright, suffix = patches(), SUFFIXES[file_format]
    stored = np.ascontiguousarray(STORED[orientation](upright))
    source = save_with_metadata(tmp_path / f"a{suffix}", stored, exif=exif_block(orientation=orientation))
    assert np.abs(oriented(source).astype(int) - upright).mean() < 12  # the test's own idea of the tag is right

    photo = photos.read_photo(source)
    photos.write_photo(tmp_path / f"b{suffix}", photo, photo.pixels)

    assert photo.format == file_format
    assert photo.pixels.shape == upright.shape
    assert np.abs(photo.pixels.astype(int) - upright).mean() < 12
    assert np.abs(oriented(tmp_path / f"b{suffix}").astype(int) - upright).mean() < 16
    with Image.open(tmp_path / f"b{suffix}") as image:
        assert image.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_are_turned_upright_once(tmp_path: Path, suffix: str, orientation: int) -> None:
    upright = noise(4, 6, 3, dtype=np.uint16)
    stored = np.ascontiguousarray(STORED[orientation](upright))
    source = save_deep(tmp_path / f"a{suffix}", stored)
    if suffix == ".tif":
        source.write_bytes(tiff(stored, t274=orientation))
    else:
        tag = chunk(b"eXIf", exif_block(orientation=orientation).removeprefix(b"Exif\0\0"))
        source.write_bytes(source.read_bytes()[:33] + tag + source.read_bytes()[33:])

    photo = photos.read_photo(source)
    photos.write_photo(tmp_path / f"b{suffix}", photo, photo.pixels)

    np.testing.assert_array_equal(photo.pixels, upright)
    np.testing.assert_array_equal(photos.read_photo(tmp_path / f"b{suffix}").pixels, upright)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_orientation_in_xmp_counts_where_exif_is_silent(tmp_path: Path, suffix: str) -> None:
    xmp = XMP.replace(b'Orientation="1"', b'Orientation="6"')
    exif = Image.Exif()
    exif[0x010F] = "Blur & Co"
    stored = np.ascontiguousarray(STORED[6](patches()))
    photo = photos.read_photo(save_with_metadata(tmp_path / f"a{suffix}", stored, exif=exif.tobytes(), xmp=xmp))
    assert photo.pixels.shape == patches().shape
    assert photo.xmp == XMP


def test_orientation_in_the_xmp_of_a_16_bit_tiff_counts(tmp_path: Path) -> None:
    upright = noise(4, 6, 3, dtype=np.uint16)
    xmp = XMP.replace(b'Orientation="1"', b'Orientation="6"')
    (tmp_path / "a.tif").write_bytes(tiff(np.ascontiguousarray(STORED[6](upright)), t700=xmp))
    np.testing.assert_array_equal(photos.read_photo(tmp_path / "a.tif").pixels, upright)


def test_orientation_in_an_xmp_element_is_set_to_one(tmp_path: Path) -> None:
    xmp = b"<tiff:Orientation> 8 </tiff:Orientation>"
    source = save_with_metadata(tmp_path / "a.jpg", patches(), exif=exif_block(orientation=3), xmp=xmp)
    photo = photos.read_photo(source)
    assert photo.xmp == b"<tiff:Orientation> 1 </tiff:Orientation>"
    assert photo.pixels.shape == patches().shape  # EXIF's word is the one that counts


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_metadata_survive(tmp_path: Path, file_format: str) -> None:
    suffix = SUFFIXES[file_format]
    source = save_with_metadata(tmp_path / f"a{suffix}", patches(), exif=exif_block())
    photo = photos.read_photo(source)
    photos.write_photo(tmp_path / f"b{suffix}", photo, photo.pixels)
    with Image.open(tmp_path / f"b{suffix}") as image:
        image.load()
        exif = image.getexif()
        assert (exif[0x010F], exif[0x0110], exif[0x8298]) == ("Blur & Co", "Shaky 1", "Ana Example")
        assert exif.get_ifd(0x8769)[0x9003] == "2024:05:06 07:08:09"
        assert exif.get_ifd(0x8769)[0x927C] == MAKER_NOTE
        assert [float(part) for part in exif.get_ifd(0x8825)[2]] == [48.0, 51.0, 29.5]
        assert image.info["icc_profile"] == PROFILE
        assert image.info["xmp"] == XMP
        if file_format not in {"WEBP", "AVIF"}:  # they have no place for it
            assert [float(value) for value in image.info["dpi"]] == pytest.approx([300, 240], abs=0.01)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_metadata_of_16_bits_survive(tmp_path: Path, suffix: str) -> None:
    array = noise(8, 9, 3, dtype=np.uint16)
    photo = photos.Photo(
        pixels=array,
        alpha=None,
        format="PNG",
        exif=exif_block().removeprefix(b"Exif\0\0"),
        icc_profile=PROFILE,
        xmp=XMP,
        dpi=(300.0, 240.0),
    )
    photos.write_photo(tmp_path / f"a{suffix}", photo, array)
    again = photos.read_photo(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(again.pixels, array)
    assert (again.icc_profile, again.xmp) == (PROFILE, XMP)
    assert again.dpi == pytest.approx((300, 240), abs=0.01)
    exif = Image.Exif()
    exif.load(again.exif or b"")
    assert exif[0x0110] == "Shaky 1"
    assert exif.get_ifd(0x8769)[0x927C] == MAKER_NOTE
    assert exif.get_ifd(0x8825)[1] == "N"


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_exif_comes_back_byte_for_byte(tmp_path: Path, suffix: str) -> None:
    block = exif_block() + b"\0what follows, a maker note may point to"
    photo = photos.read_photo(save_with_metadata(tmp_path / f"a{suffix}", patches(), exif=block))
    photos.write_photo(tmp_path / f"b{suffix}", photo, photo.pixels)
    assert block.removeprefix(b"Exif\0\0") in (tmp_path / f"b{suffix}").read_bytes()


def test_sizes_and_resolution_are_those_of_the_turned_picture(tmp_path: Path) -> None:
    stored = np.ascontiguousarray(STORED[6](patches()))
    xmp = XMP.replace(b"dc:creator", b"exif:PixelXDimension='32' tiff:ImageLength=\"48\" dc:creator")
    source = save(tmp_path / "a.jpg", stored, exif=exif_block(orientation=6, size=(32, 48)), dpi=(300, 240), xmp=xmp)
    photo = photos.read_photo(source)
    assert photo.dpi == (240, 300)
    exif = Image.Exif()
    exif.load(photo.exif or b"")
    assert (exif.get_ifd(0x8769)[0xA002], exif.get_ifd(0x8769)[0xA003]) == (48, 32)
    assert photo.xmp is not None
    assert b"PixelXDimension='48' tiff:ImageLength=\"32\"" in photo.xmp


@pytest.mark.parametrize("kind", ["JPEG", "HEIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("is_right", [False, True])
def test_sizes_in_exif_fit_whatever_they_were(tmp_path: Path, kind: str, orientation: int, *, is_right: bool) -> None:
    # HEIC decoders turn the pixels and set the orientation, but leave the sizes; editors that cut pictures forget them.
    stored = np.ascontiguousarray(STORED[orientation](patches()))
    size = stored.shape[1::-1] if is_right else (4000, 3000)
    exif = exif_block(orientation=orientation, size=size)
    path = tmp_path / "a"
    if kind == "JPEG":
        save(path, stored, format="JPEG", exif=exif)
    else:
        pillow_heif.encode("RGB", stored.shape[1::-1], stored.tobytes(), path, exif=exif)
    found = Image.Exif()
    found.load(photos.read_photo(path).exif or b"")
    assert (found.get_ifd(0x8769)[0xA002], found.get_ifd(0x8769)[0xA003]) == (48, 32)


def test_where_xmp_tells_the_turn_the_sizes_in_exif_follow(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x8769] = {0xA002: 32, 0xA003: 48}
    xmp = XMP.replace(b'Orientation="1"', b'Orientation="6"')
    source = save(tmp_path / "a.jpg", np.ascontiguousarray(STORED[6](patches())), exif=exif.tobytes(), xmp=xmp)
    found = Image.Exif()
    found.load(photos.read_photo(source).exif or b"")
    assert (found.get_ifd(0x8769)[0xA002], found.get_ifd(0x8769)[0xA003]) == (48, 32)


def test_a_film_that_does_not_come_along_is_not_announced(tmp_path: Path) -> None:
    xmp = XMP.replace(b"dc:creator", b'GCamera:MotionPhoto="1" GCamera:MicroVideo="1" dc:creator')
    photo = photos.read_photo(save(tmp_path / "a.jpg", patches(), xmp=xmp))
    assert photo.xmp == xmp.replace(b'Photo="1"', b'Photo="0"').replace(b'Video="1"', b'Video="0"')


def test_a_tiff_that_tells_no_resolution_gets_none(tmp_path: Path) -> None:
    photo = photos.read_photo(save(tmp_path / "a.tif", patches()))
    assert photo.dpi is None
    photos.write_photo(tmp_path / "b.tif", photo, photo.pixels)
    with Image.open(tmp_path / "b.tif") as image:
        assert 282 not in image.getexif()


@pytest.mark.parametrize("order", ["<", ">"])
def test_stale_thumbnail_is_dropped_and_orientation_is_one(tmp_path: Path, order: str) -> None:
    magic = b"II*\0" if order == "<" else b"MM\0*"
    main = struct.pack(order + "H HHIHH I", 1, 0x0112, 3, 1, 6, 0, 26)
    thumbnail = struct.pack(order + "H HHII HHII I", 2, 0x0201, 4, 1, 56, 0x0202, 4, 1, 9, 0)
    block = magic + struct.pack(order + "I", 8) + main + thumbnail + b"THUMBNAIL"
    photo = photos.read_photo(save(tmp_path / "a.jpg", patches(), exif=b"Exif\0\0" + block))
    assert photo.pixels.shape == (48, 32, 3)
    exif = Image.Exif()
    exif.load(photo.exif or b"")
    assert exif[0x0112] == 1
    assert exif.get_ifd(IFD.IFD1) == {}


@pytest.mark.parametrize(
    "block", [b"garbage", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff" + b"\1" * 40]
)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_broken_exif_is_no_reason_to_fail(tmp_path: Path, block: bytes, suffix: str) -> None:
    source = save(tmp_path / "a.jpg", patches(), exif=b"Exif\0\0" + block)
    photo = photos.read_photo(source)
    photos.write_photo(tmp_path / f"b{suffix}", photo, photo.pixels)
    assert np.abs(photos.read_photo(tmp_path / f"b{suffix}").pixels.astype(int) - photo.pixels).mean() < 12


@pytest.mark.parametrize("suffix", [".tif", ".avif"])
def test_exif_that_cannot_be_laid_out_anew_is_left_out_with_a_word(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    entries = struct.pack("<HHIHH", 0x0112, 3, 1, 1, 0) + struct.pack(
        "<HHIf", 0x0132, 11, 1, 1.5
    )  # the date is a float
    exif = b"II*\0\x08\0\0\0" + struct.pack("<H", 2) + entries + bytes(4)
    photo = photos.Photo(pixels=patches(), alpha=None, format="JPEG", exif=exif)
    photos.write_photo(tmp_path / f"a{suffix}", photo, photo.pixels)
    assert "damaged EXIF is left out" in caplog.text
    assert photos.read_photo(tmp_path / f"a{suffix}").exif is None


def test_pointer_that_would_dangle_is_not_written_to_a_tiff(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x8769] = {0x9003: "2024:05:06 07:08:09", IFD.Interop: 9999}
    photo = photos.read_photo(save(tmp_path / "a.jpg", patches(), exif=exif.tobytes()))
    photos.write_photo(tmp_path / "b.tif", photo, photo.pixels)
    with Image.open(tmp_path / "b.tif") as image:
        assert list(image.getexif().get_ifd(0x8769)) == [0x9003]


def test_exif_too_large_for_a_jpeg_is_left_out_with_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    exif = Image.Exif()
    exif[0x8769] = {0x927C: bytes(100_000)}
    photo = photos.read_photo(save(tmp_path / "a.png", patches(), exif=exif.tobytes()))
    photos.write_photo(tmp_path / "b.jpg", photo, photo.pixels)
    assert photos.read_photo(tmp_path / "b.jpg").exif is None
    assert "exif" in caplog.text


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [60, 98])
def test_jpeg_is_coded_as_it_was(tmp_path: Path, quality: int, subsampling: int, *, progressive: bool) -> None:
    source = save(
        tmp_path / "a.jpg", noise(40, 50, 3), quality=quality, subsampling=subsampling, progressive=progressive
    )
    photo = photos.read_photo(source)
    photos.write_photo(tmp_path / "b.jpg", photo, photo.pixels)
    with Image.open(source) as before, Image.open(tmp_path / "b.jpg") as after:
        assert isinstance(before, JpegImagePlugin.JpegImageFile)
        assert isinstance(after, JpegImagePlugin.JpegImageFile)
        assert after.quantization == before.quantization
        assert JpegImagePlugin.get_sampling(after) == subsampling
        assert bool(after.info.get("progressive")) == progressive


def test_jpeg_from_another_format_keeps_all_chroma(tmp_path: Path) -> None:
    photo = photos.read_photo(save(tmp_path / "a.png", patches()))
    photos.write_photo(tmp_path / "b.jpg", photo, photo.pixels)
    with Image.open(tmp_path / "b.jpg") as image:
        assert JpegImagePlugin.get_sampling(image) == 0
        assert max(image.quantization[0]) < 15  # type: ignore[attr-defined]


def test_chroma_halved_along_the_old_rows_is_coded_in_full_once_turned(tmp_path: Path) -> None:
    photo = photos.read_photo(save(tmp_path / "a.jpg", patches(), subsampling=1, exif=exif_block(orientation=6)))
    assert photo.jpeg is not None
    assert photo.jpeg.subsampling == 0


def test_finest_progressive_jpeg_is_written_all_the_same(tmp_path: Path) -> None:
    tables = [[1] * 64, [1] * 64]
    source = save(tmp_path / "a.jpg", noise(300, 300, 3), qtables=tables, subsampling=0)
    photo = photos.read_photo(source)
    assert photo.jpeg is not None
    photo = replace(photo, jpeg=replace(photo.jpeg, progressive=True))
    photos.write_photo(tmp_path / "b.jpg", photo, photo.pixels)
    assert np.abs(photos.read_photo(tmp_path / "b.jpg").pixels.astype(int) - photo.pixels).max() <= 4


def test_iptc_and_comment_of_a_jpeg_survive(tmp_path: Path) -> None:
    iptc = b"8BIM\x04\x04\0\0\0\0\0\x0c\x1c\x02\x78\0\x07caption"
    body = b"Photoshop 3.0\0" + iptc
    segment = b"\xff\xed" + struct.pack(">H", len(body) + 2) + body
    source = save(tmp_path / "a.jpg", patches(), comment=b"by hand", extra=segment)
    photo = photos.read_photo(source)
    photos.write_photo(tmp_path / "b.jpg", photo, photo.pixels)
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.info["photoshop"] == {0x0404: b"\x1c\x02\x78\0\x07caption"}
        assert image.info["comment"] == b"by hand"


def test_second_picture_inside_a_jpeg_is_no_second_frame(tmp_path: Path) -> None:
    with Image.fromarray(patches()) as image:
        image.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[image])
    photo = photos.read_photo(tmp_path / "a.jpg")
    assert photo.format == "JPEG"
    assert photo.pixels.shape == patches().shape


def test_png_keeps_its_colour_chunks_and_text(tmp_path: Path) -> None:
    colour = chunk(b"gAMA", struct.pack(">I", 100000)) + chunk(b"cICP", bytes([12, 13, 0, 1]))
    text = chunk(b"tEXt", b"Author\0Ana") + chunk(b"tEXt", b"Raw profile type exif\0\nexif\n8\n00")
    data = png(1, 1, depth=8, colour=2, rows=b"\0\1\2\3", before=colour, after=text)
    (tmp_path / "a.png").write_bytes(data)
    photo = photos.read_photo(tmp_path / "a.png")
    photos.write_photo(tmp_path / "b.png", photo, photo.pixels)
    written = (tmp_path / "b.png").read_bytes()
    assert colour in written
    assert chunk(b"tEXt", b"Author\0Ana") in written
    assert b"Raw profile" not in written


@pytest.mark.parametrize("depth", [8, 16])
def test_png_metadata_behind_the_pixels_are_found(tmp_path: Path, depth: int) -> None:
    exif = exif_block(orientation=6).removeprefix(b"Exif\0\0")
    rows = bytes(1 + 2 * 3 * depth // 8)
    after = chunk(b"eXIf", exif) + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
    (tmp_path / "a.png").write_bytes(png(2, 1, depth=depth, colour=2, rows=rows, after=after))
    photo = photos.read_photo(tmp_path / "a.png")
    assert photo.pixels.shape == (2, 1, 3)
    assert photo.xmp == XMP


def test_text_of_a_tiff_beyond_ascii_survives(tmp_path: Path) -> None:
    source = save(tmp_path / "a.tif", patches(), tiffinfo={315: "Zoë".encode()})
    photo = photos.read_photo(source)
    photos.write_photo(tmp_path / "b.tif", photo, photo.pixels)
    with Image.open(tmp_path / "b.tif") as image:
        assert image.getexif()[315].encode("latin-1") == "Zoë".encode()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_stripping_leaves_the_colours_but_nothing_of_the_person(tmp_path: Path, suffix: str) -> None:
    source = save_with_metadata(tmp_path / f"a{suffix}", patches(), exif=exif_block())
    photo = photos.read_photo(source)
    photos.write_photo(tmp_path / f"b{suffix}", photo, photo.pixels, strip_metadata=True)
    stripped = photos.read_photo(tmp_path / f"b{suffix}")
    assert stripped.icc_profile == PROFILE
    assert stripped.xmp is None
    assert b"Blur & Co" not in (tmp_path / f"b{suffix}").read_bytes()


def test_stripping_takes_text_and_comments_too(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "Ana Example")
    save(tmp_path / "a.png", patches(), pnginfo=info)
    save(tmp_path / "a.jpg", patches(), comment=b"Ana Example")
    for name in ("a.png", "a.jpg"):
        photo = photos.read_photo(tmp_path / name)
        photos.write_photo(tmp_path / f"b{name}", photo, photo.pixels, strip_metadata=True)
        assert b"Ana Example" in (tmp_path / name).read_bytes()
        assert b"Ana Example" not in (tmp_path / f"b{name}").read_bytes()


def test_profile_of_grey_is_not_given_to_colour(tmp_path: Path) -> None:
    profile = PROFILE[:16] + b"GRAY" + PROFILE[20:]
    photo = photos.read_photo(save(tmp_path / "a.png", noise(4, 5), icc_profile=profile))
    photos.write_photo(tmp_path / "b.png", photo, photo.pixels)
    photos.write_photo(tmp_path / "b.webp", photo, photo.pixels)
    assert photos.read_photo(tmp_path / "b.png").icc_profile == profile
    assert photos.read_photo(tmp_path / "b.webp").icc_profile is None


def _large_profile(size: int) -> bytes:
    return chunk(b"iCCP", b"large\0\0" + zlib.compress(PROFILE + bytes(size), 9))


def test_a_png_keeps_a_profile_of_5_mb(tmp_path: Path) -> None:
    data = png(1, 1, depth=8, colour=2, rows=b"\0\1\2\3", before=_large_profile(5_000_000))
    photo = photos.decode_photo(data, "a.png")
    assert photo.icc_profile == PROFILE + bytes(5_000_000)
    photos.write_photo(tmp_path / "b.png", photo, photo.pixels)
    assert photos.read_photo(tmp_path / "b.png").icc_profile == photo.icc_profile


@pytest.mark.parametrize("kind", ["iCCP", "zTXt", "iTXt"])
@pytest.mark.parametrize("depth", [8, 16])
def test_what_would_swell_beyond_all_measure_is_left_out_of_a_png_with_a_word(
    kind: str, depth: int, caplog: pytest.LogCaptureFixture
) -> None:
    packed = zlib.compress(bytes(20_000_000), 9)
    swelling = {
        "iCCP": chunk(b"iCCP", b"large\0\0" + packed),
        "zTXt": chunk(b"zTXt", b"Comment\0\0" + packed),
        "iTXt": chunk(b"iTXt", b"Comment\0\1\0en\0Comment\0" + packed),
    }[kind]
    text = chunk(b"tEXt", b"Author\0Ana")
    rows = bytes(1 + 3 * depth // 8)
    photo = photos.decode_photo(png(1, 1, depth=depth, colour=2, rows=rows, before=swelling + text), "a.png")
    assert photo.icc_profile is None
    assert photo.png_chunks == ((b"tEXt", b"Author\0Ana"),)
    assert "more than 16 MB is left out" in caplog.text
