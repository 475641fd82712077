"""Exposures in time: cells, weights, repeated frames, sub-frames."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from blursynth.errors import SettingsError
from blursynth.windows import ExposureRule, Window, WindowRule, frame_times, plan_exposures, plan_windows, samples

TICK = Fraction(1, 15360)  # 64 ticks are 1/240 s
EVEN = np.arange(60) * 64


def weights_of(
    window: Window, pts: NDArray[np.int64], repeats: tuple[int, ...] = (), step: float | None = None
) -> dict[int, float]:
    found = {sample.frame: sample.weight for sample in samples(window, frame_times(pts, step), repeats=repeats)}
    assert sum(found.values()) == pytest.approx(1)
    return found


@pytest.mark.parametrize("length", [1, 3, 7, 11, 13])
def test_equal_times_and_an_odd_number_of_steps_are_the_windows_of_gopro(length: int) -> None:
    exposures = plan_exposures(frame_times(EVEN), ExposureRule(Fraction(length, 240)), TICK)
    windows = plan_windows(EVEN, WindowRule(length, length))
    assert [(w.first, w.length, w.centre) for w in exposures] == [(w.first, w.length, w.centre) for w in windows]
    for window in exposures:
        assert set(weights_of(window, EVEN).values()) == {1 / length}


def test_an_even_number_of_steps_takes_half_of_the_frames_at_its_ends() -> None:
    windows = plan_exposures(frame_times(EVEN), ExposureRule(Fraction(1, 30)), TICK)
    assert [(w.first, w.length, w.centre) for w in windows[:2]] == [(0, 9, 4), (8, 9, 12)]
    assert list(weights_of(windows[1], EVEN).values()) == pytest.approx([1 / 16, *[1 / 8] * 7, 1 / 16])


def test_the_period_moves_exposures_apart_as_a_shutter_angle_does() -> None:
    rule = ExposureRule(Fraction(1, 60), Fraction(1, 30))  # 180 degrees at 30 a second
    centres = [w.centre for w in plan_exposures(frame_times(EVEN), rule, TICK)]
    assert set(np.diff(centres)) == {8}


@given(st.lists(st.integers(20, 200), min_size=3, max_size=60), st.integers(30, 900))
def test_every_exposure_lies_inside_the_clip_and_weighs_frames_by_their_cells(steps: list[int], ticks: int) -> None:
    pts = np.cumsum([0, *steps])
    times = frame_times(pts)
    for window in plan_exposures(frame_times(pts), ExposureRule(ticks * TICK), TICK):
        assert window.first <= window.centre < window.stop
        found = weights_of(window, pts)
        assert all(window.first <= frame < window.stop for frame in found)
        opens, closes = times[window.centre] - ticks / 2, times[window.centre] + ticks / 2
        for frame, weight in found.items():
            if 0 < frame < len(pts) - 1 and max(steps[frame - 1 : frame + 1]) <= 3.5 * np.median(steps):
                begin, end = (times[frame - 1] + times[frame]) / 2, (times[frame] + times[frame + 1]) / 2
                assert weight * ticks == pytest.approx(min(end, closes) - max(begin, opens), abs=1e-3)


def test_no_exposure_crosses_a_gap() -> None:
    pts = EVEN.copy()
    pts[30:] += 640
    windows = plan_exposures(frame_times(pts), ExposureRule(Fraction(7, 240)), TICK)
    assert windows
    assert not any(w.first < 30 < w.stop for w in windows)
    assert not any(w.first - w.before < 30 < w.stop + w.after for w in windows)


def test_clocks_that_round_to_milliseconds_are_seen_through() -> None:
    milliseconds = np.round(np.arange(60) * 1000 / 240).astype(np.int64)
    assert set(np.diff(milliseconds)) == {4, 5}
    windows = plan_exposures(frame_times(milliseconds, 1000 / 240), ExposureRule(Fraction(7, 240)), Fraction(1, 1000))
    assert [(w.first, w.length) for w in windows[:3]] == [(0, 7), (7, 7), (14, 7)]
    for window in windows:
        assert list(weights_of(window, milliseconds, step=1000 / 240).values()) == pytest.approx([1 / 7] * 7, rel=1e-9)


def test_a_repeated_frame_weighs_nothing_and_its_neighbours_grow() -> None:
    window = plan_exposures(frame_times(EVEN), ExposureRule(Fraction(7, 240)), TICK)[1]  # frames 7 to 13
    found = weights_of(window, EVEN, repeats=(9,))
    assert 9 not in found
    assert found[8] == found[10] == pytest.approx(1.5 / 7)
    assert found[7] == pytest.approx(1 / 7)


def test_where_the_sharp_frame_repeats_the_exposure_follows_what_it_shows() -> None:
    window = plan_exposures(frame_times(EVEN), ExposureRule(Fraction(7, 240)), TICK)[1]
    found = weights_of(window, EVEN, repeats=(window.centre,))
    middle = sum(frame * weight for frame, weight in found.items())
    assert middle == pytest.approx(window.centre - 1, abs=0.2)


@pytest.mark.parametrize("count", [1, 3, 7])
def test_sub_frames_fill_an_exposure_evenly(count: int) -> None:
    window = plan_windows(EVEN, WindowRule(7, 7))[1]
    taken = samples(window, frame_times(EVEN), sub_frames=lambda _frame, _next: count)
    moments = np.array([sample.frame + sample.fraction for sample in taken])
    weights = np.array([sample.weight for sample in taken])
    assert (moments * weights).sum() == pytest.approx(window.centre)  # centred on the sharp frame
    assert weights[1:-1] == pytest.approx(1 / (7 * (count + 1)))
    assert moments.min() >= window.first - 0.5 and moments.max() <= window.stop - 0.5  # noqa: PT018
    variance = float((weights * (moments - window.centre) ** 2).sum())
    assert variance == pytest.approx(7**2 / 12, rel=0.03)  # of a uniform distribution 7 steps wide


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1/30s", Fraction(1, 30)), ("1/30", Fraction(1, 30)), ("0.02", Fraction(1, 50)), ("20ms", Fraction(1, 50))],
)
def test_exposures_are_read(text: str, seconds: Fraction) -> None:
    assert ExposureRule.parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "a", "-1/30", "1/0", "1e-3", "nan", "inf", "1/30 min"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="exposure"):
        ExposureRule.parse_seconds(text)


@pytest.mark.parametrize("seconds", [Fraction(0), Fraction(-1), Fraction(3601)])
def test_exposures_out_of_range_are_refused(seconds: Fraction) -> None:
    with pytest.raises(SettingsError, match="must be above 0"):
        ExposureRule(seconds)


def test_an_exposure_of_too_many_frames_is_refused() -> None:
    with pytest.raises(SettingsError, match="1023"):
        plan_exposures(frame_times(np.arange(5000) * 64), ExposureRule(Fraction(10)), TICK)


def test_more_exposures_than_frames_are_not_laid() -> None:
    for fps in (960, 100_000):
        windows = plan_exposures(frame_times(EVEN), ExposureRule(Fraction(5, 240), Fraction(1, fps)), TICK)
        centres = [window.centre for window in windows]
        assert centres == sorted(set(centres))


def test_slow_footage_in_a_fast_container_weighs_its_pictures_by_the_time_they_stand_for() -> None:
    pts = np.arange(48) * 64  # 240 fps that show a new picture every fourth frame only
    repeats = tuple(frame for frame in range(48) if frame % 4)
    windows = plan_exposures(frame_times(pts), ExposureRule(Fraction(1, 30)), TICK)  # two pictures long
    for window in windows[1:-1]:
        found = weights_of(window, pts, repeats)
        shown: dict[int, float] = {}
        for frame, weight in found.items():
            shown[frame // 4] = shown.get(frame // 4, 0) + weight
        centre = window.centre // 4
        assert shown == pytest.approx({centre - 1: 0.25, centre: 0.5, centre + 1: 0.25})


def test_a_lost_frame_of_a_clock_with_one_tick_a_frame_is_a_gap() -> None:
    pts = np.delete(np.arange(60), [20, 41])
    times = frame_times(pts, 1.0)
    assert np.array_equal(times, pts)
    spans = [(pts[w.first], pts[w.stop - 1]) for w in plan_windows(pts, WindowRule(5, 5), usual_step=1.0)]
    assert all(last - first == 4 for first, last in spans)
