"""Blur of every n-th frame of 1000 fps clips, with and without sub-frames, against blur of all of them.

The clips' 33 frames, averaged in linear light (gamma 2.2), are the truth. PSNR is taken on 8-bit display codes over the
whole picture.
"""

import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from benchmarks.side_by_side import SHARED
from blursynth.averaging import convert_frame
from blursynth.crf import response_curve
from blursynth.decoding import decode
from blursynth.interpolate import Gap
from blursynth.video import VideoInfo, describe

NUM_FRAMES = 33
STEPS = (4, 8, 16)
SIZES = {"1280x720": (720, 1280), "2048x1080": (1080, 2048)}
MINTERPOLATE = "minterpolate=fps={rate}:mi_mode=mci:mc_mode=aobmc:me_mode=bidir:vsbmc=1:scd=none"
CURVE = response_curve("gamma:2.2")

Planes = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A short clip in memory: planes as decoded."""

    info: VideoInfo
    planes: Sequence[Planes]

    @classmethod
    def read(cls, path: Path) -> "Clip":
        info = describe(path)
        planes = [(luma.copy(), cb.copy(), cr.copy()) for luma, cb, cr in (frame.planes for frame in decode(info))]
        return cls(info, planes[:NUM_FRAMES])

    def light(self, planes: Planes) -> NDArray[np.float32]:
        codes = np.empty((self.info.height, self.info.width, 3), np.uint8)
        convert_frame(*planes, self.info.colour.siting(), self.info.colour.coefficients(), codes)
        return CURVE.to_linear(codes)


def mean_codes(frames: Iterator[NDArray[np.float32]], weights: Sequence[float]) -> NDArray[np.uint8]:
    total: Any = 0.0
    for frame, weight in zip(frames, weights, strict=True):
        total = total + weight * frame
    return CURVE.from_linear(total / sum(weights))


def psnr_db(codes: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    return float(10 * np.log10(255**2 / np.mean((codes.astype(np.float64) - truth) ** 2)))


def plain(clip: Clip, step: int, truth: NDArray[np.uint8]) -> float:
    """The mean of every n-th frame: equal weights, or each the time that it stands for, whichever is nearer."""
    chosen = clip.planes[::step]
    ends = (step + 1) / 2
    cells = [ends, *[float(step)] * (len(chosen) - 2), ends]
    return max(
        psnr_db(mean_codes((clip.light(planes) for planes in chosen), weights), truth)
        for weights in (cells, [1.0] * len(chosen))
    )


def with_sub_frames(clip: Clip, step: int, truth: NDArray[np.uint8]) -> tuple[float, float]:
    """Every n-th frame and our sub-frames in place of the others; PSNR and the fastest motion, px a gap."""
    before = clip.light(clip.planes[0])
    total = before / np.float32(NUM_FRAMES)
    fractions = [k / step for k in range(1, step)]
    speeds = []
    for start in range(0, NUM_FRAMES - 1, step):
        first, last = clip.planes[start], clip.planes[start + step]
        after = clip.light(last)
        gap = Gap(first[0], last[0])
        gap.add(before, after, fractions, [1 / NUM_FRAMES] * len(fractions), total)
        total += after / np.float32(NUM_FRAMES)
        speeds.append(gap.speed_px)
        before = after
    return psnr_db(CURVE.from_linear(total), truth), max(speeds)


def with_minterpolate(clip: Clip, step: int, truth: NDArray[np.uint8]) -> float:
    """The same with FFmpeg's motion-compensated interpolation in place of ours."""
    width, height = clip.info.width, clip.info.height
    chosen = clip.planes[::step]
    chosen = [chosen[0], *chosen, chosen[-1], chosen[-1]]  # it drops what has no neighbours on both sides
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-f", "rawvideo", "-pix_fmt", "yuv420p"]
    command += ["-s", f"{width}x{height}", "-r", "25", "-i", "pipe:0", "-vf", MINTERPOLATE.format(rate=25 * step)]
    command += ["-f", "rawvideo", "-pix_fmt", "yuv420p", "pipe:1"]
    raw = b"".join(plane.tobytes() for planes in chosen for plane in planes)
    done = subprocess.run(command, input=raw, capture_output=True, check=True)
    luma, chroma = height * width, (height // 2) * (width // 2)
    frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, luma + 2 * chroma)[step : step + NUM_FRAMES]
    planes = (
        (
            frame[:luma].reshape(height, width),
            frame[luma : luma + chroma].reshape(height // 2, width // 2),
            frame[luma + chroma :].reshape(height // 2, width // 2),
        )
        for frame in frames
    )
    return psnr_db(mean_codes((clip.light(each) for each in planes), [1.0] * NUM_FRAMES), truth)


def show_quality(folder: Path) -> None:
    print("\nblur from every n-th frame against blur from all 33, PSNR in dB")
    print(f"  {'clip':<8} {'n':>3} {'px/gap':>7} {'plain mean':>11} {'blursynth':>10} {'minterpolate':>13}")
    for path in sorted(folder.glob("x4k_1000fps_*.mp4")):
        clip = Clip.read(path)
        truth = mean_codes((clip.light(planes) for planes in clip.planes), [1.0] * len(clip.planes))
        for step in STEPS:
            mean, (ours, speed) = plain(clip, step, truth), with_sub_frames(clip, step, truth)
            peer = with_minterpolate(clip, step, truth)
            verdict = "" if step != 8 else "met" if ours >= mean + 3 and ours > peer else "MISSED"
            name = path.name.split("_")[2]
            print(
                f"  {name:<8} {step:>3} {speed:>7.1f} {mean:>11.2f} {ours:>10.2f} {peer:>13.2f}   {verdict}", flush=True
            )


def show_speed(folder: Path) -> None:
    """Processor seconds, the best of three: what else the machine does is not counted."""
    clip = Clip.read(min(folder.glob("x4k_1000fps_TEST03*.mp4")))
    print("\nprocessor seconds, one thread")
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        for name, (height, width) in SIZES.items():
            first, last = (clip.planes[i][0][:height, :width] for i in (0, 8))
            before, after = (np.ascontiguousarray(clip.light(clip.planes[i])[:height, :width]) for i in (0, 8))
            gap, total = Gap(first, last), np.zeros_like(before)
            flow = min(seconds(lambda first=first, last=last: Gap(first, last)) for _ in range(3))
            fractions, weights = [k / 8 for k in range(1, 8)], [1 / 8] * 7
            work = [gap.add, before, after, fractions, weights, total]
            add = min(seconds(lambda work=work: work[0](*work[1:])) for _ in range(3)) / len(fractions)
            print(f"  {name:<10} a gap {flow:.3f}, each sub-frame {add:.4f}")
    finally:
        cv2.setNumThreads(threads)


def seconds(work: Any) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def run(folder: Path) -> None:
    del folder
    clips = SHARED / "video"
    if not any(clips.glob("x4k_1000fps_*.mp4")):
        print(f"\ninterpolation: no x4k_1000fps_*.mp4 in {clips}, nothing to compare with")
        return
    show_speed(clips)
    show_quality(clips)
