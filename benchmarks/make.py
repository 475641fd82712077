"""`make` against decoding alone (the limit) and against the way that peers use."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import imageio_ffmpeg
import numpy as np

from benchmarks.side_by_side import rates, real_or_rendered_clip, show
from blursynth.video import describe

WINDOW = 7
PEER_FRAMES = 56  # the plain way is too slow for the whole clip


def ffmpeg_to_nothing(clip: Path, frames: int) -> float:
    """Decode to RGB and throw it away: what no program that reads the clip can beat."""
    ffmpeg = shutil.which("ffmpeg") or imageio_ffmpeg.get_ffmpeg_exe()
    command = [
        ffmpeg,
        "-v",
        "error",
        "-nostdin",
        "-i",
        str(clip),
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        os.devnull,
        "-y",
    ]
    subprocess.run(command, check=True)
    return frames


def peer(clip: Path, folder: Path) -> float:
    """What every public script does: float powers frame by frame, a list, a mean, PNG files."""
    capture = cv2.VideoCapture(str(clip))
    window: list[Any] = []
    frames = pairs = 0
    while frames < PEER_FRAMES and (read := capture.read())[0]:
        frames += 1
        window.append((read[1] / 255.0) ** 2.2)
        if len(window) == WINDOW:
            blurry = np.mean(window, axis=0) ** (1 / 2.2) * 255
            sharp = window[WINDOW // 2] ** (1 / 2.2) * 255
            cv2.imwrite(str(folder / f"{pairs}_blur.png"), blurry.astype(np.uint8))
            cv2.imwrite(str(folder / f"{pairs}_sharp.png"), sharp.astype(np.uint8))
            window.clear()
            pairs += 1
    return frames


def blursynth_make(clip: Path, folder: Path, frames: int, *options: str) -> float:
    """The command itself, process start and all."""
    shutil.rmtree(folder / "shards", ignore_errors=True)
    command = [sys.executable, "-m", "blursynth", "make", str(clip), "-o", str(folder / "shards"), "-q"]
    subprocess.run([*command, "--window", str(WINDOW), *options], check=True, stdout=subprocess.DEVNULL)
    return frames


def run(folder: Path) -> None:
    clip = real_or_rendered_clip(folder)
    frames = describe(clip).num_frames
    blursynth_make(clip, folder, frames)  # compiles the kernel, fills the page cache
    found = rates(
        {
            "blursynth make (raw)": lambda: blursynth_make(clip, folder, frames),
            "blursynth make (zstd)": lambda: blursynth_make(clip, folder, frames, "--codec", "zstd"),
            "blursynth make (raw, --resize 640x360)": lambda: blursynth_make(
                clip, folder, frames, "--resize", "640x360"
            ),
            "ffmpeg decoding to RGB, thrown away (the limit)": lambda: ffmpeg_to_nothing(clip, frames),
            "peers: VideoCapture, float power, np.mean, PNG": lambda: peer(clip, folder),
        }
    )
    against = {
        "ffmpeg decoding to RGB, thrown away (the limit)": 0.6,
        "peers: VideoCapture, float power, np.mean, PNG": 15.0,
        "blursynth make (zstd)": None,
        "blursynth make (raw, --resize 640x360)": None,
    }
    show(f"make, window {WINDOW}, {clip.name}, {frames} frames, whole process", found, "frames", against=against)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"  largest peak memory of these processes: {peak:.0f} MB  (aim 600: {'met' if peak < 600 else 'MISSED'})")
