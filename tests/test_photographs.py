import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from blursynth.errors import OutputError, PhotoError, SettingsError
from blursynth.model import photographs as module
from blursynth.model.lite import Lite, LiteConfig
from blursynth.model.photographs import (
    STREAM,
    DeblurResult,
    FileSettings,
    deblur_files,
    find_photographs,
    output_paths,
)
from blursynth.model.restore import Deblurrer
from blursynth.model.tiles import TileGrid

SMALL = LiteConfig(channels=(2, 2), encoder_blocks=(0, 0), decoder_blocks=(0,))
pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


class Inverting(Lite):
    """Inverts photographs; values where the code was 255 are not finite."""

    def forward(self, blurry: Tensor) -> list[Tensor]:
        return [torch.where(blurry == 1, torch.nan, 1 - blurry)]


def deblurrer(kind: type[Lite] = Lite) -> Deblurrer:
    """Untrained, `Lite` changes nothing."""
    with torch.random.fork_rng(devices=[]):
        return Deblurrer(kind(SMALL), device=CPU, tile=64, is_guarded=False)


class Notes:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.tasks: list[tuple[str, float, float]] = []
        self.notes: list[str] = []

    @contextmanager
    def task(self, label: str, total: float, unit: str) -> Iterator[Callable[[float, str], None]]:
        assert unit in {"tiles", "photographs"}
        amounts: list[float] = []
        yield lambda amount, _remark: amounts.append(amount)
        self.tasks.append((label, total, sum(amounts)))

    def note(self, message: str) -> None:
        self.notes.append(message)


def picture(height: int = 40, width: int = 70, *, lightest: int = 250) -> NDArray[np.uint8]:
    """Smooth, so that JPEG loses little, and different in every corner."""
    y, x = np.mgrid[:height, :width]
    planes = (lightest * y / height, lightest * x / width, np.full(y.shape, 90.0))
    return np.stack(planes, axis=2).astype(np.uint8)


def png(path: Path, **settings: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(**settings)).save(path)
    return path


def pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def paths(*names: str) -> list[Path]:
    return [Path(name) for name in names]


@pytest.mark.parametrize(
    ("sources", "output", "expected"),
    [
        (["a.jpg"], None, ["a_deblurred.jpg"]),
        (["x/a.jpg", "y/a.jpg"], None, ["x/a_deblurred.jpg", "y/a_deblurred.jpg"]),
        (["/x/a.b.JPG"], None, ["/x/a.b_deblurred.JPG"]),
        (["a"], None, ["a_deblurred"]),
        (["a.jpg"], "sharp.png", ["sharp.png"]),
        (["a.jpg"], "x/sharp.png", ["x/sharp.png"]),
        (["a.jpg"], "sharp", ["sharp/a_deblurred.jpg"]),
        (["x/a.jpg", "y/b.png"], "sharp", ["sharp/a_deblurred.jpg", "sharp/b_deblurred.png"]),
        (["x/a.jpg", "y/b.png"], "sharp.d", ["sharp.d/a_deblurred.jpg", "sharp.d/b_deblurred.png"]),
        ([], "sharp", []),
    ],
)
def test_where_results_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sources: list[str], output: str | None, expected: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert output_paths(paths(*sources), None if output is None else Path(output)) == paths(*expected)


def test_a_folder_with_an_ending_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "sharp.d").mkdir()
    assert output_paths(paths("a.jpg"), tmp_path / "sharp.d") == [tmp_path / "sharp.d" / "a_deblurred.jpg"]


def test_in_a_folder_of_results_lies_what_lay_in_the_folders_that_were_searched(tmp_path: Path) -> None:
    for name in ("card/100/1.png", "card/101/1.png", "card/2.png", "other/3.png"):
        png(tmp_path / name)
    card, other, out = tmp_path / "card", tmp_path / "other" / "3.png", tmp_path / "out"
    sources = find_photographs([str(card), str(other)], is_recursive=True)
    found = output_paths(sources, out, folders=[card])
    names = ["100/1_deblurred.png", "101/1_deblurred.png", "2_deblurred.png", "3_deblurred.png"]
    assert found == [out / name for name in names]


def test_results_that_a_shell_names_beside_their_photographs_are_left_out(tmp_path: Path) -> None:
    a, b, other = png(tmp_path / "a.png"), png(tmp_path / "a_deblurred.png"), png(tmp_path / "c_deblurred.png")
    assert find_photographs([str(a), str(b), str(other)]) == [a, other]
    assert find_photographs([str(b)]) == [b]  # to do it once more


def test_the_suffix_may_be_another_one() -> None:
    assert output_paths(paths("a.jpg"), None, suffix="-x") == paths("a-x.jpg")
    assert output_paths(paths("a.jpg", "b.jpg"), Path("o"), suffix="") == paths("o/a.jpg", "o/b.jpg")


@pytest.mark.parametrize(
    ("sources", "output", "suffix", "named"),
    [
        (["x/a.jpg", "y/a.jpg"], "o", "_deblurred", "y/a.jpg: its result would replace o/a_deblurred.jpg"),
        (["a.jpg", "a.jpg"], None, "_deblurred", "a.jpg: its result would replace a_deblurred.jpg"),
        (["a.jpg", "a_deblurred.jpg"], None, "_deblurred", "a.jpg: its result would replace a_deblurred.jpg"),
        (["a.jpg"], "a.jpg", "_deblurred", "a.jpg: its result would replace a.jpg"),
        (["a.jpg"], None, "", "a.jpg: its result would replace a.jpg"),
        (["a.jpg"], "./x/../a.jpg", "_deblurred", "a.jpg: its result would replace a.jpg"),
        (["x/a.jpg", "y/b.jpg"], "x", "", "x/a.jpg: its result would replace x/a.jpg"),
        (["x/../a.jpg", "a.jpg"], None, "_deblurred", "a.jpg: its result would replace x/../a_deblurred.jpg"),
    ],
)
def test_results_that_would_replace_a_photograph_or_each_other_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sources: list[str], output: str | None, suffix: str, named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError) as caught:
        output_paths(paths(*sources), None if output is None else Path(output), suffix=suffix)
    assert str(caught.value) == f"{named}; choose another -o"


def test_a_photograph_is_not_replaced_through_a_link_to_it(tmp_path: Path) -> None:
    real = png(tmp_path / "real" / "a.png")
    (tmp_path / "folder").symlink_to(real.parent)
    (tmp_path / "a.png").symlink_to(real)
    for source, output in ((real, tmp_path / "folder" / "a.png"), (tmp_path / "a.png", real)):
        with pytest.raises(SettingsError, match="its result would replace"):
            output_paths([source], output)


def test_results_are_what_the_network_makes_of_photographs(tmp_path: Path) -> None:
    sources = [png(tmp_path / "a.png"), png(tmp_path / "b.png", height=80, width=100)]
    outputs = output_paths(sources, tmp_path / "new" / "folder")
    before = [source.read_bytes() for source in sources]
    notes = Notes()
    results = deblur_files(sources, outputs, deblurrer(Inverting), progress=notes)
    assert results == [DeblurResult(source, output) for source, output in zip(sources, outputs, strict=True)]
    for source, output in zip(sources, outputs, strict=True):
        assert np.array_equal(pixels(output), 255 - pixels(source))
    assert [source.read_bytes() for source in sources] == before
    assert notes.tasks == [("deblurring", 2, 2)]
    assert notes.notes == []


def test_sixteen_bits_stay_sixteen(tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(0, 65535, (70, 50, 3)).astype(np.uint16)
    source, output = tmp_path / "a.png", tmp_path / "b.png"
    cv2.imwrite(str(source), codes)
    deblur_files([source], [output], deblurrer(Inverting))
    assert np.array_equal(np.asarray(cv2.imread(str(output), cv2.IMREAD_UNCHANGED)), 65535 - codes)


UPRIGHT: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    1: lambda stored: stored,
    3: lambda stored: stored[::-1, ::-1],
    6: lambda stored: np.rot90(stored, -1),  # the camera was turned; the first column is the top
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_results_are_upright_and_say_so(tmp_path: Path, orientation: int) -> None:
    source, output = tmp_path / "a.jpg", tmp_path / "b.jpg"
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Camera"
    Image.fromarray(picture()).save(source, quality=95, subsampling=0, exif=exif)
    deblur_files([source], [output], deblurrer())
    expected = UPRIGHT[orientation](pixels(source)).astype(int)
    assert pixels(output).shape == expected.shape
    assert np.abs(pixels(output) - expected).max() <= 6  # coded once more
    with Image.open(output) as image:
        assert image.getexif().get(0x0112, 1) == 1
        assert image.getexif()[0x010F] == "Camera"


def test_metadata_is_left_out_if_asked_for(tmp_path: Path) -> None:
    source, output = tmp_path / "a.jpg", tmp_path / "b.jpg"
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    Image.fromarray(picture()).save(source, exif=exif)
    deblur_files([source], [output], deblurrer(), FileSettings(strip_metadata=True))
    with Image.open(output) as image:
        assert not image.getexif()


def test_one_bad_photograph_does_not_stop_the_others(tmp_path: Path) -> None:
    sources = [tmp_path / "a.png", tmp_path / "b.png", tmp_path / "c.png", tmp_path / "d.png"]
    png(sources[0])
    sources[1].write_text("not a photograph")
    png(sources[3])  # and c is not there
    outputs = output_paths(sources, tmp_path / "sharp")
    results = deblur_files(sources, outputs, deblurrer())
    assert [(result.source, result.output) for result in results] == list(zip(sources, outputs, strict=True))
    assert [bool(result.error) for result in results] == [False, True, True, False]
    for result in results[1:3]:
        assert str(result.error).startswith(str(result.source))
        assert str(result.error).isprintable()
    assert [output.exists() for output in outputs] == [True, False, False, True]


@pytest.mark.parametrize("content", [None, b"", b"not a photograph"])
def test_a_single_bad_photograph_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    source = tmp_path / "a.png"
    if content is not None:
        source.write_bytes(content)
    with pytest.raises(PhotoError, match=r"a\.png"):
        deblur_files([source], [tmp_path / "new" / "b.png"], deblurrer())
    assert not (tmp_path / "new").exists()


def test_of_several_what_is_done_already_is_skipped(tmp_path: Path) -> None:
    sources = [png(tmp_path / "a.png"), png(tmp_path / "b.png")]
    outputs = output_paths(sources, None)
    outputs[0].write_bytes(b"from an earlier run")
    notes = Notes()
    results = deblur_files(sources, outputs, deblurrer(Inverting), progress=notes)
    assert [result.error for result in results] == [None, None]
    assert outputs[0].read_bytes() == b"from an earlier run"
    assert np.array_equal(pixels(outputs[1]), 255 - pixels(sources[1]))
    assert notes.notes == [f"{outputs[0]}: exists already, skipped"]
    assert notes.tasks == [("deblurring", 1, 1)]


def test_a_single_result_that_exists_is_refused_before_the_work(tmp_path: Path) -> None:
    source, output = tmp_path / "a.png", tmp_path / "b.png"
    source.write_text("not even a photograph")
    output.write_bytes(b"precious")
    with pytest.raises(SettingsError, match=r"b\.png: exists already"):
        deblur_files([source], [output], deblurrer())
    assert output.read_bytes() == b"precious"


@pytest.mark.parametrize("count", [1, 2])
def test_what_exists_is_replaced_if_asked_for(tmp_path: Path, count: int) -> None:
    sources = [png(tmp_path / f"{k}.png") for k in range(count)]
    outputs = output_paths(sources, None)
    for output in outputs:
        output.write_bytes(b"from an earlier run")
    results = deblur_files(sources, outputs, deblurrer(Inverting), FileSettings(overwrite=True))
    assert [result.error for result in results] == [None] * count
    for source, output in zip(sources, outputs, strict=True):
        assert np.array_equal(pixels(output), 255 - pixels(source))


def test_a_format_that_cannot_be_written_fails_alone(tmp_path: Path) -> None:
    sources = [png(tmp_path / "a.png"), png(tmp_path / "b.png")]
    outputs = [tmp_path / "a.xyz", tmp_path / "c.png"]
    first, second = deblur_files(sources, outputs, deblurrer())
    assert "a.xyz" in str(first.error)
    assert second.error is None
    with pytest.raises(SettingsError, match=r"a\.xyz"):
        deblur_files(sources[:1], outputs[:1], deblurrer())
    assert not outputs[0].exists()


def test_what_cannot_be_written_is_refused_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "a.png"
    Image.fromarray(np.dstack([picture(), picture()[..., 0]])).save(source)
    network = deblurrer()
    monkeypatch.setattr(network, "grid", lambda *_sides: pytest.fail("the network was asked"))
    for name, reason in (("b.jpg", "cannot hold the transparency"), ("b.xyz", "cannot write .xyz")):
        with pytest.raises(SettingsError, match=reason):
            deblur_files([source], [tmp_path / name], network)


def test_a_full_disk_stops_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, *_arguments: object, **_settings: object) -> None:
        raise OutputError(f"{path}: the disk is full")

    monkeypatch.setattr(module, "write_photo", fail)
    sources = [png(tmp_path / f"{name}.png") for name in "abcd"]
    network = deblurrer()
    grids: list[TileGrid] = []

    def grid(height: int, width: int) -> TileGrid:
        grids.append(TileGrid(height, width, 512, 96, 4))
        return grids[-1]

    monkeypatch.setattr(network, "grid", grid)
    with pytest.raises(OutputError, match=r"a_deblurred\.png: the disk is full"):
        deblur_files(sources, output_paths(sources, None), network)
    assert len(grids) <= 2  # the second was begun while the first was written


def test_tiles_that_could_not_be_computed_are_told(tmp_path: Path) -> None:
    source, output = png(tmp_path / "a.png", height=64, width=200), tmp_path / "b.png"
    spoiled = pixels(source)
    spoiled[30, 3] = 255  # in the first tile only
    Image.fromarray(spoiled).save(source)
    notes = Notes()
    (result,) = deblur_files([source], [output], deblurrer(Inverting), progress=notes)
    assert result == DeblurResult(source, output, kept_tiles=1)
    assert notes.notes == [f"{source}: 1 of 5 tile(s) stay as they were: the network failed on them"]
    assert np.array_equal(pixels(output)[:, :40], spoiled[:, :40])
    assert np.array_equal(pixels(output)[:, 64:], 255 - spoiled[:, 64:])


def test_file_times_are_kept_if_asked_for(tmp_path: Path) -> None:
    source = png(tmp_path / "a.png")
    os.utime(source, ns=(1_000_000_000_123_456_000, 1_100_000_000_654_321_000))
    for keep_times in (False, True):
        output = tmp_path / f"{keep_times}.png"
        deblur_files([source], [output], deblurrer(), FileSettings(keep_times=keep_times))
        assert (output.stat().st_mtime_ns == 1_100_000_000_654_321_000) == keep_times


def test_a_page_to_compare_stands_beside_the_result(tmp_path: Path) -> None:
    source, output = png(tmp_path / "<b>&.png"), tmp_path / "sharp.png"
    (result,) = deblur_files([source], [output], deblurrer(Inverting), FileSettings(compare=True))
    assert result.page == tmp_path / "sharp.png.html"
    page = result.page.read_text()
    assert "&lt;b&gt;&amp;.png" in page
    assert "<b>&.png" not in page
    assert not re.search(r"(src|href)=[\"']?(https?:|//)", page)
    assert np.array_equal(pixels(output), 255 - pixels(source))
    output.unlink()
    with pytest.raises(SettingsError, match=r"sharp\.png\.html: exists already"):
        deblur_files([source], [output], deblurrer(), FileSettings(compare=True))
    assert not output.exists()


def test_sixteen_bits_can_be_compared(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((70, 50, 3), 4000, np.uint16))
    (result,) = deblur_files([tmp_path / "a.png"], [tmp_path / "b.png"], deblurrer(), FileSettings(compare=True))
    assert result.page is not None
    assert result.page.exists()


class Streams:
    """Standard input and output as bytes."""

    def __init__(self, data: bytes) -> None:
        self.stdin, self.stdout = io.BytesIO(data), io.BytesIO()

    def put(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("stdin", "stdout"):
            monkeypatch.setattr(sys, name, SimpleNamespace(buffer=getattr(self, name)))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_a_photograph_goes_from_standard_input_to_standard_output(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(picture()).save(path)
    streams = Streams(path.read_bytes())
    streams.put(monkeypatch)
    sources = find_photographs(["-"])
    outputs = output_paths(sources, None)
    assert (sources, outputs) == ([STREAM], [STREAM])
    deblur_files(sources, outputs, deblurrer(Inverting))
    with Image.open(streams.stdout) as shown, Image.open(path) as stored:
        assert shown.format == stored.format  # of the content, there is no name
        assert np.abs(np.asarray(shown.convert("RGB")).astype(int) - (255 - pixels(path))).mean() < 3


def test_from_standard_input_into_a_file_and_the_other_way_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = png(tmp_path / "a.png")
    streams = Streams(source.read_bytes())
    streams.put(monkeypatch)
    deblur_files([STREAM], output_paths([STREAM], tmp_path / "b.tif"), deblurrer(Inverting))
    assert np.array_equal(pixels(tmp_path / "b.tif"), 255 - pixels(source))
    deblur_files([source], output_paths([source], STREAM), deblurrer(Inverting))
    with Image.open(streams.stdout) as image:
        assert np.array_equal(np.asarray(image), 255 - pixels(source))


@pytest.mark.parametrize("data", [b"", b"no photograph"])
def test_what_comes_from_standard_input_may_be_none(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = Streams(data)
    streams.put(monkeypatch)
    with pytest.raises(PhotoError, match="standard input: "):
        deblur_files([STREAM], [STREAM], deblurrer())
    assert not streams.stdout.getvalue()


def test_standard_input_and_output_take_one_photograph() -> None:
    for sources, output in (([STREAM, Path("a.jpg")], None), (paths("a.jpg", "b.jpg"), STREAM)):
        with pytest.raises(SettingsError, match="take one photograph"):
            output_paths(sources, output)


def test_clips_are_named_and_not_found_in_folders(tmp_path: Path) -> None:
    png(tmp_path / "a.png")
    (tmp_path / "b.mp4").touch()
    assert find_photographs([str(tmp_path)]) == [tmp_path / "a.png"]
    assert find_photographs([str(tmp_path / "b.mp4")]) == [tmp_path / "b.mp4"]
    assert output_paths(paths("x/b.MP4", "x/c.avi"), None) == paths("x/b_deblurred.MP4", "x/c_deblurred.mkv")


def test_what_would_not_fit_into_memory_is_refused_by_its_header(tmp_path: Path) -> None:
    source = png(tmp_path / "a.png")
    held = psutil.Process().memory_info().rss
    with pytest.raises(PhotoError, match=r"a\.png: 70x40 takes .* GB to decode, .*--memory"):
        deblur_files([source], [tmp_path / "b.png"], deblurrer(), FileSettings(memory_bytes=held // 2))


@pytest.mark.parametrize("setting", [{"max_pixels": 0}, {"quality": -1}, {"quality": 52}])
def test_settings_that_make_no_sense_are_refused(setting: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match=next(iter(setting)).replace("_", "-")):
        FileSettings(**setting)  # type: ignore[arg-type]
