from pathlib import Path

import numpy as np
import pytest

from blursynth.errors import RefusedError, SettingsError
from blursynth.shake import GyroLog, expose, homographies, read_gyro, trajectory_of_gyro
from blursynth.shake.camera import rotation_matrices, warp


def constant(rates: list[float], seconds: float = 1.0, hz: float = 200) -> GyroLog:
    times = np.arange(0, seconds + 0.5 / hz, 1 / hz)
    return GyroLog(times, np.tile(np.array(rates, float), (times.size, 1)))


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_columns_units_and_order_come_from_the_header(tmp_path: Path) -> None:
    expected_times, expected = [0.0, 0.005, 0.010, 0.015], np.arange(12).reshape(4, 3) / 10
    plain = "\n".join(f"{t},{a},{b},{c}" for t, (a, b, c) in zip(expected_times, expected, strict=True))
    degrees = "\n".join(
        f"{np.degrees(c)}; 1e9 ;{np.degrees(a)};{np.degrees(b)};{t * 1e6}"
        for t, (a, b, c) in zip(expected_times, expected, strict=True)
    )
    for text in (
        plain,
        "time_s,gx,gy,gz\n" + plain,
        "\ufeff# a phone\n\nTimestamp (s),gyro_x [rad/s],gyro_y [rad/s],gyro_z [rad/s]\r\n"
        + plain.replace("\n", "\r\n"),
        plain.replace(",", "   "),
        plain.replace(",", "\t"),
        "gz_deg_s;accel_x;gx_deg_s;gy_deg_s;t_us\n" + degrees,
        "gyroZ (dps);ax;gyroX (dps);gyroY (dps);time (us)\n" + degrees,
    ):
        log = read_gyro(written(tmp_path / "log.csv", text))
        np.testing.assert_allclose(log.times_seconds, expected_times, atol=1e-12)
        np.testing.assert_allclose(log.rates, expected, atol=1e-12)


ROWS = "0,0,0,0\n1,0,0,0\n2,0,0,0\n3,0,0,0\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("# nothing\n", "empty"),
        ("0,0,0,0\n1,0,0,0\n", "2 samples"),
        (ROWS + "3,0,0,0\n", "line 5: time does not increase"),
        (ROWS + "2.5,0,0,0\n", "line 5: time does not increase"),
        (ROWS + "4,nan,0,0\n", "line 5: a number that is not finite"),
        (ROWS + "inf,0,0,0\n", "line 5: a number that is not finite"),
        (ROWS + "4,0,0,250\n", "line 5: 250 rad/s .* gx_deg_s"),
        (ROWS + "4,0,0\n", "line 5: '4,0,0' does not hold"),
        (ROWS + "4,0,zero,0\n", "line 5: .* does not hold"),
        ("time,gx,gy\n" + ROWS, "no column for z"),
        ("a,b,c,d\n" + ROWS, "no column for t, x, y, z"),
        ("time_h,gx,gy,gz\n" + ROWS, "unit of 'time_h'"),
        ("time,gx_mdps,gy,gz\n" + ROWS, "unit of 'gx_mdps'"),
        ("time,gx,gyro_x,gy,gz\n" + ROWS, "'gx' and 'gyro_x' mean the same"),
    ],
)
def test_bad_logs_are_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RefusedError, match=message) as caught:
        read_gyro(written(tmp_path / "bad\nname.csv", text))
    assert "\n" not in str(caught.value)


def test_what_is_no_text_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0" * 100)
    for path in (tmp_path / "photo.jpg", tmp_path, tmp_path / "missing.csv"):
        with pytest.raises(RefusedError):
            read_gyro(path)


def test_a_constant_rate_turns_by_rate_times_time() -> None:
    for axis in range(3):
        rates = [0.0, 0.0, 0.0]
        rates[axis] = 0.8
        trajectory = trajectory_of_gyro(constant(rates), 0.3, 0.25, 1000)
        turn = trajectory.poses[-1] - trajectory.poses[0]
        np.testing.assert_allclose(turn, np.eye(6)[axis] * 0.2, atol=1e-9)
        np.testing.assert_allclose(trajectory.poses[0] + trajectory.poses[-1], 0, atol=1e-9)  # about the middle


def test_rotations_are_composed_not_added() -> None:
    times = np.linspace(0, 1, 2001)
    half = times[:, None] < 0.5
    rates = np.where(half, [np.pi, 0, 0], [0, np.pi, 0])  # a quarter about x, then a quarter about the new y
    trajectory = trajectory_of_gyro(GyroLog(times, rates), 0, 1, 1000)
    first, last = rotation_matrices(trajectory.poses[[0, -1], :3])
    quarters = rotation_matrices(np.array([[np.pi / 2, 0, 0], [0, np.pi / 2, 0]]))
    np.testing.assert_allclose(first.T @ last, quarters[0] @ quarters[1], atol=2e-3)


def test_a_swing_moves_the_picture_by_the_integral_of_its_rate() -> None:
    times = np.arange(0, 1, 1 / 400)
    rates = np.zeros((times.size, 3))
    rates[:, 1] = 0.9 * np.sin(2 * np.pi * 5 * times)
    size, focal_px = (480, 640), 700.0
    trajectory = trajectory_of_gyro(GyroLog(times, rates), 0.2, 0.1, focal_px)  # half a swing
    exposure = expose(trajectory, size, step_px=0.1)
    matrices = homographies(exposure.rotations[0], exposure.translations[0], focal_px=focal_px, size=size)
    x = warp(matrices, np.array(319.5), np.array(239.5))[:, 0]
    angle = 0.9 * 2 / (2 * np.pi * 5)
    assert x[-1] - x[0] == pytest.approx(2 * focal_px * np.tan(angle / 2), abs=0.15)  # half a step is cut at each end


@pytest.mark.parametrize(
    ("start", "exposure", "readout", "message"),
    [
        (-0.1, 0.1, 0.0, "holds 0 s to 1 s only"),
        (0.95, 0.1, 0.0, "holds 0 s to 1 s only"),
        (0.0, 0.1, 0.5, "holds 0 s to 1 s only"),
        (0.1, 0.0, 0.0, "exposure of 0 s"),
        (0.1, float("nan"), 0.0, "exposure of nan s"),
        (float("inf"), 0.1, 0.0, "at inf s"),
        (0.1, 0.1, 2.0, "readout 2"),
    ],
)
def test_exposures_outside_the_log_are_refused(start: float, exposure: float, readout: float, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        trajectory_of_gyro(constant([0, 0, 0.1]), start, exposure, 500, readout_fraction=readout)


def test_a_gap_in_the_log_is_refused_only_where_it_matters() -> None:
    log = constant([0, 0, 0.1])
    is_kept = (log.times_seconds < 0.4) | (log.times_seconds > 0.5)
    log = GyroLog(log.times_seconds[is_kept], log.rates[is_kept])
    with pytest.raises(SettingsError, match="gap of 110 ms"):
        trajectory_of_gyro(log, 0.38, 0.1, 500)
    assert trajectory_of_gyro(log, 0.1, 0.2, 500).kind == "gyro"
    with pytest.raises(SettingsError, match="focal length"):
        trajectory_of_gyro(log, 0.1, 0.2, -500)
