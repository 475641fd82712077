"""`make` against decoding alone (the limit) and against the way that peers use."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import av
import cv2
import imageio_ffmpeg
import numpy as np

from benchmarks.side_by_side import rates, real_or_rendered_clip, show
from blursynth.video import describe

WINDOW = 7
REPEATS = 8
PEER_FRAMES = 56  # the plain way is too slow for the whole clip
PEAKS: list[float] = []  # memory of our processes, MB


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
    command = [sys.executable, "-m", "blursynth", "make", str(clip), "-o", str(folder / "shards"), "-q", "--no-measure"]
    process = subprocess.Popen([*command, "--window", str(WINDOW), *options], stdout=subprocess.DEVNULL)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, peak_memory(process.pid))
        time.sleep(0.02)
    if process.returncode:
        raise RuntimeError(f"blursynth make ended with {process.returncode}")
    PEAKS.append(peak)
    return frames


def peak_memory(pid: int) -> float:
    """The most memory that a process has held so far, MB; what wait4 tells counts its parent's before exec, too."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def repeated(clip: Path, path: Path, times: int) -> Path:
    """Play a clip several times over, without encoding it again: footage of a usual length."""
    info = describe(clip)
    with av.open(str(path), "w") as target:
        stream: Any = None
        offset = 0
        for _ in range(times):
            with av.open(str(clip)) as source:
                template = source.streams.video[0]
                if stream is None:
                    stream = target.add_stream_from_template(template)
                packets = [packet for packet in source.demux(template) if packet.size]
                for packet in packets:
                    packet.pts, packet.dts = (packet.pts or 0) + offset, (packet.dts or 0) + offset
                    packet.stream = stream
                    target.mux(packet)
                offset += info.median_step * len(packets)
    return path


LIMIT = "ffmpeg decoding to RGB, thrown away (the limit)"
PEER = "peers: VideoCapture, float power, np.mean, PNG"


def run(folder: Path) -> None:
    clip = real_or_rendered_clip(folder)
    frames = describe(clip).num_frames
    blursynth_make(clip, folder, frames)  # compiles the kernel, fills the page cache
    PEAKS.clear()
    found = rates(
        {
            "blursynth make": lambda: blursynth_make(clip, folder, frames),
            "blursynth make --codec zstd": lambda: blursynth_make(clip, folder, frames, "--codec", "zstd"),
            "blursynth make --resize 640x360": lambda: blursynth_make(clip, folder, frames, "--resize", "640x360"),
            "blursynth make --measure": lambda: blursynth_make(clip, folder, frames, "--measure"),
            LIMIT: lambda: ffmpeg_to_nothing(clip, frames),
            PEER: lambda: peer(clip, folder),
        }
    )
    others = ["blursynth make --codec zstd", "blursynth make --resize 640x360", "blursynth make --measure"]
    against = dict.fromkeys([LIMIT, PEER, *others])
    show(f"{clip.name}, {frames} frames, window {WINDOW}, whole processes", found, "frames", against=against)

    long_clip = repeated(clip, folder / "long.mp4", REPEATS)
    found = rates(
        {
            "blursynth make": lambda: blursynth_make(long_clip, folder, REPEATS * frames),
            LIMIT: lambda: ffmpeg_to_nothing(long_clip, REPEATS * frames),
            PEER: lambda: peer(long_clip, folder),
        }
    )
    title = f"the same {REPEATS} times over, {REPEATS * frames} frames, so that starting Python weighs less"
    show(title, found, "frames", against={LIMIT: 0.6, PEER: 15.0})
    peak = max(PEAKS)
    print(f"  peak memory of blursynth make: {peak:.0f} MB   (aim 600: {'met' if peak < 600 else 'MISSED'})")
