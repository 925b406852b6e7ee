"Files as people really have them: each gives the frames and the sound of ffmpeg's own decode, or one clear line."

import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tiktok_mm.audio import extract_wav, read_wav, sound_notices
from tiktok_mm.data import check_corpus, open_corpus
from tiktok_mm.lib.core import UserError
from tiktok_mm.lib.decoding import DecodeInfo, sampled_frames
from tiktok_mm.lib.media import ffmpeg_exe, probe
from tiktok_mm.lib.pixels import to_rgb
from tiktok_mm.lib.tracks import decode_packet, lost_sound, open_media, sound_track, video_track
from tiktok_mm.scraping.download import verify_media
from tiktok_mm.scraping.notices import PageError
from tiktok_mm.visual import VisualConfig, extract_visual, read_clip

STORED = Path(__file__).parent / "cases" / "media"
SHARED = Path(__file__).parents[2] / "shared" / "cases" / "media"

# name: (frames, or why there are none; samples, or why there are none; what else is noticed)
FILES = {
    "html_named.mp4": ("a web page, not a video", "a web page, not a video", ""),
    "json_named.mp4": ("a JSON message, not a video", "a JSON message, not a video", ""),
    "webp_named.mp4": ("an image (WebP), not a video", "an image (WebP), not a video", ""),
    "m4a_audio_only.mp4": ("no video stream, only sound", 147_018, ""),
    "audio_with_cover.m4v": ("no video stream, only a cover picture and sound", 147_018, ""),
    "slideshow_1frame.mp4": (1, 0, "a still picture: one frame"),
    "hlg.mp4": (120, 0, "high dynamic range (HLG), tone-mapped"),
}
SHARED_FILES = {
    "mirror/hflip.mp4": (300, 67_101, ""),
    "sar/half_width_vertical.mp4": (150, 67_104, ""),
    "cover/cover_first.mp4": (272, 144_000, ""),
    "cover/preview_first.mp4": (272, 144_000, ""),
    "two_audio/mono_tone_then_default_speech.mp4": (152, 67_104, ""),
    "ratechange/mp3_44100x2_to_48000x1.mp4": (272, 129_330, ""),  # all that the decoder gives, each part at its rate
    "apac/apac.mp4": (152, 67_104, ""),
    "ts/ts_restart.mp4": (244, 130_032, ""),
    "encrypted/cenc.mp4": ("encrypted", "encrypted", ""),
    "bytevc2/bytevc2.mp4": ("no decoder for bvc2", 144_000, ""),
    "truncated/faststart_60pct.mp4": (162, 85_450, "cut short: 162 of 272 frames"),
}


def frames_of(path) -> tuple[int | str, list[str]]:
    "How many frames a file has, or why there are none; and what decoding notices."
    info = DecodeInfo()
    try:
        clip, info = read_clip(path)
    except UserError as error:
        return str(error).removeprefix(f"{path.name}: "), []
    assert clip.shape[1] == -(-info.frames // 200)
    return info.frames, info.notices


def sound_of(path, wav) -> int | str:
    "How many samples the sound of a file has, or why there are none."
    try:
        return len(read_wav(wav)) if extract_wav(path, wav) else 0
    except UserError as error:
        return str(error).removeprefix(f"{path.name}: ")


def assert_right(path, wav, frames, samples, notice) -> None:
    "The frames, the sound, and what `check` says."
    found, notices = frames_of(path)
    assert (found, notices) == (frames, [notice] * bool(notice))
    assert sound_of(path, wav) == samples
    probed = probe(path)
    assert (probed.error, list(probed.notices)) == (frames if isinstance(frames, str) else "", notices)


@pytest.mark.parametrize("name", FILES)
def test_stored_files(tmp_path, name):
    assert_right(STORED / name, tmp_path / "x.wav", *FILES[name])


@pytest.mark.parametrize("name", SHARED_FILES)
def test_shared_files(tmp_path, name):
    if not SHARED.is_dir():
        pytest.skip(f"the larger cases are not at {SHARED}")
    assert_right(SHARED / name, tmp_path / "x.wav", *SHARED_FILES[name])


FILM = ["-f", "lavfi", "-i", "testsrc2=size=96x160:rate=30:duration=1.5"]
TONE = ["-f", "lavfi", "-i", "sine=frequency=440:duration=1.5"]
OTHER = ["-f", "lavfi", "-i", "testsrc2=size=128x96:rate=30:duration=1"]
HIGH = ["-f", "lavfi", "-i", "sine=frequency=880:duration=1:sample_rate=48000"]
H264 = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-bf", "2", "-pix_fmt", "yuv420p"]
VP9 = ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus"]
SIZE_144 = ["-vf", "scale=176:144"]


def make(ffmpeg, *arguments) -> Path:
    "Run ffmpeg; the last argument is the file that it writes."
    subprocess.run([ffmpeg, "-v", "error", "-nostdin", "-y", *map(str, arguments)], check=True)
    return arguments[-1]


@pytest.fixture(scope="module")
def plain(ffmpeg, tmp_path_factory) -> Path:
    "A film of 45 frames with a tone."
    return make(ffmpeg, *FILM, *TONE, *H264, "-c:a", "aac", tmp_path_factory.mktemp("media") / "plain.mp4")


def raw_frames(path, track: int, shape) -> np.ndarray:
    "The frames of ffmpeg's own decode, which turns them upright."
    form = ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    command = [ffmpeg_exe(), "-v", "quiet", "-nostdin", "-i", str(path), "-map", f"0:{track}", *form]
    return np.frombuffer(subprocess.run(command, capture_output=True).stdout, np.uint8).reshape(-1, *shape)


def raw_samples(path, track: int) -> int:
    "The number of samples of ffmpeg's own decode."
    form = ["-ac", "1", "-ar", "16000", "-f", "s16le", "-"]
    command = [ffmpeg_exe(), "-v", "quiet", "-nostdin", "-i", str(path), "-map", f"0:{track}", *form]
    return len(subprocess.run(command, capture_output=True).stdout) // 2


def assert_as_ffmpeg(path, skip: int = 7, notices=()) -> DecodeInfo:
    "Every `skip`-th frame and the sound are those of ffmpeg's own decode."
    info = DecodeInfo()
    images = [to_rgb(frame) for frame in sampled_frames(path, skip, info)]
    with open_media(path) as container:
        video, track = video_track(container).index, sound_track(container)
        sound = track.index if track else None
    expected = raw_frames(path, video, images[0].shape)
    assert (info.frames, info.notices) == (len(expected), list(notices))
    assert len(images) == len(expected[::skip])
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(images, expected[::skip])) <= 6
    assert probe(path).notices == tuple(notices)
    if sound is not None:
        assert sound_of(path, path.with_suffix(".wav")) == raw_samples(path, sound)
    return info


@pytest.mark.parametrize("mirror", ["", "h"])  # top to bottom is left to right, turned by 180 degrees
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_turned_and_mirrored(tmp_path, ffmpeg, plain, degrees, mirror):
    flips = ["-display_hflip"] * bool(mirror)
    turned = make(ffmpeg, "-display_rotation", degrees, *flips, "-i", plain, "-c", "copy", tmp_path / "x.mp4")
    assert_as_ffmpeg(turned)


BOXES = {  # pixel aspect, degrees: rows and columns of the clip that are not black
    ("1/2", 0): (128, 38),
    ("2/1", 0): (60, 72),
    ("1/1", 90): (43, 72),
    ("2/1", 90): (86, 72),
    ("16/11", 180): (82, 72),
}


@pytest.mark.parametrize("aspect, degrees", BOXES)
def test_the_display_aspect_decides_the_letterbox(tmp_path, ffmpeg, aspect, degrees):
    film = make(ffmpeg, *FILM, "-vf", f"setsar={aspect}", *H264, tmp_path / "a.mp4")
    turned = make(ffmpeg, "-display_rotation", degrees, "-i", film, "-c", "copy", tmp_path / "b.mp4")
    filled = read_clip(turned)[0][:, 0].max(0) > 0
    assert (filled.any(1).sum(), filled.any(0).sum()) == BOXES[aspect, degrees]


CONTAINERS = {
    "x.3gp": [*FILM, *TONE, *SIZE_144, "-c:v", "h263", "-c:a", "aac"],
    "x.gif": [*FILM, "-r", "10"],
    "x.ts": [*FILM, *TONE, "-c:v", "mpeg2video", "-bf", "2", "-c:a", "mp2"],
    "x.mpg": [*FILM, *TONE, "-c:v", "mpeg2video", "-c:a", "mp2"],
    "x.flv": [*FILM, *TONE, "-c:v", "flv1", "-c:a", "libmp3lame", "-ar", "44100"],
    "x.avi": [*FILM, *TONE, "-c:v", "mpeg4", "-bf", "2", "-c:a", "libmp3lame"],
    "x.wmv": [*FILM, *TONE, "-c:v", "wmv2", "-c:a", "wmav2"],
    "alpha.webm": [*FILM, *TONE, "-vf", "format=yuva420p", *VP9, "-pix_fmt", "yuva420p"],
    "odd.webm": ["-f", "lavfi", "-i", "testsrc2=size=97x131:rate=30:duration=1", *VP9],
    "fragmented.mp4": [*FILM, *TONE, *H264, "-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"],
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers(tmp_path, ffmpeg, name):
    assert_as_ffmpeg(make(ffmpeg, *CONTAINERS[name], tmp_path / name))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("seconds", [-0.5, 1.5])
def test_times_that_do_not_start_at_zero(tmp_path, ffmpeg, plain, suffix, seconds):
    options = ["-c", "copy", "-avoid_negative_ts", "disabled"]
    moved = make(ffmpeg, "-itsoffset", seconds, "-i", plain, *options, tmp_path / f"x{suffix}")
    hides = suffix == ".mp4" and seconds < 0
    assert_as_ffmpeg(moved, notices=["an edit list hides 15 frames"] * hides)


def test_an_edit_list_that_skips_the_start(tmp_path, ffmpeg, plain):
    cut = make(ffmpeg, "-ss", "1.2", "-i", plain, "-c", "copy", tmp_path / "x.mp4")
    info = assert_as_ffmpeg(cut, skip=3, notices=["an edit list hides 11 frames"])
    assert info.complete


def joined(ffmpeg, folder, codecs, suffix: str) -> Path:
    "Two films one after the other, in two sizes, rates and numbers of channels; their time stamps start anew."
    first = make(ffmpeg, *FILM, *TONE, *codecs, "-ac", "2", "-ar", "44100", folder / f"a{suffix}")
    second = make(ffmpeg, *OTHER, *HIGH, *codecs, "-ac", "1", "-ar", "48000", folder / f"b{suffix}")
    (both := folder / "both.mp4").write_bytes(first.read_bytes() + second.read_bytes())
    return both


def test_a_stream_that_starts_anew_with_another_size_and_rate(tmp_path, ffmpeg):
    both, info = joined(ffmpeg, tmp_path, [*H264, "-c:a", "aac"], ".ts"), DecodeInfo()
    shapes = [to_rgb(frame).shape for frame in sampled_frames(both, 1, info)]
    assert shapes == [(160, 96, 3)] * 45 + [(96, 128, 3)] * 30
    assert read_clip(both)[0].shape == (3, 1, 128, 72)
    assert sound_of(both, tmp_path / "x.wav") == pytest.approx(2.5 * 16_000, abs=1500)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_a_size_that_changes_midway(tmp_path, ffmpeg, suffix):
    codecs, part = (VP9, ".webm") if suffix == ".webm" else (H264, ".ts")
    make(ffmpeg, *FILM, *codecs, tmp_path / f"a{part}")
    make(ffmpeg, *OTHER, *codecs, tmp_path / f"b{part}")
    (tmp_path / "list.txt").write_text(f"file 'a{part}'\nfile 'b{part}'\n")
    film = make(ffmpeg, "-f", "concat", "-i", tmp_path / "list.txt", "-c", "copy", tmp_path / f"x{suffix}")
    shapes = [to_rgb(frame).shape for frame in sampled_frames(film, 9)]
    assert shapes == [(160, 96, 3)] * 5 + [(96, 128, 3)] * 4


def decoded_seconds(path) -> float:
    "The length of all frames of sound, each at its own rate."
    with open_media(path) as container:
        packets = container.demux(sound_track(container))
        return sum(frame.samples / frame.sample_rate for packet in packets for frame in decode_packet(packet))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts"])
def test_sound_whose_rate_and_channels_change(tmp_path, ffmpeg, plain, suffix):
    "Nothing is lost where it changes."
    codec, part = (["-c:a", "aac"], ".aac") if suffix == ".ts" else (["-write_xing", "0"], ".mp3")
    sound = joined(ffmpeg, tmp_path, ["-vn", *codec], part).rename(tmp_path / f"sound{part}")
    form = ["-f", part[1:], "-i", sound]
    film = make(ffmpeg, "-i", plain, *form, "-map", "0:v", "-map", "1:a", "-c", "copy", tmp_path / f"x{suffix}")
    assert decoded_seconds(film) == pytest.approx(2.5, abs=0.1)
    assert sound_of(film, tmp_path / "x.wav") == pytest.approx(decoded_seconds(film) * 16_000, abs=3)


def test_previews_before_the_film(tmp_path, ffmpeg):
    sizes = ["-s:v:0", "48x36", "-s:v:1", "32x24"]
    tracks = ["-map", "0:v", "-map", "0:v", "-map", "1:v", "-map", "2:a"]
    for name in ("x.mp4", "x.mkv"):
        flags = ["-disposition:v", "0"] + ["-disposition:v:2", "default"] * (name == "x.mp4")
        film = make(ffmpeg, *OTHER, *FILM, *TONE, *tracks, *H264, *sizes, *flags, "-c:a", "aac", tmp_path / name)
        assert assert_as_ffmpeg(film).frames == 45


def test_a_few_large_stills_before_the_film(tmp_path, ffmpeg):
    stills = ["-f", "lavfi", "-i", "testsrc2=size=640x480:rate=1:duration=2"]
    codecs = ["-c:v:0", "mjpeg", "-c:v:1", "libx264", "-disposition:v", "default"]
    film = make(ffmpeg, *stills, *FILM, "-map", "0", "-map", "1", *codecs, tmp_path / "x.mp4")
    assert assert_as_ffmpeg(film).frames == 45


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_cover(tmp_path, ffmpeg, plain, suffix):
    cover = make(ffmpeg, *OTHER, "-frames:v", "1", tmp_path / "cover.jpg")
    as_track = ["-i", cover, "-i", plain, "-map", "0", "-map", "1", "-disposition:v:0", "attached_pic"]
    attached = ["-i", plain, "-attach", cover, "-metadata:s:t", "mimetype=image/jpeg"]
    film = make(ffmpeg, *(as_track if suffix == ".mp4" else attached), "-c", "copy", tmp_path / f"x{suffix}")
    assert assert_as_ffmpeg(film).frames == 45


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_default_sound_track(tmp_path, ffmpeg, suffix):
    tracks = ["-map", "0:v", "-map", "1:a", "-map", "2:a", "-ac:a:0", "6", "-ac:a:1", "1"]
    flags = ["-disposition:a:0", "0", "-disposition:a:1", "default", "-c:a", "aac"]
    film = make(ffmpeg, *FILM, *TONE, *HIGH, *tracks, *flags, *H264, tmp_path / f"x{suffix}")
    assert sound_of(film, tmp_path / "x.wav") == pytest.approx(16_000, abs=100)


def rename(path, old: bytes, new: bytes, target) -> Path:
    "A copy of an mp4 file with another name of a codec."
    content = path.read_bytes()
    assert old in content
    target.write_bytes(content.replace(old, new))
    return target


def test_tracks_without_a_decoder(tmp_path, ffmpeg, plain):
    unknown = rename(plain, b"avc1", b"bvc2", tmp_path / "video.mp4")
    assert_right(unknown, tmp_path / "x.wav", "no decoder for bvc2", 24_000, "")
    opus = make(ffmpeg, "-i", plain, "-c:v", "copy", "-c:a", "libopus", tmp_path / "opus.mp4")
    silent = rename(opus, b"Opus", b"apac", tmp_path / "sound.mp4")
    assert frames_of(silent) == (45, [])
    assert sound_of(silent, tmp_path / "x.wav") == 0
    assert probe(silent).notices == ("no decoder for apac",) and not probe(silent).sound


def test_encrypted(tmp_path, ffmpeg, plain):
    key = ["-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "76a6c65c5ea762046bd749a2e632ccbb"]
    locked = make(ffmpeg, "-i", plain, "-c", "copy", *key, "-encryption_kid", "0" * 32, tmp_path / "x.mp4")
    assert_right(locked, tmp_path / "x.wav", "encrypted", "encrypted", "")
    assert lost_sound(locked) == "sound: encrypted"


def test_a_title_in_another_encoding(tmp_path, ffmpeg, plain):
    titled = make(ffmpeg, "-i", plain, "-c", "copy", "-metadata", "title=CAFE", tmp_path / "title.mp4")
    path = rename(titled, b"CAFE", "café".encode("cp1252"), tmp_path / "x.mp4")
    assert assert_as_ffmpeg(path).frames == 45


CUT = {
    "x.mp4": ["-c", "copy", "-movflags", "faststart"],
    "x.mkv": ["-c", "copy"],
    "x.webm": VP9,
    "x.avi": ["-c:v", "mpeg4", "-c:a", "libmp3lame"],
    "x.flv": ["-c", "copy"],
    "x.ts": ["-c", "copy"],
    "x.gif": [],
    "x.ogv": ["-c:v", "libtheora", "-c:a", "libvorbis"],
    "x.wmv": ["-c:v", "wmv2", "-c:a", "wmav2"],
    "fragmented.mp4": ["-c", "copy", "-movflags", "frag_keyframe+empty_moov"],
}


@pytest.mark.parametrize("name", CUT)
def test_cut_files_say_so(tmp_path, ffmpeg, plain, name):
    whole, part = make(ffmpeg, "-i", plain, *CUT[name], tmp_path / name), tmp_path / f"part-{name}"
    part.write_bytes(whole.read_bytes()[: round(0.7 * whole.stat().st_size)])
    (_, none), (frames, notices) = frames_of(whole), frames_of(part)
    counts = f": {frames} of 45 frames" * (name == "x.mp4")
    assert (none, notices) == ([], [f"cut short{counts}"])
    assert 10 < frames < 45
    assert_as_ffmpeg(part, notices=notices)


HOLES = {
    "x.mkv": ["-c", "copy"],
    "x.webm": VP9,
    "fragmented.mp4": [*H264, "-g", "10", "-movflags", "frag_keyframe+empty_moov"],
}


@pytest.mark.parametrize("name", HOLES)
def test_a_hole_in_a_file_is_noticed(tmp_path, ffmpeg, plain, name):
    "As a download in several parts leaves it; also where nothing that is left is damaged."
    whole, part = make(ffmpeg, "-i", plain, *HOLES[name], tmp_path / name), tmp_path / f"part-{name}"
    content = bytearray(whole.read_bytes())
    start, length = len(content) // 2, len(content) // 6
    content[start : start + length] = bytes(length)
    part.write_bytes(content)
    frames, notices = frames_of(part)
    assert frames_of(whole) == (45, []) and 10 < frames < 45
    assert len(notices) == 1 and notices[0].startswith(("cut short", "damaged"))
    assert probe(part).notices[0].partition(" (")[0] == notices[0].partition(" (")[0]


def test_alpha_beside_the_frames_is_no_hole(tmp_path, ffmpeg):
    noise = ["-f", "lavfi", "-i", "nullsrc=size=128x128:rate=10:duration=1,format=yuva420p,geq=lum=128:a=random(1)*255"]
    film = make(ffmpeg, *noise, *VP9[:-2], "-pix_fmt", "yuva420p", "-b:v", "8M", tmp_path / "x.webm")
    assert frames_of(film) == (10, [])


def test_cut_within_the_index(tmp_path, plain):
    (part := tmp_path / "x.mp4").write_bytes(plain.read_bytes()[:-300])
    reason = "cut within its index (the moov box): download it again"
    assert_right(part, tmp_path / "x.wav", reason, reason, "")


def test_cropped_at_the_left(tmp_path, ffmpeg, plain):
    crop = "h264_metadata=crop_left=16:crop_right=16:crop_top=8:crop_bottom=8"
    film = make(ffmpeg, "-i", plain, "-c", "copy", "-bsf:v", crop, tmp_path / "x.mp4")
    assert_as_ffmpeg(film)
    assert to_rgb(next(sampled_frames(film))).shape == (144, 64, 3)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_frames_with_exif(tmp_path, ffmpeg, orientation):
    "As of a camera: PyAV does not know this kind of side data."
    exif = Image.Exif()
    exif[0x0112] = orientation
    for number in range(3):
        picture = np.zeros((96, 160, 3), np.uint8)
        picture[: 20 + number, :30] = 255
        Image.fromarray(picture).save(tmp_path / f"{number}.jpg", exif=exif)
    film = make(ffmpeg, "-framerate", "30", "-i", tmp_path / "%d.jpg", "-c", "copy", tmp_path / "x.avi")
    assert assert_as_ffmpeg(film, skip=1).frames == 3


def test_scrambled_transport_stream(tmp_path, ffmpeg, plain):
    content = bytearray(make(ffmpeg, "-i", plain, "-c", "copy", tmp_path / "a.ts").read_bytes())
    for start in range(188 * 3, len(content), 188):
        content[start + 3] |= 0x80
    (path := tmp_path / "x.ts").write_bytes(content)
    assert_right(path, tmp_path / "x.wav", "encrypted", "encrypted", "")


def test_downloads_are_verified_by_the_film(tmp_path, ffmpeg, plain):
    "Not by a cover that is stored as the first track, and not by a time stamp that does not start at zero."
    cover = make(ffmpeg, *OTHER, "-frames:v", "1", tmp_path / "cover.jpg")
    tracks = ["-i", cover, "-i", plain, "-map", "0", "-map", "1", "-c", "copy"]
    facts = {"media_duration": pytest.approx(1.5, abs=0.05), "width": 96, "height": 160, "codec": "h264", "audio": True}
    assert verify_media(make(ffmpeg, *tracks, tmp_path / "cover.mp4"), 1.5) == facts
    assert verify_media(make(ffmpeg, "-i", plain, "-c", "copy", tmp_path / "x.ts"), 1.5) == facts
    whole = make(ffmpeg, "-i", plain, "-c", "copy", "-movflags", "faststart", tmp_path / "whole.mp4").read_bytes()
    for content, reason in ((whole[: len(whole) * 4 // 5], "cut short: "), (b"<html>", "a web page, not a video")):
        (path := tmp_path / "bad.mp4").write_bytes(content)
        with pytest.raises(PageError, match=reason):
            verify_media(path)


def test_check_says_what_decoding_all_frames_found(tmp_path, plain):
    "Packets alone do not tell that their content is damaged; `check` says it as soon as features are there."
    content, rng = bytearray(plain.read_bytes()), np.random.default_rng(0)
    start = content.index(b"mdat") + 8000
    for place in range(start, start + 8000, 2000):
        content[place : place + 200] = rng.bytes(200)
    (tmp_path / "71.mp4").write_bytes(content)
    (tmp_path / "videos.json").write_text('[{"id": "71", "views": 1500}]')
    corpus = open_corpus(tmp_path)
    extract_visual(corpus, "71", tmp_path / "71.mp4", VisualConfig(frame_skip=1))
    assert "damaged (decoding errors: " in str(check_corpus(corpus, progress=False))
    (tmp_path / "71.mp4").write_bytes(plain.read_bytes())
    assert "damaged" not in str(check_corpus(open_corpus(tmp_path), progress=False))


def test_cut_before_the_index(tmp_path, plain):
    (part := tmp_path / "x.mp4").write_bytes(plain.read_bytes()[:20_000])
    reason = "cut before its index (the moov box): download it again"
    assert_right(part, tmp_path / "x.wav", reason, reason, "")


def test_damaged_packets_are_noticed(tmp_path, plain):
    content, rng = bytearray(plain.read_bytes()), np.random.default_rng(0)
    start = content.index(b"mdat") + 8000
    for place in range(start, start + 8000, 2000):
        content[place : place + 200] = rng.bytes(200)
    (path := tmp_path / "x.mp4").write_bytes(content)
    info = DecodeInfo()
    list(sampled_frames(path, 1, info))
    assert info.damaged and info.notices == [f"damaged (decoding errors: {info.damaged})"]


def test_any_damage_gives_frames_or_one_line(tmp_path, ffmpeg, plain):
    "Forty copies with some bytes replaced, or cut: no other error than one line for a person."
    films = [plain, make(ffmpeg, "-i", plain, "-c", "copy", tmp_path / "x.mkv")]
    films.append(make(ffmpeg, "-i", plain, "-c", "copy", tmp_path / "x.flv"))
    rng = np.random.default_rng(0)
    for number in range(40):
        content = bytearray(films[number % 3].read_bytes())
        for place in rng.integers(2000 if number % 2 else len(content), size=5):
            content[place : place + 30] = rng.bytes(30)
        (path := tmp_path / "damaged.mp4").write_bytes(content[: round(rng.uniform(0.5, 1.5) * len(content))])
        for found in (frames_of(path)[0], sound_of(path, tmp_path / "x.wav"), probe(path).error):
            assert "Errno" not in str(found) and "\n" not in str(found)


TEXTS = {
    b"": "an empty file",
    b"\xef\xbb\xbf\r\n<!DOCTYPE html>\n<title>403</title>": "a web page, not a video",
    "<html><body>Verify you are human".encode("utf-16"): "a web page, not a video",
    b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>': "an XML message, not a video",
    b'[{"status_code": 10204}]': "a JSON message, not a video",
    b"Too many requests": "text, not a video",
    b"#EXTM3U\n#EXTINF:9,\nhttp://example.com/a.ts\n": "a playlist, not a video",
    b"\xff\xd8\xff\xe0\x00\x10JFIF": "an image (JPEG), not a video",
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR": "an image (PNG), not a video",
    b"\xff\x0a\xfa\x7f": "an image (JPEG XL), not a video",
    b"II*\x00\x08\x00": "an image (TIFF), not a video",
    b"BM\x36\x90\x00\x00\x00\x00\x00\x00": "an image (BMP), not a video",
    b'<svg xmlns="http://www.w3.org/2000/svg"/>': "an image (SVG), not a video",
    b"d8:announce30:udp://tracker.example.com:80/": "a torrent, not a video",
    b"PK\x03\x04\x14\x00": "an archive, not a video",
    bytes(5000): "nothing but zeros: download it again",
    bytes(range(200, 250)) * 50: "damaged, or not a video",
}


@pytest.mark.parametrize("content", TEXTS, ids=lambda content: TEXTS[content])
def test_disguised(tmp_path, content):
    (path := tmp_path / "x.mp4").write_bytes(content)
    assert_right(path, tmp_path / "x.wav", TEXTS[content], TEXTS[content], "")


def test_files_that_cannot_be_opened(tmp_path):
    (link := tmp_path / "x.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (folder := tmp_path / "y.mp4").mkdir()
    reasons = {link: "a link to a file that is not there", folder: "a folder, not a video"}
    for path, reason in {**reasons, tmp_path / "z.mp4": "no such file"}.items():
        assert_right(path, tmp_path / "x.wav", reason, reason, "")


@pytest.mark.parametrize("transfer", ["arib-std-b67", "smpte2084"])
def test_high_dynamic_range_is_tone_mapped(tmp_path, ffmpeg, plain, transfer):
    "A film that was converted to high dynamic range looks like the film, and far more so than its bare code values."
    tags = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709"
    light = "zscale=t=linear:npl=203,format=gbrpf32le"
    back = f"zscale=t={transfer}:p=bt2020:m=bt2020nc:npl=203,format=yuv420p10le"
    colours = ["-color_primaries", "bt2020", "-color_trc", transfer, "-colorspace", "bt2020nc"]
    codec = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none"]
    try:
        film = make(ffmpeg, "-i", plain, "-an", "-vf", f"{tags},{light},{back}", *codec, *colours, tmp_path / "x.mp4")
    except subprocess.CalledProcessError:
        pytest.skip("this ffmpeg has no zscale")
    frames = [next(sampled_frames(path)) for path in (plain, film)]
    right, mapped = (to_rgb(frame).astype(int) for frame in frames)
    bare = frames[1].to_ndarray(format="rgb24")
    assert np.abs(mapped - right).mean() < 0.75 * np.abs(bare - right).mean()
    assert mapped.std() > 1.2 * bare.std()


def test_missing_sound_is_said(plain, ffmpeg, tmp_path):
    "Packets of sound that were lost, or are noise: what is left is decoded, and a person is told."
    for number, noise in enumerate(("noise=drop='gt(mod(n,20),10)'", "noise=amount=30")):
        damaged = make(ffmpeg, "-i", plain, "-c", "copy", "-bsf:a", noise, tmp_path / f"{number}.mp4")
        has_sound = extract_wav(damaged, tmp_path / "x.wav")
        sound = read_wav(tmp_path / "x.wav")
        (notice,) = sound_notices(damaged, has_sound, sound)
        assert has_sound and ("of its sound are missing" in notice or "nothing of its sound" in notice)
    assert sound_notices(plain, extract_wav(plain, tmp_path / "y.wav"), read_wav(tmp_path / "y.wav")) == []
