import os
import socket
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from blursynth.decoding import decode, to_rgb
from blursynth.errors import VideoError
from blursynth.video import describe
from samples import ClipMaker, moving_texture


def test_describe_tells_times_tags_and_size(make_clip: ClipMaker) -> None:
    info = describe(make_clip(tags={"color_range": 1, "colorspace": 1}))
    assert (info.width, info.height, info.num_frames) == (64, 48, 24)
    assert info.frame_rate == Fraction(240)
    assert (info.colour.matrix, info.colour.is_full_range, info.colour.guessed) == ("bt709", False, ())
    assert not info.is_cut_short
    assert float((info.pts[-1] - info.pts[0]) * info.time_base) == pytest.approx(23 / 240, abs=0.001)


def test_decode_gives_every_frame_once_with_its_planes(make_clip: ClipMaker) -> None:
    frames = moving_texture(9, 33, 47)
    info = describe(make_clip(frames=frames, pixel_format="yuv444p", tags={"color_range": 1, "colorspace": 1}))
    decoded = list(decode(info))
    assert [frame.index for frame in decoded] == list(range(9))
    assert not any(frame.is_damaged for frame in decoded)
    for frame, expected in zip(decoded, frames, strict=True):
        rgb = to_rgb(info, frame)
        assert rgb.shape == (33, 47, 3)
        assert np.abs(rgb.astype(int) - expected).mean() < 8  # the encoder's own conversion took another matrix


@pytest.mark.parametrize(("codec", "pixel_format"), [("libx264rgb", "rgb24"), ("ffv1", "bgr0")])
def test_rgb_video_is_read_without_loss(make_clip: ClipMaker, codec: str, pixel_format: str) -> None:
    frames = moving_texture(5, 24, 32)
    info = describe(make_clip(frames=frames, codec=codec, pixel_format=pixel_format, options={"qp": "0"}))
    assert all(np.array_equal(to_rgb(info, frame), frames[frame.index]) for frame in decode(info))


@pytest.mark.parametrize("pixel_format", ["yuv420p10le", "yuv422p10le", "gray", "yuv444p12le", "yuv420p16le"])
def test_other_depths_and_layouts(make_clip: ClipMaker, pixel_format: str) -> None:
    frames = moving_texture(3, 24, 32)
    info = describe(make_clip(frames=frames, pixel_format=pixel_format))
    for frame in decode(info):
        rgb = to_rgb(info, frame)
        grey = frames[frame.index] @ [0.299, 0.587, 0.114] if pixel_format == "gray" else frames[frame.index].mean(2)
        assert np.corrcoef(rgb.mean(2).ravel(), grey.ravel())[0, 1] > 0.9
        assert rgb.max() <= info.colour.peak


def test_variable_rate_keeps_its_times(make_clip: ClipMaker) -> None:
    pts = [0, 1, 2, 3, 10, 11, 12]
    info = describe(make_clip(num_frames=7, pts=pts, rate=100))
    times = (info.pts - info.pts[0]) * float(info.time_base) * 100
    np.testing.assert_allclose(times, pts, atol=0.11)  # Matroska counts milliseconds
    assert [frame.index for frame in decode(info)] == list(range(7))


def h264(make_clip: ClipMaker, name: str, num_frames: int = 60) -> Path:
    index_first = {"movflags": "faststart"} if name.endswith(".mp4") else {}
    options = {"g": "15", "bf": "2", "crf": "18"}
    return make_clip(
        name, moving_texture(num_frames, 96, 128), codec="libx264", options=options, container_options=index_first
    )


def test_a_clip_that_was_cut_is_read_as_far_as_it_goes(make_clip: ClipMaker) -> None:
    path = h264(make_clip, "cut.mp4")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 6 // 10])
    info = describe(path)
    assert info.is_cut_short
    assert info.num_frames_from_header == 60
    assert 10 < len([frame for frame in decode(info) if not frame.is_damaged]) < 50


def test_a_cut_matroska_is_noticed_by_its_duration(make_clip: ClipMaker) -> None:
    path = h264(make_clip, "cut.mkv")
    whole = path.read_bytes()
    assert not describe(path).is_cut_short
    path.write_bytes(whole[: len(whole) * 6 // 10])
    assert describe(path).is_cut_short


def test_damage_marks_all_frames_up_to_the_next_key_frame(make_clip: ClipMaker) -> None:
    path = h264(make_clip, "damaged.mp4")
    good = describe(path)
    clean = {frame.index: to_rgb(good, frame) for frame in decode(good)}
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    victim = next(p for p in packets[20:] if not p.is_keyframe)
    data = bytearray(path.read_bytes())
    assert victim.pos is not None
    middle = victim.pos + victim.size // 2
    data[middle : middle + 40] = bytes(40)
    path.write_bytes(data)

    info = describe(path)
    frames = list(decode(info))
    trusted = [frame.index for frame in frames if not frame.is_damaged]
    assert len(trusted) < 60
    assert len(trusted) >= 40
    for frame in frames:
        if not frame.is_damaged:
            assert np.array_equal(to_rgb(info, frame), clean[frame.index]), f"frame {frame.index} is damaged"


def test_rotation_is_told(make_clip: ClipMaker, tmp_path: Path) -> None:
    path = h264(make_clip, "upright.mp4", 8)
    turned = tmp_path / "turned.mp4"
    with av.open(str(path)) as source, av.open(str(turned), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        stream.set_display_rotation(90)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    assert describe(path).rotation == 0
    assert describe(turned).rotation == 1


def test_low_rates_and_missing_tags_are_noted(make_clip: ClipMaker) -> None:
    info = describe(make_clip("slow.mkv", rate=30))
    notes = " ".join([*info.notes, *info.rate_notes])
    assert "30 frames/s" in notes
    assert "no colour tags" in notes


def test_a_phone_that_says_at_which_rate_it_filmed_is_heard(make_clip: ClipMaker, tmp_path: Path) -> None:
    path = tmp_path / "phone.mp4"
    options = {"movflags": "use_metadata_tags"}
    with av.open(str(make_clip(num_frames=4, rate=30))) as source, av.open(str(path), "w", options=options) as target:
        target.metadata["com.android.capture.fps"] = "240.000000"
        target.metadata["creation_time"] = "2019-12-20T20:08:34.000000Z"
        stream = target.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for frame in source.decode(video=0):
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    info = describe(path)
    assert info.capture_rate == 240
    assert info.creation_time.startswith("2019-12-20T20:08:34")
    assert any("filmed at 240" in note and "--source-fps 240" in note for note in info.rate_notes)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"this is a text, not a video\n" * 40, "not a video"),
        (bytes(range(256)) * 100, "not a video"),
        (b"#EXTM3U\nfile:///etc/passwd\n", "playlist"),
        (b"ffconcat version 1.0\nfile other.mp4\n", "playlist"),
        (b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(500), "no index"),
    ],
)
def test_what_is_no_clip_is_refused_in_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoError, match=reason) as caught:
        describe(path)
    assert "clip.mp4" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sound_alone_and_too_many_pixels_are_refused(tmp_path: Path, make_clip: ClipMaker) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(VideoError, match="no video stream"):
        describe(path)
    with pytest.raises(VideoError, match="megapixels"):
        describe(make_clip(), max_pixels=1000)


def test_names_are_names_whatever_they_look_like(
    make_clip: ClipMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    clip = make_clip("clip.mkv", num_frames=3).read_bytes()
    for name in ("-dash.mkv", "frame%03d.mkv", "new\nline.mkv", "concat:a|b", "ünï 日本.mkv", " space.mkv", "pipe:0"):
        Path(name).write_bytes(clip)
        assert describe(Path(name)).num_frames == 3


def test_nothing_reaches_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/clip.mp4"
        Path("list.m3u8").write_text(f"#EXTM3U\n#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n", encoding="utf-8")
        for path in (Path(url), Path("list.m3u8")):
            with pytest.raises(VideoError):
                describe(path)
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "clip.mp4")
    with pytest.raises(VideoError, match="regular"):
        describe(tmp_path / "clip.mp4")


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "num_frames", "matrix", "is_full_range"),
    [
        ("gopro_240fps.mp4", 299, "bt709", False),
        ("bt709_full_range.mp4", 30, "bt709", True),
        ("diabolo_240fps.mp4", 410, "bt709", False),
        ("phone_vfr.mp4", 41, "bt709", False),
        ("hevc_10bit.mp4", 30, "bt601", False),
    ],
)
def test_real_clips(shared: Path, name: str, num_frames: int, matrix: str, is_full_range: bool) -> None:
    info = describe(shared / "video" / name)
    assert (info.colour.matrix, info.colour.is_full_range) == (matrix, is_full_range)
    frames = list(decode(info))
    assert [frame.index for frame in frames] == list(range(num_frames))
    assert not any(frame.is_damaged for frame in frames)


@pytest.mark.parametrize(
    "options",
    [{"g": "30", "bf": "7", "x264-params": "b-pyramid=none"}, {"g": "10", "bf": "3", "x264-params": "open-gop=1"}],
)
@pytest.mark.parametrize("victim", [8, 21, 34])
def test_no_frame_that_differs_is_trusted_when_the_decoder_reports_damage(
    make_clip: ClipMaker, options: dict[str, str], victim: int
) -> None:
    path = make_clip("damaged.mkv", moving_texture(48, 96, 128, speed=5), codec="libx264", options=options)
    good = describe(path)
    clean = {frame.index: to_rgb(good, frame) for frame in decode(good)}
    with av.open(str(path)) as container:
        packet = [p for p in container.demux(video=0) if p.size][victim]
    assert packet.pos is not None
    data = bytearray(path.read_bytes())
    begin = packet.pos + packet.size // 4
    data[begin : begin + packet.size // 2] = bytes(packet.size // 2)
    path.write_bytes(data)
    frames = list(decode(describe(path)))
    if any(frame.is_damaged for frame in frames) or len(frames) < 48:
        for frame in frames:
            if not frame.is_damaged:
                assert np.array_equal(to_rgb(good, frame), clean[frame.index]), f"frame {frame.index}"


def test_avi_without_presentation_times_is_counted(make_clip: ClipMaker) -> None:
    frames = moving_texture(30, 96, 128)
    info = describe(make_clip("clip.avi", frames, codec="libx264", options={"bf": "2", "crf": "5"}))
    decoded = list(decode(info))
    assert [frame.index for frame in decoded] == list(range(30))
    assert not any(frame.is_damaged for frame in decoded)
    for frame in decoded:
        errors = [np.abs(to_rgb(info, frame).astype(int) - other).mean() for other in frames]
        assert int(np.argmin(errors)) == frame.index


def test_colours_that_would_be_wrong_are_refused(make_clip: ClipMaker) -> None:
    with pytest.raises(VideoError, match="YCgCo"):
        describe(make_clip(tags={"colorspace": 8}))


def test_a_gap_in_a_transport_stream_spoils_what_was_predicted_across_it(make_clip: ClipMaker, tmp_path: Path) -> None:
    frames = moving_texture(60, 96, 128, speed=5)
    path = make_clip("whole.ts", frames, codec="libx264", options={"g": "20", "bf": "0"}, rate=100)
    good = describe(path)
    clean = {frame.index: to_rgb(good, frame) for frame in decode(good)}
    cut = tmp_path / "cut.ts"
    with av.open(str(path)) as source, av.open(str(cut), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(p for p in source.demux(video=0) if p.size):
            if number != 25:
                packet.stream = stream
                target.mux(packet)
    info = describe(cut)
    assert info.num_frames == 59
    for frame in decode(info):
        if not frame.is_damaged:
            assert np.array_equal(to_rgb(info, frame), clean[frame.index + (frame.index >= 25)])


def test_mirrored_clips_are_refused_and_coarse_clocks_said(make_clip: ClipMaker) -> None:
    notes = describe(make_clip("fast.mkv", num_frames=24, rate=2000)).notes
    assert any("have the time of another" in note for note in notes)
    assert describe(make_clip("slower.mkv", num_frames=24, rate=700)).num_frames == 24
