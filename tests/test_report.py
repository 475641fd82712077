import json
import re
import shlex
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from PIL import Image

from blursynth.cli.main import cli
from blursynth.cli.make import command as make_command
from blursynth.cli.shake import command as shake_command
from blursynth.errors import CheckpointError, RefusedError, SettingsError, ShardError
from blursynth.make import MakeConfig, make_dataset
from blursynth.make.stills import ShakeConfig
from blursynth.report import data_report, training_report, write_report
from blursynth.report.card import card_html
from blursynth.report.gallery import chosen_pairs
from blursynth.report.journal import read_log
from blursynth.report.measures import MEASURES
from blursynth.report.pairs import PairTable, read_pairs
from blursynth.report.recipe import command_of
from blursynth.report.slices import cut_slice
from blursynth.shards import PAIR_DTYPE, Entry, Manifest, Shard
from blursynth.video import describe
from samples import ClipMaker, moving_texture


def table_of(**columns: list[float]) -> PairTable:
    """Pairs of one shard, of which only these fields are known."""
    rows = np.zeros(len(next(iter(columns.values()))), PAIR_DTYPE)
    for name, dtype in PAIR_DTYPE.fields.items() if PAIR_DTYPE.fields else ():
        if dtype[0].kind == "f" and name not in columns and not name.endswith("_noise"):
            rows[name] = np.nan
    for name, values in columns.items():
        rows[name] = values
    nobody = "0" * 64
    entry = Entry("a.h5", 1, nobody, rows.size, rows.size, 4, 4, "clip", nobody, nobody)
    number = np.arange(rows.size)
    return PairTable(Path("nowhere"), (entry,), rows, number * 0, number, rows.size, {})


def test_a_report_tells_of_every_source_and_what_was_left_out(make_clip: ClipMaker, tmp_path: Path) -> None:
    moving = make_clip("moving.mkv", moving_texture(24, 48, 64, speed=3.0))
    slow = make_clip("slow.mkv", moving_texture(24, 48, 64, speed=0.2))
    make_dataset([moving, slow], tmp_path / "out", MakeConfig(window="3", min_motion=2.0))
    text = data_report(tmp_path / "out")
    assert "<td>moving.mkv</td><td>–</td>" in text
    assert '<td>slow.mkv</td><td>–</td><td class="number">0</td><td class="number">8</td>' in text
    assert "less motion than --min-motion" in text


def test_equal_input_gives_equal_bytes(shards: Path) -> None:
    assert data_report(shards, pairs=5) == data_report(shards, pairs=5)


def test_names_of_files_cannot_become_markup(make_clip: ClipMaker, tmp_path: Path) -> None:
    name = '<img src=x onerror=alert(1)>&".mkv'
    make_dataset([make_clip(name, num_frames=9)], tmp_path / "<b>out", MakeConfig(window="3"))
    text = data_report(tmp_path / "<b>out")
    assert "onerror=alert(1)&gt;" in text
    assert "<img src=x" not in text
    assert "<b>out" not in text


def test_half_of_the_pairs_shown_are_the_worst() -> None:
    ghosts = np.random.default_rng(0).permutation(100).astype(float).tolist()
    sharpness = np.random.default_rng(1).permutation(100).astype(float).tolist()
    chosen = chosen_pairs(table_of(ghost_score=ghosts, sharpness=sharpness), 20, "ghost")
    assert len(chosen) == len(set(chosen)) == 20
    assert [ghosts[number] for number in chosen[:10]] == list(range(99, 89, -1))
    assert min(sharpness[number] for number in chosen) == 0
    shown = [ghosts[number] for number in chosen]
    assert shown == sorted(shown, reverse=True)


@pytest.mark.parametrize("count", [1, 2, 7, 50])
def test_never_more_pairs_are_shown_than_there_are(count: int) -> None:
    table = table_of(ghost_score=[1, float("nan"), 3, 2, float("nan"), 0, 9])
    chosen = chosen_pairs(table, count, "ghost")
    assert len(chosen) == len(set(chosen)) == min(7, count)
    assert chosen[0] == 6
    assert len(chosen_pairs(table, count, "motion")) == min(7, count)


def test_noise_is_told_at_mid_grey() -> None:
    rows = table_of(shot_noise=[0.0, 0.0002, 0.0], read_noise=[0.0, 0.0, 0.01]).rows
    found = MEASURES["noise"].of(rows)
    assert np.isnan(found[0])
    assert found[1:].tolist() == pytest.approx([0.6, 1.0])


def test_a_large_folder_is_sampled_and_says_so(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blursynth.report.pairs._MAX_SHARDS", 1)
    table = read_pairs(shards, list(Manifest.read(shards)))
    assert (table.rows.size, table.num_pairs) == (8, 16)
    assert "Of 8 pairs, a sample spread over all 16" in data_report(shards)


def test_a_large_shard_is_thinned(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blursynth.report.pairs._MAX_ROWS", 3)
    table = read_pairs(shards, list(Manifest.read(shards)))
    assert table.index_of.tolist() == [0, 3, 6]
    assert table.rows["number"].tolist() == [0, 3, 6]


@pytest.mark.parametrize(
    ("command", "config"),
    [
        (make_command, MakeConfig()),
        (make_command, MakeConfig(window="7-13", stride=3, resize=(64, 48), measure=False, noise="iso:100-3200")),
        (make_command, MakeConfig(exposure="1/30", highlights="on", codec="zstd", seed=3, split="train:0.9,test:0.1")),
        (make_command, MakeConfig(shutter_angle=180.0, output_fps="30", source_fps="240", interpolate="auto")),
        (make_command, MakeConfig(min_motion=1.5, max_ghost=4, min_sharpness=0.3, output_crf="srgb,gamma:1.8")),
        (shake_command, ShakeConfig(size=(64, 48), exposure_seconds="0.1-0.2", still=0.25, jpeg="70-90")),
    ],
)
def test_the_command_makes_the_same_settings(command: click.Command, config: MakeConfig | ShakeConfig) -> None:
    settings = json.loads(json.dumps(config.settings()))
    words = shlex.split(command_of(settings, ["a clip.mp4", "-x;rm.mov"], "out put"))
    assert words[0] == "blursynth"
    # Below its group: click keeps the options of help as they were where a command was called first.
    group = click.Context(cli, **cli.context_settings)
    context = command.make_context(str(command.name), words[2:], parent=group)
    values = {name: value for name, value in context.params.items() if name in settings}
    assert type(config)(**values).settings() == config.settings()
    assert context.params["output"] == Path("out put")
    assert [value for value in context.params.values() if value == ("a clip.mp4", "./-x;rm.mov")]


def test_settings_of_others_give_no_command() -> None:
    assert not command_of({"surprise": 1}, ["a"], "b")


def pair_of(folder: Path, number: int) -> tuple[Any, NDArray[np.uint8], NDArray[np.uint8]]:
    with Shard(next(iter(Manifest.read(folder))).path(folder)) as shard:
        return shard.rows()[number], *shard.pair(number)


@pytest.mark.parametrize("axis", [1, 2])
def test_a_slice_shows_motion_as_a_slant_of_its_speed(make_clip: ClipMaker, tmp_path: Path, axis: int) -> None:
    wide = moving_texture(1, 96, 160 + 3 * 30, speed=0, seed=3)[0]
    frames = np.stack([wide[:, 3 * (30 - t) : 3 * (30 - t) + 160] for t in range(30)])  # 3 px a frame to the right
    frames = frames if axis == 2 else frames.swapaxes(1, 2).copy()
    clip = make_clip("clip.mkv", frames, pixel_format="yuv444p")
    make_dataset([clip], tmp_path / "out", MakeConfig(window="7"))
    row, *pair = pair_of(tmp_path / "out", 1)
    found = cut_slice(describe(clip), row, pair)
    assert found
    assert found.speed_px == pytest.approx(3, abs=0.4)
    assert found.frames.shape[0] == 7 + 2 * 6
    assert found.first_frame == 1
    rows = found.frames.astype(float)
    moved = [np.abs(rows[1:, 20:-20] - np.roll(rows[:-1], shift, 1)[:, 20:-20]).mean() for shift in range(-5, 6)]
    assert int(np.argmin(moved)) - 5 == 3
    linear = (found.frames[6:13] / 255.0) ** 2.2
    mean = 255 * linear.mean(axis=0) ** (1 / 2.2)
    assert np.abs(mean - found.blurry).mean() < 4
    assert np.abs(found.frames[9].astype(float) - found.sharp).mean() < 2


def test_a_slice_ends_where_the_clip_does(make_clip: ClipMaker, tmp_path: Path) -> None:
    clip = make_clip(num_frames=9)
    make_dataset([clip], tmp_path / "out", MakeConfig(window="7"))
    row, *pair = pair_of(tmp_path / "out", 0)
    found = cut_slice(describe(clip), row, pair)
    assert found
    assert (found.first_frame, len(found.frames), found.window) == (0, 9, (0, 6))
    foreign = row.copy()
    foreign["last_frame"] = 9
    assert cut_slice(describe(clip), foreign, pair) is None


def test_slices_are_of_the_very_clip(make_clip: ClipMaker, tmp_path: Path) -> None:
    clip = make_clip("clip.mkv", num_frames=24)
    out = tmp_path / "deep" / "er" / "out"
    make_dataset([clip], out, MakeConfig(window="7"))
    assert "was not found" in data_report(out)
    assert "Slice through time of clip.mkv" in data_report(out, clips=[clip])
    assert "Slice through time of clip.mkv" in data_report(out, clips=[tmp_path])
    make_clip("clip.mkv", num_frames=25)  # another of the same name
    assert "or is not the one that it was made from" in data_report(out, clips=[clip])


def test_leaks_between_sides_are_told(make_clip: ClipMaker, tmp_path: Path) -> None:
    frames = moving_texture(24, 96, 128, seed=5)
    clips = [make_clip("walk.mkv", frames), make_clip("ride.mkv", frames[::-1].copy())]
    clips.append(make_clip("swim.mkv", moving_texture(24, 96, 128, seed=6)))
    make_dataset(clips, tmp_path / "out", MakeConfig(window="3", split="train:0.5,test:0.5"))
    sides = {entry.split for entry in Manifest.read(tmp_path / "out")}
    text = data_report(tmp_path / "out")
    assert sides == {"train", "test"}
    assert "sharp images were compared" in text
    split_of = {entry.source: entry.split for entry in Manifest.read(tmp_path / "out")}
    assert ("The split leaks" in text) == (split_of["walk.mkv"] != split_of["ride.mkv"])


def test_what_was_not_measured_is_said(make_clip: ClipMaker, tmp_path: Path) -> None:
    make_dataset([make_clip()], tmp_path / "out", MakeConfig(window="3", measure=False))
    text = data_report(tmp_path / "out")
    assert "not measured (made with --no-measure)" in text
    assert "No split was made" in text


def test_a_lost_shard_is_refused(shards: Path) -> None:
    next(shards.glob("*.h5")).unlink()
    with pytest.raises(ShardError, match=r"\.h5"):
        data_report(shards)


@pytest.mark.parametrize("options", [{"pairs": 0}, {"pairs": 201}, {"sort": "beauty"}])
def test_settings_that_make_no_sense_are_refused(shards: Path, options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        data_report(shards, **options)


LINES: list[dict[str, Any]] = [
    {"step": 10, "seconds": 5.0, "loss": 0.5, "losses": {"charbonnier": 0.5}, "learning_rate": 1e-3, "skipped": 0},
    {"step": 20, "seconds": 10.0, "loss": None, "losses": {}, "learning_rate": 1e-3, "skipped": 10},
    {"step": 20, "seconds": 11.0, "scores": {"psnr": 25.5, "blurry": 24.0, "pairs": 5}},
    {"step": 30, "seconds": 15.0, "loss": 0.3, "losses": {"charbonnier": 0.3}, "learning_rate": 5e-4, "skipped": 10},
    {"step": 30, "seconds": 16.0, "scores": {"psnr": None, "blurry": 24.0, "pairs": 5}},
    {"step": 20, "seconds": 10.0, "loss": 0.4, "losses": {"charbonnier": 0.4}, "learning_rate": 1e-3, "skipped": 10},
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with a log, a card and samples."""
    folder = tmp_path / "run <1>"
    (folder / "samples").mkdir(parents=True)
    (folder / "log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in LINES) + '{"step": 40, "lo')
    (folder / "card.md").write_text("# lite\n\n## Scores\n\n| | |\n|---|---|\n| PSNR | 25 <dB> |\n\nMade by `hand`.\n")
    for step in (10, 20, 30):
        Image.fromarray(np.full((32, 96, 3), 8 * step, np.uint8)).save(folder / "samples" / f"step-{step:06}.png")
    return folder


def test_of_steps_that_were_made_twice_the_later_line_counts(run: Path) -> None:
    loss = read_log(run).series("loss", "loss")
    assert loss.x.tolist() == [10, 20, 30]
    assert loss.y.tolist() == [0.5, 0.4, 0.3]


def test_a_run_shows_curves_samples_and_card(run: Path) -> None:
    text = training_report(run)
    assert "25.50 dB" in text
    assert all(f"<h3>{title}</h3>" in text for title in ("Loss", "Validation PSNR", "Learning rate"))
    assert "<h3>Validation SSIM</h3>" not in text  # nothing was written of it
    assert [int(step) for step in re.findall(r"<h3>Step (\d+)</h3>", text)] == [30, 20, 10]
    assert "between step 10 and step 30" in text
    assert "25 &lt;dB&gt;" in text
    assert "10 steps were skipped" in text
    assert "run &lt;1&gt;" in text
    assert text == training_report(run)


def test_a_run_that_has_only_begun_is_shown_too(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 1e9}\n[]\n{"step": true}\nnoise\n{"step": 1, "loss": NaN}\n')
    text = training_report(tmp_path)
    assert "no numbers yet" in text
    assert "kept no sample pictures" in text
    assert "no card yet" in text


def test_a_card_is_text_and_nothing_else() -> None:
    text = card_html(
        "# A <b>\n- one `x<y`\n- two\n\n| a | b |\n|:--|--:|\n| 1 | <i> |\n| 2 |\n\n```\n<pre>\n```\nend\n"
    )
    assert "<h3>A &lt;b&gt;</h3>" in text
    assert "<li>one <code>x&lt;y</code></li>" in text
    assert "<td>&lt;i&gt;</td>" in text
    assert "<pre>&lt;pre&gt;</pre>" in text
    assert "<p>end</p>" in text


def test_the_page_goes_into_the_folder_and_replaces_nothing(shards: Path, tmp_path: Path) -> None:
    page = write_report(shards, pairs=2)
    assert page == shards / "report.html"
    with pytest.raises(SettingsError, match="--overwrite"):
        write_report(shards, pairs=2)
    write_report(shards, pairs=2, overwrite=True)
    assert write_report(shards, tmp_path / "new" / "page.html", pairs=2).is_file()
    with pytest.raises(SettingsError, match="folder"):
        write_report(shards, tmp_path)


def test_what_is_neither_shards_nor_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"manifest\.jsonl"):
        write_report(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(RefusedError, match="not a folder"):
        write_report(tmp_path / "file")
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(CheckpointError, match="empty"):
        write_report(tmp_path)


def test_the_command_writes_the_page(shards: Path) -> None:
    result = CliRunner().invoke(cli, ["report", str(shards), "--pairs", "3", "--sort", "motion", "-q"])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{shards / 'report.html'}\n"
    assert (shards / "report.html").stat().st_size < 20_000_000


def test_make_writes_a_report_when_asked(make_clip: ClipMaker, tmp_path: Path) -> None:
    arguments = ["make", str(make_clip()), "-o", str(tmp_path / "out"), "--report", "-q"]
    for _ in range(2):  # going on where it stopped writes it anew
        assert CliRunner().invoke(cli, arguments).exit_code == 0
    assert "Slice through time of clip.mkv" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
