"An interrupted training is resumed by the very same run and by no other: a checkpoint of another run knows other videos."

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tiktok_mm.data import open_corpus
from tiktok_mm.lib.training import read_log
from tiktok_mm.pipeline.extract import extract
from tiktok_mm.regression import train_by_name
from tiktok_mm.visual import VisualConfig

ROW = "ensemble, compact"
FIRST = dict(seed=42, epochs=200)


@pytest.fixture(scope="module")
def extracted(fixture_corpus, tmp_path_factory):
    "The fixture with its features."
    folder = shutil.copytree(fixture_corpus, tmp_path_factory.mktemp("interrupted") / "corpus")
    extract(open_corpus(folder), progress=False)
    return folder


@pytest.fixture(scope="module")
def killed(extracted, tmp_path_factory):
    "The same after a training that was killed in the middle."
    folder = shutil.copytree(extracted, tmp_path_factory.mktemp("killed") / "corpus")
    code = f"from tiktok_mm.data import open_corpus; from tiktok_mm.regression import train_by_name; train_by_name(open_corpus({str(folder)!r}), {ROW!r}, **{FIRST})"
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoint, saved = folder / "runs" / "ensemble-compact" / "checkpoints" / "last.ckpt", set()
    while run.poll() is None and len(saved) < 6:
        time.sleep(0.002)
        with contextlib.suppress(FileNotFoundError):
            saved.add(checkpoint.stat().st_mtime_ns)
    os.kill(run.pid, signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL and checkpoint.exists()
    return folder


def outcome(folder) -> tuple[list, str]:
    "The log and the predictions of the run."
    run = folder / "runs" / "ensemble-compact"
    return read_log(run), (run / "predictions.csv").read_text()


CHANGES = {
    "seed": dict(seed=7, epochs=9),
    "split": dict(seed=42, epochs=9, split="time"),
    "sizes": dict(seed=42, epochs=9, sizes=(60, 20, 20)),
    "features": dict(FIRST, epochs=9),
    "epochs": dict(seed=42, epochs=3),
    "more epochs": dict(seed=42, epochs=210),
}


@pytest.mark.parametrize("changed", CHANGES)
def test_another_run_starts_afresh(changed, killed, extracted, tmp_path, caplog):
    "After a kill, a run with other settings ends as if nothing had been there, and says so in one line."
    disturbed, undisturbed = (shutil.copytree(source, tmp_path / source.parent.name) for source in (killed, extracted))
    for folder in (disturbed, undisturbed):
        if changed == "features":
            extract(open_corpus(folder), visual=VisualConfig(frame_skip=100), progress=False)
        caplog.clear()
        train_by_name(open_corpus(folder), ROW, **CHANGES[changed])
        said = [record.getMessage() for record in caplog.records if "afresh" in record.getMessage()]
        assert len(said) == (folder == disturbed), said
    assert outcome(disturbed) == outcome(undisturbed)


def test_the_same_run_resumes(killed, extracted, tmp_path, caplog):
    "After a kill, the same run resumes and ends with the weights of an undisturbed one."
    disturbed, undisturbed = (shutil.copytree(source, tmp_path / source.parent.name) for source in (killed, extracted))
    for folder in (disturbed, undisturbed):
        train_by_name(open_corpus(folder), ROW, **FIRST)
    assert not [record for record in caplog.records if "afresh" in record.getMessage()]
    assert outcome(disturbed)[1] == outcome(undisturbed)[1]
    weights = [
        (folder / "runs" / "ensemble-compact" / "weights.safetensors").read_bytes()
        for folder in (disturbed, undisturbed)
    ]
    assert weights[0] == weights[1]
    assert len(list((disturbed / "runs" / "ensemble-compact" / "log").iterdir())) == 2
