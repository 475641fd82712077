import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blursynth.errors import RefusedError, SettingsError
from blursynth.model.evaluation.comparing import check_comparable, compare
from blursynth.model.evaluation.intervals import mean_interval
from blursynth.model.evaluation.published import published_of, published_rows
from blursynth.model.evaluation.results import (
    BLURRY_INPUT,
    Column,
    DataResult,
    Failure,
    ImageScore,
    MethodResult,
    Results,
    read_results,
)
from blursynth.model.evaluation.table import comparison_text, csv_text, data_text, definitions_text, published_text

PSNR = Column("psnr", "RGB", "dB", 2, is_higher_better=True)
SSIM = Column("ssim", "Gaussian", "", 4, is_higher_better=True)


def results_of(
    scores: Sequence[Sequence[tuple[float, float]]],
    *,
    name: str = "set",
    track: str = "",
    layout: str = "folders",
    split: str = "",
    sequences: Sequence[str] | None = None,
    order: Sequence[int] | None = None,
) -> Results:
    """Scores of methods, (psnr, ssim) of each image; the first method is the blurry input."""
    count = len(scores[0])
    methods = []
    for number, each in enumerate(scores):
        images = [
            ImageScore(f"i{i}", sequences[i] if sequences else "", f"{i:064x}", pair, 0.5 * i if number else None)
            for i, pair in enumerate(each)
        ]
        images = [images[i] for i in order or range(count)]
        methods.append(
            MethodResult(f"net{number}" if number else BLURRY_INPUT, "ab" * 32 * bool(number), tuple(images))
        )
    data = DataResult(name, layout, split, track, count, tuple(methods), (Failure("bad", "bad: cut short"),))
    return Results((PSNR, SSIM), (data,), {"protocol": "plain"}, "cpu")


TWO = results_of([[(20.0, 0.5), (22.0, 0.6), (25.0, 0.7)], [(21.0, 0.6), (24.0, 0.6), (26.0, 0.9)]])


def test_of_independent_images_the_interval_is_that_of_the_normal_distribution() -> None:
    scores = np.random.default_rng(0).normal(30, 2, 900)
    found = mean_interval(scores.tolist(), [""] * 900)
    half = 1.96 * scores.std() / 30
    assert found.mean == pytest.approx(scores.mean())
    assert (found.low, found.high) == pytest.approx((found.mean - half, found.mean + half), abs=0.1 * half)


def test_frames_of_one_scene_do_not_count_as_independent() -> None:
    rng = np.random.default_rng(1)
    scenes = rng.normal(30, 2, 12)
    scores = np.repeat(scenes, 100) + rng.normal(0, 0.1, 1200)
    names = [f"s{i}" for i in range(12) for _ in range(100)]
    by_scene = mean_interval(scores.tolist(), names)
    by_image = mean_interval(scores.tolist(), [""] * 1200)
    assert by_scene.low is not None
    assert by_image.low is not None
    assert (by_scene.mean - by_scene.low) > 5 * (by_image.mean - by_image.low)
    assert by_scene.mean - by_scene.low == pytest.approx(1.96 * scenes.std() / 12**0.5, rel=0.15)


def test_the_mean_is_over_images_and_not_over_sequences() -> None:
    assert mean_interval([1.0, 1.0, 1.0, 5.0], ["a", "a", "a", "b"]).mean == 2


def test_one_image_has_no_interval_and_two_sequences_have_one() -> None:
    assert mean_interval([3.0], [""]).low is None
    assert mean_interval([3.0, 4.0, 5.0], ["a", "a", "b"]).low == pytest.approx(3.5)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=2, max_size=12), st.floats(-20, 20))
def test_an_interval_holds_the_mean_moves_with_the_scores_and_is_always_the_same(
    scores: list[float], shift: float
) -> None:
    found = mean_interval(scores, [""] * len(scores))
    assert found == mean_interval(scores, [""] * len(scores))
    assert found.low is not None
    assert found.high is not None
    assert min(scores) - 1e-9 <= found.low <= found.mean + 1e-9 <= found.high + 2e-9 <= max(scores) + 3e-9
    moved = mean_interval([score + shift for score in scores], [""] * len(scores))
    assert (moved.low, moved.high) == pytest.approx((found.low + shift, found.high + shift), abs=1e-6)


def test_results_come_back_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(TWO.values()))
    again = read_results(path)
    assert (again.columns, again.settings, again.version) == (TWO.columns, TWO.settings, TWO.version)
    assert again.data[0].sha256 == TWO.data[0].sha256
    assert again.data[0].failures == TWO.data[0].failures
    assert [[image.values for image in method.images] for method in again.data[0].methods] == [
        [image.values for image in method.images] for method in TWO.data[0].methods
    ]


def test_results_hold_definitions_in_words_hashes_and_counts() -> None:
    values = TWO.values()
    assert values["metrics"]["psnr"]["definition"] == "RGB"
    data = values["data"][0]
    assert (data["images"], data["images_of_all"], data["track"]) == (3, 3, None)
    assert data["failed"] == [{"name": "bad", "error": "bad: cut short"}]
    assert len(data["sha256"]) == 64
    assert data["methods"][0]["checkpoint_sha256"] is None
    assert data["methods"][1]["scores"]["psnr"]["mean"] == pytest.approx(71 / 3)
    assert data["methods"][1]["seconds_per_image"] == 0.5


def _drop(values: dict[str, Any]) -> None:
    del values["data"][0]["pairs"]


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "schema": lambda v: v.update(schema=2),
    "no schema": lambda v: v.pop("schema"),
    "a text for a number": lambda v: v["data"][0]["methods"][1]["scores"]["psnr"].update(per_image=["a", "b", "c"]),
    "a missing number": lambda v: v["data"][0]["methods"][1]["scores"]["psnr"]["per_image"].pop(),
    "not finite": lambda v: v["data"][0]["methods"][1]["scores"]["psnr"]["per_image"].__setitem__(0, float("nan")),
    "true for a number": lambda v: v["data"][0]["methods"][1]["scores"]["psnr"]["per_image"].__setitem__(0, True),
    "huge": lambda v: v["data"][0]["methods"][1]["scores"]["psnr"]["per_image"].__setitem__(0, 10**400),
    "no metric": lambda v: v["data"][0]["methods"][1]["scores"].pop("ssim"),
    "no pairs": _drop,
    "empty pairs": lambda v: v["data"][0].update(pairs=[]),
    "no methods": lambda v: v["data"][0].update(methods=[]),
    "no blurry input": lambda v: v["data"][0]["methods"].pop(0),
    "an edited hash": lambda v: v["data"][0].update(sha256="0" * 64),
    "a list for a table": lambda v: v.update(metrics=[]),
    "a long text": lambda v: v["data"][0].update(name="x" * 9999),
    "null": lambda v: v.update(data=None),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_results_that_were_changed_are_refused(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = copy.deepcopy(TWO.values())
    change(values)
    path = tmp_path / "results.json"
    path.write_text(json.dumps(values))
    with pytest.raises(RefusedError, match=r"results\.json: "):
        read_results(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '"a"', "[" * 100000, "\x00", "9" * 5000])
def test_what_is_no_results_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(RefusedError, match=r"results\.json: "):
        read_results(path)
    with pytest.raises(RefusedError, match="none"):
        read_results(tmp_path / "none")


def test_two_runs_are_compared_image_by_image_whatever_their_order() -> None:
    here = results_of([[(0.0, 0.0)] * 3, [(22.0, 0.5), (25.0, 0.6), (30.0, 0.7)]], order=[2, 0, 1])
    there = results_of([[(0.0, 0.0)] * 3, [(21.0, 0.6), (23.0, 0.6), (27.0, 0.9)]])
    psnr, ssim = compare(here, there)
    assert (psnr.mean, psnr.other_mean, psnr.difference.mean) == pytest.approx((77 / 3, 71 / 3, 2))
    assert psnr.difference.low == pytest.approx(1, abs=0.35)
    assert ssim.difference.mean == pytest.approx(-0.1)


def test_a_constant_difference_has_no_spread_although_the_images_have() -> None:
    scores = [(float(value), 0.5) for value in (10, 20, 40)]
    better = [(value + 0.25, 0.5) for value, _ in scores]
    difference = compare(results_of([scores, better]), results_of([scores, scores]))[0].difference
    assert (difference.low, difference.high) == pytest.approx((0.25, 0.25))


def test_without_networks_the_blurry_inputs_are_compared() -> None:
    one = results_of([[(1.0, 0.1), (2.0, 0.2)]])
    assert {(each.method, each.other, each.difference.mean) for each in compare(one, one)} == {
        (BLURRY_INPUT, BLURRY_INPUT, 0.0)
    }


def test_other_images_are_not_compared() -> None:
    other = results_of([[(20.0, 0.5)] * 2, [(20.0, 0.5)] * 2])
    with pytest.raises(SettingsError, match=r"its images, hash [0-9a-f]{12}, are not those evaluated there"):
        compare(TWO, other)


def test_other_tracks_are_not_compared_even_if_their_pixels_are_equal() -> None:
    scores = [[(20.0, 0.5)] * 2]
    blur = results_of(scores, name="GOPRO blur test", track="blur")
    gamma = results_of(scores, name="GOPRO blur_gamma test", track="blur_gamma")
    with pytest.raises(SettingsError, match="two tracks"):
        compare(blur, gamma)
    with pytest.raises(SettingsError, match="GOPRO blur test against GOPRO blur_gamma test: two tracks"):
        check_comparable("GOPRO blur test", "blur", (PSNR,), gamma)


def test_other_definitions_are_not_compared() -> None:
    other = replace(TWO, columns=(PSNR, replace(SSIM, definition="over the volume")))
    with pytest.raises(SettingsError, match="ssim is defined otherwise there: 'over the volume', here 'Gaussian'"):
        compare(TWO, other)
    with pytest.raises(SettingsError, match="no metric in common: there lpips"):
        compare(TWO, replace(TWO, columns=(replace(PSNR, name="lpips"), replace(SSIM, name="lpips"))))


def gopro(track: str, count: int = 1111) -> DataResult:
    scores = [[(20.0, 0.5)] * count]
    return results_of(scores, name=f"GOPRO {track} test", track=track, layout="gopro", split="test").data[0]


def test_published_rows_are_those_of_the_same_track_only() -> None:
    gamma, _ = published_of(gopro("blur_gamma"), "plain")
    linear, _ = published_of(gopro("blur"), "plain")
    assert {row.track for row in gamma} == {"blur_gamma"}
    assert {row.track for row in linear} == {"blur"}
    numbers = {row.method: (row.psnr, row.ssim) for row in gamma}
    assert numbers["Nah et al., K = 3"] == (29.08, 0.9135)
    assert numbers["Kim & Lee"] == (23.64, 0.8239)
    assert numbers["DeepDeblur-PyTorch"] == (30.40, 0.9018)
    assert {"SRN", "MIMO-UNet", "NAFNet-32"} <= {row.method for row in linear}


def test_published_rows_are_not_shown_beside_a_part_or_another_protocol() -> None:
    rows, reason = published_of(gopro("blur", 12), "plain")
    assert not rows
    assert "of all 1111 images, these of 12" in reason
    assert not published_of(gopro("blur"), "realblur")[0]
    assert "nothing is known to be published of set" in published_of(TWO.data[0], "plain")[1]


def test_every_published_row_is_whole_and_says_where_it_stands() -> None:
    rows = published_rows()
    assert len({(row.method, row.data_set, row.split, row.track) for row in rows}) == len(rows)
    for row in rows:
        assert row.source
        assert (row.ssim is None) == (row.which_ssim == "")
        assert row.which_ssim in {"", "3d", "gaussian", "uniform", "masked", "ms-ssim"}
        assert 20 < row.psnr < 40
        assert (row.track in {"blur", "blur_gamma"}) == (row.data_set == "gopro")


def test_the_table_has_the_blurry_input_first_and_the_unit_and_interval_in_its_head() -> None:
    lines = data_text(TWO.data[0], TWO.columns).splitlines()
    assert lines[0].startswith("set: 3 images, data ")
    assert "psnr dB [95 %]" in lines[1]
    assert lines[2].split()[:3] == ["blurry", "input", "22.33"]
    assert lines[3].split()[0] == "net1"
    assert len({line.find("[") for line in lines[2:]}) == 1


def test_the_table_says_how_many_sequences_and_of_how_many_images() -> None:
    scores = [[(20.0, 0.5)] * 4]
    data = results_of(scores, sequences=["a", "a", "b", "b"]).data[0]
    assert data_text(replace(data, total=40), (PSNR, SSIM)).startswith("set: 4 of 40 images of 2 sequences, data ")


def test_definitions_stand_below_and_unverified_rows_say_so() -> None:
    assert "psnr: mean over images; RGB" in definitions_text(TWO)
    text = published_text(published_of(gopro("blur_gamma"), "plain")[0])
    kim = next(line for line in text.splitlines() if "Kim & Lee (2014)" in line)
    assert kim.split()[4:7] == ["23.64", "0.8239", "3d"]
    assert kim.endswith("not verified")


def test_the_csv_has_a_line_for_each_method_and_image() -> None:
    lines = csv_text(TWO).splitlines()
    assert lines[0] == "data_set,method,image,sequence,psnr,ssim,seconds,peak_bytes,pair_sha256"
    assert lines[4] == f"set,net1,i0,,21.0,0.6,0.0,,{0:064x}"
    assert len(lines) == 7


def test_a_comparison_is_read_side_by_side() -> None:
    text = comparison_text(compare(TWO, TWO))
    assert "+0.00 [+0.00, +0.00]" in text
