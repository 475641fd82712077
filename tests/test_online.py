import multiprocessing
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import blursynth.model
from blursynth.crf import response_curve
from blursynth.errors import SettingsError
from blursynth.model.online import Batch, PhotoSet, SampleRule, draw_shot, photo_batches, photo_set, shake_crops
from blursynth.model.online.masks import draw_cut, masks
from blursynth.model.online.sampling import mean_of_views
from blursynth.model.online.shots import Shot, shot_of
from blursynth.radiometry import LightChain
from blursynth.rendition import Rendition
from blursynth.shake import ShakeRule, draw_layers, draw_trajectory, expose, homographies
from blursynth.shake.camera import warp
from blursynth.shake.rendering import Shaken, shaken

Codes = NDArray[np.uint8]
SRGB = response_curve("srgb")
PLAIN = Rendition(SRGB, (), LightChain())
SIZE = (180, 240)
PATCH = 32

pytestmark = pytest.mark.usefixtures("one_thread")


def picture(seed: int = 0, size: tuple[int, int] = SIZE) -> Codes:
    """Detail of some pixels, from black to clipping."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(-60, 316, (size[0] // 4 + 1, size[1] // 4 + 1, 3)).clip(0, 255)
    return np.asarray(coarse.repeat(4, axis=0).repeat(4, axis=1)[: size[0], : size[1]], np.uint8)


@pytest.fixture(scope="module")
def photos() -> PhotoSet:
    return photo_set([("a", picture(0)), ("b", picture(1, (256, 200))), ("c", picture(2))])


def reference(rule: ShakeRule, key: int) -> tuple[Shaken, Shot]:
    """Shake the first picture as `blursynth shake` does; return it and the same shot."""
    trajectory = draw_trajectory(rule, key, SIZE)
    made = shaken(SRGB.to_linear(picture()), trajectory, draw_layers(rule, key, SIZE), size=(PATCH, PATCH), key=key)
    return made, replace(shot_of(trajectory, draw_cut(rule, key), SIZE), top=made.top, left=made.left)


@pytest.mark.parametrize("renderer", [None, mean_of_views])
@pytest.mark.parametrize("kind", ["boracchi-foi", "tremor"])
@pytest.mark.parametrize(("layers", "readout"), [("1", "0"), ("1", "0.5"), ("2", "0.3"), ("3", "0"), ("3", "1")])
def test_a_crop_is_what_shake_makes_of_it(
    photos: PhotoSet, renderer: Any, kind: str, layers: str, readout: str
) -> None:
    rule = ShakeRule(blur_px="3-20", trajectory=kind, layers=layers, readout=readout)
    for key in range(3):
        made, shot = reference(rule, key)
        crops = shake_crops(photos, [shot], PATCH, renderer=renderer)
        blurry = crops.blurry_linear[0].numpy()
        np.testing.assert_allclose(blurry, made.blurry_linear, atol=1e-5)
        difference = SRGB.from_linear(blurry).astype(int) - SRGB.from_linear(made.blurry_linear)
        assert np.abs(difference).max() <= 1
        np.testing.assert_allclose(crops.saturation[0].numpy(), made.saturation, atol=1e-5)
        np.testing.assert_array_equal(crops.sharp[0].numpy(), SRGB.from_linear(made.sharp_linear))
        assert shot.num_poses == made.num_poses
        assert np.abs(blurry - made.sharp_linear).max() > 0.1  # it is not trivial


def test_shots_rendered_together_are_those_rendered_alone(photos: PhotoSet) -> None:
    rule = ShakeRule(blur_px="2-15")
    shots = [replace(draw_shot(rule, key, photos.sizes[key % 3], PATCH), photo=key % 3) for key in range(7)]
    together = shake_crops(photos, shots, PATCH)
    for k, shot in enumerate(shots):
        alone = shake_crops(photos, [shot], PATCH)
        assert torch.equal(alone.blurry_linear[0], together.blurry_linear[k])
        assert torch.equal(alone.saturation[0], together.saturation[k])
        assert torch.equal(alone.sharp[0], together.sharp[k])


def test_groups_as_a_gpu_renders_them_agree_with_single_shots(
    photos: PhotoSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = ShakeRule(blur_px="2-15")
    shots = [replace(draw_shot(rule, key, photos.sizes[key % 3], PATCH), photo=key % 3) for key in range(6)]
    alone = shake_crops(photos, shots, PATCH, renderer=mean_of_views)
    monkeypatch.setitem(shake_crops.__globals__["_MAX_SHOTS"], "cpu", 4)
    monkeypatch.setitem(shake_crops.__globals__["_MAX_VIEWS"], "cpu", 1 << 15)
    grouped = shake_crops(photos, shots, PATCH, renderer=mean_of_views)
    torch.testing.assert_close(grouped.blurry_linear, alone.blurry_linear, atol=2e-6, rtol=0)
    assert torch.equal(grouped.sharp, alone.sharp)


def test_layers_are_those_of_shake() -> None:
    rule = ShakeRule(layers="1-4")
    rows, columns = (torch.arange(side, dtype=torch.float64)[None] for side in SIZE)
    for key in range(12):
        cut, layers = draw_cut(rule, key), draw_layers(rule, key, SIZE)
        assert cut.depths == layers.depths
        painted = masks([cut], rows, columns, torch.tensor([180.0]).double(), torch.tensor([240.0]).double())
        np.testing.assert_allclose(painted[:, 0].numpy(), layers.alphas, atol=2e-6)


def test_no_light_comes_from_beyond_the_reach() -> None:
    rule = ShakeRule(blur_px="10-22", readout="0-1")
    for key in range(12):
        trajectory = draw_trajectory(rule, key, SIZE)
        cut = draw_cut(rule, key)
        shot = shot_of(trajectory, cut, SIZE)
        exposure = expose(trajectory, SIZE, depths=cut.depths)
        ys = np.arange(SIZE[0], dtype=np.float64)[:, None, None]
        for depth in cut.depths:
            matrices = homographies(
                exposure.rotations, exposure.translations, focal_px=trajectory.focal_px, size=SIZE, depth=depth
            )
            xs = np.array([0.0, 119.5, 239.0])
            places = warp(np.broadcast_to(matrices, (180, *matrices.shape[1:]))[:, :, None], xs, ys)
            moved = places - np.stack(np.broadcast_arrays(xs, ys), axis=-1)
            assert np.abs(moved).max() + 2 <= shot.reach_px


def test_crops_and_their_light_lie_inside_the_photo_even_if_the_shake_must_be_shorter() -> None:
    rule, shortened = ShakeRule(blur_px="20"), 0
    for key in range(30):
        shot = draw_shot(rule, key, SIZE, 160)
        assert shot.reach_px <= shot.top <= SIZE[0] - 160 - shot.reach_px
        assert shot.reach_px <= shot.left <= SIZE[1] - 160 - shot.reach_px
        shortened += shot.num_poses < shot_of(draw_trajectory(rule, key, SIZE), draw_cut(rule, key), SIZE).num_poses
    assert shortened > 15
    with pytest.raises(SettingsError, match="too small"):
        draw_shot(ShakeRule(), 0, SIZE, 176)


def samples(**changes: Any) -> SampleRule:
    values: dict[str, Any] = {"rule": ShakeRule(blur_px="2-12"), "still": 0.2, "patch": PATCH, "seed": 5}
    return SampleRule(**(values | changes))


FULL = Rendition(SRGB, (), LightChain("0.25-1.75", "iso:100-1600", "60-95"))


def made(photos: PhotoSet, *, steps: range, batch: int = 4, workers: int = 0, seed: int = 5) -> list[Batch]:
    return list(photo_batches(photos, samples(seed=seed), FULL, batch=batch, steps=steps, workers=workers))


def test_batches_depend_on_seed_and_sample_number_alone(photos: PhotoSet) -> None:
    unbroken = made(photos, steps=range(4))
    assert [batch.first_sample for batch in unbroken] == [0, 4, 8, 12]
    for other in (
        made(photos, steps=range(4), workers=2),
        made(photos, steps=range(2)) + made(photos, steps=range(2, 4)),
    ):
        for one, two in zip(unbroken, other, strict=True):
            assert torch.equal(one.blurry, two.blurry)
            assert torch.equal(one.sharp, two.sharp)
            assert one.first_sample == two.first_sample
    larger = made(photos, steps=range(2), batch=8)
    assert torch.equal(torch.cat([batch.blurry for batch in unbroken]), torch.cat([batch.blurry for batch in larger]))
    assert not torch.equal(made(photos, steps=range(1), seed=6)[0].sharp, unbroken[0].sharp)


def test_batches_are_codes_with_channels_last_in_memory(photos: PhotoSet) -> None:
    batch = made(photos, steps=range(1))[0]
    for images in (batch.blurry, batch.sharp):
        assert images.shape == (4, 3, PATCH, PATCH)
        assert images.dtype == torch.uint8
        assert images.is_contiguous(memory_format=torch.channels_last)


def test_a_camera_at_rest_gives_the_photograph(photos: PhotoSet) -> None:
    stream = photo_batches(photos, samples(still=1.0), PLAIN, batch=4, steps=range(3), workers=0)
    for batch in stream:
        assert torch.equal(batch.blurry, batch.sharp)
    moving = list(photo_batches(photos, samples(still=0.3), PLAIN, batch=8, steps=range(8), workers=0))
    at_rest = sum(
        int(torch.equal(one, two)) for batch in moving for one, two in zip(batch.blurry, batch.sharp, strict=True)
    )
    assert 10 <= at_rest <= 30  # of 64


def test_photographs_with_detail_are_chosen_more_often() -> None:
    flat = np.full((*SIZE, 3), 90, np.uint8)
    photos = photo_set([("flat", flat), ("full", picture())])
    stream = photo_batches(photos, samples(still=1.0), PLAIN, batch=32, steps=range(2), workers=0)
    is_flat = [bool((sharp == 90).all()) for batch in stream for sharp in batch.sharp]
    assert sum(is_flat) <= 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"still": 1.5}, "still"), ({"still": float("nan")}, "still"), ({"patch": 8}, "patch"), ({"seed": -1}, "seed")],
)
def test_senseless_rules_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        samples(**changes)


def test_what_cannot_be_made_is_refused_before_it_begins(photos: PhotoSet) -> None:
    with pytest.raises(SettingsError, match="a: 240x180 px are too few for crops of 168"):
        photo_batches(photos, samples(patch=168), PLAIN, batch=1, steps=range(1))
    with pytest.raises(SettingsError, match="batch 0"):
        photo_batches(photos, samples(), PLAIN, batch=0, steps=range(1))
    with pytest.raises(SettingsError, match="match"):
        photo_batches(photos, samples(), Rendition(SRGB, (), LightChain(noise="match")), batch=1, steps=range(1))


def test_closing_the_stream_early_leaves_nothing_behind(photos: PhotoSet) -> None:
    stream = photo_batches(photos, samples(), PLAIN, batch=2, steps=range(1000), workers=2)
    assert len(list(islice(stream, 2))) == 2
    assert len(multiprocessing.active_children()) >= 1
    stream.close()
    assert not multiprocessing.active_children()


def test_nothing_but_torch_numpy_and_pillow_is_needed() -> None:
    folder = Path(blursynth.model.__file__ or "").parent
    code = f"""
import sys, types
package = types.ModuleType("blursynth.model")  # its own __init__ may import what trains from shards
package.__path__ = [{str(folder)!r}]
sys.modules["blursynth.model"] = package
for name in ("cv2", "numba", "av", "h5py", "click", "rich", "scipy", "safetensors"):
    sys.modules[name] = None
import numpy as np
from blursynth.model.online import SampleRule, photo_batches, photo_set
from blursynth.crf import response_curve
from blursynth.radiometry import LightChain
from blursynth.rendition import Rendition
from blursynth.shake import ShakeRule
photos = photo_set([("a", np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8))])
rule = SampleRule(ShakeRule("2-4", layers="1"), 0.0, 16, 0)
light = Rendition(response_curve("srgb"), (), LightChain("on", "iso:400", "90"))
print(next(photo_batches(photos, rule, light, batch=1, steps=range(1), workers=0)).blurry.shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.strip() == "torch.Size([1, 3, 16, 16])", done.stderr
