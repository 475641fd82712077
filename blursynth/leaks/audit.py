"""Find what stands on two sides of a split: recordings, neighbours in time, the same files, the same pictures."""

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from blursynth.errors import PhotoError, SettingsError
from blursynth.files import check_regular_file, printable
from blursynth.leaks.clips import AuditedClip
from blursynth.leaks.likeness import Likeness, find_alike, likeness
from blursynth.leaks.report import AuditReport, LookAlike, NearInTime, SameContent, SharedRecording, Side
from blursynth.progress import SILENT, Progress
from blursynth.recordings import SPLITS
from blursynth.shards import Shard

__all__ = ["audit"]

_MAX_GAP_SECONDS = 1e9


def audit(
    clips: Sequence[AuditedClip],
    *,
    min_gap_seconds: float = 10.0,
    compare_images: bool = True,
    progress: Progress = SILENT,
) -> AuditReport:
    """Look for leaks between the sides of a split.

    Parameters
    ----------
    clips
        Of two sides at least, from `blursynth.leaks.read_clips`.
    min_gap_seconds
        Clips of one recording on two sides that are nearer than this are told of one by one.
    compare_images
        Look at the sharp images too; without, names, times and hashes alone are compared.

    Raises
    ------
    SettingsError
        If all clips are on one side, or the gap is no number from 0 on.
    RefusedError
        If an image or shard cannot be read.
    """
    if not (math.isfinite(min_gap_seconds) and 0 <= min_gap_seconds <= _MAX_GAP_SECONDS):
        raise SettingsError(f"min gap {min_gap_seconds}: write seconds from 0 on, such as 10")
    sides = [side for side in SPLITS if any(clip.split == side for clip in clips)]
    if len(sides) < 2:
        raise SettingsError(
            f"every clip is in {sides[0] if sides else 'no split'}, so nothing can leak; name another side too, "
            "such as train=A test=B"
        )
    looked_at = _look_at(clips, progress) if compare_images else [[] for _ in clips]
    recordings = [SharedRecording(*found) for found in _on_two_sides(clips, lambda clip: clip.recording)]
    contents = [SameContent(*found) for found in _on_two_sides(clips, lambda clip: clip.source_sha256)]
    near = sorted(_near_in_time(clips, min_gap_seconds), key=lambda found: (found.gap_seconds, found.clips))
    alike = list(_look_alikes(clips, looked_at))
    leaking = _leaking(clips, recordings, contents, alike)
    return AuditReport(
        sides=tuple(_side(side, [clip for clip in clips if clip.split == side], leaking) for side in sides),
        min_gap_seconds=min_gap_seconds,
        recordings=tuple(recordings),
        near_in_time=tuple(near),
        same_content=tuple(contents),
        look_alikes=tuple(alike),
        images=sum(map(len, looked_at)),
        flat_images=sum(image is None for images in looked_at for _, image in images),
    )


def _side(split: str, clips: Sequence[AuditedClip], leaking: set[AuditedClip]) -> Side:
    found = [clip for clip in clips if clip in leaking]
    return Side(
        split=split,
        recordings=len({clip.recording for clip in clips}),
        clips=len(clips),
        pairs=sum(clip.pairs for clip in clips),
        leaking_clips=len(found),
        leaking_pairs=sum(clip.pairs for clip in found),
    )


def _leaking(
    clips: Sequence[AuditedClip],
    recordings: Sequence[SharedRecording],
    contents: Sequence[SameContent],
    alike: Sequence[LookAlike],
) -> set[AuditedClip]:
    """Return the clips that another side knows something of."""
    shared = {found.key for found in recordings} | {found.key for found in contents}
    named = {name for found in alike for name in found.clips}
    return {clip for clip in clips if {clip.recording, clip.source_sha256} & shared or (clip.split, clip.name) in named}


def _on_two_sides(
    clips: Iterable[AuditedClip], key: Callable[[AuditedClip], str]
) -> Iterator[tuple[str, dict[str, tuple[str, ...]]]]:
    """Yield the keys that stand on several sides, and the names of their clips by side."""
    groups: defaultdict[str, list[AuditedClip]] = defaultdict(list)
    for clip in clips:
        if key(clip):
            groups[key(clip)].append(clip)
    for name, group in sorted(groups.items()):
        sides = {side: tuple(clip.name for clip in group if clip.split == side) for side in SPLITS}
        sides = {side: names for side, names in sides.items() if names}
        if len(sides) > 1:
            yield name, sides


def _near_in_time(clips: Iterable[AuditedClip], min_gap_seconds: float) -> Iterator[NearInTime]:
    groups: defaultdict[tuple[str, str], list[AuditedClip]] = defaultdict(list)
    for clip in clips:
        if clip.seconds and clip.clock:
            groups[clip.recording, clip.clock].append(clip)
    for (recording, _), group in groups.items():
        for one, other in itertools.combinations(_in_order(group), 2):
            gap = _gap_seconds(one, other)
            if one.split != other.split and gap < min_gap_seconds:
                yield NearInTime(recording, ((one.split, one.name), (other.split, other.name)), gap)


def _in_order(clips: Iterable[AuditedClip]) -> list[AuditedClip]:
    return sorted(clips, key=lambda clip: (SPLITS.index(clip.split), clip.name))


def _gap_seconds(one: AuditedClip, other: AuditedClip) -> float:
    """Return the time between the last pair of the earlier clip and the first of the later; 0 where they overlap."""
    if not (one.seconds and other.seconds):
        return math.inf
    return max(0.0, max(one.seconds[0], other.seconds[0]) - min(one.seconds[1], other.seconds[1]))


_Looked = list[tuple[str, Likeness | None]]  # the name of each image, and what it is known by


def _look_at(clips: Sequence[AuditedClip], progress: Progress) -> list[_Looked]:
    """Look at every sharp image of every clip."""
    paths = [path for clip in clips for path in clip.images]
    # Decoding lets other threads run.
    work = Parallel(n_jobs=-1, prefer="threads", return_as="generator")(delayed(_look_at_file)(path) for path in paths)
    found = []
    with progress.task("look", len(paths), "files") as advance:
        for path, looked in zip(paths, work, strict=True):
            found.append(looked)
            advance(1, path.name)
    of_file = iter(found)
    return [list(itertools.chain.from_iterable(itertools.islice(of_file, len(clip.images)))) for clip in clips]


def _look_at_file(path: Path) -> _Looked:
    if path.suffix.lower() != ".h5":
        return [(path.name, likeness(_read_luma(path)))]
    with Shard(path) as shard:
        sharp = np.empty((*shard.size, 3), np.uint8)
        looked: _Looked = []
        for index in range(len(shard)):
            shard.read_image("sharp", index, 0, 0, sharp)
            luma = cv2.cvtColor(sharp, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
            looked.append((f"{path.name}:{index}", likeness(luma)))
        return looked


def _read_luma(path: Path) -> NDArray[np.uint8]:
    check_regular_file(path, PhotoError)
    try:
        luma = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_GRAYSCALE)
    except (OSError, cv2.error) as error:
        raise PhotoError(f"{printable(path)}: cannot be read: {error}") from error
    if luma is None:
        raise PhotoError(f"{printable(path)}: damaged, or no image; remove it or replace it")
    return luma.astype(np.uint8, copy=False)


def _look_alikes(clips: Sequence[AuditedClip], looked_at: Sequence[_Looked]) -> Iterator[LookAlike]:
    """Compare the images of every two sides; one finding for two clips, with their two most alike images."""
    for one, other in itertools.combinations(SPLITS, 2):
        theirs = _Gallery.of(other, clips, looked_at)
        for clip, looked in zip(clips, looked_at, strict=True):
            if clip.split == one:
                yield from theirs.look_alikes(clips, clip, [(name, image) for name, image in looked if image])


@dataclass(frozen=True, slots=True)
class _Gallery:
    """All images of one side."""

    images: list[Likeness]
    names: list[str]
    clip_of: NDArray[np.intp]

    @classmethod
    def of(cls, side: str, clips: Sequence[AuditedClip], looked_at: Sequence[_Looked]) -> "_Gallery":
        found = [
            (image, name, number)
            for number, (clip, looked) in enumerate(zip(clips, looked_at, strict=True))
            if clip.split == side
            for name, image in looked
            if image
        ]
        clip_of = np.array([number for _, _, number in found], np.intp)
        return cls([image for image, _, _ in found], [name for _, name, _ in found], clip_of)

    def look_alikes(
        self, clips: Sequence[AuditedClip], clip: AuditedClip, looked: Sequence[tuple[str, Likeness]]
    ) -> Iterator[LookAlike]:
        """Yield the clips of this side that look like ``clip`` of another."""
        counts: defaultdict[int, int] = defaultdict(int)
        nearest: dict[int, tuple[int, int, int]] = {}
        for ours, theirs, distances in find_alike([image for _, image in looked], self.images):
            of_clip = self.clip_of[theirs]
            for number in np.unique(of_clip).tolist():
                here = np.flatnonzero(of_clip == number)
                best = here[np.argmin(distances[here])]
                match = int(distances[best]), int(ours[best]), int(theirs[best])
                counts[number] += here.size
                nearest[number] = min(nearest.get(number, match), match)
        for number, (distance, i, j) in sorted(nearest.items()):
            names = (clip.split, clip.name), (clips[number].split, clips[number].name)
            yield LookAlike(names, counts[number], (looked[i][0], self.names[j]), distance)
