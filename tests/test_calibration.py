import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

from blursynth.calibration import calibrate, draw_curve, parse_exposure, read_bracket, write_curve, write_plot
from blursynth.calibration.solving import Method
from blursynth.cli.calibrate_crf import command
from blursynth.cli.screen import Screen
from blursynth.crf import response_curve
from blursynth.errors import PhotoError, RefusedError, SettingsError

Codes = NDArray[np.uint8]
Floats = NDArray[np.float64]

LIGHT = np.linspace(0, 1, 20_001)
STOPS = (-3, -2, -1, 0, 1, 2, 3)
# A camera's curve as a polynomial, which neither begins at 0, nor ends at 1, nor rises everywhere: y = sum of a x^k.
CAMERA = [-0.0095228, 8.698516, -45.157821, 150.711809, -308.197829, 368.308117, -235.163398, 61.832224]


def response(kind: str) -> Any:
    """Codes from 0 to 1 over LIGHT."""
    if kind == "camera":
        polynomial = np.clip(np.polynomial.polynomial.polyval(LIGHT, CAMERA), 0, 1)
        return np.maximum.accumulate(polynomial)
    if kind == "s":
        toned = LIGHT ** (1 / 2.2)
        sigmoid = 1 / (1 + np.exp(-8 * (toned - 0.5)))
        return 0.3 * toned + 0.7 * (sigmoid - sigmoid[0]) / (sigmoid[-1] - sigmoid[0])
    return np.asarray(np.interp(LIGHT, response_curve(kind).linear_of_codes(4095), np.arange(4096) / 4095))


def scene(seed: int = 0, height: int = 240, width: int = 320) -> Floats:
    """Light and shade over eleven stops, with colour and texture."""
    rng = np.random.default_rng(seed)

    def waves(step: int, channels: int) -> Any:
        coarse = rng.uniform(0, 1, (height // step, width // step, channels)).astype(np.float32)
        return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, channels)

    stops = 0.8 * (1.5 * waves(24, 1) - 0.25) + 0.2 * waves(40, 3) + 0.02 * waves(3, 1)
    return np.asarray(2.0 ** (11 * np.clip(stops, 0, 1) - 6.6))


def photograph(light: Floats, kind: str, seed: int = 0, *, noise: float = 1.0, quality: int = 0) -> Codes:
    """Expose a scene: shot noise, read noise, response, 8 bits and, if asked for, JPEG."""
    grain = np.random.default_rng(seed).standard_normal(light.shape)
    light = light + noise * grain * np.sqrt(2e-5 * light + 1e-8)
    codes = np.clip(np.rint(255 * np.interp(light, LIGHT, response(kind))), 0, 255).astype(np.uint8)
    if quality:
        file = cv2.imencode(".jpg", codes, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        codes = np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR))
    return np.asarray(codes)


def bracket(kind: str, stops: tuple[int, ...] = STOPS, **options: Any) -> tuple[list[Codes], list[float]]:
    seconds = [2.0**stop / 100 for stop in stops]
    return [photograph(scene() * 100 * t, kind, i, **options) for i, t in enumerate(seconds)], seconds


def code_error(table: Floats, kind: str) -> float:
    """RMS over light, in 8-bit codes, at the scale that fits best: exposure ratios do not tell the scale."""
    light = LIGHT[::20]
    truth = 255 * response(kind)[::20]
    scales = np.exp(np.linspace(-0.5, 0.5, 401))
    return min(float(np.sqrt(np.mean((np.interp(light * s, table, np.arange(256)) - truth) ** 2))) for s in scales)


@pytest.mark.parametrize("kind", ["gamma:2.2", "srgb", "s", "camera"])
def test_known_curves_are_found_within_a_code(kind: str) -> None:
    images, seconds = bracket(kind)
    calibration = calibrate(images, seconds)
    assert code_error(calibration.table, kind) < 0.9
    assert max(code_error(table, kind) for table in calibration.channel_tables) < 1.2
    assert calibration.residual_codes < 1


@pytest.mark.parametrize("kind", ["srgb", "s"])
def test_the_codes_of_jpeg_and_five_exposures_are_enough(kind: str) -> None:
    images, seconds = bracket(kind, (-2, -1, 0, 1, 2), quality=92)
    assert code_error(calibrate(images, seconds).table, kind) < 1


def test_three_exposures_are_enough_for_an_ordinary_curve() -> None:
    images, seconds = bracket("gamma:2.2", (-2, 0, 2))
    assert code_error(calibrate(images, seconds).table, "gamma:2.2") < 1


@pytest.mark.parametrize(("method", "limit"), [("debevec", 1.5), ("robertson", 3.0)])
def test_the_methods_of_opencv_give_a_usable_curve(method: Method, limit: float) -> None:
    images, seconds = bracket("srgb")
    calibration = calibrate(images, seconds, method=method)
    assert code_error(calibration.table, "srgb") < limit
    assert calibration.method == method


def test_the_order_of_the_photographs_and_the_unit_of_time_do_not_matter() -> None:
    images, seconds = bracket("srgb", (-2, 0, 1))
    one = calibrate(images, seconds)
    other = calibrate([images[i] for i in (2, 0, 1)], [1024 * seconds[i] for i in (2, 0, 1)])
    assert np.array_equal(one.table, other.table)
    assert one.curve.name == other.curve.name
    assert one.residual_codes == other.residual_codes


def test_curves_rise_strictly_where_codes_were_never_seen() -> None:
    stops = (-2, -1, 0)
    images = [photograph(np.clip(scene(), 0.05, 0.5) * 2.0**stop, "srgb") for stop in stops]  # codes 30 to 188
    calibration = calibrate(images, [2.0**stop for stop in stops])
    for table in (calibration.table, *calibration.channel_tables):
        assert (table[0], table[255]) == (0.0, 1.0)
        assert (np.diff(table) > 0).all()
    seen = slice(40, 180)
    truth = response_curve("srgb").linear_of_codes()
    ratio = calibration.table[seen] / truth[seen]
    assert np.ptp(np.log(ratio)) < 0.06


def test_inputs_stay_as_they_are() -> None:
    images, seconds = bracket("srgb", (-1, 0, 1))
    before = [image.copy() for image in images]
    for image in images:
        image.setflags(write=False)
    calibrate(images, seconds)
    assert all(map(np.array_equal, images, before))


def test_photographs_that_do_not_get_brighter_are_refused() -> None:
    images, seconds = bracket("srgb", (-1, 0, 1))
    for order in ((1, 0, 2), (2, 1, 0), (0, 2, 1)):
        with pytest.raises(PhotoError, match="not brighter than"):
            calibrate([images[i] for i in order], seconds)
    with pytest.raises(PhotoError, match=r"c\.jpg: not brighter than b\.jpg"):
        calibrate([images[0], images[1], images[1]], seconds, names=["a.jpg", "b.jpg", "c.jpg"])
    moved = [images[0], images[1], np.ascontiguousarray(images[2][::-1, ::-1])]
    with pytest.raises(PhotoError, match="contradict each other"):
        calibrate(moved, seconds)


def test_photographs_that_contradict_each_other_are_refused() -> None:
    light = scene()
    images = [photograph(light * gain, "srgb") for gain in (0.25, 0.5, 1)]
    images[1][120:] = photograph(light * 0.95, "srgb")[120:]
    with pytest.raises(PhotoError, match="contradict each other"):
        calibrate(images, [0.25, 0.5, 1.0])


def test_clipped_photographs_beside_good_ones_do_no_harm() -> None:
    images, seconds = bracket("srgb", (-2, -1, 0, 1, 2))
    rng = np.random.default_rng(0)
    clipped = [np.where(rng.uniform(size=(240, 320, 3)) < 0.01, 254, 255).astype(np.uint8) for _ in range(3)]
    calibration = calibrate([*images, *clipped], [*seconds, 5, 10, 20])
    assert code_error(calibration.table, "srgb") < 1


def test_a_channel_that_shows_nothing_takes_the_curve_of_the_others() -> None:
    images, seconds = bracket("srgb", (-2, -1, 0, 1, 2))
    for image in images:
        image[..., 2] = 0
    calibration = calibrate(images, seconds)
    assert np.array_equal(calibration.channel_tables[2], calibration.table)
    assert code_error(calibration.table, "srgb") < 1


@pytest.mark.parametrize(("gain", "reason"), [(0.04, "for more time"), (30.0, "for less time")])
def test_a_bracket_that_shows_one_end_only_is_refused(gain: float, reason: str) -> None:
    images = [photograph(np.clip(scene(), 0.01, 0.03) * gain * 2.0**stop, "srgb") for stop in range(3)]
    with pytest.raises(PhotoError, match=reason):
        calibrate(images, [1, 2, 4])


@pytest.mark.parametrize("code", [0, 255, 128])
def test_photographs_that_show_nothing_are_refused(code: int) -> None:
    with pytest.raises(PhotoError):
        calibrate([np.full((64, 64, 3), code, np.uint8)] * 3, [1, 2, 4])


def test_photographs_of_other_kinds_are_refused() -> None:
    images, seconds = bracket("srgb", (-1, 0, 1))
    for odd, reason in (
        (images[2][:-8], "320x232"),
        (images[2].astype(np.uint16), "uint16"),
        (images[2][..., 0], "8-bit RGB"),
        (images[2][:8], "32 px"),
    ):
        with pytest.raises(PhotoError, match=reason):
            calibrate([*images[:2], odd], seconds)  # type: ignore[list-item]


@pytest.mark.parametrize(
    "seconds", [[1, 2], [1, 2, 2], [1, 2, 2.01], [0, 1, 2], [-1, 1, 2], [1, 2, np.nan], [1, 2, np.inf], [1e-9, 1, 2]]
)
def test_exposure_times_that_make_no_sense_are_refused(seconds: list[float]) -> None:
    with pytest.raises(SettingsError):
        calibrate([np.zeros((64, 64, 3), np.uint8)] * 3, seconds)


def test_two_photographs_or_another_method_are_refused() -> None:
    images, seconds = bracket("srgb", (-1, 0, 1))
    with pytest.raises(SettingsError, match="three or more"):
        calibrate(images[:2], seconds[:2])
    with pytest.raises(SettingsError, match="method 'magic'"):
        calibrate(images, seconds, method="magic")  # type: ignore[arg-type]


def test_a_written_curve_is_read_as_the_very_same(tmp_path: Path) -> None:
    calibration = calibrate(*bracket("s", (-2, 0, 2)))
    path = tmp_path / "camera.json"
    write_curve(path, calibration)
    curve = response_curve(str(path))
    assert curve.name == calibration.curve.name
    assert np.array_equal(curve.linear_of_codes(1023), calibration.curve.linear_of_codes(1023))
    content = json.loads(path.read_text())
    assert (content["num_images"], content["method"]) == (3, "least-squares")
    assert np.array_equal(content["channel_tables"]["g"], calibration.channel_tables[1])
    with pytest.raises(SettingsError, match="exists already"):
        write_curve(path, calibration)
    write_curve(path, calibration, overwrite=True)
    with pytest.raises(SettingsError, match=r"\.json"):
        write_curve(tmp_path / "camera.yaml", calibration)
    with pytest.raises(SettingsError, match=r"\.png"):
        write_plot(tmp_path / "camera.jpg", calibration)
    assert [path.name for path in tmp_path.iterdir()] == ["camera.json"]


def test_the_picture_shows_the_curve_where_it_is() -> None:
    calibration = calibrate(*bracket("s", (-2, 0, 2)))
    picture = draw_curve(calibration, size=(900, 600))
    assert picture.shape == (600, 900, 3)
    left, right, top, bottom = 86, 900 - 28, 64, 600 - 74
    for stops in (-1.0, -2.5, -4.0):
        code = np.interp(2.0**stops, calibration.table, np.arange(256))
        x, y = round(right + stops / 10 * (right - left)), round(bottom - code / 255 * (bottom - top))
        assert picture[y, x].sum() < 550
        assert (picture[y + 20, x + 3] > 200).all()
    assert np.array_equal(picture, draw_curve(calibration, size=(900, 600)))


@pytest.mark.parametrize(
    ("text", "seconds"), [("1/250", 0.004), ("0.004", 0.004), ("2", 2.0), (" .5 ", 0.5), ("0.5/2", 0.25)]
)
def test_exposure_times_are_read(text: str, seconds: float) -> None:
    assert parse_exposure(text) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(
    "text", ["", "0", "1/0", "-1", "1/x", "nan", "inf", "1e9", "1e999999999", "1/2/3", "/", ".", "９"]
)
def test_other_exposure_times_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="exposure time"):
        parse_exposure(text)


def save_bracket(folder: Path, stops: tuple[int, ...] = (-2, 0, 2), **tags: Any) -> list[Path]:
    """Save as a camera does; further EXIF by name, one value for each photograph."""
    numbers = {"f_number": 0x829D, "iso": 0x8827, "seconds": 0x829A}
    paths = []
    images, seconds = bracket("srgb", stops)
    for index, (image, time) in enumerate(zip(images, seconds, strict=True)):
        values = {"seconds": time, "f_number": 8.0, "iso": 100} | {name: tags[name][index] for name in tags}
        exif = Image.Exif()
        exif[0x8769] = {numbers[name]: value for name, value in values.items() if value is not None}
        paths.append(folder / f"{index}.jpg")
        Image.fromarray(image).save(paths[-1], quality=95, subsampling=0, exif=exif.tobytes())
    return paths


def test_exposure_times_come_from_exif(tmp_path: Path) -> None:
    found = read_bracket(save_bracket(tmp_path))
    assert found.exposure_seconds == pytest.approx([1 / 400, 1 / 100, 1 / 25], rel=1e-4)
    assert [Path(name).name for name in found.names] == ["0.jpg", "1.jpg", "2.jpg"]
    assert found.images[0].shape == (240, 320, 3)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"iso": [100, 100, 200]}, r"2\.jpg: ISO 200\.0, but 100\.0 in .*0\.jpg"),
        ({"f_number": [8.0, 4.0, 8.0]}, r"1\.jpg: aperture 4\.0"),
        ({"iso": [100, None, 100]}, r"1\.jpg: ISO None"),
        ({"seconds": [0.01, None, 0.1]}, r"1\.jpg: its EXIF has no exposure time"),
        ({"seconds": [0.01, 0.0, 0.1]}, r"1\.jpg: its EXIF has no exposure time"),
    ],
)
def test_photographs_that_differ_in_more_than_time_are_refused(
    tmp_path: Path, tags: dict[str, Any], reason: str
) -> None:
    paths = save_bracket(tmp_path, **tags)
    with pytest.raises(PhotoError, match=reason):
        read_bracket(paths)
    assert read_bracket(paths, [1, 2, 3]).exposure_seconds == (1, 2, 3)  # who gives the times knows better


def test_photographs_of_16_bits_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    path.write_bytes(cv2.imencode(".png", np.zeros((64, 64, 3), np.uint16))[1].tobytes())
    with pytest.raises(PhotoError, match=r"deep\.png: 16 bits"):
        read_bracket([path] * 3, [1, 2, 3])


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments], obj=Screen())


def test_the_command_writes_a_curve_that_make_can_use(tmp_path: Path) -> None:
    paths = save_bracket(tmp_path, (-2, -1, 0, 1, 2))
    output, plot = tmp_path / "camera.json", tmp_path / "camera.png"
    result = run(*paths, "-o", output, "--plot", plot, "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["name"] == response_curve(str(output)).name
    assert (summary["output"], summary["num_images"]) == (str(output), 5)
    assert code_error(response_curve(str(output)).linear_of_codes(), "srgb") < 1
    with Image.open(plot) as picture:
        assert picture.size == (1100, 760)
    assert isinstance(run(*paths, "-o", output).exception, SettingsError)
    assert run(*paths, "-o", output, "--overwrite", "-q").output == f"{output}\n"


def test_the_command_takes_exposure_times_in_the_order_of_the_photographs(tmp_path: Path) -> None:
    paths = save_bracket(tmp_path, seconds=[None] * 3)
    output = tmp_path / "camera.json"
    assert isinstance(run(*paths, "-o", output).exception, PhotoError)
    assert isinstance(run(*paths, "-o", output, "--exposures", "1/400,1/100").exception, SettingsError)
    assert isinstance(run(*paths, "-o", output, "--exposures", "1/25,1/100,1/400").exception, PhotoError)
    assert not output.exists()
    result = run(*paths, "-o", output, "--exposures", "1/400,1/100,0.04")
    assert result.exit_code == 0
    assert result.stdout == f"{output}\n"
    assert "3 photographs of 0.0025 to 0.04 s" in result.stderr


def test_the_command_refuses_before_it_works(tmp_path: Path) -> None:
    paths = save_bracket(tmp_path)
    plot = tmp_path / "there.png"
    plot.write_bytes(b"mine")
    assert isinstance(run(*paths, "-o", tmp_path / "new.json", "--plot", plot).exception, SettingsError)
    assert isinstance(run(*paths, "-o", tmp_path / "new.txt").exception, SettingsError)
    assert isinstance(run(*paths, "-o", tmp_path / "new.json", "--plot", tmp_path / "new.gif").exception, SettingsError)
    assert isinstance(run(tmp_path / "missing.jpg", "-o", tmp_path / "new.json").exception, SettingsError)
    assert isinstance(run(plot, *paths, "-o", tmp_path / "new.json").exception, RefusedError)
    assert plot.read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.jpg", "1.jpg", "2.jpg", "there.png"]
