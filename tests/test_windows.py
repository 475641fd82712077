import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blursynth.errors import SettingsError
from blursynth.windows import WindowRule, plan_windows


def test_gopro_layout_touching_windows_with_the_centre_as_sharp_frame() -> None:
    windows = plan_windows(np.arange(299), WindowRule(7, 7))
    assert len(windows) == 42
    assert [(w.first, w.centre, w.stop) for w in windows[:2]] == [(0, 3, 7), (7, 10, 14)]


@given(
    st.integers(0, 120),
    st.integers(0, 5).map(lambda n: 2 * n + 1),
    st.integers(0, 3),
    st.one_of(st.none(), st.integers(1, 20)),
    st.lists(st.integers(1, 119), max_size=3),
    st.integers(0, 5),
)
def test_windows_are_odd_complete_in_order_and_never_cross_a_gap(
    num_frames: int, shortest: int, extra: int, stride: int | None, gaps: list[int], seed: int
) -> None:
    pts = np.arange(num_frames) * 10
    for gap in gaps:
        pts[gap:] += 100
    rule = WindowRule(shortest, shortest + 2 * extra, stride)
    windows = plan_windows(pts, rule, seed=seed, source="clip")
    assert [w.number for w in windows] == list(range(len(windows)))
    for window in windows:
        assert window.length % 2 == 1
        assert rule.shortest <= window.length <= rule.longest
        assert window.first >= 0
        assert window.stop <= num_frames
        assert window.centre - window.first == window.stop - 1 - window.centre
        if num_frames > 2 * len(gaps) + 2:  # else the gaps are the usual step
            assert (np.diff(pts[window.first : window.stop]) == 10).all()
    firsts = [w.first for w in windows]
    assert firsts == sorted(set(firsts))
    if stride is None:
        assert all(a.stop <= b.first for a, b in itertools.pairwise(windows))


def test_no_window_is_forgotten() -> None:
    for num_frames in range(30):
        for length in (1, 3, 5):
            for stride in (1, 2, 7):
                expected = [first for first in range(0, num_frames, stride) if first + length <= num_frames]
                rule = WindowRule(length, length, stride)
                assert [w.first for w in plan_windows(np.arange(num_frames), rule)] == expected


def test_drawn_lengths_depend_on_seed_and_source_and_cover_the_range() -> None:
    def lengths(seed: int, source: str) -> list[int]:
        return [w.length for w in plan_windows(np.arange(3000), WindowRule(7, 13), seed=seed, source=source)]

    assert set(lengths(0, "a")) == {7, 9, 11, 13}
    assert lengths(0, "a") == lengths(0, "a")
    assert lengths(0, "a") != lengths(1, "a")
    assert lengths(0, "a") != lengths(0, "b")
    assert lengths(0, "a")[:5] == [7, 11, 7, 7, 9]  # for ever: data sets are rebuilt from their seeds


@pytest.mark.parametrize(("text", "lengths"), [("7", (7, 7)), ("7-13", (7, 13)), (" 1 - 3 ", (1, 3))])
def test_rules_are_read(text: str, lengths: tuple[int, int]) -> None:
    rule = WindowRule.parse(text)
    assert (rule.shortest, rule.longest) == lengths


@pytest.mark.parametrize("text", ["8", "7-12", "13-7", "0", "-3", "seven", "", "7-", "7,9", "1025", "99999999"])
def test_bad_rules_say_what_is_wrong(text: str) -> None:
    with pytest.raises(SettingsError, match="window"):
        WindowRule.parse(text)


def test_an_even_window_names_its_neighbours() -> None:
    with pytest.raises(SettingsError, match="take 7 or 9"):
        WindowRule.parse("8")
    with pytest.raises(SettingsError, match="stride 0"):
        WindowRule(7, 7, 0)


def test_a_clock_that_is_as_coarse_as_the_frames_makes_no_gaps() -> None:
    pts = np.round(np.arange(100) * 1000 / 700).astype(np.int64)  # 700 frames/s in milliseconds
    assert len(plan_windows(pts, WindowRule(7, 7))) == 14
