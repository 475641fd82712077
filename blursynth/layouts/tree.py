"""Open a data set whatever its layout: recognise it, choose side and track, list its pairs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from blursynth.errors import RefusedError, SettingsError
from blursynth.files import printable
from blursynth.layouts import basicsr, folders, gopro, hide, realblur, reds, webdataset
from blursynth.layouts.pairs import FilePair, StoredPair
from blursynth.recordings import SPLITS

__all__ = ["READ_LAYOUTS", "DataSet", "PairTree", "open_data_set", "open_pairs"]

# Each is a module with title, sides, tracks and pairs.
_LAYOUTS: Mapping[str, Any] = {
    "gopro": gopro,
    "reds": reds,
    "hide": hide,
    "realblur": realblur,
    "basicsr": basicsr,
    "webdataset": webdataset,
    "folders": folders,
}
READ_LAYOUTS = tuple(_LAYOUTS)
GoproTrack: TypeAlias = Literal["blur", "blur_gamma"]
_WITH_TRACKS = frozenset({"gopro", "reds", "realblur"})  # elsewhere, folders may be called differently on each side
_OF_FILES = frozenset(READ_LAYOUTS) - {"basicsr", "webdataset"}


@dataclass(frozen=True, slots=True)
class PairTree:
    """Pairs of files: one side and one track of a data set."""

    name: str
    """What the data set is called, for example ``GOPRO_Large``, ``REDS blur_comp`` or the name of a folder."""
    layout: str
    split: str
    """``train``, ``val``, ``test``, or empty where the tree does not say."""
    track: GoproTrack | None
    """Of GOPRO: which of its two data sets; None for all others."""
    pairs: tuple[FilePair, ...]
    """By name, one at least."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """A data set whose layout, sides and tracks are chosen; `pairs` lists one side of it."""

    path: Path
    layout: str
    tracks: Mapping[str, str]
    """Side to track; the one side ``""`` if it is not split, and an empty track where there is no word for it."""

    @property
    def name(self) -> str:
        """What it is called."""
        return str(_LAYOUTS[self.layout].title(self.path, next(iter(self.tracks.values()))))

    def pairs(self, split: str) -> tuple[StoredPair, ...]:
        """Return the pairs of a side by name, one at least.

        Raises
        ------
        RefusedError
            If a picture has no twin, a list leads out of the tree, or there are no pairs.
        """
        found = tuple(sorted(_LAYOUTS[self.layout].pairs(self.path, split, self.tracks[split])))
        if not found:
            raise RefusedError(f"{printable(self.path)}: its {split or 'folders'} hold no PNG or JPEG pictures")
        return found


def open_pairs(path: Path, *, layout: str = "auto", split: str = "test", track: str | None = None) -> PairTree:
    """Open the pairs of a side of a data set that is a tree of pictures.

    Parameters
    ----------
    path
        Its root, or the folder of one side.
    layout
        One of `READ_LAYOUTS`, or ``auto`` to recognise it.
    split
        ``train``, ``val`` or ``test``; of no account where the tree is not split.
    track
        Which blurry version, where there are several: ``blur`` or ``blur_gamma`` of GOPRO, ``blur``, ``blur_comp`` or
        ``blur_jpeg`` of REDS, ``J`` or ``R`` of RealBlur, else the name of a folder.

    Raises
    ------
    SettingsError
        If the layout, split or track is unknown, not there, or there are several and none was chosen.
    RefusedError
        If it is no such tree; a blurry picture without its sharp twin is named.
    """
    found = open_data_set(path, layout=layout, splits=(split,), track=track)
    if found.layout not in _OF_FILES:
        raise RefusedError(f"{printable(path)}: {found.layout} holds no picture files; run 'blursynth import' first")
    ((side, chosen),) = found.tracks.items()
    pairs = tuple(pair.as_files() for pair in found.pairs(side))
    of_gopro: GoproTrack | None = None
    if found.layout == "gopro" or chosen == "blur_gamma":
        of_gopro = "blur_gamma" if chosen == "blur_gamma" else "blur"
    return PairTree(found.name, found.layout, side, of_gopro, pairs)


def open_data_set(path: Path, *, layout: str, splits: tuple[str, ...] | None, track: str | None) -> DataSet:
    """Recognise a data set.

    Parameters
    ----------
    splits
        The sides that are wanted; None: all. Of no account where the tree is not split.

    Raises
    ------
    SettingsError, RefusedError
        As `open_pairs`.
    """
    if layout != "auto" and layout not in _LAYOUTS:
        raise SettingsError(f"layout {printable(layout)!r} is unknown; choose auto, {', '.join(READ_LAYOUTS)}")
    for split in splits or ():
        if split not in SPLITS:
            raise SettingsError(f"split {printable(split)!r} is unknown; choose of {', '.join(SPLITS)}")
    if not path.exists():
        raise RefusedError(f"{printable(path)}: no such file or folder")
    name = _recognised(path) if layout == "auto" else layout
    there: tuple[str, ...] = _LAYOUTS[name].sides(path)
    if not there:
        raise RefusedError(f"{printable(path)}: no {name} tree; {_LOOKED_FOR[name]} was looked for")
    for split in splits or ():
        if split not in there and there != ("",):
            choice = " or ".join(each or "all" for each in there)
            raise SettingsError(f"{printable(path)}: has no {split}; choose --split {choice}")
    wanted = there if splits is None or there == ("",) else splits
    tracks = {side: _track(path, name, side, track) for side in wanted}
    if name in _WITH_TRACKS and len(set(tracks.values())) > 1:
        choice = " or ".join(sorted(set(tracks.values())))
        raise SettingsError(f"{printable(path)}: its sides have different tracks; choose --track {choice} and --split")
    return DataSet(path, name, tracks)


def _track(path: Path, layout: str, side: str, wanted: str | None) -> str:
    there: tuple[str, ...] = _LAYOUTS[layout].tracks(path, side)
    where = f"{printable(path)}: its {side}" if side else printable(path)
    choice = " or ".join(map(printable, there))
    if wanted is not None and wanted not in there:
        advice = f"choose {choice}" if choice else "leave --track out"
        raise SettingsError(f"{where} has no track {printable(wanted)!r}; {advice}")
    if wanted is None and len(there) > 1:
        raise SettingsError(f"{where} has several blurry versions; choose --track {choice}")
    return wanted or there[0]


_LOOKED_FOR = {
    "gopro": "{train,test}/SEQUENCE/{blur,sharp}/*.png",
    "reds": "train_blur and train_sharp, or val_…",
    "hide": "GT, train and test/{test-close-ups,test-long-shot}",
    "realblur": "RealBlur_J_test_list.txt or the like",
    "basicsr": "two LMDB folders such as blur_crops.lmdb and sharp_crops.lmdb, with meta_info.txt",
    "webdataset": "*.tar of KEY.blurry.png and KEY.sharp.png",
    "folders": "blur and sharp, or input and target",
}


def _recognised(path: Path) -> str:
    found, refusal = [], None
    for name, module in _LAYOUTS.items():
        try:
            if module.sides(path):
                found.append(name)
        except RefusedError as error:  # perhaps a stray tar in a tree of another layout
            refusal = refusal or error
    if len(found) > 1:
        raise SettingsError(f"{printable(path)}: could be {' or '.join(found)}; choose with --layout")
    if found:
        return found[0]
    if refusal:
        raise refusal
    if path.is_dir() and gopro.holds_frames_only(path):
        raise RefusedError(
            f"{printable(path)}: GOPRO_Large_all, sharp frames only; 'blursynth gopro rebuild' makes pairs of them"
        )
    raise RefusedError(f"{printable(path)}: no data set of pairs that is known; {_known()} were looked for")


def _known() -> str:
    return ", ".join(f"{name} ({what})" for name, what in _LOOKED_FOR.items())
