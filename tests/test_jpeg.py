"""JPEGs that libjpeg decodes with no more than a warning."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from blursynth.photos.jpeg import is_whole_jpeg

SAMPLINGS = [
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440,
]


def picture(height: int = 96, width: int = 120) -> NDArray[np.uint8]:
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).normal(0, 8, (height, width, 3))
    waves: NDArray[np.float64] = 128 + 60 * np.sin(x / 9 + y / 7)[..., None] + noise
    return waves.clip(0, 255).astype(np.uint8)


def jpeg(pixels: NDArray[np.uint8], **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", **options)
    return stream.getvalue()


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (17, 33), (96, 120)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"quality": 100, "subsampling": 0, "optimize": True},
        {"progressive": True},
        {"restart_marker_blocks": 3},
        {"progressive": True, "restart_marker_rows": 1, "subsampling": 1},
    ],
)
def test_what_encoders_write_is_whole(size: tuple[int, int], options: dict[str, object]) -> None:
    assert is_whole_jpeg(jpeg(picture(*size), **options))
    assert is_whole_jpeg(jpeg(picture(*size)[..., 0], **options))


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_odd_samplings_are_whole(sampling: int) -> None:
    options = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling)
    assert is_whole_jpeg(cv2.imencode(".jpg", picture(), options)[1].tobytes())


def test_what_stands_beside_the_picture_does_not_matter() -> None:
    plain = jpeg(picture())
    nonsense = b"\xff\xe1\0\x0aExif\0\0\xff\xff" + b"\xff\xfe\0\x04\0\xff" + b"\xff\xff\xff\xe2\0\x02"
    assert is_whole_jpeg(plain[:2] + nonsense + plain[2:])
    assert is_whole_jpeg(plain + b"\0" * 500)
    assert is_whole_jpeg(plain + plain)  # a telephone's second picture


@pytest.mark.parametrize("is_progressive", [False, True])
def test_a_scan_that_ends_early_or_has_a_hole_is_told_although_pillow_is_content(is_progressive: bool) -> None:
    whole = jpeg(picture(), progressive=is_progressive)
    begin = whole.index(b"\xff\xda") + 20
    for place in np.linspace(begin, len(whole) - 40, 25).astype(int):
        broken = whole[:place] + b"\xff\xd9"
        if not is_progressive:
            Image.open(io.BytesIO(broken)).load()
        assert not is_whole_jpeg(broken), place
    middle = (begin + len(whole)) // 2
    assert not is_whole_jpeg(whole[:middle] + whole[middle + 200 :])


def test_a_header_that_leads_nowhere_is_not_whole() -> None:
    whole = jpeg(picture())
    for data in (whole[:2], whole[:30], whole[:2] + b"hello" + whole[2:], whole[:2] + b"\xff\xc4\xff\xff" + whole[2:]):
        assert not is_whole_jpeg(data)


@given(data=st.binary(max_size=400), keep=st.integers(0, 700))
def test_any_bytes_get_an_answer(data: bytes, keep: int) -> None:
    assert is_whole_jpeg(jpeg(picture(16, 16))[:keep] + data) in {True, False}
