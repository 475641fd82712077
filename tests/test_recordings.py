from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blursynth.errors import SettingsError
from blursynth.recordings import SPLITS, assign_splits, parse_split, recording_of

KEYS = [f"recording {number}" for number in range(2000)]


@pytest.mark.parametrize(
    ("name", "recording"),
    [
        ("GOPR0384_11_05", "GOPR0384"),
        ("GOPR0384.MP4", "GOPR0384"),
        ("gopr0384.mp4", "GOPR0384"),
        ("card/DCIM/GP010384.MP4", "GOPR0384"),
        ("GP020384-part2.MP4", "GOPR0384"),
        ("GH010384.MP4", "GH0384"),
        ("GH020384_trim (1).mp4", "GH0384"),
        ("GX020384.MP4", "GX0384"),
        ("GS010384.360", "GS0384"),
        ("GOPR03841.MP4", "gopr03841"),  # five digits: not a name that a camera gives
        ("walk_001.mp4", "walk"),
        ("Walk in Kyoto-part2.mov", "walk in kyoto"),
        ("walk_clip03.mp4", "walk"),
        ("walk (1).mp4", "walk"),
        ("walk_002_part1 (3).mp4", "walk"),
        ("folder\\walk.segment 7.mkv", "walk"),
        ("walk", "walk"),
        ("IMG_0384.MOV", "img_0384"),
        ("DJI_0001.MP4", "dji_0001"),
        ("VID_20200501_120000.mp4", "vid_20200501_120000"),
        ("clip_001.mp4", "clip_001"),  # without its number nothing would be left to know it by
        ("000.png", "000"),
        ("part2.mp4", "part2"),
        (".hidden", ".hidden"),
    ],
)
def test_names_are_known_by_their_recording(name: str, recording: str) -> None:
    assert recording_of(name) == recording


def test_the_creation_time_decides_where_there_is_one() -> None:
    noon = "2020-05-01T12:00:00.000000Z"
    assert recording_of("one.mp4", noon) == recording_of("two.mp4", "2020-05-01 14:00:00+02:00")
    assert recording_of("walk_001.mp4", noon) != recording_of("walk_002.mp4", "2020-05-01T12:00:01Z")
    assert recording_of("walk_001.mp4", noon) != recording_of("walk_001.mp4")
    assert recording_of("GOPR0384.MP4", noon) == recording_of("GP010384.MP4", "2020-05-01T12:20:00Z")


@pytest.mark.parametrize(
    "time", ["", "1904-01-01T00:00:00Z", "1970-01-01 00:00:00", "yesterday", "0001-01-01T00+23:59"]
)
def test_times_of_clocks_that_were_never_set_count_as_none(time: str) -> None:
    assert recording_of("walk_001.mp4", time) == "walk"


@pytest.mark.parametrize("name", ["", " ", "/", "a/.."])
def test_a_clip_without_a_name_is_refused_or_known_by_what_is_there(name: str) -> None:
    if name == "a/..":
        assert recording_of(name)
        return
    with pytest.raises(SettingsError, match="nothing to know"):
        recording_of(name)


@given(st.text(min_size=1, max_size=40))
def test_any_name_gives_a_key_or_a_refusal(name: str) -> None:
    try:
        assert recording_of(name).strip()
    except SettingsError:
        assert not name.replace("\\", "/").split("/")[-1].strip() or name.strip("/\\. ") == ""


def test_a_recording_keeps_its_side_when_others_join_or_leave() -> None:
    fractions = parse_split("train:0.8,val:0.1,test:0.1")
    every = assign_splits(KEYS, fractions)
    some = assign_splits(KEYS[::-7], fractions)
    assert list(some) == KEYS[::-7]
    assert all(every[key] == side for key, side in some.items())
    assert assign_splits([*KEYS[:3], KEYS[0]], fractions) == {key: every[key] for key in KEYS[:3]}
    assert every != assign_splits(KEYS, fractions, seed=1)
    # For ever: data sets are dealt anew from their seeds.
    assert [every[key] for key in KEYS[:5]] == ["train", "train", "train", "test", "train"]
    assert [key.split()[1] for key in KEYS[:40] if every[key] != "train"] == ["3", "8", "21", "26", "28", "31", "32"]


def test_the_shares_come_out_as_asked_for() -> None:
    sides = Counter(assign_splits(KEYS, {"train": 0.8, "val": 0.1, "test": 0.1}).values())
    assert abs(sides["train"] - 1600) < 4 * (2000 * 0.8 * 0.2) ** 0.5
    assert abs(sides["val"] - 200) < 4 * (2000 * 0.1 * 0.9) ** 0.5
    assert set(assign_splits(KEYS, {"train": 1, "val": 0, "test": 0}).values()) == {"train"}
    assert set(assign_splits(KEYS, {"test": 3, "train": 1}).values()) == {"train", "test"}


def test_the_order_in_which_shares_are_named_does_not_matter() -> None:
    one = assign_splits(KEYS, parse_split("train:8,val:1,test:1"))
    assert one == assign_splits(KEYS, parse_split("test:1,train:8,val:1"))


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("train:0.8,val:0.1,test:0.1", {"train": 0.8, "val": 0.1, "test": 0.1}),
        ("train:8, val:1, test:1", {"train": 0.8, "val": 0.1, "test": 0.1}),
        (" test : .5 , train : 1.5 ", {"test": 0.25, "train": 0.75}),
        ("train:1", {"train": 1.0}),
    ],
)
def test_splits_are_read(text: str, shares: dict[str, float]) -> None:
    assert parse_split(text) == pytest.approx(shares)
    assert sum(parse_split(text).values()) == pytest.approx(1)
    assert set(shares) <= set(SPLITS)


@pytest.mark.parametrize(
    "text",
    ["", "train", "train:", "train:-1", "train:nan", "train:inf", "train:1e9", "train:0,test:0", "training:1",
     "train:1,train:1", "train:1,,test:1", "train=1", "train:1;test:1", "train:0x1", "train:99999999"],
)  # fmt: skip
def test_splits_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="split"):
        parse_split(text)


@pytest.mark.parametrize("share", [float("nan"), float("inf"), -0.1, 1e300])
def test_shares_that_are_no_numbers_are_refused(share: float) -> None:
    with pytest.raises(SettingsError, match="split"):
        assign_splits(["a"], {"train": share, "test": 1})
    with pytest.raises(SettingsError, match="unknown"):
        assign_splits(["a"], {"hold": 1})
