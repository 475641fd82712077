import numpy as np
import pytest
from numpy.typing import NDArray

from blursynth.crf import response_curve
from blursynth.decoding import decode, to_rgb
from blursynth.radiometry import LightChain
from blursynth.rendition import Rendition
from blursynth.synthesis import Pair, Synthesizer, held_frames, output_size
from blursynth.video import VideoInfo, describe
from blursynth.windows import Window
from samples import ClipMaker

CURVE = response_curve("gamma:2.2")
PLAIN = Rendition(CURVE, (), LightChain())


def pair_of(info: VideoInfo, window: Window, resize: tuple[int, int] | None = None) -> Pair:
    synthesizer = Synthesizer(info, PLAIN, capacity=held_frames([window]), resize=resize)
    for frame in decode(info):
        if window.first <= frame.index < window.stop:
            synthesizer.hold(frame)
    return synthesizer.pair(window)


def moving_bar(num_frames: int, speed: int) -> NDArray[np.uint8]:
    """A white bar, 8 px wide, on black, that moves ``speed`` px a frame."""
    frames = np.zeros((num_frames, 16, 64, 3), np.uint8)
    for t in range(num_frames):
        frames[t, :, 10 + speed * t : 18 + speed * t] = 255
    return frames


def test_a_moving_bar_becomes_the_ramp_that_arithmetic_gives(make_clip: ClipMaker) -> None:
    info = describe(make_clip(frames=moving_bar(7, 2), pixel_format="bgr0"))
    pair = pair_of(info, Window(0, 0, 7))
    x = np.arange(64)
    covered = np.sum([(10 + 2 * t <= x) & (x < 18 + 2 * t) for t in range(7)], axis=0) / 7  # share of the exposure
    assert np.array_equal(pair.blurry[8, :, 1], np.rint(255 * covered ** (1 / 2.2)))
    assert not np.array_equal(pair.blurry[8, :, 1], np.rint(255 * covered))  # what averaging codes would give
    assert np.array_equal(pair.sharp, moving_bar(7, 2)[3])


def test_blurry_and_sharp_are_centred_on_each_other(make_clip: ClipMaker) -> None:
    info = describe(make_clip(frames=moving_bar(11, 2), pixel_format="bgr0"))
    pair = pair_of(info, Window(0, 2, 9))
    light = [CURVE.to_linear(image)[8, :, 0] for image in (pair.blurry, pair.sharp)]
    centres = [float((values * np.arange(64)).sum() / values.sum()) for values in light]
    assert centres[0] == pytest.approx(centres[1], abs=0.05)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "bgr0"])
def test_the_blurry_image_is_the_float64_mean_of_the_decoded_codes(make_clip: ClipMaker, pixel_format: str) -> None:
    info = describe(make_clip(num_frames=9, size=(35, 51) if pixel_format == "yuv444p" else (36, 52),
                              pixel_format=pixel_format))  # fmt: skip
    codes = np.stack([to_rgb(info, frame) for frame in decode(info)][1:8])
    expected = CURVE.from_linear(CURVE.linear_of_codes(info.colour.peak)[codes].mean(0))
    pair = pair_of(info, Window(0, 1, 7))
    assert np.array_equal(pair.blurry, expected)
    assert np.array_equal(pair.sharp, np.rint(codes[3] * (255 / info.colour.peak)))


def test_resizing_happens_in_linear_light(make_clip: ClipMaker) -> None:
    stripes = np.zeros((3, 16, 32, 3), np.uint8)
    stripes[:, :, ::2] = 255  # half the light: 186 at gamma 2.2, where a mean of codes would give 128
    info = describe(make_clip(frames=stripes, pixel_format="bgr0"))
    pair = pair_of(info, Window(0, 0, 3), resize=(16, 8))
    assert pair.sharp.shape == pair.blurry.shape == (8, 16, 3)
    assert set(np.unique(pair.sharp)) == {186}
    assert output_size(info, (16, 8)) == (8, 16)


def test_turned_clips_come_out_upright(make_clip: ClipMaker) -> None:
    from dataclasses import replace

    frames = np.zeros((3, 32, 48, 3), np.uint8)
    frames[:, :8, :8] = [255, 0, 0]  # upper left
    info = describe(make_clip(frames=frames, pixel_format="bgr0"))
    for turns, corner in [(1, (-1, 0)), (2, (-1, -1)), (3, (0, -1))]:
        turned = replace(info, rotation=turns)
        pair = pair_of(turned, Window(0, 0, 3))
        assert pair.sharp.shape[:2] == output_size(turned, None)
        assert pair.sharp[corner][0] == 255, f"{turns} quarter turns counter-clockwise"
        small = pair_of(turned, Window(0, 0, 3), resize=(16, 24) if turns % 2 else (24, 16))
        assert small.sharp.shape == ((24, 16, 3) if turns % 2 else (16, 24, 3))


def test_the_ring_forgets_only_what_is_no_longer_needed(make_clip: ClipMaker) -> None:
    info = describe(make_clip(num_frames=40))
    windows = [Window(n, 5 * n, 7) for n in range(6)]
    whole = [pair_of(info, window) for window in windows]
    synthesizer = Synthesizer(info, PLAIN, capacity=held_frames(windows))
    todo = list(windows)
    for frame in decode(info):
        synthesizer.hold(frame)
        if todo and todo[0].stop == frame.index + 1:
            pair, expected = synthesizer.pair(todo[0]), whole[todo.pop(0).number]
            assert np.array_equal(pair.blurry, expected.blurry)
            assert np.array_equal(pair.sharp, expected.sharp)
    assert not todo
