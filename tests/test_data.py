import hashlib
import multiprocessing
import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from blursynth.errors import SettingsError, ShardError
from blursynth.files import sha256_of
from blursynth.model import data as module
from blursynth.model.data import Batch, PairSet, batches, centre_crops, read_pairs, split_pairs
from blursynth.shards import Entry, Manifest, Shard, ShardWriter

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than there are CPUs

OTHER = "0" * 64


def images(number: int, height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A pair that tells the row, the column and the number of the pair at every pixel; its sharp half is inverted."""
    blurry = np.empty((height, width, 3), np.uint8)
    blurry[:, :, 0], blurry[:, :, 1] = np.arange(height)[:, None], np.arange(width)
    blurry[:, :, 2] = number
    return blurry, 255 - blurry


def add_shard(directory: Path, name: str, *, pairs: range, size: tuple[int, int], source: str) -> None:
    source_sha256 = hashlib.sha256(source.encode()).hexdigest()
    attributes = {"source": source, "source_sha256": source_sha256}
    writer = ShardWriter(directory / name, size=size, capacity=len(pairs), attributes=attributes)
    for number in pairs:
        blurry, sharp = images(number, *size)
        writer.append({"number": number}, {"blurry": blurry, "sharp": sharp})
    writer.commit()
    path = directory / name
    entry = Entry(
        shard=name,
        bytes=path.stat().st_size,
        sha256=sha256_of(path),
        pairs=len(pairs),
        planned=len(pairs),
        height=size[0],
        width=size[1],
        source=source,
        source_sha256=source_sha256,
        settings_sha256=OTHER,
    )
    Manifest.read(directory, must_exist=False).add(entry)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten numbered pairs of two clips in three shards of two sizes."""
    directory = tmp_path / "numbered"
    directory.mkdir()
    add_shard(directory, "one-0.h5", pairs=range(4), size=(40, 64), source="one.mp4")
    add_shard(directory, "one-1.h5", pairs=range(4, 5), size=(40, 64), source="one.mp4")
    add_shard(directory, "two-0.h5", pairs=range(5, 10), size=(50, 37), source="two.mp4")
    return directory


def numbers(pairs: PairSet) -> list[int]:
    """Which of the numbered pairs these are."""
    found = []
    for shard_of, row_of in zip(pairs.shard_of, pairs.row_of, strict=True):
        with Shard(pairs.entries[shard_of].path(pairs.directory)) as shard:
            found.append(int(shard.rows()["number"][row_of]))
    return found


def same(first: Batch, second: Batch) -> bool:
    return (
        torch.equal(first.blurry, second.blurry)
        and torch.equal(first.sharp, second.sharp)
        and first.first_sample == second.first_sample
    )


def take(pairs: PairSet, *, stop: int, start: int = 0, workers: int = 0, seed: int = 3) -> list[Batch]:
    return list(batches(pairs, patch=16, batch=3, seed=seed, steps=range(start, stop), workers=workers))


def test_every_pair_is_listed_once(folder: Path) -> None:
    pairs = read_pairs(folder)
    assert len(pairs) == 10
    assert numbers(pairs) == list(range(10))
    assert pairs.sources == ("one.mp4", "two.mp4")
    assert pairs.smallest_side == 37
    chosen = pairs.select(np.arange(10) < 5)
    assert numbers(chosen) == [0, 1, 2, 3, 4]
    assert (chosen.sources, chosen.smallest_side) == (("one.mp4",), 40)
    assert numbers(pairs.select(np.array([7, 2]))) == [7, 2]


def test_shards_that_make_wrote_are_read(shards: Path) -> None:
    pairs = read_pairs(shards)
    assert len(pairs) == sum(entry.pairs for entry in Manifest.read(shards)) > 0
    assert pairs.sources == ("one.mkv", "two.mkv")
    assert pairs.smallest_side == 48


def test_a_folder_without_pairs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"no manifest\.jsonl here"):
        read_pairs(tmp_path)
    Manifest(tmp_path).write()
    with pytest.raises(ShardError):
        read_pairs(tmp_path)


def test_a_missing_shard_is_refused(folder: Path) -> None:
    (folder / "one-1.h5").unlink()
    with pytest.raises(ShardError, match=r"one-1\.h5: .*No such file"):
        read_pairs(folder)


@pytest.mark.parametrize("num_bytes", [0, 1, -1, 1000])
def test_a_shard_of_another_length_is_refused(folder: Path, num_bytes: int) -> None:
    path = folder / "two-0.h5"
    content = path.read_bytes()
    path.write_bytes(content[:num_bytes] if num_bytes < 1000 else content + b"more")
    with pytest.raises(ShardError, match=r"two-0\.h5"):
        read_pairs(folder)


def test_a_shard_that_is_no_shard_is_refused(folder: Path) -> None:
    path = folder / "two-0.h5"
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(ShardError, match=r"two-0\.h5"):
        read_pairs(folder)


def test_shards_of_one_size_that_changed_names_are_refused(tmp_path: Path) -> None:
    for name, source in (("one.h5", "one.mp4"), ("two.h5", "two.mp4")):
        add_shard(tmp_path, name, pairs=range(2), size=(32, 32), source=source)
    assert (tmp_path / "one.h5").stat().st_size == (tmp_path / "two.h5").stat().st_size
    assert len(read_pairs(tmp_path)) == 4
    (tmp_path / "one.h5").rename(tmp_path / "kept")
    (tmp_path / "two.h5").rename(tmp_path / "one.h5")
    (tmp_path / "kept").rename(tmp_path / "two.h5")
    with pytest.raises(ShardError, match=r"one\.h5: holds other pairs than the manifest says"):
        read_pairs(tmp_path)


@pytest.mark.parametrize("changes", [{"pairs": 4}, {"pairs": 6, "planned": 6}, {"height": 64}, {"width": 36}])
def test_a_manifest_that_tells_of_other_pairs_is_refused(folder: Path, changes: dict[str, int]) -> None:
    manifest = Manifest.read(folder)
    entry = manifest.get("two-0.h5")
    assert entry is not None
    manifest.add(replace(entry, **changes))  # type: ignore[arg-type]  # mypy takes all fields together
    with pytest.raises(ShardError, match=r"two-0\.h5: holds other pairs than the manifest says"):
        read_pairs(folder)


def listed(clips: list[str], pairs_each: int = 2) -> PairSet:
    """A set of pairs of which no file exists: two shards to a clip."""
    entries = tuple(
        Entry(f"{clip}-{part}.h5", 1, OTHER, pairs_each, pairs_each, 32, 32, clip, hashed(clip), OTHER)
        for clip in clips
        for part in range(2)
    )
    shard_of = np.repeat(np.arange(len(entries)), pairs_each)
    return PairSet(Path("nowhere"), entries, shard_of, np.tile(np.arange(pairs_each), len(entries)))


def hashed(clip: str) -> str:
    return hashlib.sha256(clip.encode()).hexdigest()


clip_sets = st.sets(st.integers(0, 999).map(lambda i: f"clip{i}"), min_size=2, max_size=30)
fractions = st.floats(0.001, 0.999)


@given(clip_sets, fractions)
def test_no_clip_trains_and_validates_and_no_pair_is_lost(clips: set[str], fraction: float) -> None:
    pairs = listed(sorted(clips))
    training, validation = split_pairs(pairs, fraction)
    assert set(training.sources) | set(validation.sources) == clips
    assert not set(training.sources) & set(validation.sources)
    assert training.sources
    assert validation.sources
    both = zip([*training.shard_of, *validation.shard_of], [*training.row_of, *validation.row_of], strict=True)
    assert sorted(both) == sorted(zip(pairs.shard_of, pairs.row_of, strict=True))


@given(clip_sets, clip_sets, fractions)
def test_a_clip_keeps_its_side_when_others_join(before: set[str], joining: set[str], fraction: float) -> None:
    earlier = split_pairs(listed(sorted(before)), fraction)
    later = split_pairs(listed(sorted(before | joining)), fraction)
    for side_before, side_after in zip(earlier, later, strict=True):
        if len(side_before.sources) > 1:  # a side's only clip may stand in there
            assert set(side_before.sources) <= set(side_after.sources)


def test_names_and_order_of_clips_do_not_matter() -> None:
    clips = [f"clip{i}" for i in range(12)]
    pairs = listed(clips)
    renamed = replace(pairs, entries=tuple(replace(entry, source=f"new {entry.source}") for entry in pairs.entries))
    expected = set(split_pairs(pairs, 0.3)[1].sources)
    assert {name.removeprefix("new ") for name in split_pairs(renamed, 0.3)[1].sources} == expected
    assert set(split_pairs(listed(clips[::-1]), 0.3)[1].sources) == expected


@pytest.mark.parametrize("fraction", [0.1, 0.5])
def test_as_many_clips_as_asked_for_validate_on_average(fraction: float) -> None:
    validation = split_pairs(listed([f"clip{i}" for i in range(1000)]), fraction)[1]
    assert len(validation.sources) == pytest.approx(1000 * fraction, abs=60)  # about four standard deviations


@pytest.mark.parametrize(("fraction", "expected"), [(0.1, 1), (0.001, 1), (0.5, 4), (0.3, 2), (0.87, 7)])
def test_of_a_single_clip_the_last_pairs_validate(fraction: float, expected: int) -> None:
    pairs = listed(["clip"], pairs_each=4)
    training, validation = split_pairs(pairs, fraction)
    for k in range(8):
        part, index = (training, k) if k < 8 - expected else (validation, k - 8 + expected)
        assert (part.shard_of[index], part.row_of[index]) == divmod(k, 4)
    assert (len(training), len(validation)) == (8 - expected, expected)


@pytest.mark.parametrize("clips", [["clip"], ["one", "two"]])
def test_nothing_validates_if_nothing_is_to_be_set_aside(clips: list[str]) -> None:
    training, validation = split_pairs(listed(clips), 0)
    assert len(training) == len(listed(clips))
    assert len(validation) == 0


@pytest.mark.parametrize("fraction", [-0.1, 1, 1.5, float("nan")])
def test_fractions_that_are_none_are_refused(fraction: float) -> None:
    with pytest.raises(SettingsError, match=f"validation fraction {fraction}: must be 0 or more and less than 1"):
        split_pairs(listed(["one", "two"]), fraction)


@pytest.mark.parametrize("fraction", [0.1, 0.9])
def test_a_single_pair_cannot_train_and_validate(fraction: float) -> None:
    pairs = listed(["clip"]).select(np.array([0]))
    with pytest.raises(SettingsError, match=r"1 pair\(s\) are too few to train and validate"):
        split_pairs(pairs, fraction)


def test_a_single_clip_of_which_everything_would_validate_is_refused() -> None:
    with pytest.raises(SettingsError, match="too few"):
        split_pairs(listed(["clip"]), 0.95)


def test_crops_are_the_same_place_of_both_images_on_the_grid(folder: Path) -> None:
    pairs = read_pairs(folder)
    seen = set()
    for batch in take(pairs, stop=80):
        assert batch.blurry.shape == batch.sharp.shape == (3, 3, 16, 16)
        for blurry, sharp in zip(batch.blurry, batch.sharp, strict=True):
            y, x, number = (int(code) for code in blurry[:, 0, 0])
            index = number
            with Shard(pairs.entries[pairs.shard_of[index]].path(folder)) as shard:
                whole = shard.pair(int(pairs.row_of[index]))
            for crop, image in zip((blurry, sharp), whole, strict=True):
                assert np.array_equal(crop.permute(1, 2, 0), image[y : y + 16, x : x + 16])
            assert y % 4 == 0
            assert x % 4 == 0
            seen.add((number, y, x))
    assert {number for number, _, _ in seen} == set(range(10))
    assert {x for number, _, x in seen if number < 5} == set(range(0, 64 - 16 + 1, 4))  # both ends included
    assert {y for number, y, _ in seen if number >= 5} == set(range(0, 50 - 16 + 1, 4))


def test_batches_lie_channels_last_in_memory(folder: Path) -> None:
    (batch,) = take(read_pairs(folder), stop=1)
    for crops in (batch.blurry, batch.sharp):
        assert crops.dtype == torch.uint8
        assert crops.is_contiguous(memory_format=torch.channels_last)


def test_samples_are_numbered(folder: Path) -> None:
    assert [batch.first_sample for batch in take(read_pairs(folder), start=2, stop=5)] == [6, 9, 12]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers_reads_the_same_batches(folder: Path, workers: int) -> None:
    pairs = read_pairs(folder)
    expected = take(pairs, stop=7)
    found = take(pairs, stop=7, workers=workers)
    assert len(found) == len(expected) == 7
    assert all(map(same, found, expected))
    assert found[0].blurry.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("workers", [0, 2])
def test_started_in_the_middle_the_same_batches_follow(folder: Path, workers: int) -> None:
    pairs = read_pairs(folder)
    expected = take(pairs, stop=8)
    found = take(pairs, start=3, stop=8, workers=workers)
    assert len(found) == 5
    assert all(map(same, found, expected[3:]))


def test_batches_differ_from_each_other_and_between_seeds(folder: Path) -> None:
    pairs = read_pairs(folder)
    found = take(pairs, stop=6)
    assert not any(torch.equal(a.blurry, b.blurry) for a, b in pairwise(found))
    assert not any(torch.equal(a.blurry, b.blurry) for a, b in zip(found, take(pairs, stop=6, seed=4), strict=True))


def test_the_size_of_batches_does_not_change_the_samples(folder: Path) -> None:
    pairs = read_pairs(folder)
    three = [batch.blurry for batch in take(pairs, stop=2)]
    two = [batch.blurry for batch in batches(pairs, patch=16, batch=2, seed=3, steps=range(3), workers=0)]
    assert torch.equal(torch.cat(three), torch.cat(two))


def test_crops_as_large_as_the_smallest_pair_and_no_larger(folder: Path) -> None:
    pairs = read_pairs(folder)
    (batch,) = batches(pairs, patch=37, batch=8, seed=0, steps=range(1), workers=0)
    assert batch.blurry.shape == (8, 3, 37, 37)
    with pytest.raises(SettingsError, match="patch 38: larger than pairs of 37 px; choose --patch smaller"):
        batches(pairs, patch=38, batch=8, seed=0, steps=range(1), workers=0)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_shard_cut_short_meanwhile_is_one_clear_error(folder: Path, workers: int) -> None:
    pairs = read_pairs(folder).select(np.arange(4))
    os.truncate(folder / "one-0.h5", 9000)
    with pytest.raises(ShardError) as caught:
        take(pairs, stop=20, workers=workers)
    assert str(caught.value).startswith(str(folder / "one-0.h5"))
    assert str(caught.value).isprintable()  # no traceback of another process inside
    assert multiprocessing.active_children() == []  # nor does the error keep it


def test_closing_the_stream_ends_the_workers(folder: Path) -> None:
    stream = batches(read_pairs(folder), patch=16, batch=1, seed=0, steps=range(10**9), workers=2)
    next(stream)
    assert len(multiprocessing.active_children()) == 2
    stream.close()
    assert multiprocessing.active_children() == []


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_no_file_stays_open(folder: Path) -> None:
    pairs = read_pairs(folder)
    before = open_files()
    centre_crops(pairs, patch=16, count=10)
    take(pairs, stop=5)
    stream = batches(pairs, patch=16, batch=8, seed=0, steps=range(10), workers=0)
    next(stream)
    assert open_files() > before
    del stream
    assert open_files() == before


def test_no_more_shards_than_allowed_are_open_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = read_pairs(folder)
    expected = take(pairs, stop=10)
    monkeypatch.setattr(module, "_MAX_OPEN_SHARDS", 1)
    before = open_files()
    stream = batches(pairs, patch=16, batch=3, seed=3, steps=range(10), workers=0)
    for batch in expected:
        assert same(next(stream), batch)
        assert open_files() <= before + 1


def test_centre_crops_are_the_centres_of_pairs_spread_evenly(folder: Path) -> None:
    pairs = read_pairs(folder)
    crops = centre_crops(pairs, patch=20, count=4)
    assert [int(blurry[0, 0, 2]) for blurry, _ in crops] == [0, 3, 6, 9]
    for blurry, sharp in crops:
        number = int(blurry[0, 0, 2])
        height, width = (40, 64) if number < 5 else (50, 37)
        top, left = (height - 20) // 2, (width - 20) // 2
        for crop, image in zip((blurry, sharp), images(number, height, width), strict=True):
            assert np.array_equal(crop, image[top : top + 20, left : left + 20])


def test_centre_crops_are_as_large_as_pairs_allow_and_as_many_as_there_are(folder: Path) -> None:
    crops = centre_crops(read_pairs(folder), patch=45, count=99)
    assert [blurry.shape for blurry, _ in crops] == [(40, 45, 3)] * 5 + [(45, 37, 3)] * 5
    assert [int(blurry[0, 0, 2]) for blurry, _ in crops] == list(range(10))


def test_without_pairs_there_are_no_centre_crops(folder: Path) -> None:
    assert list(centre_crops(read_pairs(folder).select(np.zeros(10, np.bool_)), patch=16, count=4)) == []
