import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import nn

from blursynth.errors import PhotoError, RefusedError, SettingsError, ShardError
from blursynth.files import sha256_of
from blursynth.layouts.provenance import Origin
from blursynth.model.checkpoint import Checkpoint, save_checkpoint
from blursynth.model.evaluation import EvalConfig, Output, run_evaluation
from blursynth.model.evaluation.alignment import realblur_scores
from blursynth.model.evaluation.datasets import DataSet, TrialSource, hash_of_pair, limited, open_data_set, open_folders
from blursynth.model.evaluation.kohler import kohler_scores
from blursynth.model.evaluation.methods import Method, load_methods
from blursynth.model.evaluation.results import BLURRY_INPUT, Results, read_results
from blursynth.model.evaluation.resuming import ScoreLog
from blursynth.model.evaluation.run import evaluate
from blursynth.model.evaluation.scoring import choose_scoring
from blursynth.model.evaluation.worst import view_of
from blursynth.model.lite import Lite, LiteConfig
from blursynth.model.restore import Deblurrer
from blursynth.photos import read_photo
from blursynth.shake.benchmark import KohlerTrial
from blursynth.shards import Manifest, Shard

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = LiteConfig(channels=(2, 2), encoder_blocks=(0, 0), decoder_blocks=(1,), num_fused_levels=2)
CPU = torch.device("cpu")
Image = NDArray[np.uint8]


def image(seed: int, height: int = 40, width: int = 56) -> Image:
    rng = np.random.default_rng(seed)
    return cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3), np.uint8), (5, 5), 1).astype(np.uint8)


def write(path: Path, pixels: Image) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels[:, :, ::-1])
    return path


def blurred(sharp: Image, length: int) -> Image:
    return cv2.blur(sharp, (length, 1)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five pairs in blur/ and sharp/, each blurrier than the one before."""
    for i in range(5):
        write(tmp_path / f"set/sharp/{i}.png", image(i))
        write(tmp_path / f"set/blur/{i}.png", blurred(image(i), 3 + 2 * i))
    return tmp_path / "set"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    with torch.random.fork_rng(devices=[]):
        network = Lite(SMALL).requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1, generator=generator)
    path = tmp_path / "random.safetensors"
    save_checkpoint(path, Checkpoint(SMALL, network.state_dict()))
    return path


def reference_psnr(restored: Image, sharp: Image) -> float:
    return float(peak_signal_noise_ratio(sharp, restored, data_range=255))  # type: ignore[no-untyped-call]


def reference_ssim(restored: Image, sharp: Image) -> float:
    return float(
        structural_similarity(  # type: ignore[no-untyped-call]
            sharp,
            restored,
            channel_axis=2,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
        )
    )


def means(results: Results, data: int = 0, method: int = 0) -> list[float]:
    found = results.data[data].methods[method]
    return [float(np.mean(found.column(i))) for i in range(len(results.columns))]


def test_numbers_are_those_of_scikit_image_for_the_blurry_input_and_a_network(folder: Path, checkpoint: Path) -> None:
    results = run_evaluation([folder], [str(checkpoint)], EvalConfig(device="cpu")).results
    (data,) = results.data
    assert [method.name for method in data.methods] == [BLURRY_INPUT, "random.safetensors"]
    deblur = Deblurrer.load(checkpoint, device="cpu")
    sharps = [image(i) for i in range(5)]
    blurry = [blurred(sharp, 3 + 2 * i) for i, sharp in enumerate(sharps)]
    for method, images in zip(data.methods, (blurry, [deblur(each) for each in blurry]), strict=True):
        assert [each.name for each in method.images] == ["0", "1", "2", "3", "4"]
        for reference, column in ((reference_psnr, 0), (reference_ssim, 1)):
            expected = [reference(one, sharp) for one, sharp in zip(images, sharps, strict=True)]
            assert method.column(column) == pytest.approx(expected, abs=1e-9)
    assert data.methods[1].seconds_per_image
    assert data.methods[0].seconds_per_image is None


def test_equal_images_count_a_hundred_decibels_and_not_infinity(tmp_path: Path) -> None:
    for name, pixels in (("blur", image(0)), ("sharp", image(0))):
        write(tmp_path / name / "a.png", pixels)
        write(tmp_path / name / "b.png", blurred(image(1), 3) if name == "blur" else image(1))
    results = run_evaluation([tmp_path]).results
    assert means(results)[0] == pytest.approx((100 + reference_psnr(blurred(image(1), 3), image(1))) / 2)
    assert "100 dB at most" in results.columns[0].definition


def gopro(root: Path, *tracks: str) -> Path:
    for sequence in ("GOPR0384_11_00", "GOPR0385_11_01"):
        for number in ("000001", "000002"):
            write(root / "test" / sequence / "sharp" / f"{number}.png", image(int(number)))
            for track in tracks:
                length = 3 if track == "blur" else 5
                write(root / "test" / sequence / track / f"{number}.png", blurred(image(int(number)), length))
    return root


def test_the_track_of_gopro_is_part_of_the_name(tmp_path: Path) -> None:
    tree = gopro(tmp_path / "GOPRO_Large", "blur", "blur_gamma")
    data = open_data_set(tree, track="blur_gamma")
    assert (data.name, data.track, data.layout) == ("GOPRO blur_gamma test", "blur_gamma", "gopro")
    assert open_data_set(tree, track="blur").name == "GOPRO blur test"
    assert [pair.sequence for pair in data.pairs] == ["GOPR0384_11_00"] * 2 + ["GOPR0385_11_01"] * 2
    with pytest.raises(SettingsError, match="--track"):
        open_data_set(tree)


def test_two_tracks_never_stand_in_one_evaluation(tmp_path: Path) -> None:
    trees = [gopro(tmp_path / track, track) for track in ("blur", "blur_gamma")]
    with pytest.raises(SettingsError, match="'GOPRO blur test' and 'GOPRO blur_gamma test' are two tracks"):
        run_evaluation(trees)
    pair = (trees[1] / "test/GOPR0384_11_00/blur_gamma", trees[1] / "test/GOPR0384_11_00/sharp")
    with pytest.raises(SettingsError, match="two tracks"):
        run_evaluation([trees[0]], folders=pair)


def test_a_plain_folder_has_no_track(folder: Path) -> None:
    data = open_data_set(folder)
    assert (data.name, data.track, data.split) == ("set", "", "")


def test_two_data_sets_of_one_name_are_refused(folder: Path) -> None:
    with pytest.raises(SettingsError, match="two data sets are called 'set'"):
        run_evaluation([folder, folder])


def test_nothing_to_evaluate_is_said() -> None:
    with pytest.raises(SettingsError, match="nothing to evaluate"):
        run_evaluation([])


def test_bad_pairs_are_named_and_the_data_hash_is_of_the_others(folder: Path, checkpoint: Path) -> None:
    whole = (folder / "blur/1.png").read_bytes()
    (folder / "blur/1.png").write_bytes(whole[:-200])
    write(folder / "sharp/3.png", image(3, 40, 48))
    evaluation = run_evaluation([folder], [str(checkpoint)], EvalConfig(device="cpu"))
    (data,) = evaluation.results.data
    assert [failure.name for failure in data.failures] == ["1", "3"]
    assert "blur/1.png" in evaluation.failures[0]
    assert "3.png: 56x40 and 48x40 px, blurry and sharp" in evaluation.failures[1]
    assert all([each.name for each in method.images] == ["0", "2", "4"] for method in data.methods)
    for name in ("1", "3"):
        for kind in ("blur", "sharp"):
            (folder / kind / f"{name}.png").unlink()
    assert run_evaluation([folder]).results.data[0].sha256 == data.sha256


def test_images_too_small_for_a_metric_are_failures(folder: Path) -> None:
    for kind in ("blur", "sharp"):
        write(folder / kind / "tiny.png", image(0, 8, 8))
    evaluation = run_evaluation([folder])
    assert len(evaluation.results.data[0].images) == 5
    assert len(evaluation.failures) == 1
    assert evaluation.failures[0].startswith("tiny: ")


def test_sixteen_bit_pictures_are_not_scored_as_eight(folder: Path) -> None:
    cv2.imwrite(str(folder / "blur/0.png"), image(0).astype(np.uint16) * 257)
    assert "16 bits a sample" in run_evaluation([folder]).failures[0]


def test_a_jpeg_that_breaks_off_is_not_scored(folder: Path) -> None:
    blurry = write(folder / "blur/5.jpg", image(5))
    write(folder / "sharp/5.png", image(5))
    data = blurry.read_bytes()
    assert not run_evaluation([folder]).failures
    blurry.write_bytes(data[: (data.index(b"\xff\xda") + len(data)) // 2] + b"\xff\xd9")
    (failure,) = run_evaluation([folder]).failures
    assert "5.jpg: damaged" in failure


def test_where_no_pair_can_be_scored_the_first_reason_is_the_error(folder: Path) -> None:
    for path in (folder / "blur").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(RefusedError, match=r"set: none of its 5 pairs could be scored: .*0\.png"):
        run_evaluation([folder])


def test_one_data_set_without_scores_does_not_stop_the_other(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "bad/blur/a.png", image(0))
    write(tmp_path / "bad/sharp/a.png", image(0)).write_bytes(b"no picture")
    evaluation = run_evaluation([folder, tmp_path / "bad"])
    assert [data.name for data in evaluation.results.data] == ["set"]
    assert "bad: none of its 1 pairs" in evaluation.failures[0]


def test_two_folders_are_paired_by_name_and_a_missing_twin_is_named(folder: Path) -> None:
    (folder / "sharp/2.png").unlink()
    data = open_folders(folder / "blur", folder / "sharp")
    assert (data.name, len(data.pairs), data.total) == ("set/blur", 4, 5)
    assert "blur/2.png: no sharp image of this name" in data.failures[0].error
    for path in (folder / "sharp").iterdir():
        path.rename(path.with_stem(f"x{path.stem}"))
    with pytest.raises(RefusedError, match="nor of any other"):
        open_folders(folder / "blur", folder / "sharp")


def test_a_limit_is_spread_evenly(folder: Path) -> None:
    data = open_data_set(folder)
    assert [pair.name for pair in limited(data, 2).pairs] == ["0", "2"]
    assert [pair.name for pair in limited(data, 9).pairs] == ["0", "1", "2", "3", "4"]
    assert limited(data, 2).total == 5
    with pytest.raises(SettingsError, match="limit 0"):
        limited(data, 0)


def test_shards_have_the_hash_of_the_same_pixels_in_files(shards: Path, tmp_path: Path) -> None:
    results = run_evaluation([shards]).results
    (data,) = results.data
    assert (data.name, data.layout, len(data.images)) == ("shards", "shards", 16)
    assert len(set(data.sequences)) == 2
    for number, entry in enumerate(Manifest.read(shards)):
        with Shard(entry.path(shards)) as shard:
            for index in range(len(shard)):
                for kind, pixels in zip(("blur", "sharp"), shard.pair(index), strict=True):
                    write(tmp_path / f"files/{kind}/{number}_{index}.png", pixels)
    of_files = run_evaluation([tmp_path / "files"]).results
    assert of_files.data[0].sha256 == data.sha256
    assert sorted(of_files.data[0].methods[0].column(0)) == sorted(data.methods[0].column(0))
    shard_path = next(iter(Manifest.read(shards))).path(shards)
    assert len(run_evaluation([shard_path]).results.data[0].images) == 8


def test_shards_that_call_all_their_pairs_alike_are_told_apart(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Origin, "of_shard", lambda shard: [Origin("same", "same")] * len(shard))
    data = open_data_set(shards)
    assert len({pair.name for pair in data.pairs}) == len(data.pairs) == 16


def test_a_shard_of_another_source_or_size_than_the_manifest_says_is_refused(shards: Path) -> None:
    entries = list(Manifest.read(shards))
    Manifest(shards, [replace(entries[0], source_sha256="0" * 64), *entries[1:]]).write()
    with pytest.raises(ShardError, match="holds other pairs than the manifest says"):
        open_data_set(shards)
    Manifest(shards, [replace(entries[0], bytes=entries[0].bytes + 1), *entries[1:]]).write()
    with pytest.raises(ShardError, match="bytes, the manifest says"):
        open_data_set(shards)


def test_a_split_that_shards_do_not_have_is_refused(shards: Path) -> None:
    with pytest.raises(SettingsError, match="no pairs of split 'val'; its shards have no splits"):
        open_data_set(shards, split="val")
    with pytest.raises(SettingsError, match="these shards have no track, not blur"):
        open_data_set(shards, track="blur")


class Stops:
    """Progress of an evaluation that is interrupted after some images."""

    def __init__(self, after: int) -> None:
        self.left = after

    @contextmanager
    def task(self, *_: object) -> Iterator[Callable[[float, str], None]]:
        def advance(_done: float, _remark: str) -> None:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

        yield advance

    def note(self, message: str) -> None:
        pass


def test_a_killed_run_goes_on_and_ends_with_the_same_scores(
    folder: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = EvalConfig(device="cpu")
    expected = run_evaluation([folder], [str(checkpoint)], config).results
    with pytest.raises(KeyboardInterrupt):
        run_evaluation([folder], [str(checkpoint)], config, output=Output(tmp_path / "out"), progress=Stops(8))
    assert not (tmp_path / "out/results.json").exists()
    with (tmp_path / "out/scores-so-far.jsonl").open("a") as file:
        file.write('{"key": "cut sh')
    restored: list[tuple[int, ...]] = []
    real = Deblurrer.__call__

    def counting(self: Deblurrer, pixels: Image, **more: Any) -> NDArray[Any]:
        restored.append(pixels.shape)
        return real(self, pixels, **more)

    monkeypatch.setattr(Deblurrer, "__call__", counting)
    results = run_evaluation([folder], [str(checkpoint)], config, output=Output(tmp_path / "out", num_worst=0)).results
    assert len(restored) == 2
    for method, other in zip(results.data[0].methods, expected.data[0].methods, strict=True):
        assert [each.values for each in method.images] == [each.values for each in other.images]
    assert not (tmp_path / "out/scores-so-far.jsonl").exists()
    assert read_results(tmp_path / "out/results.json").data[0].sha256 == expected.data[0].sha256


def test_scores_of_other_pixels_metrics_or_checkpoints_are_not_taken_over(
    folder: Path, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run_evaluation([folder], output=Output(out), progress=Stops(5))
    log = out / "scores-so-far.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        line["values"] = [1.0, 0.5]  # a lie that shows where it is believed
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    log.write_text(text)
    write(folder / "blur/0.png", blurred(image(0), 11))
    results = run_evaluation([folder], output=Output(out)).results
    assert [value == 1.0 for value in results.data[0].methods[0].column(0)] == [False, True, True, True, True]
    log.write_text(text)
    other = run_evaluation([folder], config=EvalConfig(metrics=("ssim", "psnr")), output=Output(out, overwrite=True))
    assert 1.0 not in other.results.data[0].methods[0].column(1)


@pytest.mark.parametrize(
    "line", ["", "[]", "null", "{}", '{"key": 1}', "9" * 5000, "[" * 5000, '{"key": "k", "values": "ab"}']
)
def test_damaged_lines_of_the_log_are_dropped(tmp_path: Path, line: str) -> None:
    path = tmp_path / "scores-so-far.jsonl"
    path.write_text(f"{line}\n")
    assert len(ScoreLog(tmp_path, {"k": 1})) == 0
    assert path.read_text() == ""


def test_results_are_not_overwritten_unless_told(folder: Path, tmp_path: Path) -> None:
    run_evaluation([folder], output=Output(tmp_path / "out"))
    before = (tmp_path / "out/results.json").read_bytes()
    with pytest.raises(SettingsError, match="exists already"):
        run_evaluation([folder], output=Output(tmp_path / "out"))
    run_evaluation([folder], output=Output(tmp_path / "out", overwrite=True))
    assert (tmp_path / "out/results.json").read_bytes() == before  # the blurry input takes no time: the same bytes


def test_the_worst_images_are_drawn_worst_first(folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    results = run_evaluation(
        [folder], [str(checkpoint)], EvalConfig(device="cpu"), output=Output(out, num_worst=2)
    ).results
    images = results.data[0].methods[1].images
    worst = sorted(images, key=lambda each: each.values[0])[:2]
    pictures = sorted((out / "worst/set/random.safetensors").iterdir())
    assert [path.name for path in pictures] == [f"{i:03d}_{each.name}.png" for i, each in enumerate(worst, 1)]
    number = int(worst[0].name)
    blurry = blurred(image(number), 3 + 2 * number)
    expected = view_of(blurry, Deblurrer.load(checkpoint, device="cpu")(blurry), image(number))
    assert np.array_equal(read_photo(pictures[0]).pixels, expected)
    assert len((out / "images.csv").read_text().splitlines()) == 1 + 2 * 5


def test_a_view_shows_the_place_of_the_largest_error() -> None:
    sharp = np.zeros((600, 1000, 3), np.uint8)
    restored = sharp.copy()
    restored[100:140, 900:940] = 255
    blurry = np.full_like(sharp, 9)
    view = view_of(blurry, restored, sharp)
    assert view.shape == (480, 3 * 480 + 8, 3)
    assert (view[:, :480] == 9).all()
    assert (view[:, 484:964] == 255).sum() == 40 * 40 * 3
    assert (view[:, 480:484] == 255).all()


class Source:
    """A pair in memory that tells when it is read."""

    def __init__(self, number: int) -> None:
        self.name, self.sequence, self.number = str(number), "", number
        self.is_read = threading.Event()

    def read(self) -> tuple[Image, Image]:
        self.is_read.set()
        if self.number == 7:
            raise PhotoError("seven: cannot be read")
        return blurred(image(self.number), 3), image(self.number)


def evaluated(sources: list[Source], restore: Callable[[Image], tuple[NDArray[Any], int]], **more: Any) -> Any:
    data = DataSet("memory", "memory", "", "", tuple(sources), len(sources))
    methods = [Method(BLURRY_INPUT), Method("network", "0" * 64, restore)]
    settings: dict[str, Any] = {}
    arguments: dict[str, Any] = {"device": CPU, "log": ScoreLog(None, {}), "settings": settings} | more
    return evaluate(data, methods, choose_scoring("plain", ["psnr"]), **arguments)


def test_the_next_pair_is_read_while_the_network_works() -> None:
    sources = [Source(i) for i in range(4)]
    seen: list[bool] = []

    def restore(blurry: Image) -> tuple[NDArray[Any], int]:
        following = sources[min(3, len(seen) + 1)]
        seen.append(following.is_read.wait(timeout=20))
        return blurry, 0

    for source in sources:
        source.is_read.clear()
    evaluated(sources, restore)
    assert seen == [True] * 4


def test_at_most_a_few_images_are_in_memory_at_once() -> None:
    sources = [Source(i) for i in range(40) if i != 7]
    most: list[int] = []

    def restore(blurry: Image) -> tuple[NDArray[Any], int]:
        most.append(sum(source.is_read.is_set() for source in sources) - len(most))
        return blurry, 0

    data = DataSet("memory", "memory", "", "", tuple(sources), len(sources))
    evaluate(
        data,
        [Method("network", "0" * 64, restore)],
        choose_scoring("plain", ["psnr"]),
        device=CPU,
        log=ScoreLog(None, {}),
        settings={},
    )
    assert max(most) <= 5


def test_tiles_that_were_not_restored_are_counted() -> None:
    result, _ = evaluated([Source(i) for i in range(3)], lambda blurry: (blurry, 2))
    assert result.methods[1].kept_tiles == 6
    assert result.methods[0].kept_tiles == 0


def test_an_error_of_the_network_ends_the_run_and_no_thread_hangs() -> None:
    def restore(blurry: Image) -> tuple[NDArray[Any], int]:
        raise MemoryError

    with pytest.raises(MemoryError):
        evaluated([Source(i) for i in range(9)], restore)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("read", "score"))]


def test_every_row_is_of_the_same_images_even_where_one_method_fails() -> None:
    def restore(blurry: Image) -> tuple[NDArray[Any], int]:
        return (blurry if blurry.sum() != blurred(image(2), 3).sum() else blurry[:8, :8]), 0

    result, _ = evaluated([Source(i) for i in range(9)], restore)
    assert [failure.name for failure in result.failures] == ["7", "2"]
    assert all([each.name for each in row.images] == ["0", "1", "3", "4", "5", "6", "8"] for row in result.methods)


def test_networks_are_called_by_what_tells_them_apart(checkpoint: Path, tmp_path: Path) -> None:
    data = checkpoint.read_bytes()
    for run in ("a", "b"):
        (tmp_path / run).mkdir()
    (tmp_path / "a/best.safetensors").write_bytes(data)
    with pytest.raises(SettingsError, match=r"the same checkpoint as a/best\.safetensors"):
        load_methods([str(tmp_path / "a/best.safetensors"), str(checkpoint)], device="cpu")
    names = [method.name for method in load_methods([str(tmp_path / "a/best.safetensors")], device="cpu")]
    assert names == [BLURRY_INPUT, "a/best.safetensors"]


def test_the_hash_of_a_pair_knows_its_shape() -> None:
    pixels = image(0)
    assert hash_of_pair(pixels, pixels) == hash_of_pair(pixels.copy(), pixels)
    assert hash_of_pair(pixels, pixels) != hash_of_pair(pixels.reshape(56, 40, 3), pixels)
    assert hash_of_pair(pixels, pixels[::-1]) != hash_of_pair(pixels[::-1], pixels)


def test_names_do_not_change_what_was_scored(folder: Path) -> None:
    first = run_evaluation([folder]).results.data[0]
    for kind in ("blur", "sharp"):
        (folder / kind / "0.png").rename(folder / kind / "z.png")
    second = run_evaluation([folder]).results.data[0]
    assert first.sha256 == second.sha256
    assert replace(first, methods=()) == replace(second, methods=())


def test_the_camera_shake_benchmark_is_scored_against_every_frame(tmp_path: Path) -> None:
    sharp = image(1, 180, 190)
    frames = [np.roll(sharp, shift, axis=1) for shift in (0, 2, 5)]
    paths = [write(tmp_path / f"frames/{i}.png", frame) for i, frame in enumerate(frames)]
    blurry = write(tmp_path / "blurry.png", blurred(sharp, 5))
    trial = KohlerTrial(
        "picture_01/trajectory_01", blurry, tuple(paths), 1.0, {p: sha256_of(p) for p in [blurry, *paths]}
    )
    data = DataSet("benchmark", "camera-shake", "", "", (TrialSource(trial),), 1)
    scoring = choose_scoring("kohler", [])
    result, _ = evaluate(data, [Method(BLURRY_INPUT)], scoring, device=CPU, log=ScoreLog(None, {}), settings={})
    assert [column.name for column in scoring.columns] == ["psnr-kohler", "mssim-kohler"]
    assert result.images[0].values == pytest.approx(kohler_scores(blurred(sharp, 5), frames))
    assert result.sequences == ["picture_01"]
    paths[1].unlink()
    with pytest.raises(RefusedError, match=r"1\.png"):
        evaluate(data, [Method(BLURRY_INPUT)], scoring, device=CPU, log=ScoreLog(None, {}), settings={})


def test_protocol_kohler_takes_its_own_data_only(folder: Path) -> None:
    with pytest.raises(SettingsError, match="and no other data"):
        run_evaluation([], config=EvalConfig(protocol="kohler"), folders=(folder / "blur", folder / "sharp"))
    with pytest.raises(RefusedError, match="no whole camera-shake benchmark"):
        run_evaluation([folder], config=EvalConfig(protocol="kohler"))
    (folder / "index.json").write_text("{}")
    with pytest.raises(SettingsError, match="--protocol kohler"):
        run_evaluation([folder])


def test_the_protocol_of_realblur_replaces_the_metrics_and_its_failures_are_named(tmp_path: Path) -> None:
    sharp = cv2.GaussianBlur(image(1, 96, 128).astype(np.float32), (0, 0), 3)
    sharp = np.rint(255 * (sharp - sharp.min()) / np.ptp(sharp)).astype(np.uint8)
    for name, pixels in (("good", sharp), ("black", np.zeros_like(sharp))):
        write(tmp_path / f"sharp/{name}.png", sharp)
        write(tmp_path / f"blur/{name}.png", blurred(pixels, 5))
    evaluation = run_evaluation([tmp_path], config=EvalConfig(protocol="realblur"))
    assert [column.name for column in evaluation.results.columns] == ["psnr-realblur", "ssim-realblur"]
    (found,) = evaluation.results.data[0].images
    assert found.values == pytest.approx(realblur_scores(blurred(sharp, 5), sharp))
    assert evaluation.failures[0].startswith("black: the restored image is black")
