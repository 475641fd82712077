import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from blursynth.averaging import ExactEncoder
from blursynth.crf import CURVE_SCHEMA, curve_of_table, curve_of_transfer, measured_curve, response_curve
from blursynth.errors import RefusedError, SettingsError

NAMES = ["gamma:2.2", "gamma:1.8", "gamma:2.4", "srgb", "bt709", "hlg", "pq", "linear"]
EXTREME_NAMES = [*NAMES, "gamma:0.2", "gamma:5"]


@pytest.mark.parametrize(
    ("name", "code", "linear"),
    [
        ("gamma:2.2", 128, (128 / 255) ** 2.2),
        ("srgb", 118, 0.18116424424986022),  # the grey card
        ("srgb", 10, 10 / 255 / 12.92),
        ("bt709", 20, 20 / 255 / 4.5),
        ("bt709", 255, 1.0),
        ("hlg", 51, 0.2**2 / 3),
        ("linear", 51, 0.2),
    ],
)
def test_known_values(name: str, code: int, linear: float) -> None:
    assert response_curve(name).linear_of_codes()[code] == pytest.approx(linear, rel=1e-6 if name == "hlg" else 1e-12)


def test_hlg_and_pq_give_the_levels_that_are_known_by_heart() -> None:
    hlg, pq = response_curve("hlg").inverse, response_curve("pq").inverse
    assert hlg(np.array([0.5, 0.75])) == pytest.approx([1 / 12, 0.26496256], rel=1e-6)  # white of BT.2408 is 75 %
    assert 10_000 * pq(np.array([0.5080784, 0.5806889])) == pytest.approx([100, 203], rel=1e-5)  # cd/m2, BT.2408


@pytest.mark.parametrize("name", NAMES)
def test_all_codes_survive_a_round_trip(name: str) -> None:
    curve = response_curve(name)
    codes = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    assert np.array_equal(curve.from_linear(curve.to_linear(codes)), codes)
    assert np.array_equal(curve.from_linear(curve.linear_of_codes()), codes.ravel())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("peak", [255, 1023, 4095, 65535])
def test_curves_rise_from_nought_to_one(name: str, peak: int) -> None:
    linear = response_curve(name).linear_of_codes(peak)
    assert linear.shape == (peak + 1,)
    assert (linear[0], linear[-1]) == (0.0, 1.0)
    assert (np.diff(linear) > 0).all()
    thresholds = response_curve(name).code_thresholds()
    assert (np.diff(thresholds) > 0).all()


def test_encoding_rounds_to_the_nearest_code_and_clips() -> None:
    curve = response_curve("gamma:2.2")
    linear = np.random.default_rng(0).uniform(-0.1, 1.2, 10_000)
    expected = np.rint(255 * np.clip(linear, 0, 1) ** (1 / 2.2))
    assert np.array_equal(curve.from_linear(linear), expected)


@pytest.mark.parametrize("name", EXTREME_NAMES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_encoding_counts_thresholds_exactly_whatever_the_number(name: str, dtype: Any) -> None:
    curve = response_curve(name)
    thresholds = curve.code_thresholds()
    single = thresholds.astype(np.float32)
    near = [thresholds, np.nextafter(thresholds, 0), np.nextafter(thresholds, 2), single]
    near += [np.nextafter(single, np.float32(0)), np.nextafter(single, np.float32(2))]
    odd = [0.0, -0.0, 1.0, 2.0, -1.0, 1e-7, 6e4, np.inf, -np.inf, np.nan, -np.nan]
    odd += [1e300, -1e300, 1e-320] if dtype == np.float64 else []
    values = np.concatenate([*near, odd, curve.inverse(np.random.default_rng(0).uniform(0, 1, 40_000))]).astype(dtype)
    expected = np.searchsorted(thresholds, values, side="right")
    assert np.array_equal(curve.from_linear(values), expected)
    assert np.array_equal(curve.to_fine(values) >> 8, expected)
    assert np.array_equal(curve.from_linear(values[::-3]), expected[::-3])


def test_encoding_keeps_shapes_and_takes_single_numbers() -> None:
    curve = response_curve("srgb")
    light = np.random.default_rng(0).uniform(0, 1, (5, 7, 3)).astype(np.float32)
    assert curve.from_linear(light).shape == curve.to_fine(light).shape == (5, 7, 3)
    assert curve.from_linear(light[:0]).shape == (0, 7, 3)
    assert int(curve.from_linear(np.asarray(0.18116))) == 118
    assert np.array_equal(curve.from_linear(light.transpose(2, 0, 1)), curve.from_linear(light).transpose(2, 0, 1))


@pytest.mark.parametrize("name", EXTREME_NAMES)
def test_fine_codes_grow_with_light_and_hold_the_display_code(name: str) -> None:
    curve = response_curve(name)
    fine = np.arange(65536, dtype=np.uint16)
    light = curve.from_fine(fine)
    assert light.dtype == np.float32
    assert (light[0], light[-1]) == (0.0, 1.0)
    assert (np.diff(light) > 0).all()
    assert np.array_equal(curve.from_linear(light), fine >> 8)
    assert np.array_equal(curve.to_fine(light), fine)
    assert np.array_equal(curve.to_fine(light.astype(np.float64)), fine)


@pytest.mark.parametrize("name", NAMES)
def test_fine_codes_divide_the_light_of_a_code_evenly(name: str) -> None:
    curve = response_curve(name)
    light = curve.inverse(np.random.default_rng(0).uniform(0, 1, 50_000))
    edges = np.concatenate([[0.0], curve.code_thresholds(), [1.0]])
    part = np.diff(edges)[curve.from_linear(light)] / 256
    back = curve.from_fine(curve.to_fine(light))
    is_end = np.isin(curve.to_fine(light), [0, 65535])  # which stand for no light and full light exactly
    assert (np.abs(back - light) <= np.where(is_end, 1.0, 0.51) * part + 1e-7 * light).all()


@pytest.mark.parametrize(
    ("transfer", "name"),
    [(1, "bt709"), (6, "bt709"), (14, "bt709"), (15, "bt709"), (4, "gamma:2.2"), (5, "gamma:2.8"), (8, "linear"),
     (13, "srgb"), (16, "pq"), (18, "hlg"), (0, None), (2, None), (3, None), (7, None), (9, None), (17, None),
     (-1, None), (255, None)],
)  # fmt: skip
def test_tags_of_clips_name_curves(transfer: int, name: str | None) -> None:
    assert curve_of_transfer(transfer) == name
    if name:
        assert response_curve(name).name == name


def test_tags_are_those_of_the_decoder() -> None:
    from av.video.reformatter import ColorTrc

    assert curve_of_transfer(ColorTrc.SMPTE2084) == "pq"
    assert curve_of_transfer(ColorTrc.ARIB_STD_B67) == "hlg"
    assert curve_of_transfer(ColorTrc.IEC61966_2_1) == "srgb"


@pytest.mark.parametrize(
    "name", ["", "gamma", "gamma:", "gamma:x", "gamma:0", "gamma:-1", "gamma:nan", "gamma:9", "sRGB", "measured:00ff"]
)
def test_other_names_are_refused_by_name(name: str) -> None:
    with pytest.raises(SettingsError, match="response curve"):
        response_curve(name)


def s_shaped(num_codes: int = 256) -> NDArray[np.float64]:
    """The light of codes of a camera with a toe and a shoulder."""
    codes = np.linspace(0, 1, num_codes)
    return 0.2 * codes + 0.3 * codes**3 + 0.5 * codes**9


@pytest.mark.parametrize("seed", range(12))
def test_a_stored_table_makes_the_very_same_curve_again(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = rng.uniform(0, 9) + np.concatenate([[0.0], np.cumsum(np.exp(rng.uniform(-0.5, 0.5, 255)))]) ** rng.uniform(
        1, 4
    )
    curve = measured_curve(table, "mine")
    stored = curve.linear_of_codes()
    assert (stored[0], stored[-1], curve.name) == (0.0, 1.0, "mine")
    again = measured_curve(stored, "mine")
    assert np.array_equal(again.linear_of_codes(), stored)
    values = np.linspace(0, 1, 3001)
    assert np.array_equal(again.inverse(values), curve.inverse(values))
    assert (np.diff(curve.inverse(values)) > 0).all()
    fine = np.arange(0, 65536, 7, dtype=np.uint16)
    assert np.array_equal(curve.to_fine(curve.from_fine(fine)), fine)
    assert np.array_equal(curve.from_linear(curve.to_linear(np.arange(256, dtype=np.uint8))), np.arange(256))


@pytest.mark.parametrize("name", NAMES)
def test_a_table_of_a_known_curve_comes_near_it_between_the_codes(name: str) -> None:
    curve = response_curve(name)
    measured = measured_curve(curve.linear_of_codes(), name)
    light = curve.inverse(np.linspace(0.02, 1, 5000))
    assert np.mean(curve.from_linear(light) != measured.from_linear(light)) < 0.01
    for num_frames in (1, 7, 1023):
        ExactEncoder.build(measured, num_frames)


def write_curve_file(path: Path, table: NDArray[np.float64]) -> Path:
    if path.suffix == ".json":
        path.write_text(json.dumps({"schema": CURVE_SCHEMA, "table": table.tolist()}))
    else:
        path.write_text("".join(f"{entry!r}\n" for entry in table.tolist()))
    return path


def test_a_file_is_named_after_its_content(tmp_path: Path) -> None:
    table = s_shaped()
    names = set()
    for name in ("a.json", "b.csv", "c.txt", "d", "e.JSON"):
        curve = response_curve(str(write_curve_file(tmp_path / name.replace("JSON", "json"), table)))
        assert np.array_equal(curve.linear_of_codes(), table / table[-1])
        names.add(curve.name)
    (name,) = names
    assert name == curve_of_table(4 * table, "elsewhere").name
    assert name.startswith("measured:")
    assert len(name) == len("measured:") + 16
    assert response_curve(str(write_curve_file(tmp_path / "f.csv", table**1.1))).name != name


@pytest.mark.parametrize("num_codes", [16, 255, 257, 1024, 65536])
def test_tables_of_other_lengths_are_brought_to_8_bits_first(tmp_path: Path, num_codes: int) -> None:
    path = write_curve_file(tmp_path / "curve.txt", 5 + 1000 * s_shaped(num_codes))
    curve = response_curve(str(path))
    table = curve.linear_of_codes()
    assert np.abs(table - s_shaped()).max() < (2e-2 if num_codes == 16 else 2e-4)
    assert np.array_equal(
        measured_curve(table, "again").inverse(np.linspace(0, 1, 999)), curve.inverse(np.linspace(0, 1, 999))
    )


def test_a_table_that_falls_is_refused_at_the_entry() -> None:
    table = s_shaped()
    table[17] = table[16]
    with pytest.raises(SettingsError, match=r"'mine': entry 17 \(.*\) is not above"):
        measured_curve(table, "mine")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -1.0, 1e200])
def test_what_is_no_light_is_refused_at_the_entry(bad: float) -> None:
    table = s_shaped()
    table[200] = bad
    with pytest.raises(SettingsError, match="entry 200 is"):
        measured_curve(table, "mine")


def test_codes_that_can_hardly_be_told_apart_are_refused() -> None:
    table = s_shaped()
    table[100] = table[99] * (1 + 1e-7)
    with pytest.raises(SettingsError, match="codes 99 and 100 can hardly"):
        measured_curve(table, "mine")
    with pytest.raises(SettingsError, match="256 entries"):
        measured_curve(table[:-1], "mine")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.json", b"{", "not a response curve"),
        ("a.json", b"[1, 2]", "schema"),
        ("a.json", b'{"schema": "other", "table": [0, 1]}', "schema"),
        ("a.json", b'{"schema": "%s", "table": [0, true]}' % CURVE_SCHEMA.encode(), "True in the table"),
        (
            "a.json",
            b'{"schema": "%s", "table": [0, 1%s]}' % (CURVE_SCHEMA.encode(), b"0" * 400),
            "not a response curve",
        ),
        ("a.json", b"[" * 100_000, "not a response curve"),
        ("a.csv", b"0\n1\n\n3\n", "line 3"),
        ("a.csv", b"0,1\n2,3\n", "line 1"),
        ("a.txt", b"\xff\xfe\0", "not a response curve"),
        ("a.txt", b"", "empty"),
        ("a.txt", b"1\n" * 2_000_001, "at most"),
    ],
)
def test_files_that_hold_something_else_are_refused(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(RefusedError, match=reason) as caught:
        response_curve(str(path))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numbers_in_files_that_make_no_curve_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for lines, reason in (
        ([0, 1], "2 numbers"),
        ([*range(20), 3], "entry 20"),
        (["nan"] * 20, "entry 0"),
        ([5] * 20, "1"),
    ):
        path.write_text("\n".join(map(str, lines)))
        with pytest.raises(SettingsError, match=reason):
            response_curve(str(path))


def test_pipes_folders_and_nothing_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    for name in ("pipe.csv", ".", "nothing.json", "odd\0name.csv"):
        with pytest.raises(RefusedError):
            response_curve(str(tmp_path / name))
