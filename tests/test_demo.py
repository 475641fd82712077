from pathlib import Path

import cv2
import numpy as np
import pytest

from blursynth.demo import before_after, run_demo
from blursynth.errors import SettingsError
from blursynth.video import describe


def test_the_whole_job_in_small(tmp_path: Path) -> None:
    result = run_demo(tmp_path / "demo", minutes=0.05, seconds=0.3)
    info = describe(result.clip)
    assert float(info.frame_rate) == 240
    assert (info.width, info.height, info.codec) == (1280, 720, "h264")
    assert result.pairs == 6
    assert result.held_out == 1
    assert 10 < result.psnr_before < 60
    assert result.psnr_after > result.psnr_before - 1
    picture = cv2.imread(str(result.picture))
    assert picture is not None
    assert picture.shape[1] > 1000
    assert len(list((tmp_path / "demo" / "held-out").glob("*_deblurred.png"))) == 1
    assert str(result.picture) in result.text()
    with pytest.raises(SettingsError, match="--overwrite"):
        run_demo(tmp_path / "demo")


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    for overwrite in (False, True):
        with pytest.raises(SettingsError, match="other files"):
            run_demo(tmp_path, overwrite=overwrite)
    assert (tmp_path / "runs").is_dir()


def test_the_picture_shows_where_most_was_gained() -> None:
    rng = np.random.default_rng(0)
    sharp = rng.integers(0, 256, (720, 1280, 3)).astype(np.uint8)
    blurry = sharp.copy()
    blurry[310:600, 650:1040] //= 2
    picture = before_after([sharp, blurry], [sharp, sharp], [sharp, sharp])
    assert picture.shape == (34 + 8 + 2 * 308, 3 * 408, 3)
    deblurred, original = picture[42:342, 408:808], picture[42:342, 816:1216]
    assert np.array_equal(deblurred, original)
    assert (picture[42:342, :400] != original).mean() > 0.9
