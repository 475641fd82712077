import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blursynth.errors import SettingsError
from blursynth.shake import Layers, ShakeRule, Trajectory, draw_layers, draw_trajectory, expose, homographies
from blursynth.shake.camera import focal_px_of_35mm, rotation_matrices, rotation_vectors, seen_box, warp
from blursynth.shake.trajectory import boracchi_foi_path, hand_tremor

SIZE = (200, 300)
KINDS = ["boracchi-foi", "tremor"]


def places_of(trajectory: Trajectory, size: tuple[int, int], x: float, y: float) -> np.ndarray:
    """(K, 2): where pixel (x, y) comes from during the exposure."""
    exposure = expose(trajectory, size)
    row = int(y) if len(exposure.weights) > 1 else 0
    matrices = homographies(
        exposure.rotations[row], exposure.translations[row], focal_px=trajectory.focal_px, size=size
    )
    return warp(matrices, np.array(x), np.array(y))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("readout", ["0", "0.5"])
def test_the_centre_travels_as_far_as_asked_about_its_barycentre(kind: str, readout: str) -> None:
    rule = ShakeRule(blur_px="12", trajectory=kind, readout=readout)
    for key in range(5):
        trajectory = draw_trajectory(rule, key, SIZE)
        assert trajectory.kind == kind
        assert trajectory.path_px == pytest.approx(12)
        inside = (np.arange(4000) + 0.5)[:, None] / 4000
        np.testing.assert_allclose(trajectory.at(inside).mean(axis=0), 0, atol=1e-6)
        places = places_of(trajectory, SIZE, 149.5, 99.5)
        length = np.hypot(*np.diff(places, axis=0).T).sum()
        assert 0.8 * 12 < length < 12.1  # the ends lie half a step inside; sharp turns are cut


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_moves_by_more_than_a_step_between_poses_and_every_row_is_centred(kind: str) -> None:
    size = (120, 160)
    for key in range(4):
        trajectory = draw_trajectory(ShakeRule(blur_px="15", trajectory=kind, readout="0.4"), key, size)
        exposure = expose(trajectory, size, depths=(1.0, 0.5))
        np.testing.assert_allclose(exposure.weights.sum(axis=1), 1)
        assert exposure.weights.min() >= 0
        for depth in (1.0, 0.5):
            matrices = homographies(
                exposure.rotations, exposure.translations, focal_px=trajectory.focal_px, size=size, depth=depth
            )
            rows = np.arange(120.0)[:, None, None]
            places = warp(matrices[:, :, None], np.array([0.0, 80, 159]), rows)  # (R, K, 3, 2)
            assert np.hypot(*np.moveaxis(np.diff(places, axis=1), -1, 0)).max() < 0.502
            mean = np.einsum("rk,rkpi->rpi", exposure.weights, places)
            here = np.stack(np.broadcast_arrays([0.0, 80, 159], rows[:, 0]), axis=-1)
            assert np.abs(mean - here).max() < 0.2  # what perspective leaves, in so small a picture


def test_blur_is_drawn_over_its_whole_range_and_never_too_long_for_the_photo() -> None:
    rule = ShakeRule(blur_px="2-40", trajectory="tremor")
    lengths = np.array([draw_trajectory(rule, key, (800, 1000)).path_px for key in range(200)])
    assert lengths.min() < 2.6
    assert lengths.max() > 31
    assert 0.35 < (lengths < np.sqrt(80)).mean() < 0.65  # every octave is equally likely
    assert draw_trajectory(ShakeRule(blur_px="40"), 1, (80, 200)).path_px == pytest.approx(10)


def test_draws_depend_on_the_key_alone_and_mixed_takes_both_kinds() -> None:
    one, again, other = (draw_trajectory(ShakeRule(), key, SIZE) for key in (7, 7, 8))
    assert one.poses.tobytes() == again.poses.tobytes()
    assert (one.focal_px, one.readout_fraction) == (again.focal_px, again.readout_fraction)
    assert not np.array_equal(one.poses, other.poses)
    assert {draw_trajectory(ShakeRule(), key, SIZE).kind for key in range(20)} == set(KINDS)
    # For ever: data sets are rebuilt from their keys.
    np.testing.assert_allclose(one.poses[300, :3], GOLDEN_POSE, rtol=0, atol=1e-9)


GOLDEN_POSE = [-0.005925846117861511, 0.0041232885496356175, 0.0008455793304165127]


def test_boracchi_and_fois_particle_steps_evenly_and_turns_with_inertia() -> None:
    for key in range(10):
        path = boracchi_foi_path(np.random.default_rng(key), 2000)
        steps = np.diff(path, axis=0)
        np.testing.assert_allclose(np.hypot(*steps.T), 60 / 1999, rtol=1e-6)
        cosines = (steps[1:] * steps[:-1]).sum(axis=1) / (60 / 1999) ** 2
        assert np.median(cosines) > 0.98


def test_tremor_has_its_power_below_15_hz_with_a_share_at_8_to_12() -> None:
    seconds = np.arange(4096) / 512
    power = np.zeros(2049)
    for key in range(20):
        poses = hand_tremor(np.random.default_rng(key), seconds, translation_share=0.3)
        rates = np.diff(poses[:, 0], append=poses[-1, 0])
        power += np.abs(np.fft.rfft(rates * np.hanning(4096))) ** 2
    hz = np.fft.rfftfreq(4096, 1 / 512)
    power /= power.sum()
    assert power[hz > 16].sum() < 0.01
    assert 0.1 < power[(hz > 7) & (hz < 14)].sum() < 0.6
    assert power[(hz > 5.5) & (hz < 7)].sum() < 0.05
    poses = np.stack([hand_tremor(np.random.default_rng(key), seconds, translation_share=0.3) for key in range(20)])
    roll, pitch, along, across = (np.diff(poses[..., axis], axis=1).std() for axis in (2, 0, 5, 3))
    assert roll < 0.8 * pitch
    assert along < across < pitch


def test_rotation_vectors_and_matrices_are_inverse_and_proper() -> None:
    rng = np.random.default_rng(0)
    vectors = np.concatenate([rng.normal(size=(50, 3)) * size for size in (1e-9, 1e-5, 1e-2, 0.6)])
    matrices = rotation_matrices(vectors)
    np.testing.assert_allclose(
        matrices @ matrices.swapaxes(-1, -2), np.broadcast_to(np.eye(3), (200, 3, 3)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(matrices), 1)
    np.testing.assert_allclose(rotation_vectors(matrices), vectors, rtol=1e-6, atol=1e-14)
    quarter = rotation_matrices(np.array([0, 0, np.pi / 2]))
    np.testing.assert_allclose(quarter @ [1, 0, 0], [0, 1, 0], atol=1e-12)


def test_homographies_turn_shift_and_approach() -> None:
    size, focal_px = (201, 301), 400.0
    still = np.zeros(3)
    centre, right = np.array([150.0, 100]), np.array([250.0, 100])

    def source(rotation: list[float], translation: list[float], place: np.ndarray, depth: float = 1) -> np.ndarray:
        matrix = homographies(
            rotation_matrices(still + rotation), still + translation, focal_px=focal_px, size=size, depth=depth
        )
        return warp(matrix, *place)

    np.testing.assert_allclose(source([0, 0, 0], [0, 0, 0], right), right)
    np.testing.assert_allclose(source([0, 0.1, 0], [0, 0, 0], centre), centre + np.array([400 * np.tan(0.1), 0]))
    np.testing.assert_allclose(source([0.1, 0, 0], [0, 0, 0], centre), centre - [0, 400 * np.tan(0.1)])
    np.testing.assert_allclose(
        source([0, 0, 0.1], [0, 0, 0], right), centre + 100 * np.array([np.cos(0.1), np.sin(0.1)])
    )
    np.testing.assert_allclose(source([0, 0, 0], [0.01, -0.02, 0], right), right + np.array([4, -8]))
    np.testing.assert_allclose(source([0, 0, 0], [0.01, 0, 0], right, depth=0.5), right + np.array([8, 0]))
    np.testing.assert_allclose(source([0, 0, 0], [0, 0, 0.1], right), centre + np.array([90, 0]))  # nearer


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**64 - 1), st.sampled_from(KINDS), st.sampled_from(["0", "0.7"]))
def test_every_pixel_of_the_part_comes_from_inside_the_photo(key: int, kind: str, readout: str) -> None:
    size, depths = (60, 80), (1.0, 0.4)
    trajectory = draw_trajectory(ShakeRule(blur_px="7", trajectory=kind, readout=readout), key, size)
    exposure = expose(trajectory, size, depths=depths)
    matrices = np.stack(
        [
            homographies(
                exposure.rotations, exposure.translations, focal_px=trajectory.focal_px, size=size, depth=depth
            )
            for depth in depths
        ]
    )
    vertical, horizontal = seen_box(matrices, size)
    assert 2 <= vertical < 22
    assert 2 <= horizontal < 22
    rows, columns = np.arange(vertical, 60 - vertical), np.arange(horizontal, 80 - horizontal)
    chosen = matrices[:, rows] if matrices.shape[1] > 1 else matrices
    places = warp(chosen[..., None, :, :], columns.astype(float), rows[:, None, None].astype(float))
    assert places[..., 0].min() >= 1
    assert places[..., 1].min() >= 1
    assert places[..., 0].max() < 78
    assert places[..., 1].max() < 58
    reach = np.abs(places - np.stack(np.broadcast_arrays(columns, rows[:, None, None]), axis=-1)).max(axis=(0, 1, 2, 3))
    assert horizontal <= reach[0] + 3  # no wider than the motion asks for
    assert vertical <= reach[1] + 3


def test_layers_are_nearer_and_nearer_with_soft_edges() -> None:
    numbers = set()
    for key in range(12):
        layers = draw_layers(ShakeRule(layers="1-3"), key, (300, 400))
        numbers.add(len(layers.depths))
        assert layers.depths[0] == 1
        assert list(layers.depths) == sorted(layers.depths, reverse=True)
        assert layers.alphas.dtype == np.float32
        for alpha in layers.alphas:
            assert max(np.abs(np.diff(alpha, axis=axis)).max() for axis in (0, 1)) < 0.3
    assert numbers == {1, 2, 3}
    again = draw_layers(ShakeRule(layers="1-3"), 11, (300, 400))
    assert again.alphas.tobytes() == layers.alphas.tobytes()


def test_rules_are_plain_values() -> None:
    rule = ShakeRule(blur_px="3-9", layers="2")
    assert ShakeRule(**json.loads(json.dumps(dataclasses.asdict(rule)))) == rule


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("blur_px", ""),
        ("blur_px", "0"),
        ("blur_px", "-3"),
        ("blur_px", "40-2"),
        ("blur_px", "nan"),
        ("blur_px", "1e3"),
        ("blur_px", "401"),
        ("blur_px", "9" * 40),
        ("blur_px", "٣"),
        ("trajectory", "walk"),
        ("exposure_seconds", "0-1"),
        ("exposure_seconds", "5"),
        ("readout", "0-1.5"),
        ("layers", "0"),
        ("layers", "1.5"),
        ("layers", "5"),
        ("step_px", 0),
        ("step_px", float("nan")),
        ("step_px", 2),
    ],
)
def test_nonsense_is_refused_by_name(field: str, value: object) -> None:
    name = {"step_px": "step", "trajectory": "trajectory"}.get(field, field)
    with pytest.raises(SettingsError, match=name):
        ShakeRule(**{field: value})  # type: ignore[arg-type]


def test_keys_sizes_and_focal_lengths_are_refused() -> None:
    for key in (-1, 1 << 64):
        with pytest.raises(SettingsError, match=r"key .*64"):
            draw_trajectory(ShakeRule(), key, SIZE)
    with pytest.raises(SettingsError, match="15x300 px"):
        draw_trajectory(ShakeRule(), 0, (300, 15))
    for focal_px in (0.0, -5.0, float("nan"), float("inf"), 1.0):
        with pytest.raises(SettingsError, match="focal length"):
            draw_trajectory(ShakeRule(), 0, SIZE, focal_px=focal_px)
    with pytest.raises(SettingsError, match="focal length 0 mm"):
        focal_px_of_35mm(0, SIZE)
    assert focal_px_of_35mm(43.2666, (300, 400)) == pytest.approx(500)
    assert draw_trajectory(ShakeRule(), 0, SIZE, focal_px=333).focal_px == 333


def test_trajectories_and_layers_that_do_not_fit_are_refused() -> None:
    times, poses = np.linspace(0, 1, 5), np.zeros((5, 6))
    for bad_times, bad_poses, readout in (
        (times, poses[:4], 0.0),
        (times[::-1], poses, 0.0),
        (times, poses * np.nan, 0.0),
        (times, poses, 0.5),  # the rolling shutter needs more time
        (times, poses, float("nan")),
        (times / 2, poses, 0.0),
    ):
        with pytest.raises(SettingsError):
            Trajectory(bad_times, bad_poses, 300.0, 0.1, readout, "gyro")
    for focal_px, exposure in ((0.0, 0.1), (float("inf"), 0.1), (300.0, 0.0), (300.0, float("nan"))):
        with pytest.raises(SettingsError):
            Trajectory(times, poses, focal_px, exposure, 0.0, "gyro")
    whirl = poses + np.linspace(0, 1.5, 5)[:, None] * [0, 1, 0, 0, 0, 0]
    with pytest.raises(SettingsError, match="too long"):
        expose(Trajectory(times, whirl, 3000.0, 0.1, 0.0, "gyro"), (2000, 3000))
    mask = np.full((1, 4, 4), 0.5, np.float32)
    for depths, alphas in (
        ((1.0,), mask),
        ((0.5, 0.4), mask),
        ((1.0, 0.0), mask),
        ((1.0, 0.5), mask * 3),
        ((), mask[:0]),
    ):
        with pytest.raises(SettingsError, match="layers"):
            Layers(depths, alphas)


def test_all_but_the_renderer_needs_numpy_only() -> None:
    code = (
        "import sys, blursynth.shake; "
        "print(sorted({'cv2', 'numba', 'torch', 'PIL', 'av', 'h5py', 'click', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
