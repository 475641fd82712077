"""`make` with light, time and selection: what the options do to pairs."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import LocalCluster
from numpy.typing import NDArray

from blursynth.crf import response_curve
from blursynth.decoding import decode, to_rgb
from blursynth.errors import MachineError, SettingsError, ShardError, VideoError
from blursynth.make import Engine, MakeConfig, make_dataset
from blursynth.make.rebuild import find_pair, rebuild_pair
from blursynth.radiometry import Light
from blursynth.rendition import Draw, rendition_of_shard
from blursynth.shards import Manifest, Shard
from blursynth.video import describe
from samples import ClipMaker, moving_texture

EVERYTHING: dict[str, Any] = {
    "window": "5",
    "highlights": "on",
    "noise": "iso:400-1600",
    "jpeg": "70-95",
    "output_crf": "srgb,bt709",
    "seed": 3,
}


def only_shard(directory: Path) -> Shard:
    (entry,) = Manifest.read(directory)
    return Shard(entry.path(directory))


def bright_texture(num_frames: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    frames = moving_texture(num_frames, height, width)
    frames[:, :10, :20] = 255
    return frames


def test_rendering_stored_light_with_the_recorded_draw_gives_the_stored_picture(
    make_clip: ClipMaker, tmp_path: Path
) -> None:
    clip = make_clip(frames=bright_texture(20), pixel_format="bgr0")
    make_dataset([clip], tmp_path / "linear", MakeConfig(**EVERYTHING, stride=1, store="linear"))
    make_dataset([clip], tmp_path / "codes", MakeConfig(**EVERYTHING, stride=1))
    with only_shard(tmp_path / "linear") as linear, only_shard(tmp_path / "codes") as codes:
        assert linear.has_light and not codes.has_light  # noqa: PT018
        rendition = rendition_of_shard(linear.path, linear.attributes)
        outputs = set()
        for index, row in enumerate(linear.rows()):
            stored = linear.light(index)
            names = ("highlights", "shot_noise", "read_noise", "bayer", "red_gain", "blue_gain", "iso", "jpeg")
            light = Light(key=int(row["noise_key"]), **{name: row[name].item() for name in names})
            draw = Draw(light, int(row["output_crf"]))
            assert draw == rendition.draw(int(row["rng_key"]), float(row["effective_frames"]))
            outputs.add(draw.curve)
            blurry, sharp = linear.pair(index)
            assert np.array_equal(rendition.blurry(stored["blurry_linear"], stored["saturation"], draw), blurry)
            assert np.array_equal(rendition.sharp(stored["sharp_linear"], draw), sharp)
            assert np.array_equal(blurry, codes.pair(index)[0])  # keeping the light changes nothing
            assert np.array_equal(sharp, codes.pair(index)[1])
            assert stored["saturation"][:10, :20].min() == 255
        assert outputs == {0, 1}


def test_stored_light_without_options_holds_the_plain_pictures_in_its_high_bytes(
    make_clip: ClipMaker, tmp_path: Path
) -> None:
    clip = make_clip(num_frames=20)
    make_dataset([clip], tmp_path / "linear", MakeConfig(window="5", store="linear"))
    make_dataset([clip], tmp_path / "plain", MakeConfig(window="5"))
    with only_shard(tmp_path / "linear") as linear, only_shard(tmp_path / "plain") as plain:
        for index in range(len(plain)):
            stored = linear.light(index)
            blurry, sharp = plain.pair(index)
            assert np.array_equal(stored["blurry_linear"] >> 8, blurry)
            assert np.array_equal(stored["sharp_linear"] >> 8, sharp)
            assert np.array_equal(linear.pair(index)[0], blurry)
            assert np.array_equal(linear.pair(index)[1], sharp)


@pytest.mark.parametrize("codec", ["raw", "zstd"])
def test_stored_light_is_the_linear_mean_to_a_fraction_of_a_code(
    make_clip: ClipMaker, tmp_path: Path, codec: Any
) -> None:
    clip = make_clip(num_frames=10)
    info = describe(clip)
    frames = np.stack([to_rgb(info, frame) for frame in decode(info)][:5])
    make_dataset([clip], tmp_path / "out", MakeConfig(window="5", store="linear", codec=codec))
    curve = response_curve("gamma:2.2")
    expected = curve.linear_of_codes()[frames].mean(0)
    with only_shard(tmp_path / "out") as shard:
        light = curve.from_fine(shard.light(0)["blurry_linear"]).astype(np.float64)
    assert np.abs(light ** (1 / 2.2) - expected ** (1 / 2.2)).max() * 255 < 1 / 128


def test_an_exposure_in_time_equals_the_window_of_as_many_frames(make_clip: ClipMaker, tmp_path: Path) -> None:
    clip = make_clip(num_frames=24, rate=240)
    make_dataset([clip], tmp_path / "frames", MakeConfig(window="5"))
    make_dataset([clip], tmp_path / "time", MakeConfig(exposure="5/240"))
    with only_shard(tmp_path / "frames") as frames, only_shard(tmp_path / "time") as time:
        assert len(frames) == len(time) == 4
        for index in range(4):
            assert np.array_equal(frames.pair(index), time.pair(index))
            assert time.rows()[index]["exposure_seconds"] == pytest.approx(5 / 240)


def test_a_clip_that_lies_about_its_rate_is_exposed_by_its_true_one(make_clip: ClipMaker, tmp_path: Path) -> None:
    clip = make_clip(num_frames=24, rate=30)
    make_dataset([clip], tmp_path / "out", MakeConfig(exposure="1/48", source_fps="240"))
    with only_shard(tmp_path / "out") as shard:
        assert set(shard.rows()["num_frames"]) == {5}
        assert Fraction(shard.attributes["frame_rate"]) == 240


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(10 * np.log10(255**2 / np.square(a.astype(float) - b).mean()))


def test_even_varying_and_repeated_frames_of_a_scene_give_the_true_blur(make_clip: ClipMaker, tmp_path: Path) -> None:
    """Facts 5.4: a mean of counted frames measurably does not."""
    rng = np.random.default_rng(0)
    count = 96
    scene = moving_texture(count * 4, 48, 64, speed=0.25)  # a picture every 1/3840 s; even clips show every fourth
    even = np.arange(count) * 4
    varying = np.cumsum(np.concatenate([[0], rng.integers(2, 7, count * 2)]))
    varying = varying[varying < count * 4]
    repeated = even.copy()
    for i in np.flatnonzero(rng.random(count) < 0.2)[1:]:
        repeated[i] = repeated[i - 1]
    linear = response_curve("gamma:2.2").linear_of_codes()[scene]

    def worst(name: str, shown: NDArray[np.int64], times: NDArray[np.int64], config: MakeConfig) -> float:
        out = tmp_path / f"{name}-{config.exposure is None}"
        clip = make_clip(f"{name}.mov", scene[shown], rate=3840, pts=times.tolist(), codec="png", pixel_format="rgb24")
        make_dataset([clip], out, config)
        found = []
        with only_shard(out) as shard:
            for blurry, sharp in map(shard.pair, range(len(shard))):
                centre = int(np.abs(scene.astype(np.int16) - sharp).sum((1, 2, 3)).argmin())
                exposed = linear[max(0, centre - 42) : centre + 43]  # 21/960 s
                found.append(psnr(blurry, response_curve("gamma:2.2").from_linear(exposed.mean(0))))
        assert len(found) >= 2
        return min(found)

    in_time, counted = MakeConfig(exposure="21/960"), MakeConfig(window="21")
    assert worst("even", even, even, in_time) > 45
    assert worst("varying", varying, varying, in_time) > 45
    assert worst("repeated", repeated, even, in_time) > 45
    assert worst("varying", varying, varying, counted) < 40
    assert worst("repeated", repeated, even, counted) < worst("repeated", repeated, even, in_time)


def test_splits_are_by_recording(make_clip: ClipMaker, tmp_path: Path) -> None:
    names = [f"GOPR{n:04}_11_0{k}.mkv" for n in range(8) for k in (0, 1)]
    clips = [make_clip(name, moving_texture(8, 16, 16, seed=i)) for i, name in enumerate(names)]
    make_dataset(clips, tmp_path / "out", MakeConfig(window="3", split="train:0.6,val:0.2,test:0.2"))
    sides: dict[str, set[str]] = {}
    for entry in Manifest.read(tmp_path / "out"):
        sides.setdefault(entry.recording, set()).add(entry.split)
    assert len(sides) == 8
    assert all(len(side) == 1 for side in sides.values())
    assert len(set.union(*sides.values())) > 1


@pytest.mark.parametrize("num_clips", [1, 3])
def test_workers_write_the_bytes_that_one_process_writes(
    make_clip: ClipMaker, tmp_path: Path, num_clips: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blursynth.make.plan.pairs_per_shard", lambda *_size, **_options: 3)
    clips = [make_clip(f"clip{i}.mkv", moving_texture(40, 48, 64, seed=i)) for i in range(num_clips)]
    config = MakeConfig(**EVERYTHING, store="linear")
    made = {}
    for name, engine in (("one", Engine()), ("two", Engine(jobs=2))):
        make_dataset(clips, tmp_path / name, config, engine=engine)
        files = sorted((tmp_path / name).glob("[!.]*"))
        made[name] = {path.name: path.read_bytes() for path in files}
    assert made["one"] == made["two"]
    assert len(made["one"]) > num_clips


def test_a_cluster_writes_the_same_bytes(make_clip: ClipMaker, tmp_path: Path) -> None:
    clips = [make_clip(f"scene {name}.mkv", moving_texture(20, 48, 64, seed=i)) for i, name in enumerate("ab")]
    config = MakeConfig(**EVERYTHING)
    make_dataset(clips, tmp_path / "one", config)
    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=2, threads_per_worker=1, processes=True, protocol="tcp://", dashboard_address=None
    ) as cluster:
        engine = Engine(backend="dask", scheduler=cluster.scheduler_address)
        make_dataset(clips, tmp_path / "cluster", config, engine=engine)
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / name).glob("[!.]*")} for name in ("one", "cluster")
    )
    assert one == two


def test_windows_that_memory_cannot_hold_are_refused(
    make_clip: ClipMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Little:
        available = 50_000

    monkeypatch.setattr("psutil.virtual_memory", Little)
    with pytest.raises(MachineError, match="GB are free"):
        make_dataset([make_clip(num_frames=30)], tmp_path / "out", MakeConfig(window="21"))


def test_parts_share_a_folder_and_together_are_the_whole(make_clip: ClipMaker, tmp_path: Path) -> None:
    clips = [make_clip(f"scene {name}.mkv", moving_texture(12, 48, 64, seed=i)) for i, name in enumerate("abcdef")]
    config = MakeConfig(window="3")
    make_dataset(clips, tmp_path / "whole", config)
    for k in (1, 2, 3):
        make_dataset(clips, tmp_path / "parts", config, part=f"{k}/3")
    whole, parts = list(Manifest.read(tmp_path / "whole")), list(Manifest.read(tmp_path / "parts"))
    assert whole == parts
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "parts").glob("*.h5")}
    make_dataset(clips, tmp_path / "parts", config)  # nothing is left to do
    assert before == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "parts").glob("*.h5")}


def test_copies_are_in_one_part_and_parts_can_be_replaced(make_clip: ClipMaker, tmp_path: Path) -> None:
    original = make_clip("one.mkv", num_frames=20)
    copies = [original, *(tmp_path / f"copy {i}.mkv" for i in range(4))]
    for copy in copies[1:]:
        copy.write_bytes(original.read_bytes())
    for k in (1, 2, 3):
        make_dataset(copies, tmp_path / "out", MakeConfig(window="5"), part=f"{k}/3")
    assert len(Manifest.read(tmp_path / "out")) == 1
    with pytest.raises(SettingsError, match="window 5"):
        make_dataset(copies, tmp_path / "out", MakeConfig(window="3"))
    whole = make_dataset(copies, tmp_path / "out", MakeConfig(window="3"), overwrite=True)
    assert {entry.pairs for entry in Manifest.read(tmp_path / "out")} == {whole.pairs}
    assert [path.name for path in (tmp_path / "out").glob("manifest*")] == ["manifest.jsonl"]
    assert len(list((tmp_path / "out").glob("*.h5"))) == 1


def test_manifests_that_contradict_each_other_are_refused(make_clip: ClipMaker, tmp_path: Path) -> None:
    make_dataset([make_clip(num_frames=20)], tmp_path / "out", MakeConfig(window="5"))
    line = (tmp_path / "out" / "manifest.jsonl").read_text()
    other = tmp_path / "out" / "manifest-2-of-3.jsonl"
    other.write_text(line)
    assert len(Manifest.read(tmp_path / "out")) == 1
    other.write_text(line.replace('"split": ""', '"split": "test"'))
    with pytest.raises(ShardError, match="listed otherwise"):
        Manifest.read(tmp_path / "out")


def test_windows_that_were_rejected_are_not_decoded_again(
    make_clip: ClipMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip(num_frames=20)
    config = MakeConfig(window="5", min_motion=1000)
    assert make_dataset([clip], tmp_path / "out", config).rejected == {"motion": 4}
    assert len(Manifest.read(tmp_path / "out")) == 0

    def never(*_arguments: Any, **_options: Any) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr("blursynth.make.run.decode", never)
    assert make_dataset([clip], tmp_path / "out", config).rejected == {"motion": 4}
    renamed = clip.rename(tmp_path / "another name.mkv")
    assert make_dataset([renamed], tmp_path / "out", config).rejected == {"motion": 4}


def test_noise_that_is_put_back_fits_the_size_of_the_pairs(make_clip: ClipMaker, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scene = np.repeat(np.linspace(60, 190, 256)[None, None, :, None], 192, axis=1)
    frames = np.clip(np.rint(scene + rng.normal(0, 6, (12, 192, 256, 3))), 0, 255).astype(np.uint8)
    clip = make_clip(frames=frames, pixel_format="bgr0")
    for resize in (None, (128, 96), (64, 48)):
        config = MakeConfig(window="11", noise="match", resize=resize, measure=False)
        make_dataset([clip], tmp_path / str(resize), config)
        with only_shard(tmp_path / str(resize)) as shard:
            noise = [float(np.std(np.diff(image.astype(float), axis=0))) for image in shard.pair(0)]
        assert noise[0] == pytest.approx(noise[1], rel=0.1)


@pytest.mark.parametrize(
    "config",
    [
        {**EVERYTHING, "store": "linear"},
        {"exposure": "1/48"},
        {"window": "3-9", "resize": (32, 24)},
        {"interpolate": "2", "noise": "match"},
    ],
)
def test_a_pair_is_made_again_from_its_record(make_clip: ClipMaker, tmp_path: Path, config: dict[str, Any]) -> None:
    clip = make_clip(num_frames=30)
    make_dataset([clip], tmp_path / "out", MakeConfig(**config))
    (entry,) = Manifest.read(tmp_path / "out")
    shard, row = find_pair(tmp_path / "out", f"{entry.shard}:{entry.pairs - 1}")
    rebuilt = rebuild_pair(shard, row, clip)
    assert not rebuilt.different
    assert set(rebuilt.images) >= {"blurry", "sharp"}
    with pytest.raises(VideoError, match="SHA-256"):
        rebuild_pair(shard, row, make_clip("other.mkv", moving_texture(30, 48, 64, seed=9)))
    for name in ("x", f"{entry.shard}:99", "no-such-shard:0"):
        with pytest.raises(SettingsError):
            find_pair(tmp_path / "out", name)


def test_a_shard_with_a_damaged_record_is_refused_by_rebuild(make_clip: ClipMaker, tmp_path: Path) -> None:
    clip = make_clip(num_frames=10)
    make_dataset([clip], tmp_path / "out", MakeConfig(window="3"))
    (entry,) = Manifest.read(tmp_path / "out")
    path = entry.path(tmp_path / "out")
    path.write_bytes(path.read_bytes().replace(b'"window": "3"', b'"window": "x"'))
    with pytest.raises((ShardError, SettingsError)):
        rebuild_pair(path, 0, clip)


def test_hdr_is_averaged_by_its_own_curve_when_told_to_follow_the_tags(make_clip: ClipMaker, tmp_path: Path) -> None:
    clip = make_clip("hdr.mkv", num_frames=8, pixel_format="yuv420p10le", tags={"color_trc": 16})
    summary = make_dataset([clip], tmp_path / "auto", MakeConfig(window="3", crf="auto"))
    assert any("pq" in note for note in summary.clips[0].notes)
    with only_shard(tmp_path / "auto") as shard:
        assert shard.attributes["crf"] == "pq"
        info = describe(clip)
        codes = np.stack([to_rgb(info, frame) for frame in decode(info)][:3])
        curve = response_curve("pq")
        expected = curve.from_linear(curve.linear_of_codes(info.colour.peak)[codes].mean(0))
        assert np.array_equal(shard.pair(0)[0], expected)
    told = make_dataset([clip], tmp_path / "gamma", MakeConfig(window="3"))
    assert any("HDR" in note for note in told.clips[0].notes)


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"exposure": "1/30", "stride": 4}, "stride"),
        ({"exposure": "1/30", "window": "9"}, "window 9"),
        ({"min_sharpness": 2.0}, "from 0 to 1"),
        ({"exposure": "1/30", "shutter_angle": 180.0}, "shutter angle"),
        ({"shutter_angle": 180.0}, "output-fps"),
        ({"shutter_angle": 0.0, "output_fps": "30"}, "must be above 0"),
        ({"output_fps": "30"}, "needs --exposure"),
        ({"interpolate": "many"}, "interpolate"),
        ({"interpolate": "65"}, "interpolate"),
        ({"min_motion": -1.0}, "min-motion"),
        ({"max_ghost": float("nan")}, "max-ghost"),
        ({"max_ghost": 1.0, "measure": False}, "no-measure"),
        ({"output_crf": "srgb,,"}, "output curves"),
        ({"output_crf": "nonsense"}, "nonsense"),
        ({"noise": "loud"}, "noise"),
        ({"jpeg": "0"}, "jpeg"),
        ({"store": "light"}, "store"),
        ({"split": "train:-1"}, "train"),
    ],
)
def test_options_that_make_no_sense_are_refused(config: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        MakeConfig(**config)


def test_settings_are_the_same_however_they_are_written() -> None:
    spellings: list[list[dict[str, Any]]] = [
        [{"exposure": "1/30"}, {"exposure": "1/30s"}, {"exposure": " 2/60 s"}],
        [{"exposure": "20ms"}, {"exposure": "0.02"}],
        [{"source_fps": "240"}, {"source_fps": "240/1"}, {"source_fps": "240.0"}],
        [{"interpolate": "1"}, {"interpolate": "01"}],
        [{"interpolate": "off"}, {"interpolate": "0"}, {}],
    ]
    for same in spellings:
        assert len({MakeConfig(**settings).sha256() for settings in same}) == 1


def test_settings_left_at_their_default_do_not_count() -> None:
    assert MakeConfig().sha256() == MakeConfig(window="7", crf="gamma:2.20").sha256()
    assert MakeConfig().sha256() != MakeConfig(jpeg="90").sha256()
    assert json.loads(json.dumps(MakeConfig().settings()))
