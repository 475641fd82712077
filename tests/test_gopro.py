import itertools
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from blursynth.cli.gopro import command
from blursynth.cli.screen import Screen
from blursynth.errors import PartialError, RefusedError, SettingsError
from blursynth.gopro import GoproClip, gopro_clips, pairs_of, rebuild

CLIPS = {clip.name: clip for clip in gopro_clips()}


def short(name: str, pairs: int) -> GoproClip:
    """The first pairs of a real clip."""
    clip = CLIPS[name]
    last = clip.first_pair + pairs - 1
    return replace(clip, last_pair=last, last_centre_frame=clip.centre(last))


SHORT = (short("GOPR0372_07_00", 3), short("GOPR0378_13_00", 2), short("GOPR0384_11_05", 3))


def frame(number: int) -> NDArray[np.uint8]:
    return np.random.default_rng(number).integers(0, 256, (16, 16, 3)).astype(np.uint8)


def write(path: Path, image: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def read(path: Path) -> NDArray[np.uint8]:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image.astype(np.uint8)


@pytest.fixture
def large_all(tmp_path: Path) -> Path:
    """GOPRO_Large_all with its real numbering, the first frames of three clips, each frame different."""
    root = tmp_path / "GOPRO_Large_all"
    for clip in SHORT:
        pairs = pairs_of(clip)
        shipped_from = pairs[0].first + clip.counter
        for number in range(shipped_from, pairs[-1].last + 1):
            write(root / clip.split / clip.name / f"{number:06}.png", frame(number))
    return root


def published(root: Path, large_all: Path, *, off_centre: int = 0, floor: bool = False) -> Path:
    """GOPRO_Large as its authors made it, from all frames, by plain NumPy; or with a mistake of other makers."""
    for clip in SHORT:
        for k in range(clip.first_pair, clip.last_pair + 1):
            count = clip.frames_per_blur
            shift = 22000 if clip.name == "GOPR0378_13_00" else 0
            middle = (k - 1) * count + (count + 1) // 2 - clip.counter + shift
            mean: NDArray[np.float64] = np.mean(
                [frame(middle + i) for i in range(-(count // 2), count // 2 + 1)], axis=0
            )
            blur = np.floor(mean) if floor else np.around(mean)
            write(root / clip.split / clip.name / "blur" / f"{k:06}.png", blur.astype(np.uint8))
            write(root / clip.split / clip.name / "sharp" / f"{k:06}.png", frame(middle + off_centre))
    return root


def test_the_plan_has_the_published_counts() -> None:
    pairs = {clip.name: pairs_of(clip) for clip in gopro_clips()}
    assert len(pairs) == 33
    assert sum(map(len, pairs.values())) == 3214
    assert Counter(clip.split for clip in gopro_clips() for _ in pairs[clip.name]) == {"train": 2103, "test": 1111}
    lengths = Counter(len(pair.frames) for of_clip in pairs.values() for pair in of_clip)
    assert lengths == {11: 2929, 7: 175, 13: 110}
    incomplete = [(name, pair.number) for name, found in pairs.items() for pair in found if not pair.is_published_whole]
    assert len(incomplete) == 14
    assert all(number == CLIPS[name].first_pair and not name.endswith("_00") for name, number in incomplete)


@pytest.mark.parametrize("clip", gopro_clips(), ids=lambda clip: clip.name)
def test_every_pair_obeys_the_index_law(clip: GoproClip) -> None:
    _, length, counter = clip.name.split("_")
    assert clip.frames_per_blur == int(length)
    extra = 22000 if clip.name == "GOPR0378_13_00" else 0
    pairs = pairs_of(clip)
    for pair in pairs:
        n = clip.frames_per_blur
        assert pair.centre == (pair.number - 1) * n + (n + 1) // 2 - int(counter) + extra
        assert (pair.centre - pair.first, pair.last - pair.centre) == (n // 2, n // 2)
    assert [p.number for p in pairs] == list(range(clip.first_pair, clip.last_pair + 1))
    assert (pairs[0].centre, pairs[-1].centre) == (clip.first_centre_frame, clip.last_centre_frame)
    assert all(a.last + 1 == b.first for a, b in itertools.pairwise(pairs))  # windows touch


def test_frame_044001_is_the_sharp_image_of_pair_4001() -> None:
    pair = pairs_of(CLIPS["GOPR0384_11_05"])[0]
    assert (pair.number, pair.centre, pair.is_published_whole) == (4001, 44001, False)
    assert pairs_of(CLIPS["GOPR0372_07_00"])[0].frames == range(323, 330)


def test_rebuilt_pairs_are_bit_exact_and_the_impossible_one_is_named(large_all: Path, tmp_path: Path) -> None:
    original = published(tmp_path / "GOPRO_Large", large_all)
    report = rebuild(large_all, tmp_path / "out", against=original, clips=SHORT)
    assert (report.pairs, report.rebuilt, report.not_made) == (8, 7, 0)
    assert report.impossible == ("test/GOPR0384_11_05/004001",)
    assert "test/GOPR0384_11_05/004001" in report.text()
    blur, sharp = report.comparisons["blur"], report.comparisons["sharp"]
    assert (blur.exact, blur.compared, blur.max_difference) == (7, 7, 0)
    assert (sharp.exact, sharp.compared) == (8, 8)  # even of the pair whose blur cannot be made
    assert report.differing == 0
    for path in (tmp_path / "out").rglob("*.png"):
        assert np.array_equal(read(path), read(original / path.relative_to(tmp_path / "out")))
    source = large_all / "train/GOPR0378_13_00/022527.png"
    assert (tmp_path / "out/train/GOPR0378_13_00/sharp/000041.png").read_bytes() == source.read_bytes()
    names = sorted(path.name for path in (tmp_path / "out/test/GOPR0384_11_05/blur").iterdir())
    assert names == ["004002.png", "004003.png"]


def test_a_floored_mean_and_a_sharp_image_off_the_centre_are_found(large_all: Path, tmp_path: Path) -> None:
    floored = rebuild(large_all, against=published(tmp_path / "a", large_all, floor=True), clips=SHORT)
    blur, sharp = floored.comparisons["blur"], floored.comparisons["sharp"]
    assert (blur.exact, blur.compared, blur.max_difference) == (0, 7, 1)
    assert sharp.exact == 8
    shifted = rebuild(large_all, against=published(tmp_path / "b", large_all, off_centre=1), clips=SHORT)
    assert (shifted.comparisons["blur"].exact, shifted.comparisons["sharp"].exact) == (7, 0)
    assert shifted.differing == 8
    assert "train/GOPR0372_07_00: 0 of 3 bit-exact" in shifted.text()


def test_blur_gamma_is_the_mean_in_linear_light(large_all: Path, tmp_path: Path) -> None:
    rebuild(large_all, tmp_path / "out", gamma=True, clips=SHORT[:1])
    for pair in pairs_of(SHORT[0]):
        window = np.stack([frame(number) for number in pair.frames]) / 255.0
        expected = np.rint(255 * np.mean(window**2.2, axis=0) ** (1 / 2.2))
        made = read(tmp_path / f"out/train/GOPR0372_07_00/blur_gamma/{pair.number:06}.png")
        assert np.array_equal(made, expected)
    recipe = json.loads((tmp_path / "out/gopro-rebuild.json").read_text())
    assert "not known to be bit-exact" in recipe["blur_gamma"]


def test_missing_and_damaged_frames_are_named_and_never_averaged_around(large_all: Path, tmp_path: Path) -> None:
    folder = large_all / "train/GOPR0372_07_00"
    for number in (331, 332):
        (folder / f"{number:06}.png").unlink()
    damaged = folder / "000340.png"
    damaged.write_bytes(damaged.read_bytes()[:-40])
    (folder / "notes.txt").write_text("not a frame")
    report = rebuild(large_all, tmp_path / "out", clips=SHORT)
    clip = report.clips[0]
    assert (clip.made, clip.not_made, clip.missing_frames) == (1, (48, 49), (331, 332))
    assert "000331-000332" in report.text()
    assert "000340.png: damaged" in report.text()
    assert sorted(p.name for p in (tmp_path / "out/train/GOPR0372_07_00/blur").iterdir()) == ["000047.png"]


@pytest.mark.parametrize(
    "image", [np.zeros((16, 16), np.uint8), np.zeros((16, 16, 3), np.uint16), np.zeros((8, 16, 3), np.uint8)]
)
def test_frames_of_another_kind_are_refused(large_all: Path, tmp_path: Path, image: NDArray[np.uint8]) -> None:
    write(large_all / "train/GOPR0372_07_00/000325.png", image)
    assert rebuild(large_all, tmp_path / "out", clips=SHORT[:1]).clips[0].not_made == (47,)


def test_a_stopped_run_goes_on_and_nothing_is_written_twice(large_all: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = rebuild(large_all, out, clips=SHORT)
    lost = out / "test/GOPR0384_11_05/blur/004002.png"
    content = lost.read_bytes()
    lost.unlink()
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    (large_all / "train/GOPR0372_07_00/000326.png").write_bytes(b"what is there is not read again")
    second = rebuild(large_all, out, clips=SHORT)
    assert (first.rebuilt, second.rebuilt) == (7, 7)
    assert sum(clip.made for clip in second.clips) == 1
    assert lost.read_bytes() == content
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())


def test_overwrite_makes_all_again(large_all: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    rebuild(large_all, out, clips=SHORT[:1])
    path = out / "train/GOPR0372_07_00/blur/000047.png"
    good = path.read_bytes()
    write(path, frame(0))
    published(tmp_path / "GOPRO_Large", large_all)
    kept = rebuild(large_all, out, against=tmp_path / "GOPRO_Large", clips=SHORT[:1])
    assert kept.comparisons["blur"].exact == 2  # what stands in the output is what is compared
    assert rebuild(large_all, out, clips=SHORT[:1], overwrite=True).clips[0].made == 3
    assert path.read_bytes() == good


def test_folders_that_are_something_else_are_refused(large_all: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RefusedError, match="no clip of GOPRO_Large_all"):
        rebuild(tmp_path / "empty", tmp_path / "out")
    with pytest.raises(RefusedError, match="no clip of GOPRO_Large is"):
        rebuild(large_all, against=tmp_path / "empty")
    with pytest.raises(SettingsError, match="nothing to do"):
        rebuild(large_all)
    with pytest.raises(SettingsError, match=r"holds other files|only read"):
        rebuild(large_all, large_all, clips=SHORT)
    assert not (tmp_path / "out").exists()


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments], obj=Screen())


def test_the_command_tells_what_is_missing_with_code_3(large_all: Path, tmp_path: Path) -> None:
    done = invoke("rebuild", large_all, "-o", tmp_path / "out", "--clip", "GOPR0384_11_05", "--json", "-q")
    assert isinstance(done.exception, PartialError)
    values = json.loads(done.stdout)
    assert (values["pairs"], values["rebuilt"]) == (100, 2)
    assert values["impossible"] == ["test/GOPR0384_11_05/004001"]
    assert values["not_made"] == 97


def test_the_command_tells_of_differences_with_code_4(large_all: Path, tmp_path: Path) -> None:
    original = published(tmp_path / "GOPRO_Large", large_all, floor=True)
    done = invoke("rebuild", large_all, "--against", original, "--clip", "GOPR0384_11_05", "-q")
    assert isinstance(done.exception, RefusedError)
    assert "blur: 0 of 2 bit-exact, largest difference 1" in done.stdout


def test_the_command_lists_the_clips() -> None:
    done = invoke("clips")
    assert (done.exit_code, len(done.stdout.splitlines())) == (0, 34)
    listed = json.loads(invoke("clips", "--json").stdout)
    assert sum(clip["pairs"] for clip in listed) == 3214
    assert listed[23]["clip"] == "GOPR0384_11_05"
    unknown = invoke("rebuild", ".", "-o", "x", "--clip", "GOPR9999_11_00")
    assert isinstance(unknown.exception, SettingsError)
    assert "GOPR9999_11_00" in str(unknown.exception)
