"""Pages in a real browser: what moves, what is seen, and that nothing complains."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from blursynth.files import sha256_of
from blursynth.pages import Picture, compare_page
from blursynth.report import data_report
from blursynth.shards import Entry, Manifest, ShardWriter

CHROMIUM = Path(os.environ.get("BLURSYNTH_CHROMIUM", "/usr/bin/chromium"))
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run",
]  # fmt: skip
pytestmark = pytest.mark.skipif(
    not CHROMIUM.exists() and not os.environ.get("FAIL_WITHOUT_BROWSER"), reason=f"no {CHROMIUM}"
)
DESK, PHONE = (1280, 900), (390, 844)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Black before, white after; a small picture, and one that is too large to be shown whole."""
    path = tmp_path_factory.mktemp("pages") / "comparison.html"
    pictures = [
        Picture(name, np.zeros((*size, 3), np.uint8), np.full((*size, 3), 255, np.uint8))
        for name, size in (("small", (300, 400)), ("large <i>", (1800, 2600)))
    ]
    path.write_text(compare_page("Black & white", pictures), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of six pairs whose measures are known."""
    folder = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 2, 60, 80, 3), np.uint8)
    write_shard(folder, "a.h5", images, motion=[5, 9, 1, 7, 3, 2], sharpness=[0.5, 0.9, 0.8, 0.1, 0.6, 0.7])
    path = folder / "report.html"
    path.write_text(data_report(folder), encoding="utf-8")
    return path


def write_shard(
    folder: Path, name: str, images: NDArray[np.uint8], *, motion: list[float], sharpness: list[float]
) -> None:
    writer = ShardWriter(folder / name, size=images.shape[2:4], capacity=len(images), attributes={}, codec="raw")
    for number, (blurry, sharp) in enumerate(images):
        measures = {"motion_p95_px": motion[number], "sharpness": sharpness[number], "ghost_score": np.nan}
        row = {"number": number, "first_frame": 7 * number, "last_frame": 7 * number + 6, "num_frames": 7}
        writer.append({**row, **measures}, {"blurry": blurry, "sharp": sharp})
    writer.commit()
    path, count, nobody = folder / name, len(images), "0" * 64
    height, width = images.shape[2:4]
    num_bytes, digest = path.stat().st_size, sha256_of(path)
    entry = Entry(name, num_bytes, digest, count, count, height, width, "a <b>clip</b>.mp4", nobody, nobody)
    Manifest(folder).add(entry)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page at desk size; whatever it says on its console or asks of a network fails the test."""
    context = browser.new_context(viewport={"width": DESK[0], "height": DESK[1]})
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
    yield page
    context.close()
    assert not said


def shown(page: Page, place: int) -> NDArray[np.uint8]:
    """What a reader sees of the picture at a place in the page, (H, W, 3) uint8."""
    stage = page.locator(".stage").nth(place)
    return np.asarray(Image.open(io.BytesIO(stage.screenshot())).convert("RGB"))


def white_from(page: Page, place: int) -> float:
    """Where the white picture begins, as a share of the width."""
    line = shown(page, place)[60].mean(axis=1)
    return 1 - float(np.mean(line[8:-8] > 128))


def open_page(page: Page, path: Path, size: tuple[int, int] = DESK) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.goto(path.as_uri())


def test_the_divider_follows_the_mouse(page: Page, comparison: Path) -> None:
    open_page(page, comparison)
    assert white_from(page, 0) == pytest.approx(0.5, abs=0.03)
    box = page.locator(".stage").first.bounding_box()
    assert box
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 80)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 90, steps=4)
    assert white_from(page, 0) == pytest.approx(0.8, abs=0.03)
    page.mouse.up()
    page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 80)
    assert white_from(page, 0) == pytest.approx(0.8, abs=0.03)
    page.mouse.click(box["x"] + 0.25 * box["width"], box["y"] + 80)
    assert white_from(page, 0) == pytest.approx(0.25, abs=0.03)


def test_the_divider_follows_the_keys_and_shows_its_focus(page: Page, comparison: Path) -> None:
    open_page(page, comparison)
    for _ in range(3):  # the link to the content, the first slider
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "INPUT":
            break
    slider = page.get_by_role("slider", name="small: divider between before and after")
    assert slider.evaluate("input => input === document.activeElement")
    assert page.locator(".stage").first.evaluate("stage => getComputedStyle(stage).outlineWidth") == "3px"
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert white_from(page, 0) == pytest.approx(0.6, abs=0.03)
    page.keyboard.press("Shift+ArrowLeft")
    assert slider.get_attribute("aria-valuetext") == "50 % before"
    page.keyboard.press("Home")
    assert white_from(page, 0) == pytest.approx(0, abs=0.03)
    page.keyboard.press("End")
    assert white_from(page, 0) == pytest.approx(1, abs=0.03)


def test_at_one_to_one_a_pixel_of_the_picture_is_a_pixel_of_the_screen(page: Page, comparison: Path) -> None:
    open_page(page, comparison)
    figure = page.locator(".compare").nth(1)
    figure.get_by_role("button", name="1:1").click()
    size = figure.locator(".canvas.detail").evaluate("canvas => [canvas.clientWidth, canvas.clientHeight]")
    natural = figure.locator(".detail .before").evaluate("image => [image.naturalWidth, image.naturalHeight]")
    assert size == natural == [640, 640]
    assert figure.locator(".canvas.overview").is_hidden()
    figure.get_by_role("button", name="4:1").click()
    assert figure.locator(".canvas.detail").evaluate("canvas => canvas.clientWidth") == 2560
    assert white_from(page, 1) == pytest.approx(0.5, abs=0.03)
    figure.get_by_role("button", name="Fit").click()
    assert figure.locator(".canvas.overview").is_visible()


def test_enlarged_dragging_looks_around_and_the_handle_still_slides(page: Page, comparison: Path) -> None:
    open_page(page, comparison)
    page.locator(".compare").first.get_by_role("button", name="4:1").click()
    view = page.locator(".view").first
    before = view.evaluate("view => [view.scrollLeft, view.scrollTop]")
    box = view.bounding_box()
    assert box
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 20, box["y"] + 30, steps=3)
    page.mouse.up()
    after = view.evaluate("view => [view.scrollLeft, view.scrollTop]")
    assert after == [before[0] + 40, before[1] + 30]
    assert white_from(page, 0) == pytest.approx(0.5, abs=0.04)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 100, steps=3)
    page.mouse.up()
    assert white_from(page, 0) == pytest.approx(0.7, abs=0.04)


def test_pairs_are_sorted_by_what_is_chosen(page: Page, report: Path) -> None:
    open_page(page, report)

    def order() -> list[str]:
        return page.locator("#pairs-shown > li").evaluate_all("items => items.map(item => item.id)")  # type: ignore[no-any-return]

    page.get_by_label("Sort by").select_option("motion")
    assert order() == [f"pair-0-{number}" for number in (1, 3, 0, 4, 5, 2)]
    page.get_by_label("Sort by").select_option("sharpness")
    assert order() == [f"pair-0-{number}" for number in (3, 0, 4, 5, 2, 1)]
    assert page.get_by_role("status").inner_text() == "Sorted by least sharp first."


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(browser: Browser, page: Page, report: Path, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    open_page(page, report, PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = np.mean([int(value) for value in background[4:-1].split(",")])
    assert brightness > 200 if scheme == "light" else brightness < 60


def test_everything_that_can_be_used_has_a_name(page: Page, report: Path) -> None:
    open_page(page, report)
    nameless = page.evaluate(
        """[...document.querySelectorAll('button, select, input, img, svg, a')].filter(part => {
          const name = part.getAttribute('aria-label') || part.alt || part.textContent || part.labels?.[0]?.textContent;
          return !name || !name.trim();
        }).map(part => part.outerHTML)"""
    )
    assert nameless == []
