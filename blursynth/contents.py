"""What a clip, shard, folder of shards or checkpoint holds, as plain values, and whether it is whole."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from blursynth.crf import curve_of_transfer
from blursynth.errors import RefusedError, ShardError
from blursynth.files import printable
from blursynth.progress import SILENT, Progress
from blursynth.recordings import recording_of
from blursynth.rendition import rendition_of_shard
from blursynth.shards import Entry, Manifest, Shard
from blursynth.video import describe

__all__ = ["Finding", "inspect_path", "inspect_paths", "verify_paths"]

_MEASURED = ("motion_p50_px", "motion_p95_px", "motion_max_px", "ghost_score", "sharpness", "saturated_fraction")


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether one file is whole; ``error`` says what is wrong."""

    path: Path
    error: str | None = None


def inspect_paths(paths: Sequence[Path]) -> tuple[dict[str, dict[str, Any]], list[RefusedError]]:
    """Tell what several files or folders hold, by name, and what is wrong with those that are none of ours."""
    contents, errors = {}, []
    for path in paths:
        try:
            contents[str(path)] = inspect_path(path)
        except RefusedError as error:
            errors.append(error)
    return contents, errors


def inspect_path(path: Path) -> dict[str, Any]:
    """Tell what a file or folder holds.

    Raises
    ------
    RefusedError
        If it is none of ours and no clip, or damaged.
    """
    if path.is_dir():
        return _inspect_folder(path)
    by_suffix: dict[str, Callable[[Path], dict[str, Any]]] = {
        ".h5": _inspect_shard,
        ".safetensors": _inspect_checkpoint,
    }
    return by_suffix.get(path.suffix.lower(), _inspect_clip)(path)


def _inspect_folder(path: Path) -> dict[str, Any]:
    manifest = Manifest.read(path)
    entries = list(manifest)
    sources: dict[str, int] = {}
    splits: Counter[str] = Counter()
    rejected: Counter[str] = Counter()
    for entry in entries:
        sources[entry.source] = sources.get(entry.source, 0) + entry.pairs
        splits[entry.split or "none"] += entry.pairs
    for entry in manifest.everything():
        rejected.update(entry.rejections)
    values: dict[str, Any] = {
        "kind": "folder of shards",
        "shards": len(entries),
        "pairs": sum(entry.pairs for entry in entries),
        "bytes": sum(entry.bytes for entry in entries),
        "windows_rejected": dict(sorted(rejected.items())),
        "pairs_by_split": dict(sorted(splits.items())) if set(splits) != {"none"} else "none",
        "recordings": len({entry.recording or entry.source_sha256 for entry in entries}),
        "sizes": sorted({f"{entry.width}x{entry.height}" for entry in entries}),
        "pairs_by_source": sources,
    }
    if missing := manifest.missing_parts():
        values["parts_missing"] = list(missing)
    if entries:
        with Shard(entries[0].path(path)) as shard:
            values["holds_light"] = shard.has_light
            values["config"] = _parsed(shard, "config")
    return values


def _parsed(shard: Shard, name: str) -> Any:
    try:
        return json.loads(shard.attributes[name])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ShardError(f"{printable(shard.path)}: its attribute {name} is damaged ({error})") from error


def _inspect_shard(path: Path) -> dict[str, Any]:
    with Shard(path) as shard:
        rows = shard.rows()
        attributes = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in shard.attributes.items()
            if not isinstance(value, np.ndarray)
        }
        for name in ("config", "colour", "noise_of_a_frame"):
            if name in attributes:
                attributes[name] = _parsed(shard, name)
        return {
            "kind": "shard",
            "pairs": len(shard),
            "size": f"{shard.size[1]}x{shard.size[0]}",
            "codec": shard.codec,
            "holds_light": shard.has_light,
            "frames_per_blur": sorted({int(count) for count in rows["num_frames"]}),
            "exposure_seconds": [float(rows["exposure_seconds"].min()), float(rows["exposure_seconds"].max())],
            "frames": [int(rows["first_frame"].min()), int(rows["last_frame"].max())],
            **{name: _spread(rows[name]) for name in _MEASURED},
            **attributes,
        }


def _spread(values: NDArray[np.floating]) -> str:
    """Return least, median and largest of what was measured."""
    known = values[np.isfinite(values)]
    if not known.size:
        return "not measured"
    return " ".join(
        f"{name} {value:.3g}"
        for name, value in zip(("least", "median", "most"), (known.min(), np.median(known), known.max()), strict=True)
    )


def _inspect_checkpoint(path: Path) -> dict[str, Any]:
    from blursynth.model.checkpoint import load_checkpoint  # noqa: PLC0415  # torch takes seconds
    from blursynth.model.networks import describe_network  # noqa: PLC0415

    checkpoint = load_checkpoint(path)
    return {
        "kind": "checkpoint",
        "network": describe_network(checkpoint.network),
        "parameters": sum(tensor.numel() for tensor in checkpoint.weights.values()),
        "can_be_resumed": bool(checkpoint.optimizer),
        "progress": dict(checkpoint.progress),
        "scores": dict(checkpoint.scores),
        "training": dict(checkpoint.training),
    }


def _inspect_clip(path: Path) -> dict[str, Any]:
    info = describe(path)
    return {
        "kind": "clip",
        "codec": info.codec,
        "size": f"{info.width}x{info.height}",
        "quarter_turns": info.rotation,
        "pixel_format": info.pixel_format,
        "matrix": info.colour.matrix,
        "range": "full" if info.colour.is_full_range else "limited",
        "depth": info.colour.depth,
        "guessed": list(info.colour.guessed),
        "transfer": curve_of_transfer(info.transfer) or "not tagged",
        "recording": recording_of(info.path.name, info.creation_time),
        "filmed_at": str(info.capture_rate or "not tagged"),
        "frame_rate": str(info.frame_rate),
        "frames": info.num_frames,
        "frames_by_header": info.num_frames_from_header,
        "cut_short": info.is_cut_short,
        "notes": [*info.notes, *info.rate_notes],
    }


def verify_paths(paths: list[Path], *, progress: Progress = SILENT) -> list[Finding]:
    """Check every byte of shards, folders of shards and checkpoints.

    A folder's shards are checked against its manifest: size, SHA-256, schema, and that the pairs can be read.
    """
    findings: list[Finding] = []
    for path in paths:
        try:
            findings += _verify_folder(path, progress) if path.is_dir() else [_verify_file(path)]
        except RefusedError as error:
            findings.append(Finding(path, str(error)))
    return findings


def _verify_folder(path: Path, progress: Progress) -> list[Finding]:
    manifest = Manifest.read(path)
    findings = []
    # Hashing lets other threads run, so as many shards as there are cores are read at once.
    checks = Parallel(n_jobs=-1, prefer="threads", return_as="generator")(
        delayed(_verify_entry)(path, entry) for entry in manifest
    )
    with progress.task(path.name, sum(entry.bytes for entry in manifest) / 1e6, "MB") as advance:
        for entry, finding in zip(manifest, checks, strict=True):
            findings.append(finding)
            advance(entry.bytes / 1e6, "")
    listed = {entry.shard for entry in manifest}
    strays = [stray for stray in sorted(path.glob("*.h5")) if stray.name not in listed]
    return findings + [Finding(s, f"{printable(s)}: not in the manifest; make it again or remove it") for s in strays]


def _verify_entry(directory: Path, entry: Entry) -> Finding:
    try:
        entry.verify(directory)
    except RefusedError as error:
        return Finding(directory / entry.shard, str(error))
    return Finding(directory / entry.shard)


def _verify_file(path: Path) -> Finding:
    if path.suffix.lower() == ".safetensors":
        from blursynth.model.checkpoint import load_checkpoint, restore_network  # noqa: PLC0415  # torch takes seconds

        restore_network(load_checkpoint(path))
        return Finding(path)
    with Shard(path) as shard:
        for index in range(len(shard)):
            shard.pair(index)
            if shard.has_light:
                shard.light(index)
        _parsed(shard, "config")
        if shard.has_light:
            rendition_of_shard(path, shard.attributes)
    return Finding(path)
