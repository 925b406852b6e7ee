"Whisper base with its real weights: the layers of the real clips are those of openai-whisper's own encoder."

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT

from tiktok_mm.audio import embed, extract_wav, read_wav
from tiktok_mm.lib.media import SAMPLE_RATE
from tiktok_mm.lib.store import load_features, read_jsonl
from tiktok_mm.lib.transcripts import Segment, transcribe
from tiktok_mm.lib.voice import speech_spans, stretches
from tiktok_mm.lib.whisper_models import load_whisper

TOOL = ROOT.parent / "shared" / "tools" / "whisper_base.py"
CLIPS = ("nasa_13013", "snap_421c8b59", "snap_1e719ead", "snap_3fe99801", "snap_59d4fdb6")
BY_DAY = 3  # of them
MUSIC = ("snap_1e719ead", "snap_59d4fdb6")  # nobody can be understood
CASES = ROOT / "tests" / "cases" / "whisper"
EXPECTED = json.loads((CASES / "expect.json").read_text(encoding="utf-8"))
LONGEST = "chorus_repeat"  # whose line is sung 18 times
POSITIONS = 50  # of the encoder, in a second


@pytest.fixture(scope="module")
def whisper_base(request, real_data) -> str:
    "The checkpoint of Whisper base: a file of one's own, or made once by the tool beside the repository."
    if given := os.environ.get("TIKTOK_MM_WHISPER_BASE"):
        return given
    if not TOOL.is_file():
        pytest.skip(f"no Whisper base: set TIKTOK_MM_WHISPER_BASE to its checkpoint ({TOOL} is not there either)")
    target = request.config.cache.mkdir("whisper-base") / "base.pt"
    if not target.is_file():
        made = subprocess.run([sys.executable, TOOL, target.with_suffix(".part")], capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"no Whisper base: {TOOL.name} fails ({made.stderr.strip().splitlines()[-1]})")
        target.with_suffix(".part").replace(target)
    return str(target)


@pytest.fixture(scope="module")
def sounds(real_data, long, tmp_path_factory) -> dict[str, np.ndarray]:
    "The sound of the real clips, 16 kHz."
    wav, found = tmp_path_factory.mktemp("sounds") / "sound.wav", {}
    for name in CLIPS if long else CLIPS[:BY_DAY]:
        assert extract_wav(real_data / "clips" / f"{name}.mp4", wav)
        found[name] = read_wav(wav)
    return found


@pytest.fixture(scope="module")
def embedded(whisper_base, sounds) -> dict[str, tuple[np.ndarray, list[Segment]]]:
    "What `embed` gives: (7, 512) and the segments."
    model = load_whisper(whisper_base)
    found = {name: embed(model, sound) for name, sound in sounds.items()}
    return {name: (means.embedding, segments) for name, (means, segments, _) in found.items()}


def layers_of_first_window(model, sound: np.ndarray) -> torch.Tensor:  # (7, 1500, 512)
    "The input of the first block and the output of every block while openai-whisper transcribes the first 30 s."
    import whisper

    layers: list[torch.Tensor] = []
    blocks = model.encoder.blocks
    hooks = [blocks[0].register_forward_pre_hook(lambda block, inputs: layers.append(inputs[0][0]))]
    hooks += [block.register_forward_hook(lambda block, inputs, output: layers.append(output[0])) for block in blocks]
    whisper.transcribe(model, sound, temperature=0.0, fp16=False, language="en", sample_len=1)  # one token is enough
    for hook in hooks:
        hook.remove()
    return torch.stack(layers[: len(blocks) + 1])


def test_layers_are_those_of_openai_whisper(whisper_base, sounds, embedded):
    import whisper

    untouched = whisper.load_model(whisper_base, device="cpu")
    compared = 0
    for name, (embedding, segments) in embedded.items():
        parts = stretches(speech_spans(sounds[name]))
        if len(parts) != 1:
            continue
        start, end = parts[0]
        assert segments and all(s.text and s.window == pytest.approx(start / SAMPLE_RATE) for s in segments)
        layers = layers_of_first_window(untouched, sounds[name][start:end])
        times = [(s.start - s.window, s.end - s.window) for s in segments]
        spans = [layers[:, round(first * POSITIONS) : round(last * POSITIONS)] for first, last in times]
        expected = torch.cat(spans, 1).mean(1).numpy()
        assert embedding.shape == expected.shape == (7, 512)
        np.testing.assert_allclose(embedding, expected, rtol=1e-4, atol=1e-4)
        assert np.abs(np.diff(expected, axis=0)).max(1).min() > 0.1  # no layer repeats the one before it
        compared += 1
    assert compared >= 2


def test_speech_is_transcribed_and_music_is_not(embedded):
    texts = {name: " ".join(segment.text for segment in segments) for name, (_, segments) in embedded.items()}
    assert "clean rooms in the world at NASA's Goddard" in texts["nasa_13013"]
    assert "They don't need CP3, they need a center" in texts["snap_421c8b59"]
    assert [name for name in texts if not texts[name]] == [name for name in MUSIC if name in texts]
    assert not any(embedded[name][0].any() for name in MUSIC if name in texts)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.nightly] * (name == LONGEST)) for name in EXPECTED]
)
def test_cases(whisper_base, tmp_path, name):
    "Speech over music, another language and a chorus are transcribed; nothing else has a text."
    assert extract_wav(CASES / f"{name}.mp4", tmp_path / "x.wav")
    model = load_whisper(whisper_base, fast=True)
    segments, language = transcribe(model, read_wav(tmp_path / "x.wav"))
    assert language == EXPECTED[name].get("language", "")
    text = "".join(c if c.isalnum() else " " for s in segments for c in s.text.lower() + " ").split()
    expected = EXPECTED[name].get("words", "").lower().split()
    assert bool(text) == bool(expected)
    assert sum(word in text for word in expected) >= 0.7 * len(expected)
    if name == LONGEST:
        assert 10 <= text.count("with") <= 25


def test_speech_that_is_hardly_heard(whisper_base, sounds, embedded):
    "At a hundredth of its amplitude it has the same words."
    segments, language = transcribe(load_whisper(whisper_base), 0.01 * sounds["nasa_13013"])
    assert language == "en"
    assert [segment.text for segment in segments] == [segment.text for segment in embedded["nasa_13013"][1]]


@pytest.mark.nightly
def test_no_window_is_encoded_twice(whisper_base, tmp_path):
    "Nor is that in which the language is detected, of a stretch that is not the first."
    parts = []
    for name in ("spanish_in_music", "german"):
        assert extract_wav(CASES / f"{name}.mp4", tmp_path / "x.wav")
        parts.append(np.pad(read_wav(tmp_path / "x.wav"), (0, 4 * SAMPLE_RATE)))
    model, windows = load_whisper(whisper_base), []
    hook = model.encoder.encoder.register_forward_pre_hook(lambda _, inputs: windows.append(inputs[0].sum().item()))
    for order in (parts, parts[::-1]):
        windows.clear()
        segments, _ = transcribe(model, np.concatenate(order))
        assert segments and len(windows) == len(set(windows)) >= 2
    hook.remove()


@pytest.mark.nightly
def test_extraction_with_the_papers_preset(whisper_base, real_data, embedded, tmp_path):
    "The whole command on a corpus of the real clips."
    corpus = tmp_path / "corpus"
    (corpus / "videos").mkdir(parents=True)
    for name in CLIPS:
        (corpus / "videos" / f"{name}.mp4").symlink_to(real_data / "clips" / f"{name}.mp4")
    records = [{"id": name, "views": f"{n + 1}.5K"} for n, name in enumerate(CLIPS)]
    (corpus / "videos.json").write_text(json.dumps(records))
    code = "from tiktok_mm.cli import main; main()"
    command = ["extract", corpus, "--preset", "paper", "--whisper", whisper_base]
    run = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "5 videos: 5 extracted, 0 cached, 0 failed" in run.stdout
    for name, (embedding, _) in embedded.items():
        audio = load_features(corpus / "features" / "audio" / f"{name}.safetensors")
        np.testing.assert_allclose(audio["embedding"], embedding, rtol=1e-4, atol=1e-4)
        assert audio["words"].shape[1] == 512 and audio["speech"] == (name not in MUSIC)
        clip = load_features(corpus / "features" / "visual" / f"{name}.safetensors")["clip"]
        assert clip.shape[0] == 3 and clip.shape[2:] == (128, 72) and clip.any()
    transcripts = {record["id"]: record["text"] for record in read_jsonl(corpus / "transcripts.jsonl")}
    assert transcripts == {name: " ".join(s.text for s in segments) for name, (_, segments) in embedded.items()}
    assert (corpus / "contact_sheet.png").stat().st_size > 10_000
