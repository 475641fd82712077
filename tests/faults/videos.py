"""Clips that are damaged, odd, hostile, or not clips."""

# ruff: noqa: E501  # a case is a line of a table

import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from faults.goods import encode
from faults.runner import Case, Sandbox

__all__ = ["CASES"]

_MADE = ("shards/*.h5", "shards/manifest.jsonl")
_EMPTY = ("shards/manifest.jsonl",)
Maker = Callable[[Path, Sandbox], object]


def _video(
    fault: str, name: str, make: Maker, code: int, message: str = "", *, more: str = "", unmended: str = ""
) -> Case:
    def prepare(sandbox: Sandbox) -> None:
        make(sandbox.work / name, sandbox)

    return Case(
        "video", fault, ("make", "--window", "3", *more.split(), "--", name), code, message, prepare, max_lines=6,
        writes=_MADE if code in {0, 3} else _EMPTY, unmended=unmended,
    )  # fmt: skip


def _bytes_of(name: str, change: Callable[[bytearray], object]) -> Maker:
    def make(path: Path, sandbox: Sandbox) -> None:
        data = bytearray(sandbox.goods.path(name).read_bytes())
        path.write_bytes(changed if isinstance(changed := change(data), (bytes, bytearray)) else data)

    return make


def _text(text: str) -> Maker:
    return lambda path, box: path.write_text(text.replace("{bait}", str(box.bait)).replace("{port}", str(box.port)))


def _zero_middle(data: bytearray) -> None:
    middle = len(data) // 2
    data[middle : middle + len(data) // 12] = bytes(len(data) // 12)


def _flip_bits(data: bytearray) -> None:
    for place in np.random.default_rng(0).integers(len(data) // 4, len(data) // 4 * 3, 40):
        data[place] ^= 1 << int(place) % 8


def _audio(path: Path, _sandbox: Sandbox) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000)
        for _ in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 48000
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _song(path: Path, sandbox: Sandbox) -> None:
    """Write an MP3 whose only picture is its cover."""
    cover = b"\0image/jpeg\0\3\0" + sandbox.goods.path("photo.jpg").read_bytes()
    frame = b"APIC" + struct.pack(">I", len(cover)) + b"\0\0" + cover
    size = bytes(len(frame) >> shift & 127 for shift in (21, 14, 7, 0))
    path.write_bytes(b"ID3\3\0\0" + size + frame + (b"\xff\xfb\x90\0" + bytes(413)) * 40)


def _size_changes(path: Path, sandbox: Sandbox) -> None:
    """Write raw H.264 of two sizes one after the other, in an MPEG-TS."""
    parts = []
    for number, size in enumerate(((96, 128), (48, 64))):
        pts = list(range(24 * number, 24 * number + 24))
        options = {"g": "4", "bf": "0"}
        part = encode(sandbox.root / f"{number}.ts", codec="libx264", size=size, options=options, pts=pts)
        parts.append(part.read_bytes())
        part.unlink()
    path.write_bytes(b"".join(parts))


def _turned(path: Path, sandbox: Sandbox) -> None:
    """Turn a clip by a matrix in its track header."""
    data = bytearray(sandbox.goods.path("clip.mp4").read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    data[place : place + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 96 << 16, 0, 1 << 30)
    path.write_bytes(data)


def _mirrored(path: Path, sandbox: Sandbox) -> None:
    data = bytearray(sandbox.goods.path("clip.mp4").read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    data[place : place + 36] = struct.pack(">9i", -(1 << 16), 0, 0, 0, 1 << 16, 0, 128 << 16, 0, 1 << 30)
    path.write_bytes(data)


def _socket(path: Path, _sandbox: Sandbox) -> None:
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def _bait(sandbox: Sandbox) -> Path:
    bait = sandbox.bait / "secret.mp4"
    if not bait.exists():
        bait.write_bytes(sandbox.goods.path("clip.mp4").read_bytes())
    return bait


def _playlist(text: str) -> Maker:
    def make(path: Path, sandbox: Sandbox) -> None:
        _bait(sandbox)
        _text(text)(path, sandbox)

    return make


def _inside(path: Path, _sandbox: Sandbox) -> None:
    path.mkdir()


def _plain(**options: object) -> Maker:
    return lambda path, _box: encode(path, **options)  # type: ignore[arg-type]


def _good(path: Path, sandbox: Sandbox) -> None:
    path.write_bytes(sandbox.goods.path("clip.mkv").read_bytes())


def _huge(path: Path, _sandbox: Sandbox) -> None:
    """Write one small frame whose container says 16000 x 16000."""
    encode(path, num_frames=1, size=(16, 16), codec="mpeg4", rate=30)
    data = path.read_bytes()
    width, height = data.index(b"\xb0\x81\x10"), data.index(b"\xba\x81\x10")
    data = data[:width] + b"\xb0\x82\x3e\x80" + data[width + 3 : height] + b"\xba\x82\x3e\x80" + data[height + 3 :]
    path.write_bytes(data)


_FILMED_AT_240 = {
    "metadata": {"com.android.capture.fps": "240.0"}, "container_options": {"movflags": "use_metadata_tags"},
}  # fmt: skip
_NOT = "not a video that can be read"
_PLAYLIST = "playlists are not accepted|not a video that can be read"
_BROKEN = (
    _video("no bytes", "clip.mp4", _text(""), 4, r"clip\.mp4: empty file"),
    _video("text", "clip.mp4", _text("neither a video nor anything\n" * 99), 4, _NOT),
    _video("random bytes", "clip.mp4", lambda p, _b: p.write_bytes(np.random.default_rng(0).bytes(20_000)), 4, _NOT),
    _video("a header of 8 bytes", "clip.mp4", lambda p, _b: p.write_bytes(b"\0\0\0\x08ftyp"), 4, r"clip\.mp4: "),
    _video("MP4 cut before its index", "clip.mp4", _bytes_of("clip.mp4", lambda d: d[: len(d) // 2]), 4, "no index"),
    _video("MP4 cut behind its index", "clip.mp4", _bytes_of("fast.mp4", lambda d: d[: len(d) // 2]), 3, r"clip\.mp4"),
    _video("Matroska cut in half", "clip.mkv", _bytes_of("clip.mkv", lambda d: d[: len(d) // 2]), 3, r"clip\.mkv"),
    _video("Matroska cut in its header", "clip.mkv", _bytes_of("clip.mkv", lambda d: d[:300]), 4, r"clip\.mkv: "),
    _video("a stretch of zeros in the middle", "clip.mp4", _bytes_of("fast.mp4", _zero_middle), 3, "damaged"),
    _video("40 flipped bits", "clip.mp4", _bytes_of("fast.mp4", _flip_bits), 3, "damaged"),
    _video("audio alone", "clip.mp4", _audio, 4, "no video stream"),
    _video("MP3 with a cover picture", "clip.mp4", _song, 4, "no video stream|cover|not a video that can be read"),
    _video("one frame", "clip.mkv", _plain(num_frames=1), 4, r"1 frames?, a window needs 3"),
    _video("one frame too few", "clip.mkv", _plain(num_frames=2), 4, "2 frames, a window needs 3"),
    _video("picture named as a clip", "clip.mp4", lambda p, b: p.write_bytes(b.goods.path("photo.jpg").read_bytes()), 4, _NOT),
    _video("shard named as a clip", "clip.mp4", lambda p, b: p.write_bytes(next(b.goods.path("shards").glob("*.h5")).read_bytes()), 4, _NOT),
    _video("256 megapixels a frame", "clip.mkv", _huge, 4, "over the limit of 64 megapixels"),
    _video("mirrored by its tag", "clip.mp4", _mirrored, 4, "mirrored"),
    _video("colours in an unknown matrix", "clip.mkv", _plain(tags={"colorspace": 8}, codec="libx264"), 4, "YCgCo|not supported"),
)  # fmt: skip
_ODD = (
    _video("exactly one window", "clip.mkv", _plain(num_frames=3), 0, "1 pairs"),
    _video("16 x 16 px", "clip.mkv", _plain(size=(16, 16)), 0, "8 pairs"),
    _video("8192 px wide", "clip.mkv", _plain(size=(16, 8192), num_frames=3), 0, "1 pairs"),
    _video("odd sides", "clip.mkv", _plain(size=(49, 65)), 0, "8 pairs"),
    _video("grey", "clip.mkv", _plain(pixel_format="gray"), 0, "8 pairs"),
    _video("10 bits", "clip.mkv", _plain(pixel_format="yuv420p10le"), 0, "8 pairs"),
    _video("transparency", "clip.mkv", _plain(pixel_format="yuva420p"), 0, "8 pairs"),
    _video("RGB", "clip.mkv", _plain(pixel_format="rgb24", codec="libx264rgb"), 0, "8 pairs"),
    _video("tags of HDR (PQ)", "clip.mkv", _plain(tags={"color_trc": 16, "colorspace": 9, "color_primaries": 9}, pixel_format="yuv420p10le"), 0, "8 pairs"),
    _video("interlaced", "clip.mkv", _plain(codec="mpeg2video", rate=30, options={"flags": "+ilme+ildct"}, size=(64, 64)), 0, "frames/s"),
    _video("two video streams", "clip.mkv", _plain(num_streams=2), 0, "2 video streams"),
    _video("turned by its tag", "clip.mp4", _turned, 0, "16 pairs"),
    _video("30 frames a second", "clip.mkv", _plain(rate=30), 0, "ghosts"),
    _video("30 frames a second, 240 by its tags", "clip.mp4", _plain(rate=30, codec="mpeg4", **_FILMED_AT_240), 0, "filmed at 240 .*--source-fps 240"),
    _video("30 frames a second that were 240, untagged", "clip.mkv", _plain(rate=30), 0, "if it is slow motion, --source-fps"),
    _video("30 frames a second, told to be 240", "clip.mkv", _plain(rate=30), 0, r"\A(?![\s\S]*ghosts)", more="--source-fps 240"),
    _video("gaps in its times", "clip.mkv", _plain(pts=[*range(12), *range(40, 52)]), 0, "8 pairs"),
    _video("uneven times", "clip.mkv", _plain(pts=np.cumsum([1, 2, 1, 1, 2, 1, 3, 1] * 3).tolist()), 0, "pairs"),
    _video("times below zero", "clip.mkv", _plain(pts=list(range(-6, 18)), container_options={"avoid_negative_ts": "disabled"}), 0, "pairs"),
    _video("no times (AVI)", "clip.avi", _plain(codec="mpeg4", size=(64, 64)), 0, "8 pairs"),
    _video("hours between frames", "clip.mkv", _plain(pts=[i * 2_000_000 for i in range(24)]), 0, "pairs"),
    _video("the size changes midway", "clip.ts", _size_changes, 3, r"clip\.ts"),
    _video("lasts 1/240 s a frame by a wrong ending", "clip.webm", _good, 0, "8 pairs"),
)  # fmt: skip
_NAMES = tuple(
    _video(f"name: {what}", name, _good, 0, "8 pairs")
    for what, name in {
        "begins with a dash": "-clip.mkv", "percent": "clip%03d.mkv", "newline": "a\nb.mkv", "spaces": " a b .mkv",
        "other scripts": "ünï 日本 🎥.mkv", "escape sequence": "\x1b[31mred.mkv", "protocol": "concat:a|b.mkv",
        "250 bytes": "x" * 246 + ".mkv", "glob": "[a]*.mkv", "quotes": "a'b\"c;$(touch x).mkv",
        "not UTF-8": os.fsdecode(b"caf\xe9.mkv"),
    }.items()
)  # fmt: skip
_HOSTILE = (
    _video("list of ffconcat", "clip.mp4", _playlist("ffconcat version 1.0\nfile 'secret.mp4'\nfile {bait}/secret.mp4\n"), 4, _PLAYLIST),
    _video("list of ffconcat by its ending", "clip.ffconcat", _playlist("ffconcat version 1.0\nfile {bait}/secret.mp4\n"), 4, _PLAYLIST),
    _video("HLS of a file", "clip.m3u8", _playlist("#EXTM3U\n#EXTINF:1,\nfile://{bait}/secret.mp4\n#EXT-X-ENDLIST\n"), 4, _PLAYLIST),
    _video("HLS of the network", "clip.m3u8", _playlist("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n"), 4, _PLAYLIST),
    _video("HLS named .mp4", "clip.mp4", _playlist("#EXTM3U\n#EXTINF:1,\nconcat:{bait}/secret.mp4\n#EXT-X-ENDLIST\n"), 4, _PLAYLIST),
    _video("DASH", "clip.mpd", _playlist("<?xml version='1.0'?><MPD><BaseURL>http://127.0.0.1:{port}/</BaseURL></MPD>"), 4, _PLAYLIST),
    _video("SDP", "clip.sdp", _playlist("v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video {port} RTP/AVP 96\n"), 4, _PLAYLIST),
    _video("SVG with a link", "clip.mp4", _playlist("<svg><image href='http://127.0.0.1:{port}/x'/></svg>"), 4, _PLAYLIST),
    _video("pipe", "clip.mp4", lambda p, _b: os.mkfifo(p), 4, "not a regular file"),
    _video("socket", "clip.mp4", _socket, 4, "not a regular file"),
    _video("folder named as a clip", "clip.mp4", _inside, 2, "no files ending in"),
    _video("link to nowhere", "clip.mp4", lambda p, _b: p.symlink_to("nowhere.mp4"), 4, "cannot be read"),
    _video("link to itself", "clip.mp4", lambda p, _b: p.symlink_to("clip.mp4"), 4, r"clip\.mp4"),
    _video("link to a device", "clip.mp4", lambda p, _b: p.symlink_to("/dev/zero"), 4, "not a regular file"),
)  # fmt: skip
_PROTOCOLS = tuple(
    Case("video", f"protocol {text.split(':', maxsplit=1)[0].split(',')[0]}", ("make", "--video", text), 2, "no such file")
    for text in (
        "http://127.0.0.1:{port}/clip.mp4", "concat:{root}/bait/a|b", "subfile,,start,0,end,9,,:{root}/bait/a",
        "data:video/mp4;base64,AAAA", "pipe:0", "lavfi:testsrc", "tcp://127.0.0.1:{port}", "file:///{root}/bait/a",
    )
)  # fmt: skip


def _with_good(*names: str) -> Callable[[Sandbox], object]:
    def prepare(sandbox: Sandbox) -> None:
        sandbox.take("clip.mkv", "other.mkv")
        (sandbox.work / "bad.mp4").write_text("no video")
        for name in names:
            _good(sandbox.work / name, sandbox)

    return prepare


_TOGETHER = (
    Case("video", "one bad clip of three", "make clip.mkv bad.mp4 other.mkv --window 3", 3, r"bad\.mp4", _with_good(), _MADE, max_lines=6),
    Case("video", "one bad clip of three, two workers", "make clip.mkv bad.mp4 other.mkv --window 3 --jobs 2", 3, r"bad\.mp4", _with_good(), _MADE, max_lines=6),
    Case("video", "the same clip under two names", "make clip.mkv copy.mkv --window 3", 0, "same", _with_good("copy.mkv"), _MADE, max_lines=6),
    Case("video", "an empty name", ("make", ""), 2, "an empty name"),
    Case("video", "NUL in a name", "make clip\0.mkv", 2, ""),
)  # fmt: skip
CASES = _BROKEN + _ODD + _NAMES + _HOSTILE + _PROTOCOLS + _TOGETHER
