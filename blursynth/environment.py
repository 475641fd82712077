"""What this machine has: versions, devices, codecs, space, and settings that bite."""

import importlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import blursynth

__all__ = ["describe_environment", "find_troubles"]

_LIBRARIES = (
    *("av", "click", "h5py", "imageio", "imageio-ffmpeg", "joblib", "numba", "numpy", "opencv-python-headless"),
    *("pillow", "rich", "safetensors", "torch", "zstandard"),
)
_OPTIONAL = {"zstandard": "zstd shards: pip install 'blursynth[zstd]'"}
_BITING = ("HDF5_PLUGIN_PATH", "HDF5_DRIVER", "HDF5_VOL_CONNECTOR", "NUMBA_DISABLE_JIT", "OMP_NUM_THREADS")
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # where workers hand over batches
_MIN_SHARED_MEMORY_BYTES = 1 << 30
_MIN_FREE_BYTES = 5 << 30


def describe_environment() -> dict[str, Any]:
    """Return versions, devices, codecs and free space as plain values."""
    biting = {name: os.environ[name] for name in _BITING if name in os.environ}  # before HDF5's are taken away
    return {
        "blursynth": blursynth.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu_cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "ffmpeg": _or_without(_ffmpeg, {"libraries": {}, "decoders": [], "encoder": None}),
        "hdf5": _or_without(_hdf5, None),
        "devices": _or_without(_devices, {"cpu_threads": 0, "cuda": [], "cuda_version": None}),
        "free_disk_gib": round(shutil.disk_usage(Path.cwd()).free / 2**30, 1),
        "shared_memory_gib": round(_shared_memory_bytes() / 2**30, 1),
        "environment": biting,
    }


def find_troubles(environment: dict[str, Any]) -> list[str]:
    """Return what in an environment will cause trouble, with the remedy; optional things too."""
    troubles = []
    for name, version in environment["libraries"].items():
        if version is None:
            remedy = _OPTIONAL.get(name)
            troubles.append(f"{name} is not installed ({remedy or 'pip install blursynth brings it'})")
    if _version("opencv-python") and _version("opencv-python-headless"):
        troubles.append(
            "opencv-python and opencv-python-headless are both installed and overwrite each other: keep one"
        )
    if environment["ffmpeg"]["encoder"] is None:
        troubles.append("no H.264 encoder: --preview-video and demo will not work; reinstall imageio-ffmpeg")
    if not environment["devices"]["cuda"]:
        troubles.append("torch sees no GPU: training the paper's network takes very long on the CPU")
    if _shared_memory_bytes() < _MIN_SHARED_MEMORY_BYTES:
        troubles.append("less than 1 GiB of shared memory: train with --workers 0, or enlarge /dev/shm")
    if environment["free_disk_gib"] * 2**30 < _MIN_FREE_BYTES:
        troubles.append(f"{environment['free_disk_gib']} GiB free here: a minute of 720p at 240 frames/s makes 11 GB")
    biting = environment["environment"]
    return troubles + [f"{name} is set and changes how libraries work; unset it if something is odd" for name in biting]


def _or_without(ask: Callable[[], Any], otherwise: Any) -> Any:
    """Ask a library; what is missing or broken is what this page is for."""
    try:
        return ask()
    except (ImportError, OSError):
        return otherwise


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _ffmpeg() -> dict[str, Any]:
    import av  # noqa: PLC0415
    import imageio_ffmpeg  # noqa: PLC0415

    decoders = [name for name in ("h264", "hevc", "av1", "vp9", "prores", "mjpeg") if name in av.codecs_available]
    libraries = {name: ".".join(map(str, version)) for name, version in av.library_versions.items()}
    return {"libraries": libraries, "decoders": decoders, "encoder": _encoder(imageio_ffmpeg)}


def _encoder(imageio_ffmpeg: Any) -> str | None:
    try:
        executable = imageio_ffmpeg.get_ffmpeg_exe()
        listed = subprocess.run(  # noqa: S603  # the path comes from imageio-ffmpeg
            [executable, "-hide_banner", "-encoders"], capture_output=True, check=True, timeout=20, text=True
        )
    except (OSError, RuntimeError, subprocess.SubprocessError):
        return None
    return f"libx264 of ffmpeg {imageio_ffmpeg.get_ffmpeg_version()}" if " libx264 " in listed.stdout else None


def _hdf5() -> str:
    import h5py  # noqa: PLC0415

    import blursynth.shards  # noqa: F401, PLC0415  # sets what h5py must find when it is imported

    return str(h5py.version.hdf5_version)


def _devices() -> dict[str, Any]:
    import torch  # noqa: PLC0415

    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {"cpu_threads": torch.get_num_threads(), "cuda": names, "cuda_version": torch.version.cuda}


def _shared_memory_bytes() -> int:
    return shutil.disk_usage(_SHARED_MEMORY).free if _SHARED_MEMORY.exists() else 0
