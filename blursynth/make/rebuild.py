"""One pair made again from its record."""

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from blursynth.crf import response_curve
from blursynth.decoding import decode
from blursynth.errors import PhotoError, RefusedError, SettingsError, ShardError, VideoError
from blursynth.files import (
    check_regular_file,
    make_directory,
    printable,
    refuse_existing,
    sha256_of,
    write_bytes,
)
from blursynth.interpolate import Interpolator
from blursynth.make.measuring import Meter
from blursynth.make.plan import ClipPlan, plan_clip
from blursynth.make.settings import MakeConfig
from blursynth.make.stills.photo import pairs_of_photo
from blursynth.make.stills.settings import ShakeConfig
from blursynth.rendition import Rendition, rendition_of_shard
from blursynth.shake import read_gyro
from blursynth.shards import Manifest, Shard
from blursynth.synthesis import Pair, Synthesizer
from blursynth.video import describe
from blursynth.windows import Window, pair_key

__all__ = ["Rebuilt", "find_pair", "rebuild_pair", "write_images"]

_Config = TypeVar("_Config", MakeConfig, ShakeConfig)


@dataclass(frozen=True, slots=True, eq=False)
class Rebuilt:
    """A pair made again: its images by name, and the names of those that differ from what the shard holds."""

    images: dict[str, NDArray[Any]]
    different: tuple[str, ...]


def find_pair(folder: Path, name: str) -> tuple[Path, int]:
    """Find a pair by its name, ``SHARD:ROW`` as `inspect` counts them, for example ``clip-0a1b2c3d-00000.h5:3``.

    Raises
    ------
    SettingsError
        If the name makes no sense or no such pair is there.
    """
    match = re.fullmatch(r"(.+?)(?:\.h5)?:([0-9]{1,9})", name)
    if not match:
        raise SettingsError(f"pair {printable(name)!r}: write SHARD:ROW, for example clip-0a1b2c3d-00000.h5:3")
    entry = Manifest.read(folder).get(f"{match[1]}.h5")
    if entry is None:
        raise SettingsError(f"{printable(folder)}: has no shard {printable(match[1])}.h5")
    if int(match[2]) >= entry.pairs:
        raise SettingsError(
            f"{entry.shard}: has {entry.pairs} pairs; their numbers begin with 0, {match[2]} is not one"
        )
    return entry.path(folder), int(match[2])


def rebuild_pair(
    shard_path: Path,
    row: int,
    source: Path,
    *,
    gyro: Path | None = None,
    interpolator: Callable[[str], Interpolator | None] = lambda _name: None,
) -> Rebuilt:
    """Make one pair again from its clip or photograph and what its shard records, and compare.

    Parameters
    ----------
    source
        The clip or photograph.
    gyro
        The log that shook it, if one did.
    interpolator
        Gives what makes sub-frames by the setting's name, where that is not ``dis``.

    Raises
    ------
    ShardError
        If the shard's record is damaged.
    VideoError, PhotoError
        If ``source`` is not what the pair was made of.
    SettingsError
        If the gyro log that shook it is not given.
    """
    with Shard(shard_path) as shard:
        settings = _settings(shard)
        number = int(shard.rows()[row]["number"])
        if "per_photo" in settings:
            images = _from_photo(shard, settings, number, source, gyro)
        else:
            images = _from_clip(shard, settings, number, source, interpolator)
        stored: dict[str, NDArray[Any]] = dict(zip(("blurry", "sharp"), shard.pair(row), strict=True))
        if shard.has_light:
            stored |= shard.light(row)
    different = tuple(name for name, image in images.items() if not np.array_equal(image, stored[name]))
    return Rebuilt(images, different)


def _settings(shard: Shard) -> dict[str, Any]:
    try:
        settings = dict(json.loads(shard.attributes["config"]))
        for name in ("resize", "size"):
            if settings.get(name) is not None:
                settings[name] = (int(settings[name][0]), int(settings[name][1]))
    except (KeyError, TypeError, ValueError, IndexError, RecursionError) as error:
        raise ShardError(f"{printable(shard.path)}: the record of its settings is damaged ({error})") from error
    return settings


def _config(shard: Shard, kind: type[_Config], settings: dict[str, Any]) -> _Config:
    try:
        return kind(**settings)
    except (TypeError, AttributeError, SettingsError) as error:
        raise ShardError(f"{printable(shard.path)}: the record of its settings is damaged ({error})") from error


def _check_source(shard: Shard, source: Path, error: type[RefusedError]) -> str:
    check_regular_file(source, error)
    sha256 = sha256_of(source)
    if sha256 != shard.attributes.get("source_sha256"):
        raise error(f"{printable(source)}: is not what {printable(shard.path)} was made of: its SHA-256 differs")
    return sha256


def _checked_gyro(shard: Shard, recorded: str, given: Path | None) -> Path:
    if given is None:
        raise SettingsError(f"{printable(shard.path)}: was shaken by a gyroscope's log; name it with --gyro")
    if f"sha256:{sha256_of(given)}" != recorded:
        raise RefusedError(f"{printable(given)}: is not the log that {printable(shard.path)} was shaken by")
    return given


def _from_photo(
    shard: Shard, settings: dict[str, Any], number: int, photo: Path, gyro: Path | None
) -> dict[str, NDArray[Any]]:
    sha256 = _check_source(shard, photo, PhotoError)
    log = read_gyro(_checked_gyro(shard, settings["gyro"], gyro)) if settings.get("gyro") else None
    # The curves are in the shard itself; their files may be gone.
    config = _config(shard, ShakeConfig, {**settings, "crf": "srgb", "output_crf": "same", "gyro": None})
    rendition = rendition_of_shard(shard.path, shard.attributes)
    for pair in pairs_of_photo(photo, sha256, config, rendition, log):
        if pair.row["number"] == number:
            return pair.images
    raise ShardError(f"{printable(shard.path)}: pair {number} is not one of its settings")


def _from_clip(
    shard: Shard,
    settings: dict[str, Any],
    number: int,
    clip: Path,
    interpolator: Callable[[str], Interpolator | None],
) -> dict[str, NDArray[Any]]:
    info = describe(clip)
    sha256 = _check_source(shard, clip, VideoError)
    # The curve is in the shard itself; its file may be gone.
    config = _config(shard, MakeConfig, {**settings, "crf": "linear", "output_crf": "same"})
    plan = plan_clip(info, sha256, config)
    plan = replace(plan, interpolator=interpolator(config.interpolate_with) or plan.interpolator)
    windows = {window.number: window for part in plan.parts for window in part.windows}
    if number not in windows:
        raise ShardError(f"{printable(shard.path)}: holds window {number}, which the clip does not have")
    return _make(plan, rendition_of_shard(shard.path, shard.attributes), windows[number]).images


def _make(plan: ClipPlan, rendition: Rendition, window: Window) -> Pair:
    info, config = plan.info, plan.config
    first, stop = window.first - window.before, window.stop + window.after
    synthesizer = Synthesizer(
        info,
        rendition,
        capacity=stop - first,
        resize=config.resize,
        sub_frames=config.sub_frames(),
        interpolator=plan.interpolator,
        keeps_light=config.store == "linear",
    )
    with ThreadPoolExecutor(1) as executor:
        meter = Meter(info.frame_times(), response_curve("linear"), info.colour.peak, executor)  # for steps alone
        for frame in decode(info, start=first):
            if frame.index >= stop:
                break
            if frame.index >= first:
                synthesizer.hold(frame)
                meter.see(frame.index, frame.planes[0])
        repeats: list[int] = []
        if config.measure and (config.sub_frames() != 0 or config.exposure_rule() is not None):
            window = meter.within_cuts(window)
            repeats = meter.repeats(window)
    key = pair_key(config.seed, plan.sha256, window.number)
    return synthesizer.pair(window, key, repeats)


def write_images(rebuilt: Rebuilt, directory: Path, stem: str, *, overwrite: bool = False) -> list[Path]:
    """Write the images of a pair as PNG, 8 or 16 bits; return their paths.

    Raises
    ------
    SettingsError
        If one is there already and ``overwrite`` is false.
    OutputError
        If the disk says no.
    """
    make_directory(directory)
    paths = [directory / f"{stem}-{name}.png" for name in rebuilt.images]
    for path in paths:
        refuse_existing(path, overwrite=overwrite)
    for path, image in zip(paths, rebuilt.images.values(), strict=True):
        _, data = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
        write_bytes(path, data.tobytes(), overwrite=overwrite)
    return paths
