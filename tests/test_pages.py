import base64
import hashlib
import io
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from blursynth.errors import PhotoError
from blursynth.pages import Picture, Series, compare_page, curves, escape, facts, histogram, page, slider, table
from blursynth.pages.scales import linear_axis, log_axis, number_text

NASTY = "<script>alert('1')</script>&\" \x1b\udcff.jpg"


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def pictures_in(text: str) -> list[NDArray[np.uint8]]:
    """Every picture inside a page, decoded."""
    found = re.findall(r"data:image/(?:jpeg|png);base64,([A-Za-z0-9+/=]+)", text)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")) for data in found]


def test_names_cannot_become_markup() -> None:
    grey = np.full((8, 8, 3), 128, np.uint8)
    text = compare_page(NASTY, [Picture(NASTY, grey, grey, NASTY, NASTY, NASTY)])
    text += table([NASTY], [[NASTY]], caption=NASTY) + facts({NASTY: NASTY})
    text += histogram(NASTY, np.array([1.0, 2.0]), unit=NASTY, what=NASTY)
    text += curves(NASTY, [Series(NASTY, np.arange(3.0), np.arange(3.0))], x_label=NASTY, y_label=NASTY, what=NASTY)
    assert text.count("<script>") == 1  # the page's own
    assert "alert('1')" not in text
    text.encode()  # what cannot be decoded is written in a form that can be encoded


def test_control_characters_are_made_visible() -> None:
    assert escape("a\x1b[31m\n<b>") == "a\\x1b[31m\\n&lt;b&gt;"


def test_a_page_needs_nothing_but_itself() -> None:
    text = compare_page("Two", [Picture("one", noise(40, 60), noise(40, 60, 1))])
    addresses = re.findall(r'(?:src|href|action|data)="([^"]*)"', text)
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert not re.search(r"https?:|@import|url\(", text)


def test_the_policy_allows_only_the_script_of_the_page() -> None:
    text = page("Title", "", {"a": ("A", "<p>a</p>"), "b": ("B", "<p>b</p>")})
    match = re.search(r"<script>(.*)</script>", text, re.DOTALL)
    assert match
    digest = base64.b64encode(hashlib.sha256(match[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text
    assert "default-src 'none'" in text


def test_equal_input_gives_equal_bytes() -> None:
    pictures = [Picture("one", noise(50, 70), noise(50, 70, 1), "caption")]
    assert compare_page("Title", pictures) == compare_page("Title", pictures)


def test_a_picture_that_fits_is_shown_pixel_for_pixel() -> None:
    before, after = np.full((90, 120, 3), 30, np.uint8), np.full((90, 120, 3), 220, np.uint8)
    shown = pictures_in(slider(Picture("one", before, after)))
    assert [image.shape for image in shown] == [(90, 120, 3)] * 2
    assert np.abs(shown[0].astype(int) - 30).max() <= 1
    assert np.abs(shown[1].astype(int) - 220).max() <= 1


def test_a_large_picture_keeps_the_part_that_differs_most_at_full_size() -> None:
    before = np.full((1500, 3000, 3), 100, np.uint8)
    after = before.copy()
    after[1100:1200, 2200:2300] = noise(100, 100)
    text = slider(Picture("large", before, after))
    overview, _, detail_before, detail = pictures_in(text)
    assert overview.shape == (1024, 2048, 3)
    assert detail.shape == detail_before.shape == (640, 640, 3)
    match = re.search(r"at \((\d+), (\d+)\)", text)
    assert match
    x, y = int(match[1]), int(match[2])
    assert x <= 2200
    assert y <= 1100
    there = after[y : y + 640, x : x + 640]
    assert np.abs(detail.astype(int) - there).mean() < 1


@pytest.mark.parametrize("max_bytes", [40_000, 150_000, 700_000])
def test_a_slider_keeps_to_its_budget(max_bytes: int) -> None:
    text = slider(Picture("noise", noise(700, 900), noise(700, 900, 1)), max_bytes=max_bytes)
    assert len(text) < max_bytes + 4000


def test_pictures_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(PhotoError, match="cannot be compared"):
        Picture("one", noise(4, 5), noise(5, 4))
    with pytest.raises(PhotoError, match=r"no \(H, W, 3\)"):
        Picture("one", noise(4, 5)[..., 0], noise(4, 5)[..., 0])


def bars(text: str) -> list[tuple[float, int]]:
    """Height in the drawing and count of each bar."""
    found = re.findall(r'<rect class="bar"[^>]*height="([\d.]+)"><title>[^<]*: ([\d,]+)</title>', text)
    return [(float(height), int(count.replace(",", ""))) for height, count in found]


def test_bars_are_as_high_as_they_count() -> None:
    values = np.random.default_rng(1).normal(50, 10, 5000)
    found = bars(histogram("Motion", values, unit="px", what=""))
    assert sum(count for _, count in found) == 5000
    per_count = {round(height / count, 4) for height, count in found if count > 50}
    assert max(per_count) - min(per_count) < 0.01 * max(per_count)


def test_far_values_do_not_press_all_others_into_one_bar() -> None:
    values = np.concatenate([np.linspace(0, 10, 995), np.full(5, 1000.0)])
    text = histogram("Motion", values, unit="px", what="")
    found = bars(text)
    assert len(found) > 15
    assert sum(count for _, count in found) == 1000
    assert "and more" in text
    assert "most 1,000 px" in text


def test_equal_and_missing_values_are_said_in_words() -> None:
    assert "29.2 ms for all 3" in histogram("Exposure", np.full(3, 29.17), unit="ms", what="")
    assert "nothing drawn" in histogram("Noise", np.full(3, np.nan), unit="", what="", missing="nothing drawn")
    assert "1 without a value" in histogram("Motion", np.array([1, 2, np.nan]), unit="px", what="")


def test_a_curve_goes_through_its_points() -> None:
    text = curves(
        "Loss", [Series("loss", np.array([0.0, 50, 100]), np.array([0.0, 10, 5]))], x_label="step", y_label="l"
    )
    match = re.search(r'polyline class="line s0" points="([^"]*)"', text)
    assert match
    points = np.array([[float(value) for value in point.split(",")] for point in match[1].split()])
    assert points[1, 0] - points[0, 0] == pytest.approx(points[2, 0] - points[1, 0])
    heights = points[0, 1] - points[:, 1]
    assert heights[2] == pytest.approx(heights[1] / 2, abs=0.02)


def test_values_over_orders_of_magnitude_get_a_logarithmic_axis() -> None:
    x = np.arange(5.0)
    text = curves("Rate", [Series("rate", x, 10.0**-x)], x_label="step", y_label="rate")
    match = re.search(r'points="([^"]*)"', text)
    assert match
    heights = [float(point.split(",")[1]) for point in match[1].split()]
    assert np.ptp(np.diff(heights)) < 0.05  # equal factors, equal steps


def test_long_curves_are_thinned_and_smoothed() -> None:
    x = np.arange(100_000.0)
    text = curves("Loss", [Series("loss", x, np.sin(x) + 5)], x_label="step", y_label="loss")
    assert len(text) < 20_000
    assert "faint" in text
    exact = curves("Rate", [Series("rate", x, x)], x_label="step", y_label="rate", is_noisy=False)
    assert "faint" not in exact


def test_curves_without_a_number_say_so() -> None:
    nothing = np.array([np.nan, np.nan])
    assert "nothing was written" in curves("Loss", [Series("a", nothing, nothing)], x_label="s", y_label="l")


@given(st.floats(-1e9, 1e9), st.floats(1e-9, 1e9))
def test_ticks_are_round_and_lie_on_the_axis(least: float, length: float) -> None:
    axis = linear_axis(least, least + length)
    assert 2 <= len(axis.ticks) <= 9
    assert axis.least <= least + 1e-6 * length
    assert axis.most >= least + length - 1e-6 * length - 1e-6
    assert all(-1e-9 <= axis.share(tick) <= 1 + 1e-9 for tick in axis.ticks)


@given(st.floats(1e-8, 1e8), st.floats(1.01, 1e8))
def test_logarithmic_axes_keep_their_ticks_inside(least: float, factor: float) -> None:
    axis = log_axis(least, least * factor)
    assert all(0 <= axis.share(tick) <= 1 + 1e-9 for tick in axis.ticks)


def test_numbers_are_short() -> None:
    shown = [number_text(value) for value in (0, 3, 3.14159, 0.5, 12345.6, 0.0000271, 100.0, -2.5)]
    assert shown == ["0", "3", "3.14", "0.5", "12,346", "2.7e-5", "100", "-2.5"]


def test_lines_of_one_chart_have_colours_of_their_own() -> None:
    lines = [Series(f"part {number}", np.arange(3.0), np.arange(3.0) + number) for number in range(5)]
    drawing, style = curves("Loss", lines, x_label="step", y_label="loss"), page("t", "", {}, footer="")
    for number in range(5):
        assert f'class="k{number}"' in drawing
        assert f'class="line s{number}"' in drawing
        assert all(f".{kind}{number} {{" in style for kind in "ksf")
