"""Reading pairs whose light was kept, and the sides that recordings are on."""

from pathlib import Path

import pytest
import torch

from blursynth.errors import ShardError
from blursynth.make import MakeConfig, make_dataset
from blursynth.model.data import Batch, batches, read_pairs, split_pairs
from blursynth.rendition import rendition_of_shard
from blursynth.shards import Shard
from samples import ClipMaker, moving_texture

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than there are CPUs


@pytest.fixture
def lit(make_clip: ClipMaker, tmp_path: Path) -> Path:
    """A folder of pairs that keep their light, with noise and highlights to draw."""
    config = MakeConfig(window="3", store="linear", noise="iso:3200", highlights="on", output_crf="srgb,bt709")
    make_dataset([make_clip(num_frames=24)], tmp_path / "lit", config)
    return tmp_path / "lit"


def drawn(folder: Path, *, is_fresh: bool, workers: int = 0, steps: range = range(4)) -> list[Batch]:
    stream = batches(read_pairs(folder), patch=32, batch=4, seed=5, steps=steps, workers=workers, is_fresh=is_fresh)
    return list(stream)


def test_stored_light_is_drawn_anew_for_every_sample(lit: Path) -> None:
    with Shard(next(lit.glob("*.h5"))) as shard:
        rendition = rendition_of_shard(shard.path, shard.attributes)
        stored = {shard.pair(index)[0].tobytes() for index in range(len(shard))}
        light = shard.light(0)
        images = light["blurry_linear"], light["saturation"]
        anew = [rendition.blurry(*images, rendition.draw(key, 3.0)).tobytes() for key in range(3)]
    assert len({*stored, *anew}) == len(stored) + 3
    fresh, as_stored = (
        torch.cat([batch.blurry for batch in drawn(lit, is_fresh=is_fresh)]) for is_fresh in (True, False)
    )
    assert not any(torch.equal(a, b) for a, b in zip(fresh, as_stored, strict=True))
    difference = (fresh.float() - as_stored.float()).abs().mean(dim=(1, 2, 3))
    assert difference.max() < 25  # the same scene under another draw


def test_drawn_anew_both_images_of_a_still_scene_are_the_same(make_clip: ClipMaker, tmp_path: Path) -> None:
    still = moving_texture(9, 48, 64, speed=0)
    config = MakeConfig(window="3", store="linear", output_crf="srgb,linear,bt709")
    make_dataset([make_clip(frames=still, pixel_format="bgr0")], tmp_path / "out", config)
    for batch in drawn(tmp_path / "out", is_fresh=True):
        assert torch.equal(batch.blurry, batch.sharp)


def test_fresh_draws_depend_on_the_number_of_the_sample_alone(lit: Path) -> None:
    whole = drawn(lit, is_fresh=True, steps=range(6))
    for found in (
        drawn(lit, is_fresh=True, workers=2, steps=range(6)),
        whole[:3] + drawn(lit, is_fresh=True, steps=range(3, 6)),
    ):
        for batch, expected in zip(found, whole, strict=True):
            assert torch.equal(batch.blurry, expected.blurry)
            assert torch.equal(batch.sharp, expected.sharp)


def test_pairs_without_options_or_without_light_are_read_as_they_are(make_clip: ClipMaker, tmp_path: Path) -> None:
    clip = make_clip(num_frames=24)
    for name, config in (
        ("plain", MakeConfig(window="3", store="linear")),
        ("codes", MakeConfig(window="3", jpeg="50")),
    ):
        make_dataset([clip], tmp_path / name, config)
        pairs = zip(*(drawn(tmp_path / name, is_fresh=is_fresh) for is_fresh in (True, False)), strict=True)
        assert all(torch.equal(fresh.blurry, stored.blurry) for fresh, stored in pairs)


def test_a_damaged_record_of_the_light_is_refused(lit: Path) -> None:
    (path,) = lit.glob("*.h5")
    path.write_bytes(path.read_bytes().replace(b'"highlights": "0.25-1.75"', b'"highlights": "0.25-1.7x"'))
    with pytest.raises(ShardError, match="damaged"):
        drawn(lit, is_fresh=True)


def test_sides_that_make_wrote_are_kept_and_test_pairs_are_left_alone(make_clip: ClipMaker, tmp_path: Path) -> None:
    clips = [make_clip(f"scene {name}.mkv", moving_texture(8, 16, 16, seed=i)) for i, name in enumerate("abcdefghij")]
    make_dataset(clips, tmp_path / "out", MakeConfig(window="3", split="train:0.5,val:0.3,test:0.2"))
    pairs = read_pairs(tmp_path / "out")
    training, validation = split_pairs(pairs, 0.1)
    sides = {entry.source: entry.split for entry in pairs.entries}
    assert {sides[name] for name in training.sources} == {"train"}
    assert {sides[name] for name in validation.sources} == {"val"}
    assert len(split_pairs(pairs, 0)[1]) == 0


def test_clips_of_one_recording_are_on_one_side(make_clip: ClipMaker, tmp_path: Path) -> None:
    names = [f"GOPR{number:04}_11_0{part}.mkv" for number in range(6) for part in range(3)]
    clips = [make_clip(name, moving_texture(6, 16, 16, seed=i)) for i, name in enumerate(names)]
    make_dataset(clips, tmp_path / "out", MakeConfig(window="3"))
    training, validation = split_pairs(read_pairs(tmp_path / "out"), 0.3)
    recordings = [{name[:8] for name in side.sources} for side in (training, validation)]
    assert recordings[0] and recordings[1]  # noqa: PT018
    assert not recordings[0] & recordings[1]
