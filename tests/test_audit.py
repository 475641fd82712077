import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from blursynth.cli.audit import command
from blursynth.cli.screen import Screen
from blursynth.errors import PhotoError, RefusedError, SettingsError
from blursynth.gopro import gopro_clips
from blursynth.leaks import Likeness, audit, find_alike, gopro_split, likeness, read_clips
from blursynth.photos import read_photo
from blursynth.shards import Entry, Manifest, ShardWriter

Image = NDArray[np.uint8]


def picture(seed: int, size: tuple[int, int] = (96, 128)) -> Image:
    """A scene of its own: soft shapes and some grain."""
    rng = np.random.default_rng(seed)
    soft = cv2.resize(rng.uniform(0, 255, (6, 8, 3)), size[::-1], interpolation=cv2.INTER_CUBIC)
    codes: Image = np.clip(soft + rng.normal(0, 4, soft.shape), 0, 255).astype(np.uint8)
    return codes


def as_jpeg(image: Image, quality: int) -> Image:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    codes: Image = decoded.astype(np.uint8)
    return codes


def copies(image: Image) -> Iterator[Image]:
    """Encoded, sized, lit another way, and all at once."""
    height, width = image.shape[:2]
    light = image.astype(np.float64)
    half = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA).astype(np.uint8)
    yield as_jpeg(image, 20)
    yield half
    yield cv2.resize(image, (width * 3 // 2, height * 3 // 2), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    yield np.rint(light * 0.6).astype(np.uint8)
    yield np.clip(np.rint(light * 1.25), 0, 255).astype(np.uint8)
    yield np.clip(light + 25, 0, 255).astype(np.uint8)
    yield np.rint(255 * (light / 255) ** 0.7).astype(np.uint8)
    yield as_jpeg(np.rint(half * 0.75).astype(np.uint8), 40)


def luma(image: Image) -> Image:
    grey: Image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.uint8)
    return grey


def alike(ours: list[Image], theirs: list[Image]) -> set[tuple[int, int]]:
    known = [[look for image in images if (look := likeness(luma(image)))] for images in (ours, theirs)]
    return {(int(i), int(j)) for rows, columns, _ in find_alike(*known) for i, j in zip(rows, columns, strict=True)}


def tree(root: Path, images: dict[str, list[Image]], suffix: str = ".png") -> Path:
    """``{"train/CLIP": images}`` laid out as GOPRO."""
    for name, of_clip in images.items():
        folder = root / name / "sharp"
        folder.mkdir(parents=True)
        for number, image in enumerate(of_clip, 1):
            assert cv2.imwrite(str(folder / f"{number:06}{suffix}"), image)
    return root


def shard(folder: Path, source: str, images: list[Image], *, split: str = "", sha256: str = "", start: int = 0) -> None:
    """Add a source to a folder of shards; pairs are a tenth of a second apart."""
    folder.mkdir(exist_ok=True)
    height, width = images[0].shape[:2]
    path = folder / f"{source}-{start}.h5"
    writer = ShardWriter(path, size=(height, width), capacity=len(images), attributes={"time_base": "1/240"})
    for number, image in enumerate(images):
        writer.append({"number": number, "centre_pts": start + 24 * number}, {"blurry": image, "sharp": image})
    writer.commit()
    entry = Entry(
        shard=path.name, bytes=path.stat().st_size, sha256="0" * 64, pairs=len(images), planned=len(images),
        height=height, width=width, source=source, source_sha256=sha256 or hashlib.sha256(source.encode()).hexdigest(),
        settings_sha256="0" * 64, split=split,
    )  # fmt: skip
    Manifest(folder, [*Manifest.read(folder, must_exist=False), entry]).write()


def check_gopro(report: str) -> None:
    assert "6 of 11 clips (600 of 1111 pairs)" in report
    near = [line.strip() for line in report.splitlines() if " s between " in line]
    assert [line.split()[0] for line in near] == ["3.7", "4.6", "5.5"]
    assert [line.split("/")[-1] for line in near] == ["GOPR0871_11_00", "GOPR0881_11_01", "GOPR0868_11_00"]


def test_the_leaks_of_gopro_are_the_known_ones(tmp_path: Path) -> None:
    report = audit(gopro_split())
    check_gopro(report.text())
    test = report.sides[1]
    assert (test.split, test.leaking_clips, test.clips, test.leaking_pairs, test.pairs) == ("test", 6, 11, 600, 1111)
    assert {found.key for found in report.recordings} == {f"GOPR{n:04}" for n in (384, 385, 868, 871, 881)}
    assert [round(found.gap_seconds, 3) for found in report.near_in_time] == [3.708, 4.625, 5.542]
    names = tmp_path / "names.csv"
    names.write_text("".join(f"{clip.split},{clip.name}\n" for clip in gopro_clips()))
    check_gopro(audit(read_clips([str(names)])).text())
    assert len(audit(gopro_split(), min_gap_seconds=5).near_in_time) == 2
    assert audit(gopro_split(), min_gap_seconds=0).near_in_time == ()


def test_times_come_from_pair_numbers_in_a_folder_of_gopro(tmp_path: Path) -> None:
    images = [picture(seed) for seed in range(2)]
    root = tree(tmp_path, {"train/GOPR0871_11_01": images[:1], "test/GOPR0871_11_00": images[1:]})
    for name, old, new in (("train/GOPR0871_11_01", 1, 181), ("test/GOPR0871_11_00", 1, 100)):
        (root / name / "sharp" / f"{old:06}.png").rename(root / name / "sharp" / f"{new:06}.png")
    report = audit(read_clips([str(root)]))
    assert [found.gap_seconds for found in report.near_in_time] == pytest.approx([(1985 - 1095) / 240])
    assert report.look_alikes == ()
    assert report.images == 2


def test_every_copy_is_found_and_no_stranger(tmp_path: Path) -> None:
    originals = [picture(seed) for seed in range(40)]
    planted = [list(copies(image)) for image in originals[:5]]
    root = tree(tmp_path, {f"train/scene{i:02}a": [image] for i, image in enumerate(originals)})
    tree(root, {f"test/other{i:02}b": found for i, found in enumerate(planted)}, ".jpg")
    tree(root, {"test/strangers": [picture(seed) for seed in range(100, 140)]})
    report = audit(read_clips([str(root)]))
    found = {(a[1], b[1]): look.count for look in report.look_alikes for a, b in [look.clips]}
    assert found == {(f"scene{i:02}a", f"other{i:02}b"): len(planted[0]) for i in range(5)}
    assert not report.recordings
    assert not report.same_content
    assert (report.sides[1].leaking_clips, report.sides[1].clips) == (5, 6)


def test_hash_and_thumbnail_must_agree() -> None:
    signs = np.ones(64, np.float32)
    one, other = np.zeros((2, 256), np.float32)
    one[:2], other[1:3] = 0.5**0.5, 0.5**0.5  # they correlate by a half
    look = Likeness(signs, one)
    assert [match[2].tolist() for match in find_alike([look], [look, Likeness(-signs, one)])] == [[0]]
    assert not list(find_alike([look], [Likeness(signs, other), Likeness(-signs, one)]))
    assert not list(find_alike([look], []))


def test_flat_images_are_like_nothing(tmp_path: Path) -> None:
    black, fog = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 200, np.uint8)
    fog[::2, ::2] += 1
    root = tree(tmp_path, {"train/night": [black, fog], "test/evening": [black, fog]})
    report = audit(read_clips([str(root)]))
    assert (report.has_leaks, report.images, report.flat_images) == (False, 4, 4)
    assert "4 too flat" in report.text()


def test_shards_leak_by_recording_file_and_looks(tmp_path: Path) -> None:
    train, test = tmp_path / "a", tmp_path / "b"
    shard(train, "walk_part1.mp4", [picture(1), picture(2)])
    shard(train, "harbour.mp4", [picture(3)], sha256="a" * 64)
    shard(train, "market.mp4", [picture(4)])
    shard(test, "walk_part2.mp4", [picture(5)])
    shard(test, "renamed.mp4", [picture(6)], sha256="a" * 64, start=480)
    shard(test, "copy.mp4", [picture(7), as_jpeg(picture(4), 50)])
    shard(test, "clean.mp4", [picture(8)])
    report = audit(read_clips([f"train={train}", f"test={test}"]))
    assert [(found.key, found.clips) for found in report.recordings] == [
        ("walk", {"train": ("walk_part1.mp4",), "test": ("walk_part2.mp4",)})
    ]
    assert [found.clips for found in report.same_content] == [{"train": ("harbour.mp4",), "test": ("renamed.mp4",)}]
    (look,) = report.look_alikes
    assert look.clips == (("train", "market.mp4"), ("test", "copy.mp4"))
    assert look.images == ("market.mp4-0.h5:0", "copy.mp4-0.h5:1")
    assert [(side.split, side.leaking_clips, side.clips) for side in report.sides] == [("train", 3, 3), ("test", 3, 4)]
    assert report.images == 9
    assert audit(read_clips([f"train={train}", f"test={test}"]), compare_images=False).look_alikes == ()


def test_the_split_of_a_manifest_is_believed_and_one_file_has_one_clock(tmp_path: Path) -> None:
    shard(tmp_path / "s", "walk.mp4", [picture(1), picture(2)], split="train", sha256="a" * 64)
    shard(tmp_path / "s", "walk.mp4", [picture(3)], split="test", sha256="a" * 64, start=24 + 480)
    report = audit(read_clips([str(tmp_path / "s")]))
    assert [found.gap_seconds for found in report.near_in_time] == pytest.approx([2.0])
    assert [side.pairs for side in report.sides] == [2, 1]


def test_lists_may_say_more(tmp_path: Path) -> None:
    path = tmp_path / "clips.csv"
    path.write_text(
        "# made by hand\n"
        "name,split,creation_time,first_seconds,last_seconds,pairs\n"
        "one.mp4,train,2020-05-01T12:00:00Z,0,10,5\n"
        "two.mp4,test,2020-05-01T12:00:00Z,12.5,20,7\n\n"
        "three.mp4,val,2021-05-01T12:00:00Z,,,9\n"
    )
    report = audit(read_clips([str(path)]))
    assert [found.gap_seconds for found in report.near_in_time] == [2.5]
    assert [(side.split, side.leaking_pairs, side.pairs) for side in report.sides] == [
        ("train", 5, 5), ("val", 0, 9), ("test", 7, 7),
    ]  # fmt: skip
    (tmp_path / "names.txt").write_text("three.mp4\nfour.mp4\n")
    assert [clip.split for clip in read_clips([f"test={tmp_path / 'names.txt'}"])] == ["test", "test"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty file"),
        ("\n\n", "lists no clips"),
        ("train\n", "1 values where 2 belong"),
        ("train,a,b\n", "3 values where 2 belong"),
        ("hold,a\n", "line 1: split 'hold'"),
        ("train,\n", "nothing to know"),
        ("split,name,colour\ntrain,a,red\n", "'colour' is unknown"),
        ("split,name,pairs\ntrain,a,-3\n", "pairs -3"),
        ("split,name,pairs\ntrain,a,many\n", "line 2"),
        ("split,name,first_seconds,last_seconds\ntrain,a,nan,2\n", "seconds nan"),
        ("split,name,first_seconds,last_seconds\ntrain,a,3,2\n", "not before"),
        ("split,name,source_sha256\ntrain,a,12\n", "64 hexadecimal"),
        ("\x00\xff\n", "not a list"),
    ],
)
def test_lists_that_make_no_sense_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "clips.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(RefusedError, match=message):
        read_clips([str(path)])


def test_what_does_not_say_its_side_is_asked_for_it(tmp_path: Path) -> None:
    shard(tmp_path / "s", "walk.mp4", [picture(1)])
    tree(tmp_path / "t", {"walk": [picture(1)]})
    for name in ("s", "t"):
        with pytest.raises(SettingsError, match="write train="):
            read_clips([str(tmp_path / name)])
        clips = read_clips([f"val={tmp_path / name}"])
        assert [clip.split for clip in clips] == ["val"]
        with pytest.raises(SettingsError, match="every clip is in val"):
            audit(clips)
    with pytest.raises(SettingsError, match="no such file"):
        read_clips([str(tmp_path / "none")])
    with pytest.raises(SettingsError, match="no such file"):
        read_clips([f"test={tmp_path / 'none'}"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(RefusedError, match=r"manifest\.jsonl"):
        read_clips([str(tmp_path / "empty")])


@pytest.mark.parametrize("gap", [float("nan"), float("inf"), -1, 1e12])
def test_gaps_that_are_no_numbers_are_refused(gap: float) -> None:
    with pytest.raises(SettingsError, match="min gap"):
        audit(gopro_split(), min_gap_seconds=gap)


def test_damaged_images_are_named(tmp_path: Path) -> None:
    root = tree(tmp_path, {"train/a": [picture(1)], "test/b": [picture(2)]})
    (root / "test/b/sharp/000001.png").write_bytes(b"not an image")
    with pytest.raises(PhotoError, match=r"000001\.png: damaged"):
        audit(read_clips([str(root)]))


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments], obj=Screen())


def test_the_command_ends_with_code_4_where_something_leaks(tmp_path: Path) -> None:
    done = invoke("--gopro")
    check_gopro(done.stdout)
    assert isinstance(done.exception, RefusedError)
    assert "6 of 11 clips" in str(done.exception)
    values = json.loads(invoke("--gopro", "--json", "--min-gap", "4").stdout)
    assert values["has_leaks"]
    assert [found["recording"] for found in values["near_in_time"]] == ["GOPR0871"]


def test_the_command_is_content_where_nothing_leaks(tmp_path: Path) -> None:
    root = tree(tmp_path, {"train/harbour": [picture(1)], "test/market": [picture(2)]})
    done = invoke(root, "-q")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "test: 1 recordings; 0 of 1 clips (0 of 1 pairs)" in done.stdout
    assert "images compared: 2" in done.stdout
    assert isinstance(invoke().exception, SettingsError)


@pytest.mark.shared
def test_copies_of_real_photographs_are_found_and_no_strangers(shared: Path) -> None:
    photos = shared / "photos"
    near = ("elementary_wallpapers-backgrounds_Mr._Lee", "urban100_sunhays80-Urban100_image_SRF_4_img_070_SRF_4_HR")
    strangers = [luma(read_photo(photos / f"{name}.jpg").pixels.astype(np.uint8)) for name in near]  # 12 bits apart
    assert not list(find_alike(*([look] for image in strangers if (look := likeness(image)))))
    paths = sorted(path for path in photos.iterdir() if path.suffix == ".jpg")[::8]
    images = []
    for path in paths:
        pixels = read_photo(path).pixels[::2, ::2]
        if pixels.dtype == np.uint8 and likeness(luma(pixels.astype(np.uint8))):
            images.append(np.ascontiguousarray(pixels, np.uint8))
    assert len(images) > 50
    planted = [list(copies(image)) for image in images[::3]]
    found = alike(images, [image for of_one in planted for image in of_one])
    assert found == {(3 * i, i * len(planted[0]) + j) for i in range(len(planted)) for j in range(len(planted[0]))}


@pytest.mark.shared
def test_different_clips_and_photographs_are_not_called_alike(shared: Path) -> None:
    frames = []
    for path in sorted((shared / "video").glob("*.mp4")):
        if path.stem == "hevc_10bit":
            continue  # the test pattern of h264_10bit
        with av.open(str(path)) as container:
            frames.append(next(container.decode(video=0)).to_ndarray(format="rgb24").astype(np.uint8))
    strangers = {(i, j) for i, j in alike(frames, frames) if i < j}
    assert strangers == set()
    pairs = shared / "pairs" / "gopro_dev"
    sharp, blurry = ([read_photo(path).pixels.astype(np.uint8) for path in sorted((pairs / kind).iterdir())]
                     for kind in ("sharp", "blur"))  # fmt: skip
    assert {(i, j) for i, j in alike(sharp, sharp) if i < j} == set()
    assert {(i, i) for i in range(len(sharp))} <= alike(sharp, blurry)
