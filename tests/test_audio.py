"Sound is exactly that of the ffmpeg command; every kind of sound track and every size of Whisper works."

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import wave
from dataclasses import asdict
from pathlib import Path

import av
import ffmpeg
import numpy as np
import psutil
import pytest
import torch

from tiktok_mm.audio import (
    AudioConfig,
    embed,
    extract_audio,
    extract_wav,
    has_sound,
    load_transcript,
    read_wav,
)
from tiktok_mm.lib.core import UserError
from tiktok_mm.lib.media import SAMPLE_RATE, ffmpeg_exe, run_ffmpeg
from tiktok_mm.lib.store import Corpus, load_features
from tiktok_mm.lib.transcripts import Segment, segment_states, transcribe
from tiktok_mm.lib.voice import speech_spans, stretches
from tiktok_mm.lib.whisper_models import load_whisper
from tiktok_mm.synthetic.speech import WORDS, synthesize
from videos import make_video

DEMO = AudioConfig("demo")


def write_sound(path, sound: np.ndarray, rate: int = SAMPLE_RATE, layout: str = "mono", codec: str = "aac"):
    "A video file with nothing but this sound (channels, samples)."
    with av.open(str(path), "w") as box:
        stream = box.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(sound.astype(np.float32), "fltp", layout)
        frame.sample_rate = rate
        for part in av.AudioResampler("fltp", layout, rate, frame_size=1024).resample(frame):
            box.mux(stream.encode(part))
        box.mux(stream.encode(None))
    return path


def samples_of(path) -> tuple[tuple, bytes]:
    "The format and the samples of a wav file."
    with wave.open(str(path), "rb") as file:
        return file.getparams()[:4], file.readframes(file.getnframes())


def assert_same_samples(path, tmp_path):
    "`extract_wav` writes exactly the samples of a plain ffmpeg command."
    assert extract_wav(path, tmp_path / "ours.wav")
    command = [ffmpeg_exe(), "-v", "error", "-y", "-i", path, "-vn", "-ac", "1", "-ar", "16000", "-c:a", "pcm_s16le"]
    subprocess.run([*command, tmp_path / "plain.wav"], check=True)
    form, samples = samples_of(tmp_path / "ours.wav")
    assert len(samples) > 32
    assert form == (1, 2, SAMPLE_RATE, len(samples) // 2)
    assert (form, samples) == samples_of(tmp_path / "plain.wav")


def test_samples_of_the_fixture(fixture_corpus, tmp_path):
    paths = [path for path in sorted((fixture_corpus / "videos").glob("*.mp4")) if has_sound(path)]
    assert len(paths) == 11
    for path in paths:
        assert_same_samples(path, tmp_path)


def test_samples_of_real_clips(real_data, tmp_path):
    for path in sorted((real_data / "clips").glob("*.mp4")):
        if path.name != "h265_128.mp4":
            assert_same_samples(path, tmp_path)


@pytest.mark.parametrize("rate, layout", [(44100, "stereo"), (48000, "mono"), (8000, "mono"), (48000, "5.1")])
def test_samples_at_other_rates(tmp_path, rate, layout):
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    sound = np.random.default_rng(0).normal(0, 0.1, (channels, 2 * rate))
    assert_same_samples(write_sound(tmp_path / "x.mp4", sound, rate, layout), tmp_path)


@pytest.mark.parametrize("name", ["a'b.mp4", "a:b.mp4", "-a.mp4", "é %d 你.mp4"])
def test_samples_of_a_file_with_an_odd_name(tmp_path, monkeypatch, name):
    write_sound(tmp_path / "x.mp4", np.random.default_rng(0).normal(0, 0.1, (1, 8000))).rename(tmp_path / name)
    (tmp_path / "same.mp4").write_bytes((tmp_path / name).read_bytes())
    assert_same_samples(tmp_path / "same.mp4", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert extract_wav(Path(name), "odd.wav")
    assert samples_of("odd.wav") == samples_of("plain.wav")


@pytest.fixture
def downloaded(fixture_corpus, tmp_path) -> bytes:
    "A video with its index at the front, as in downloads."
    source = min((fixture_corpus / "videos").glob("*.mp4"))
    command = [ffmpeg_exe(), "-v", "error", "-i", source, "-c", "copy", "-movflags", "+faststart", tmp_path / "w.mp4"]
    subprocess.run(command, check=True)
    return (tmp_path / "w.mp4").read_bytes()


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_sound_track_gives_its_beginning(tmp_path, downloaded, share):
    for name, content in ("all", downloaded), ("part", downloaded[: int(share * len(downloaded))]):
        (tmp_path / f"{name}.mp4").write_bytes(content)
        assert extract_wav(tmp_path / f"{name}.mp4", tmp_path / f"{name}.wav")
    complete, part = samples_of(tmp_path / "all.wav")[1], samples_of(tmp_path / "part.wav")[1]
    assert share - 0.2 < len(part) / len(complete) < share + 0.1
    assert complete.startswith(part[:-4096])


def test_a_damaged_sound_track_gives_what_can_be_decoded(tmp_path, downloaded):
    damaged, start = bytearray(downloaded), len(downloaded) // 2
    damaged[start : start + 20_000] = np.random.default_rng(0).bytes(20_000)
    (tmp_path / "x.mp4").write_bytes(damaged)
    assert_same_samples(tmp_path / "x.mp4", tmp_path)


def test_a_sound_track_that_cannot_be_decoded_is_empty(tmp_path, downloaded):
    start = downloaded.index(b"mdat") + 4
    (tmp_path / "x.mp4").write_bytes(downloaded[:start] + bytes(len(downloaded) - start))
    assert extract_wav(tmp_path / "x.mp4", tmp_path / "x.wav")
    assert len(read_wav(tmp_path / "x.wav")) == 0


@pytest.mark.parametrize("content", [None, b"", b"<html>403 Forbidden</html>", bytes(4000)])
def test_not_a_file_with_sound(tmp_path, content):
    if content is not None:
        (tmp_path / "x.mp4").write_bytes(content)
    with pytest.raises(UserError, match=r"^x\.mp4: \w.*$"):
        extract_wav(tmp_path / "x.mp4", tmp_path / "x.wav")
    assert not list(tmp_path.glob("*.wav*"))


def test_no_ffmpeg(tmp_path, fixture_corpus, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(UserError, match="no ffmpeg command found: install ffmpeg"):
        extract_wav(min((fixture_corpus / "videos").glob("*.mp4")), tmp_path / "x.wav")


def test_the_ffmpeg_of_the_system_comes_first(tmp_path, monkeypatch):
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert ffmpeg_exe() == str(tmp_path / "ffmpeg")


@pytest.fixture
def endless_ffmpeg(tmp_path, monkeypatch) -> Path:
    "The real ffmpeg, but with an endless tone as its input in real time; its process id is written to this file."
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "ffmpeg"
    endless = f"{ffmpeg_exe()} -nostdin -re -f lavfi -i sine=frequency=440 -f s16le pipe:"
    script.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/part\nmv {tmp_path}/part {tmp_path}/pid\nexec {endless}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    return tmp_path / "pid"


def assert_ends(pid: int) -> None:
    "A process is gone within ten seconds."
    deadline = time.time() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.time() < deadline, "ffmpeg outlived its time limit or its parent"
        time.sleep(0.05)


def test_time_limit_kills_ffmpeg(endless_ffmpeg):
    with pytest.raises(UserError, match=r"^ffmpeg took more than 1 s$"):
        run_ffmpeg(ffmpeg.input("x.mp4").output("pipe:", format="s16le"), seconds=1)
    assert_ends(int(endless_ffmpeg.read_text()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_ffmpeg_outlives_its_parent(tmp_path, fixture_corpus, endless_ffmpeg, number):
    video = min((fixture_corpus / "videos").glob("*.mp4"))
    code = f"from tiktok_mm.audio import extract_wav; extract_wav({str(video)!r}, {str(tmp_path / 'x.wav')!r})"
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    while not endless_ffmpeg.exists():
        assert parent.poll() is None
        time.sleep(0.01)
    parent.send_signal(number)
    assert parent.wait(10)
    assert_ends(int(endless_ffmpeg.read_text()))
    assert not (tmp_path / "x.wav").exists()


def test_no_sound_track(tmp_path):
    path = make_video(tmp_path / "x.mp4", frames=3)
    assert not extract_wav(path, tmp_path / "x.wav")
    assert not (tmp_path / "x.wav").exists()
    assert extract_audio(Corpus(tmp_path, None), "x", path, DEMO)
    stored = load_features(Corpus(tmp_path, None).features("audio", "x"))
    assert not stored["speech"] and not stored["embedding"].any()
    assert load_transcript(Corpus(tmp_path, None), "x")["sound"] is False


@pytest.mark.parametrize("seconds", [0.05, 1, 30, 31])
def test_silence_is_empty(seconds):
    means, segments, language = embed(load_whisper(), np.zeros(int(seconds * SAMPLE_RATE), np.float32))
    assert (segments, language) == ([], "")
    assert means.embedding.shape == (7, 64) and not means.embedding.any() and not means.rows.any()


def test_noise_is_mostly_empty():
    rng = np.random.default_rng(0)
    texts = [
        transcribe(load_whisper(), rng.normal(0, level, 20 * SAMPLE_RATE).astype(np.float32))[0]
        for level in np.geomspace(0.001, 0.1, 8)
    ]
    assert sum(not segments for segments in texts) >= 7


@pytest.fixture
def encoded(monkeypatch) -> list[int]:
    "One entry for each window that the encoder of the small checkpoint encodes."
    encoder, calls = load_whisper().encoder.encoder, []
    monkeypatch.setattr(encoder, "forward", lambda mel, forward=encoder.forward: (calls.append(1), forward(mel))[1])
    return calls


@pytest.mark.nightly
def test_ten_minutes(tmp_path, encoded):
    "Words spoken in the first, the fifth and the tenth minute are found there; every window is encoded once."
    rng, sound = np.random.default_rng(0), np.zeros(600 * SAMPLE_RATE, np.float32)
    sound += rng.normal(0, 0.001, len(sound)).astype(np.float32)
    for start in (10, 290, 575):
        speech, _ = synthesize(list(WORDS[:4]), "us-f1", rng)
        sound[start * SAMPLE_RATE : start * SAMPLE_RATE + len(speech)] += speech
    extract_audio(Corpus(tmp_path, None), "long", write_sound(tmp_path / "long.mp4", sound[None]), DEMO)
    stored = load_transcript(Corpus(tmp_path, None), "long")
    assert stored["seconds"] == pytest.approx(600, abs=0.2)
    assert {round(segment["end"] / 60) for segment in stored["segments"]} == {0, 5, 10}
    assert 600 / 30 <= len(encoded) <= 24
    assert not load_whisper().encoder.cache
    audio = load_features(Corpus(tmp_path, None).features("audio", "long"))
    spoken = np.flatnonzero(audio["layers"].any((1, 2)))  # ten seconds a row
    assert {1, 29, 57} <= set(spoken) and not set(spoken) & {*range(4, 25), *range(33, 54)}


def test_every_window_is_encoded_once(encoded):
    sound = np.pad(synthesize(["dog", "pizza"], "us-m1", np.random.default_rng(0))[0], 8000)
    assert embed(load_whisper(), sound)[1]
    assert len(encoded) == 1


CASES = Path(__file__).parent / "cases" / "whisper"
EXPECTED = json.loads((CASES / "expect.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", EXPECTED)
def test_speech_is_found_where_it_is(tmp_path, name):
    "Speech and a chorus are found, also in music; music, noise, a chord, laughter and silence have none."
    assert extract_wav(CASES / f"{name}.mp4", tmp_path / "x.wav")
    sound = read_wav(tmp_path / "x.wav")
    spans = [(start / SAMPLE_RATE, end / SAMPLE_RATE) for start, end in speech_spans(sound)]
    if "speech" not in EXPECTED[name]:
        assert spans == []
        return
    first, last = EXPECTED[name]["speech"]
    assert (spans[0][0], spans[-1][1]) == (pytest.approx(first, abs=0.7), pytest.approx(last, abs=0.7))
    assert sum(end - start for start, end in spans) > 0.75 * (last - first)


def test_an_hour_has_as_many_stretches_as_its_speech():
    "Speech without an end is cut into pieces of at most 30 s; single words far apart are not joined."
    second = SAMPLE_RATE
    speaking = stretches([(n * 30 * second, (n + 1) * 30 * second) for n in range(120)])
    words = stretches([(n * 60 * second, n * 60 * second + second) for n in range(60)])
    assert (len(speaking), len(words)) == (120, 60)


@pytest.fixture(scope="module")
def base_checkpoint(tmp_path_factory):
    "A checkpoint of the size and in the format of Whisper base, with random weights."
    import whisper

    dims = whisper.model.ModelDimensions(80, 1500, 512, 8, 6, 51865, 448, 512, 8, 6)
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("whisper") / "base.pt"
    torch.save({"dims": asdict(dims), "model_state_dict": whisper.model.Whisper(dims).state_dict()}, path)
    return path


def test_base_sized_checkpoint_gives_the_papers_shapes(base_checkpoint):
    model = load_whisper(str(base_checkpoint))
    mel = torch.randn(80, 3000)
    with torch.inference_mode():
        output, states = model.encoder.encode_window(mel)
        plain = model.encoder.encoder.ln_post(states[:, -1])
    assert states.shape == (1, 7, 1500, 512)
    assert torch.allclose(plain, output, atol=1e-5)
    sound = np.random.default_rng(0).normal(0, 0.1, 5 * SAMPLE_RATE).astype(np.float32)
    states = segment_states(model, sound, [Segment(1.0, 2.5, "word", 0.0)])
    assert states[0].shape == (1, 7, 75, 512)


def test_a_pickle_is_not_loaded(tmp_path):
    import pickle

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    path = tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(UserError, match="not a Whisper checkpoint"):
        load_whisper(str(path))
    assert not (tmp_path / "owned").exists()


def test_checkpoint_that_cannot_be_downloaded(monkeypatch, tmp_path):
    from urllib.error import URLError

    import whisper

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(whisper, "_download", lambda *arguments: (_ for _ in ()).throw(URLError("no network")))
    with pytest.raises(UserError, match=r"tiny\.pt into .*whisper, or give --whisper FILE, or --whisper demo"):
        load_whisper("tiny")


def test_a_checkpoint_that_was_put_there(monkeypatch, tmp_path, base_checkpoint):
    "Without a connection; what an interrupted download left is not taken for a checkpoint."
    import whisper

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(whisper, "_download", lambda *arguments: (_ for _ in ()).throw(OSError("no network")))
    (tmp_path / "whisper").mkdir()
    (tmp_path / "whisper" / "tiny.en.pt").write_bytes(base_checkpoint.read_bytes()[:100_000])
    with pytest.raises(UserError, match=r"cannot be downloaded \(no network\)"):
        load_whisper("tiny.en")
    shutil.copy(base_checkpoint, tmp_path / "whisper" / "tiny.en.pt")
    assert load_whisper("tiny.en").dims.n_audio_state == 512


def test_the_checkpoint_of_a_corpus(tmp_path, fixture_corpus):
    "A synthetic corpus says forty words, which the small checkpoint knows; everybody's own is read by base."
    assert AudioConfig().for_corpus(Corpus(fixture_corpus, None)).whisper == "demo"
    assert AudioConfig().for_corpus(Corpus(tmp_path, None)).whisper == "base"
    assert AudioConfig("tiny", "German").for_corpus(Corpus(tmp_path, None)) == AudioConfig("tiny", "de")


def test_a_wrong_language_fails_once(fixture_corpus, tmp_path):
    code = "from tiktok_mm.cli import main; main()"
    command = [sys.executable, "-c", code, "extract", fixture_corpus, "--language", "klingon"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2 and run.stdout == "" and run.stderr.count("\n") == 1
    assert run.stderr.startswith("tiktok-mm: Whisper knows no language 'klingon': the nearest are ")
