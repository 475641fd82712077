import io

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from blursynth.crf import response_curve
from blursynth.model.online.jpeg import quantisation_tables, through_jpeg, through_libjpeg
from blursynth.model.online.light import Darkroom, with_noise
from blursynth.model.online.rendering import Crops
from blursynth.radiometry import Light, LightChain, render
from blursynth.radiometry.mosaic import demosaic, mosaic, srgb_of_camera
from blursynth.radiometry.noise import add_noise
from blursynth.rendition import Rendition

Codes = NDArray[np.uint8]
CPU = torch.device("cpu")
SRGB = response_curve("srgb")

pytestmark = pytest.mark.usefixtures("one_thread")


def scene(height: int = 45, width: int = 61, seed: int = 0) -> Codes:
    """Smooth colours and some noise: nothing that JPEG stored before."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / a + y / b) for a, b in ((3, 9), (11, 5), (20, 30))]
    return np.asarray((128 + 90 * np.stack(waves, -1) + rng.normal(0, 6, (height, width, 3))).clip(0, 255), np.uint8)


def stored(codes: Codes, quality: int) -> Codes:
    file = io.BytesIO()
    subsampling = "4:4:4" if quality >= 90 else "4:2:0"
    Image.fromarray(codes).save(file, "JPEG", quality=quality, subsampling=subsampling)
    with Image.open(file) as image:
        return np.array(image)


def light(**changes: float) -> Light:
    values = {"key": 1, "highlights": 0.0, "shot_noise": 1e-4, "read_noise": 1e-3, "bayer": 0}
    gains = {"red_gain": 2.0, "blue_gain": 1.6, "iso": 400.0, "jpeg": 0}
    return Light(**(values | gains | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("quality", [5, 30, 50, 75, 89, 90, 97, 100])
def test_jpeg_is_nearly_libjpegs(quality: int) -> None:
    codes = scene()
    ours = through_jpeg(torch.from_numpy(codes)[None], [quality])[0].numpy().astype(int)
    theirs = stored(codes, quality).astype(int)
    loss, wanted = np.abs(ours - codes).mean(), np.abs(theirs - codes).mean()
    assert loss == pytest.approx(wanted, rel=0.03, abs=0.02)
    assert np.abs(ours - theirs).mean() < 0.1 + 0.4 * wanted
    assert np.abs((ours - theirs).mean(axis=(0, 1))).max() < 0.25


def test_quantisation_tables_are_libjpegs() -> None:
    for quality in (1, 20, 49, 50, 51, 85, 99, 100):
        file = io.BytesIO()
        Image.fromarray(scene()).save(file, "JPEG", quality=quality)
        with Image.open(file) as image:
            tables: dict[int, list[int]] = image.quantization  # type: ignore[attr-defined]
        for number, table in enumerate(quantisation_tables(quality)):
            assert table.flatten().tolist() == tables[number]


def test_blocks_of_jpeg_lie_where_the_phase_says() -> None:
    codes = scene(40, 48)
    shifted = np.pad(codes, ((5, 0), (11, 0), (0, 0)), mode="edge")
    ours = through_jpeg(torch.from_numpy(codes)[None], [30], [(5, 11)])[0].numpy().astype(int)
    assert np.abs(ours - stored(shifted, 30)[5:, 11:]).mean() < 0.3
    assert np.abs(ours - stored(codes, 30)).mean() > 1


def test_both_ways_to_store_lay_blocks_alike() -> None:
    codes = torch.from_numpy(np.stack([scene(40, 48, seed=k) for k in range(2)]))
    qualities, phases = [30, 95], [(5, 11), (0, 0)]
    by_library = through_libjpeg(codes, qualities, phases).int()
    assert (by_library - through_jpeg(codes, qualities, phases).int()).abs().float().mean() < 0.6
    np.testing.assert_array_equal(by_library[1].numpy(), stored(codes[1].numpy(), 95))


def test_pictures_of_a_batch_are_stored_one_by_one() -> None:
    codes = torch.from_numpy(np.stack([scene(seed=k) for k in range(3)]))
    qualities, phases = [40, 95, 80], [(0, 3), (15, 0), (7, 8)]
    together = through_jpeg(codes, qualities, phases)
    for k in range(3):
        alone = through_jpeg(codes[k : k + 1], [qualities[k]], [phases[k]])
        assert torch.equal(alone[0], together[k])


@pytest.mark.parametrize("bayer", range(4))
def test_light_goes_through_the_same_mosaic(bayer: int) -> None:
    linear = SRGB.to_linear(scene())
    expected = srgb_of_camera(demosaic(mosaic(linear, bayer), bayer))
    quiet = light(bayer=bayer, shot_noise=1e-12, read_noise=0.0)
    np.testing.assert_allclose(with_noise(torch.from_numpy(linear)[None], [quiet])[0].numpy(), expected, atol=5e-5)


@pytest.mark.parametrize("level", [0.0, 0.002, 0.05, 0.6])
def test_noise_has_the_spread_and_neighbourhood_of_the_data_sides(level: float) -> None:
    linear = np.full((128, 128, 3), level, np.float32)
    drawn = light(shot_noise=4e-4, read_noise=2e-3, bayer=2)
    ours = with_noise(torch.from_numpy(linear)[None], [drawn])[0].numpy()
    theirs = add_noise(linear, drawn)
    assert abs(ours.mean() - theirs.mean()) < 6 * theirs.std() / 128
    ours_cov, theirs_cov = (np.cov(image.reshape(-1, 3).T) for image in (ours, theirs))
    np.testing.assert_allclose(ours_cov, theirs_cov, atol=0.08 * theirs_cov.max())
    for axis in (0, 1):  # demosaicking joins neighbours
        ours_step, theirs_step = np.diff(ours, axis=axis).std(), np.diff(theirs, axis=axis).std()
        assert abs(ours_step / theirs_step - 1) < 0.05


def test_noise_follows_from_the_key_whoever_is_beside_it() -> None:
    linear = torch.from_numpy(np.stack([SRGB.to_linear(scene(seed=k)) for k in range(3)]))
    lights = [light(key=2**64 - 1 - k, bayer=k) for k in range(3)]
    together = with_noise(linear, lights)
    for k in range(3):
        assert torch.equal(with_noise(linear[k : k + 1], lights[k : k + 1])[0], together[k])
    assert not torch.equal(with_noise(linear[:1], lights[1:2])[0], with_noise(linear[:1], [light(bayer=1)])[0])


def test_without_noise_and_jpeg_codes_are_the_data_sides_to_the_bit() -> None:
    rng = np.random.default_rng(0)
    linear = np.stack([SRGB.to_linear(scene(seed=k)) for k in range(6)]) * np.float32(1.05)
    saturation = (rng.random(linear.shape) * (linear > 0.9)).astype(np.float32)
    sharp = np.stack([scene(seed=k + 10) for k in range(6)])
    crops = Crops(torch.from_numpy(linear), torch.from_numpy(saturation), torch.from_numpy(sharp))
    for outputs in ((), (response_curve("gamma:2.2"), response_curve("bt709"))):
        rendition = Rendition(SRGB, outputs, LightChain(highlights="0.25-1.75"))
        keys = list(range(100, 106))
        blurry, kept = Darkroom.build(rendition, CPU).develop(crops, keys, [(0, 0)] * 6)
        for k, key in enumerate(keys):
            draw = rendition.draw(key, 1.0)
            curve = outputs[draw.curve] if outputs else SRGB
            expected = render(linear[k], saturation[k], curve, draw.light)
            np.testing.assert_array_equal(blurry[k].numpy(), expected)
            fine = SRGB.to_fine(SRGB.to_linear(sharp[k]))
            np.testing.assert_array_equal(kept[k].numpy(), rendition.sharp(fine, draw))


def test_the_whole_chain_looks_like_the_data_sides() -> None:
    linear = np.stack([SRGB.to_linear(scene(96, 96, seed=k)) for k in range(4)])
    nothing = np.zeros_like(linear)
    crops = Crops(torch.from_numpy(linear), torch.from_numpy(nothing), torch.from_numpy(SRGB.from_linear(linear)))
    rendition = Rendition(SRGB, (), LightChain("on", "iso:200-3200", "50-95"))
    blurry, _ = Darkroom.build(rendition, CPU).develop(crops, [1, 2, 3, 4], [(0, 0)] * 4)
    for k, key in enumerate([1, 2, 3, 4]):
        theirs = render(linear[k], nothing[k], SRGB, rendition.draw(key, 1.0).light).astype(int)
        ours, clean = blurry[k].numpy().astype(int), SRGB.from_linear(linear[k])
        assert np.abs(ours - clean).mean() == pytest.approx(np.abs(theirs - clean).mean(), rel=0.05)
        assert (ours - clean).mean() == pytest.approx((theirs - clean).mean(), abs=0.4)


def test_white_stays_white_under_noise() -> None:
    linear = torch.ones(1, 16, 16, 3)
    crops = Crops(linear, torch.ones_like(linear), torch.full((1, 16, 16, 3), 255, dtype=torch.uint8))
    blurry, _ = Darkroom.build(Rendition(SRGB, (), LightChain("on", "iso:6400")), CPU).develop(crops, [3], [(0, 0)])
    assert (blurry == 255).all()
