"""Which clips are one recording, and on which side of a split a recording stands.

Clips cut from one recording show one place in one light: a network that was trained on some of them knows the others.
So a data set is split by recording and never by clip (in GOPRO's own split, 600 of the 1111 test pairs come from
recordings that also supply training clips).

The rule, first match wins:

1. A GoPro name is known by its camera number; what follows the number tells clips and chapters of it apart.
   ``GOPR0384.MP4``, its chapters ``GP010384.MP4``, … and the clips ``GOPR0384_11_05`` of GOPRO are recording
   ``GOPR0384``. Later cameras count in families of their own: ``GH010384.MP4`` and ``GH020384.MP4`` are ``GH0384``,
   ``GX020384.MP4`` is ``GX0384``, ``GS010384.360`` is ``GS0384``. The time is not looked at: chapters may have times of
   their own.
2. With a creation time in the container, the recording is that time: clips cut from one file keep it, whatever they
   are called, and files called alike but made at other times are others.
3. Without one, it is the name without its ending, folders and counters (``_001``, ``-part2``, ``_clip03``, ``(1)``),
   in lower case. A bare counter has three digits at most, since cameras number recordings with four (``IMG_0384``);
   and a counter stays where nothing but a word such as ``clip`` would be left.
"""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath

from blursynth.errors import SettingsError
from blursynth.files import printable

__all__ = ["SPLITS", "assign_splits", "is_time", "parse_split", "recording_of"]

SPLITS = ("train", "val", "test")
_GOPRO_CHAPTERS = re.compile(r"(?:GOPR|GP\d\d)(\d{4})(?![0-9a-z])", re.IGNORECASE)
_GOPRO_FAMILIES = re.compile(r"(GH|GX|GS)\d\d(\d{4})(?![0-9a-z])", re.IGNORECASE)
_ENDING = re.compile(r"\.[a-z0-9]{1,5}$")
_COUNTER = re.compile(
    r"[\s_.-]*\(\d{1,6}\)$"
    r"|[\s_.-]+(?:clip|part|pt|segment|seg|chunk|chapter|split)[\s_.-]*\d{1,6}$"
    r"|[\s_.-]+\d{1,3}$"
)
_SAYS_NOTHING = re.compile(
    r"(?:clip|part|pt|segment|seg|chunk|chapter|split|seq|sequence|scene|shot|take|video|vid|mov|movie|img|image"
    r"|frame|dsc|rec|recording)?[\s_.-]*"
)
_EARLIEST_YEAR = 1980  # containers that know no time say 1904 or 1970
_FRACTION = re.compile(r"(\d{1,6}(?:\.\d{0,9})?|\.\d{1,9})")


def recording_of(name: str, creation_time: str | None = None) -> str:
    """Return the key of the recording that a clip belongs to, by the rule above.

    Parameters
    ----------
    name
        The clip's file or folder name; folders before it do not matter.
    creation_time
        As the container gives it, ISO 8601; UTC where it names no zone. What is no time, or one before 1980 (a clock
        that was never set), counts as none.

    Raises
    ------
    SettingsError
        If there is no name.

    Examples
    --------
    >>> recording_of("GOPR0384_11_05"), recording_of("GP010384.MP4"), recording_of("Walk in Kyoto-part2.mp4")
    ('GOPR0384', 'GOPR0384', 'walk in kyoto')
    """
    last = PurePosixPath(name.replace("\\", "/")).name.strip()
    if not last:
        raise SettingsError(f"clip name {printable(name)!r}: there is nothing to know a recording by")
    if match := _GOPRO_CHAPTERS.match(last):
        return f"GOPR{match[1]}"
    if match := _GOPRO_FAMILIES.match(last):
        return f"{match[1].upper()}{match[2]}"
    return _time_key(creation_time) or _name_key(last.lower())


def is_time(text: str) -> bool:
    """Return whether a text is a time that a recording could be known by, ISO 8601."""
    return _time_key(text) is not None


def _time_key(creation_time: str | None) -> str | None:
    if not creation_time:
        return None
    try:
        time = datetime.fromisoformat(creation_time.strip())
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return f"made {time.isoformat()}" if time.year >= _EARLIEST_YEAR else None


def _name_key(name: str) -> str:
    stem = _ENDING.sub("", name).rstrip() or name
    while match := _COUNTER.search(stem):
        shorter = stem[: match.start()]
        if _SAYS_NOTHING.fullmatch(shorter):
            break
        stem = shorter
    return stem


def assign_splits(recordings: Sequence[str], fractions: Mapping[str, float], seed: int = 0) -> dict[str, str]:
    """Deal recordings out to the sides of a split.

    A recording's side depends on the seed and its own key alone, so it stays where it is when others join or leave.
    The fractions are therefore chances: of few recordings, a side may get none.

    Parameters
    ----------
    recordings
        Keys from `recording_of`; one that stands there twice is dealt once.
    fractions
        ``train``, ``val``, ``test`` to their shares; see `parse_split`.
    seed
        Another seed deals anew.

    Returns
    -------
    Recording to ``train``, ``val`` or ``test``, in the order of ``recordings``.

    Raises
    ------
    SettingsError
        If a side is unknown or a share is no number from 0 on.
    """
    shares = _normalised(fractions)
    sides = [side for side in SPLITS if shares.get(side)]
    return {recording: _side(recording, sides, shares, seed) for recording in recordings}


def _side(recording: str, sides: Sequence[str], shares: Mapping[str, float], seed: int) -> str:
    # A hash and not NumPy's generator, whose streams may change between versions.
    digest = hashlib.sha256(f"{seed}/{recording}/split".encode(errors="surrogatepass")).digest()
    chance = int.from_bytes(digest[:8], "big") / 2**64
    reached = 0.0
    for side in sides:
        reached += shares[side]
        if chance < reached:
            return side
    return sides[-1]


def parse_split(text: str) -> dict[str, float]:
    """Read ``train:0.8,val:0.1,test:0.1``; shares such as ``train:8,val:1,test:1`` mean the same.

    Returns
    -------
    Side to its share; the shares sum to 1.

    Raises
    ------
    SettingsError
        If a side is unknown or named twice, a share is no plain number, or all are 0.
    """
    shares: dict[str, float] = {}
    for item in text.split(","):
        side, _, number = (part.strip() for part in item.partition(":"))
        if side not in SPLITS or not _FRACTION.fullmatch(number):
            raise SettingsError(
                f"split {printable(text)!r}: {printable(item.strip())!r} is not a side and its share; "
                "write train:0.8,val:0.1,test:0.1"
            )
        if side in shares:
            raise SettingsError(f"split {printable(text)!r}: {side} stands there twice")
        shares[side] = float(number)
    return _normalised(shares)


def _normalised(fractions: Mapping[str, float]) -> dict[str, float]:
    for side, share in fractions.items():
        if side not in SPLITS:
            raise SettingsError(f"split side {printable(str(side))!r} is unknown; choose of {', '.join(SPLITS)}")
        if not math.isfinite(share) or not 0 <= share <= 1e9:
            raise SettingsError(f"split {side}:{share}: a share is a number from 0 on")
    total = sum(fractions.values())
    if total <= 0:
        raise SettingsError("split: the shares are all 0; write train:0.8,val:0.1,test:0.1")
    return {side: share / total for side, share in fractions.items()}
