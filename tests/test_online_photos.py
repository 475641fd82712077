import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from blursynth.crf import response_curve
from blursynth.errors import PhotoError, SettingsError
from blursynth.model.online import load_pack, pack_photos, photo_set, read_set
from blursynth.model.online.packing import is_pack
from blursynth.model.online.photos import detail, read_pixels

Codes = NDArray[np.uint8]


def picture(height: int = 60, width: int = 80, seed: int = 0) -> Codes:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{k}.{kind}" for k, kind in enumerate(("png", "jpg", "png"))]
    for k, path in enumerate(paths):
        Image.fromarray(picture(120 + 40 * k, 200, seed=k)).save(path)
    return paths


def test_parts_of_photographs_are_cut_out_and_borders_go_on_outside() -> None:
    pictures = [picture(60, 80), picture(90, 50, seed=1)]
    photos = photo_set([("a", pictures[0]), ("b", pictures[1])])
    rows, columns = torch.arange(-3, 12)[None].repeat(3, 1), torch.arange(45, 60)[None].repeat(3, 1)
    parts = photos.cut_out([1, 0, 1], rows, columns).numpy()
    for part, photo in zip(parts, (1, 0, 1), strict=True):
        source = pictures[photo]
        expected = source[np.arange(-3, 12).clip(0)][:, np.arange(45, 60).clip(0, source.shape[1] - 1)]
        np.testing.assert_array_equal(part, expected)
    np.testing.assert_array_equal(
        photos.linear(torch.arange(256).to(torch.uint8)).numpy(),
        response_curve("srgb").linear_of_codes().astype(np.float32),
    )


def test_a_set_is_known_by_its_content() -> None:
    one, two = [("a", picture())], [("a", picture(seed=1))]
    assert photo_set(one).sha256 == photo_set(one).sha256
    others = [photo_set(two), photo_set([("b", picture())]), photo_set(one, response_curve("gamma:2.2"))]
    assert len({photos.sha256 for photos in (photo_set(one), *others)}) == 4


def test_photographs_are_selected_with_all_that_belongs_to_them() -> None:
    pictures = [(name, picture(50 + 10 * k, 64, seed=k)) for k, name in enumerate("abc")]
    chosen, expected = photo_set(pictures).select([2, 0]), photo_set([pictures[2], pictures[0]])
    assert chosen.sha256 == expected.sha256
    assert torch.equal(chosen.pixels, expected.pixels)
    assert chosen.weights == expected.weights


def test_photographs_too_small_for_a_patch_are_left_out() -> None:
    photos = photo_set([("a", picture(79, 200)), ("b", picture(80, 90)), ("c", picture(200, 100))])
    assert photos.for_patch(64).names == ("b", "c")
    assert photos.for_patch(63) is photos
    with pytest.raises(SettingsError, match="patch 128: no photograph has 144 px"):
        photos.for_patch(128)


def test_detail_is_less_in_soft_dark_flat_and_half_empty_pictures() -> None:
    sharp = picture(96, 96).repeat(2, axis=0).repeat(2, axis=1)
    soft = np.array(Image.fromarray(sharp).resize((12, 12), Image.Resampling.BOX).resize((192, 192)))
    half = sharp.copy()
    half[:, 96:] = 200
    levels = [detail(image) for image in (sharp, half, soft, sharp // 64, np.full_like(sharp, 90))]
    assert levels[0] == 1
    assert levels[1] == pytest.approx(0.5, abs=0.1)
    assert max(levels[2:]) < levels[1]
    assert levels[4] == 0


def test_photographs_are_read_upright_in_eight_bit_rgb() -> None:
    source = Image.fromarray(picture(60, 80))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = read_pixels(encoded(source, "PNG", exif=exif), "a")
    np.testing.assert_array_equal(turned, np.rot90(picture(60, 80), -1))
    grey = read_pixels(encoded(source.convert("L")), "a")
    assert grey.shape == (60, 80, 3)
    assert (grey[..., 0] == grey[..., 2]).all()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot be read"),
        (b"not a picture", "cannot be read"),
        (encoded(Image.fromarray(picture()))[:600], "cannot be read"),
        (encoded(Image.new("I;16", (64, 64))), "I;16"),
        (encoded(Image.new("CMYK", (64, 64)), "JPEG"), "CMYK"),
        (encoded(Image.new("1", (13000, 12000))), "at most"),
    ],
)
def test_what_is_no_photograph_of_eight_bits_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(PhotoError, match=message):
        read_pixels(data, "a")


def test_too_small_and_too_few_photographs_are_refused() -> None:
    with pytest.raises(PhotoError, match="a: 80x40 px"):
        photo_set([("a", picture(40, 80))])
    with pytest.raises(PhotoError, match="uint8"):
        photo_set([("a", picture()[..., 0])])
    with pytest.raises(SettingsError, match="no photographs"):
        photo_set([])


def test_a_pack_gives_back_the_same_photographs(files: list[Path], tmp_path: Path) -> None:
    result = pack_photos(files, tmp_path / "pack")
    assert result.photos == 3
    assert result.long_side is None
    assert result.num_bytes == (tmp_path / "pack").stat().st_size
    assert is_pack(tmp_path / "pack")
    assert not is_pack(files[0])
    assert load_pack(tmp_path / "pack").sha256 == read_set(files).sha256


def test_photographs_are_reduced_until_they_fit(files: list[Path], tmp_path: Path) -> None:
    for k, path in enumerate(files):
        Image.fromarray(picture(600, 800, seed=k)).save(path)
    result = pack_photos(files, tmp_path / "pack", max_bytes=600_000)
    assert 400_000 < result.num_bytes <= 600_000
    photos = load_pack(tmp_path / "pack")
    assert result.long_side is not None
    assert {max(size) for size in photos.sizes} == {result.long_side}
    pack_photos(files, tmp_path / "again", max_bytes=600_000)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "pack").read_bytes()
    with pytest.raises(SettingsError, match="pack fewer"):
        pack_photos(files, tmp_path / "small", max_bytes=20_000)
    assert not (tmp_path / "small").exists()
    with pytest.raises(SettingsError, match="exists already"):
        pack_photos(files, tmp_path / "pack")
    with pytest.raises(SettingsError, match="no photographs"):
        pack_photos([], tmp_path / "none")
    with pytest.raises(SettingsError, match="quality 74"):
        pack_photos(files, tmp_path / "none", quality=74)


def test_a_photograph_that_cannot_be_read_is_not_packed(files: list[Path], tmp_path: Path) -> None:
    files[1].write_bytes(b"no picture")
    with pytest.raises(PhotoError, match=r"1\.jpg"):
        pack_photos(files, tmp_path / "pack")
    assert not (tmp_path / "pack").exists()


def test_a_damaged_pack_is_refused_in_one_line(files: list[Path], tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    pack_photos(files, pack)
    data = pack.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [data[:-1], data + b"x", data[:30], b"PK" + data, data[:25] + b"[1, 2]\n", data[:25] + b'{"photos": 3}\n']
    places = rng.integers(0, len(data), 40)
    damaged += [data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :] for place in places]
    entries: list[Any] = [
        {"name": 1, "num_bytes": 0, "sha256": ""},
        {"name": "a", "num_bytes": -1, "sha256": ""},
        {},
        5,
    ]
    damaged += [b"blursynth photographs 1\n" + json.dumps({"photos": [entry]}).encode() + b"\n" for entry in entries]
    for number, content in enumerate(damaged):
        pack.write_bytes(content)
        try:
            photos = load_pack(pack)
        except PhotoError as error:
            assert str(error).startswith(str(pack)), number  # noqa: PT017
            assert "\n" not in str(error)  # noqa: PT017
        else:  # a letter of a name or of the manifest's own notes
            assert len(photos) == 3


@pytest.mark.shared
def test_real_photographs_have_detail_and_pack(shared: Path, tmp_path: Path) -> None:
    paths = sorted((shared / "photos").glob("*.jpg"))[::60]
    pack_photos(paths, tmp_path / "pack")
    photos = load_pack(tmp_path / "pack")
    assert len(photos) == len(paths)
    assert max(photos.weights) > 0.5
