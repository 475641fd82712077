import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from PIL import Image

from blursynth.cli.main import COMMANDS, cli, main
from blursynth.make import MakeConfig
from blursynth.make.stills import ShakeConfig
from blursynth.model import TrainConfig
from samples import ClipMaker

BLURSYNTH = [sys.executable, "-m", "blursynth"]


def run(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BLURSYNTH, *arguments], cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False
    )


def command(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_of_itself(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0
    assert f"blursynth {name}" in result.output
    assert (command(name).help or "").splitlines()[0] == COMMANDS[name]
    for parameter in command(name).params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help or isinstance(parameter.type, click.Choice | click.Path), parameter.name


@pytest.mark.parametrize(
    ("name", "config"), [("make", MakeConfig()), ("train", TrainConfig()), ("shake", ShakeConfig())]
)
def test_options_mirror_the_settings_and_their_defaults(
    name: str, config: MakeConfig | TrainConfig | ShakeConfig
) -> None:
    defaults: dict[str, Any] = {parameter.name or "": parameter.default for parameter in command(name).params}
    for field in fields(config):
        assert field.name in defaults, f"{name} lacks --{field.name}"
        value = getattr(config, field.name)
        if value is not None and field.name != "online":  # those have names of their own
            assert defaults[field.name] == value


def test_help_neither_imports_torch_nor_anything_else_that_is_slow() -> None:
    script = (
        "import sys; from blursynth.cli.main import cli\n"
        "try: cli.main(['--help'], standalone_mode=True)\n"
        "except SystemExit: pass\n"
        "slow = {'torch', 'cv2', 'av', 'h5py', 'numba', 'numpy', 'rich'} & sys.modules.keys()\n"
        "assert not slow, slow"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_make_never_imports_torch(make_clip: ClipMaker, tmp_path: Path) -> None:
    script = (
        "import sys; from blursynth.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert 'blursynth.make' in sys.modules and 'torch' not in sys.modules"
    )
    arguments = ["make", str(make_clip()), "-o", str(tmp_path / "out")]
    subprocess.run([sys.executable, "-c", script, *arguments], check=True, capture_output=True)


def test_make_prints_the_folder_on_stdout_and_the_rest_on_stderr(make_clip: ClipMaker, tmp_path: Path) -> None:
    clip = make_clip()
    done = run("make", "--video", clip.name, "--window", "7", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "shards\n")
    assert "3 pairs" in done.stderr
    again = run("make", clip.name, "--json", "--quiet", cwd=tmp_path)
    summary = json.loads(again.stdout)
    assert (again.stderr, summary["clips"][0]["pairs"]) == ("", 3)
    verified = run("verify", "shards", cwd=tmp_path)
    assert (verified.returncode, verified.stdout.count(": good")) == (0, 1)
    inspected = json.loads(run("inspect", "shards", clip.name, "--json", cwd=tmp_path).stdout)
    assert (inspected["shards"]["pairs"], inspected[clip.name]["frames"]) == (3, 24)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["make", "none.mp4"], 2, "none.mp4: no such file"),
        (["make"], 2, "no videos given"),
        (["make", "text.mp4"], 4, "text.mp4: not a video"),
        (["make", "empty.mp4"], 4, "empty.mp4: empty file"),
        (["make", "clip.mkv", "--window", "8"], 2, "take 7 or 9"),
        (["make", "clip.mkv", "--window", "25"], 4, "24 frames, a window needs 25"),
        (["make", "clip.mkv", "--resize", "7"], 2, "640x360"),
        (["make", "clip.mkv", "-o", "text.mp4"], 2, "a folder is needed"),
        (["make", "clip.mkv", "-o", "/proc/nothing"], 5, "/proc/nothing"),
        (["make", "http://127.0.0.1:9/clip.mp4"], 2, "no such file"),
        (["make", "clip.mkv", "text.mp4", "-o", "partial"], 3, "text.mp4: not a video"),
        (["make", "clip.mkv", "-o", "old", "--window", "5"], 2, "made with window 7"),
        (["make", "clip.mkv", "text.mp4", "--preview-video", "p.mp4"], 2, "--preview-video"),
        (["--config", "bad.toml", "make", "clip.mkv"], 2, "no option 'windwo'"),
        (["train", "none"], 4, "no manifest.jsonl"),
        (["train", "newer"], 4, "schema 2"),
        (["train", "old", "--patch", "30"], 2, "patch 30"),
        (["train", "old", "--patch", "256"], 2, "patch 256: larger"),
        (["train", "old", "--device", "cuda"], 5, "sees no GPU"),
        (["train", "old", "--resume"], 4, "no run to resume"),
        (["deblur", "text.jpg"], 4, "not a JPEG"),
        (["deblur", "none.jpg"], 2, "none.jpg: no such file"),
        (["deblur", "photo.png", "--checkpoint", "text.jpg"], 4, "not a checkpoint"),
        (["inspect", "text.mp4"], 4, "not a video"),
        (["verify", "newer"], 4, "schema 2"),
        (["mkae"], 2, "No such command"),
        (["make", "--windw", "7"], 2, "Did you mean '--window'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gets_one_line_and_the_documented_code(
    make_clip: ClipMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: list[str], code: int, message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    make_clip()
    for name in ("text.mp4", "text.jpg"):
        Path(name).write_text("neither a video nor a photograph\n" * 9)
    Path("empty.mp4").touch()
    Image.new("RGB", (64, 64)).save("photo.png")
    Path("bad.toml").write_text("[make]\nwindwo = 7\n")
    Path("newer").mkdir()
    Path("newer/manifest.jsonl").write_text('{"schema": 2}\n')
    with pytest.raises(SystemExit):
        main(["make", "clip.mkv", "-o", "old", "-q"])
    before = {path for path in tmp_path.rglob("*") if path.suffix in {".h5", ".safetensors", ".jpg", ".mp4"}}
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(arguments)
    stderr = capsys.readouterr().err
    assert end.value.code == code, stderr
    assert message in stderr
    assert "Traceback" not in stderr
    assert len([line for line in stderr.splitlines() if line.startswith(("error", "Error"))]) <= 1
    after = {path for path in tmp_path.rglob("*") if path.suffix in {".h5", ".safetensors", ".jpg", ".mp4"}}
    assert {path for path in after - before if "partial" not in str(path)} == set()


def test_settings_come_from_options_then_environment_then_file(make_clip: ClipMaker, tmp_path: Path) -> None:
    clip = make_clip()
    (tmp_path / "settings.toml").write_text('[make]\nwindow = 3\ncrf = "srgb"\n')

    def config(*arguments: str, **environment: str) -> tuple[str, str]:
        out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        command_line = ["--config", str(tmp_path / "settings.toml"), "make", str(clip), "-o", str(out), *arguments]
        done = run(*command_line, cwd=None, **environment)
        assert done.returncode == 0, done.stderr
        found = json.loads(run("inspect", str(out), "--json").stdout)[str(out)]["config"]
        return found["window"], found["crf"]

    assert config() == ("3", "srgb")
    assert config(BLURSYNTH_MAKE_WINDOW="5") == ("5", "srgb")
    assert config("--window", "9", BLURSYNTH_MAKE_WINDOW="5") == ("9", "srgb")


def test_names_that_begin_with_a_dash(make_clip: ClipMaker, tmp_path: Path) -> None:
    make_clip("-clip.mkv")
    assert run("make", "--", "-clip.mkv", cwd=tmp_path).returncode == 0
    assert run("make", "--video", "./-clip.mkv", cwd=tmp_path).returncode == 0


def test_an_unforeseen_error_is_one_line_and_a_traceback_only_with_vv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr("blursynth.contents.inspect_path", lambda _path: 1 / 0)
    for arguments, has_traceback in [([], False), (["-vv"], True)]:
        with pytest.raises(SystemExit) as end:
            main(["inspect", str(tmp_path), *arguments])
        assert end.value.code == 1
        stderr = capsys.readouterr().err
        assert "internal error: ZeroDivisionError" in stderr
        assert ("Traceback" in stderr) is has_traceback


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_end_make_cleanly(make_clip: ClipMaker, tmp_path: Path, number: signal.Signals, code: int) -> None:
    clip = make_clip(num_frames=60, size=(480, 640), codec="libx264", name="clip.mp4")
    script = (
        "import time; from blursynth import decoding; from blursynth.make import plan, run\n"
        "real = decoding.decode\n"
        "def slow(info, start=0):\n"
        "    for frame in real(info, start):\n"
        "        print('frame', flush=True); time.sleep(0.05); yield frame\n"
        "run.decode = slow\n"
        "plan.pairs_per_shard = lambda height, width, keeps_light: 2\n"
        "from blursynth.cli.main import main; main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, "make", str(clip), "-o", str(tmp_path / "out"), "--window", "3"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    for _ in range(20):
        process.stdout.readline()
    process.send_signal(number)
    begin = time.monotonic()
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == code
    assert time.monotonic() - begin < 5
    assert "Traceback" not in stderr
    assert not list((tmp_path / "out").glob("*.tmp"))
    assert run("verify", str(tmp_path / "out")).returncode == 0


def test_a_reader_that_goes_away_is_no_error(make_clip: ClipMaker, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*BLURSYNTH, "inspect", str(make_clip())], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    assert process.wait() == 0


def test_doctor_tells_versions_and_what_to_look_at() -> None:
    values = json.loads(run("doctor", "--json").stdout)
    assert values["libraries"]["torch"]
    assert "h264" in values["ffmpeg"]["decoders"]
    assert "libx264" in values["ffmpeg"]["encoder"]
    assert isinstance(values["troubles"], list)
    shown = run("doctor", HDF5_PLUGIN_PATH="/nowhere")
    assert "HDF5_PLUGIN_PATH is set" in shown.stdout
