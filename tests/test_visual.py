"Sparse decoding gives the bytes of sequential decoding, for every codec, container and kind of damage."

import subprocess

import numpy as np
import pytest

from tiktok_mm.lib.core import UserError
from tiktok_mm.lib.decoding import DecodeInfo, decode_sequential, sampled_frames
from tiktok_mm.lib.pixels import to_rgb
from tiktok_mm.visual import VisualConfig, read_clip
from videos import make_video

CODECS = {
    "H.264 with B-frames": dict(codec="libx264", g="30", bf="3"),
    "H.264 with one keyframe": dict(codec="libx264", g="1000", bf="2"),
    "H.264, B-frames as references, open groups": dict(
        codec="libx264", g="20", bf="4", preset="medium", **{"x264-params": "open-gop=1:b-pyramid=normal"}
    ),
    "H.264, periodic intra refresh": dict(
        codec="libx264", g="30", preset="medium", **{"x264-params": "intra-refresh=1"}
    ),
    "H.264, periodic intra refresh, in Matroska": dict(
        codec="libx264", suffix=".mkv", g="30", preset="medium", **{"x264-params": "intra-refresh=1"}
    ),
    "H.264, keyframes only": dict(codec="libx264", g="1"),
    "H.264, 10 bit": dict(codec="libx264", pixels="yuv420p10le", g="25", bf="2"),
    "H.264, odd size": dict(codec="libx264", pixels="yuv444p", size=(97, 131), g="25", bf="2"),
    "H.265": dict(codec="libx265", g="30", bf="3", **{"x265-params": "log-level=none"}),
    "H.265, open groups, 10 bit": dict(
        codec="libx265", pixels="yuv420p10le", g="24", preset="medium", **{"x265-params": "open-gop=1:log-level=none"}
    ),
    "VP9 in webm": dict(codec="libvpx-vp9", suffix=".webm", g="40"),
    "VP9 with hidden frames": dict(
        codec="libvpx-vp9", suffix=".webm", g="60", deadline="good", **{"auto-alt-ref": "1", "lag-in-frames": "20"}
    ),
    "AV1": dict(codec="libsvtav1", g="32"),
    "MPEG-4 in AVI": dict(codec="mpeg4", suffix=".avi", g="12", bf="2", b="300k"),
    "MPEG-TS": dict(codec="libx264", suffix=".ts", g="30", bf="2"),
    "one frame": dict(codec="libx264", frames=1),
    "variable frame rate": dict(
        codec="libx264", g="25", bf="2", times=np.cumsum(np.random.default_rng(1).integers(5, 90, 120)).tolist()
    ),
}


def pixels(frames) -> list[bytes]:
    return [to_rgb(frame).tobytes() for frame in frames]


def assert_same(path, skips=(1, 3, 7, 50, 200)) -> DecodeInfo:
    plain = DecodeInfo()
    every = pixels(decode_sequential(path, 1, plain))
    assert len(every) == plain.frames
    for skip in skips:
        sparse = DecodeInfo()
        assert pixels(sampled_frames(path, skip, sparse)) == every[::skip]
        assert sparse.frames == plain.frames
    return sparse


@pytest.mark.parametrize("name", CODECS)
def test_same_bytes_as_sequential(tmp_path, name):
    options = dict(CODECS[name])
    path = make_video(tmp_path / f"clip{options.pop('suffix', '.mp4')}", **options)
    info = assert_same(path)
    assert info.frames == options.get("frames", 120)
    assert info.notices == ["a still picture: one frame"] * (name == "one frame")
    assert info.method == ("sequential" if name in ("MPEG-4 in AVI", "MPEG-TS") else "sparse")


def test_same_bytes_on_real_clips(real_data):
    clips = sorted((real_data / "clips").glob("*.mp4"))
    methods = {path.name: assert_same(path, (1, 7, 200)).method for path in clips}
    assert set(methods.values()) == {"sparse"}


def run(ffmpeg, *arguments):
    subprocess.run([ffmpeg, "-v", "error", "-y", *map(str, arguments)], check=True)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_ffmpegs(tmp_path, ffmpeg, degrees):
    plain, rotated, raw = (
        make_video(tmp_path / "a.mp4", frames=3, size=(64, 96)),
        tmp_path / "b.mp4",
        tmp_path / "b.rgb",
    )
    run(ffmpeg, "-display_rotation", degrees, "-i", plain, "-c", "copy", rotated)
    run(ffmpeg, "-i", rotated, "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", raw)
    image = to_rgb(next(sampled_frames(rotated)))
    assert image.shape == ((96, 64, 3) if degrees == 180 else (64, 96, 3))
    assert np.abs(image.astype(int) - np.fromfile(raw, np.uint8).reshape(image.shape)).max() <= 6
    assert_same(rotated)


def test_edit_list(tmp_path, ffmpeg):
    plain, cut = make_video(tmp_path / "a.mp4", g="30", bf="2"), tmp_path / "b.mp4"
    run(ffmpeg, "-ss", "1.4", "-i", plain, "-c", "copy", cut)
    info = assert_same(cut)
    assert 70 < info.frames < 120


@pytest.mark.parametrize("share", [0.35, 0.6, 0.9, 0.99])
def test_truncated_file_gives_the_frames_before_the_break(tmp_path, share):
    whole, part = make_fast_start(tmp_path), tmp_path / "part.mp4"
    part.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
    info = assert_same(part)
    assert not info.complete
    assert 0 < info.frames < 120


def make_fast_start(tmp_path):
    "A video with its index at the front, as in downloads."
    import av

    source, target = make_video(tmp_path / "source.mp4", g="30", bf="2"), tmp_path / "whole.mp4"
    with av.open(str(source)) as old, av.open(str(target), "w", options={"movflags": "+faststart"}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    return target


@pytest.mark.parametrize("content", [b"", b"<html>403 Forbidden</html>", bytes(4000)])
def test_not_a_video(tmp_path, content):
    path = tmp_path / "x.mp4"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"x\.mp4"):
        list(sampled_frames(path))


def test_sound_only(tmp_path):
    import av

    path = tmp_path / "x.mp4"
    with av.open(str(path), "w") as box:
        stream = box.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        box.mux(stream.encode(frame))
        box.mux(stream.encode(None))
    with pytest.raises(UserError, match=r"x\.mp4"):
        list(sampled_frames(path))


def test_clip_of_a_landscape_video_is_letterboxed(tmp_path):
    path = make_video(tmp_path / "wide.mp4", frames=10, size=(160, 90))
    clip, _info = read_clip(path, VisualConfig(frame_skip=4))
    assert clip.shape == (3, 3, 128, 72)
    assert clip[:, :, :43].max() == clip[:, :, 85:].max() == 0
    assert clip[:, :, 50:80].min(axis=(0, 1)).max() > 0
