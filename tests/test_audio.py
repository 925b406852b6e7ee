"Sound is what ffmpeg gives; every odd sound track and every size of Whisper goes through."

import subprocess
from dataclasses import asdict

import av
import numpy as np
import pytest
import torch

from tiktok_mm.audio import (
    SAMPLE_RATE,
    AudioConfig,
    CachingEncoder,
    embed,
    extract_audio,
    extract_wav,
    load_transcript,
    load_whisper,
    read_wav,
    segment_states,
    transcribe,
)
from tiktok_mm.lib.core import UserError
from tiktok_mm.lib.store import Corpus, load_features
from tiktok_mm.synthetic.speech import WORDS, synthesize
from videos import make_video


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


def assert_ffmpegs(path, tmp_path, ffmpeg):
    "The samples are those of the ffmpeg command, give or take one step; its releases differ in the last millisecond, where the encoder's padding is cut off."
    extract_wav(path, tmp_path / "ours.wav")
    subprocess.run(
        [
            ffmpeg,
            "-v",
            "error",
            "-y",
            "-i",
            path,
            "-vn",
            "-ac",
            "1",
            "-ar",
            "16000",
            "-c:a",
            "pcm_s16le",
            tmp_path / "theirs.wav",
        ],
        check=True,
    )
    ours, theirs = (np.round(read_wav(tmp_path / name) * 32768).astype(int) for name in ("ours.wav", "theirs.wav"))
    assert abs(len(ours) - len(theirs)) <= 16 < len(ours)
    end = min(len(ours), len(theirs)) - 32
    assert np.abs(ours[:end] - theirs[:end]).max() <= 1


def test_ffmpegs_samples_on_the_fixture(fixture_corpus, tmp_path, ffmpeg):
    paths = [
        path for path in sorted((fixture_corpus / "videos").glob("*.mp4")) if extract_wav(path, tmp_path / "x.wav")
    ]
    assert len(paths) == 11
    for path in paths:
        assert_ffmpegs(path, tmp_path, ffmpeg)


def test_ffmpegs_samples_on_real_clips(real_data, tmp_path, ffmpeg):
    for path in sorted((real_data / "clips").glob("*.mp4")):
        if path.name != "h265_128.mp4":
            assert_ffmpegs(path, tmp_path, ffmpeg)


@pytest.mark.parametrize("rate, layout", [(44100, "stereo"), (48000, "mono"), (8000, "mono"), (48000, "5.1")])
def test_ffmpegs_samples_at_other_rates(tmp_path, ffmpeg, rate, layout):
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    sound = np.random.default_rng(0).normal(0, 0.1, (channels, 2 * rate))
    assert_ffmpegs(write_sound(tmp_path / "x.mp4", sound, rate, layout), tmp_path, ffmpeg)


def test_no_sound_track(tmp_path):
    path = make_video(tmp_path / "x.mp4", frames=3)
    assert not extract_wav(path, tmp_path / "x.wav")
    assert not (tmp_path / "x.wav").exists()
    assert extract_audio(Corpus(tmp_path, None), "x", path)
    stored = load_features(Corpus(tmp_path, None).features("audio", "x"))
    assert not stored["speech"] and not stored["embedding"].any()
    assert load_transcript(Corpus(tmp_path, None), "x")["sound"] is False


@pytest.mark.parametrize("seconds", [0.05, 1, 30, 31])
def test_silence_is_empty(seconds):
    embedding, segments, _ = embed(load_whisper(), np.zeros(int(seconds * SAMPLE_RATE), np.float32))
    assert segments == [] and embedding.shape == (7, 64) and not embedding.any()


def test_noise_is_mostly_empty():
    rng = np.random.default_rng(0)
    texts = [
        transcribe(load_whisper(), rng.normal(0, level, 20 * SAMPLE_RATE).astype(np.float32))[0]
        for level in np.geomspace(0.001, 0.1, 8)
    ]
    assert sum(not segments for segments in texts) >= 7


def test_ten_minutes(tmp_path):
    "Words said in the first, the fifth and the tenth minute are found there; every window is encoded once."
    rng, sound = np.random.default_rng(0), np.zeros(600 * SAMPLE_RATE, np.float32)
    sound += rng.normal(0, 0.001, len(sound)).astype(np.float32)
    for start in (10, 290, 575):
        speech, _ = synthesize(list(WORDS[:4]), "us-f1", rng)
        sound[start * SAMPLE_RATE : start * SAMPLE_RATE + len(speech)] += speech
    extract_audio(Corpus(tmp_path, None), "long", write_sound(tmp_path / "long.mp4", sound[None]))
    note = load_transcript(Corpus(tmp_path, None), "long")
    assert note["seconds"] == pytest.approx(600, abs=0.2)
    assert {round(segment["end"] / 60) for segment in note["segments"]} == {0, 5, 10}
    assert 600 / 30 <= len(load_whisper().encoder.cache) <= 24


def test_every_window_is_encoded_once(monkeypatch):
    model, calls = load_whisper(), []
    encoder = model.encoder.encoder
    monkeypatch.setattr(encoder, "forward", lambda mel, forward=encoder.forward: (calls.append(1), forward(mel))[1])
    sound = np.pad(synthesize(["dog", "pizza"], "us-m1", np.random.default_rng(0))[0], 8000)
    segments, _ = transcribe(model, sound)
    assert segment_states(model, sound, segments)
    assert len(calls) == 1


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
    from tiktok_mm.audio import Segment

    sound = np.random.default_rng(0).normal(0, 0.1, 5 * SAMPLE_RATE).astype(np.float32)
    states = segment_states(model, sound, [Segment(1.0, 2.5, "word", 0.0)])
    assert states[0].shape == (1, 7, 75, 512)


def test_a_pickle_is_not_loaded(tmp_path):
    import pickle

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    path = tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(UserError, match="not a Whisper checkpoint"):
        load_whisper(str(path))
    assert not (tmp_path / "owned").exists()


def test_checkpoint_that_cannot_be_downloaded(monkeypatch, tmp_path):
    from urllib.error import URLError

    import whisper

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(whisper, "_download", lambda *arguments: (_ for _ in ()).throw(URLError("no network")))
    with pytest.raises(UserError, match="connect once"):
        load_whisper("tiny")
