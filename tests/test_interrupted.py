"Only the same run resumes an interrupted training: a checkpoint of another run was trained on other videos."

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
from tiktok_mm.regression import train_by_id
from tiktok_mm.visual import VisualConfig

pytestmark = pytest.mark.usefixtures("in_this_process")

RUN = "ensemble-compact"
LAST = "learning-rates/0.001/checkpoints/last.ckpt"  # in the run folder, while it trains
FIRST = dict(seed=42, epochs=60, lr=0.001)


def run_folder(corpus, epochs, lr, seed=42, split="random", sizes=(65, 10, 25)):
    "The folder of the run with these settings."
    return corpus / "runs" / f"{split}-{'-'.join(map(str, sizes))}-seed{seed}" / f"{RUN}-epochs-{epochs}-lr-{lr}"


@pytest.fixture(scope="module")
def killed(extracted, tmp_path_factory):
    "The fixture with its features, after a training that was killed at its sixth checkpoint or later."
    folder = shutil.copytree(extracted, tmp_path_factory.mktemp("killed") / "corpus")
    code = (
        "from tiktok_mm.data import open_corpus\n"
        "from tiktok_mm.regression import train_by_id\n"
        f"train_by_id(open_corpus({str(folder)!r}), {RUN!r}, **{FIRST})\n"
    )
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoint, saved = run_folder(folder, **FIRST) / LAST, set()
    while run.poll() is None and len(saved) < 6:
        time.sleep(0.002)
        with contextlib.suppress(FileNotFoundError):
            saved.add(checkpoint.stat().st_mtime_ns)
    os.kill(run.pid, signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL and checkpoint.exists()
    return folder


def outcome(folder, **settings) -> tuple[list, str]:
    "The log and the predictions of the run."
    run = run_folder(folder, **settings)
    return read_log(run), (run / "predictions.csv").read_text()


def fresh_starts(caplog) -> list[str]:
    "The warnings that an interrupted run was discarded."
    messages = [record.getMessage() for record in caplog.records]
    return [message for message in messages if "training starts from scratch" in message]


CHANGES = {
    "seed": dict(seed=7, epochs=9, lr=0.001),
    "split": dict(seed=42, epochs=9, lr=0.001, split="time"),
    "sizes": dict(seed=42, epochs=9, lr=0.001, sizes=(60, 20, 20)),
    "features": dict(FIRST, epochs=9),
    "epochs": dict(seed=42, epochs=3, lr=0.001),
    "more epochs": dict(seed=42, epochs=66, lr=0.001),
}


def mislead(corpus, **settings) -> None:
    "Move the killed run to where a run with these settings is: as if a person had renamed its folders."
    killed, target = run_folder(corpus, **FIRST), run_folder(corpus, **settings)
    if target.parent != killed.parent:
        killed.parent.rename(target.parent)
        (target.parent / "experiment.json").unlink()
        (target.parent / "split.json").unlink()
    if target.name != killed.name:
        (target.parent / killed.name).rename(target)


def test_other_settings_leave_the_killed_run(killed, tmp_path):
    "A run with other settings has another folder: the checkpoint of the killed run stays what it is."
    folder = shutil.copytree(killed, tmp_path / "corpus")
    checkpoint = run_folder(folder, **FIRST) / LAST
    before = checkpoint.read_bytes()
    train_by_id(open_corpus(folder), RUN, seed=42, epochs=1, lr=0.001)
    assert checkpoint.read_bytes() == before


RARE = [pytest.param(changed, marks=pytest.mark.nightly) for changed in CHANGES if changed != "features"]


@pytest.mark.parametrize("changed", ["features", *RARE])
def test_another_run_starts_from_scratch(changed, killed, extracted, tmp_path, caplog):
    "In the folder of a killed run, a run with other settings ends as in an empty folder, and logs one warning."
    disturbed, undisturbed = (shutil.copytree(source, tmp_path / source.parent.name) for source in (killed, extracted))
    mislead(disturbed, **CHANGES[changed])
    for folder in (disturbed, undisturbed):
        if changed == "features":
            extract(open_corpus(folder), visual=VisualConfig(frame_skip=100), progress=False)
        caplog.clear()
        train_by_id(open_corpus(folder), RUN, **CHANGES[changed])
        assert len(fresh_starts(caplog)) == (folder == disturbed)
    assert outcome(disturbed, **CHANGES[changed]) == outcome(undisturbed, **CHANGES[changed])


def test_the_same_run_resumes(killed, extracted, tmp_path, caplog):
    "After a kill, the same run resumes and ends with the weights of an undisturbed one."
    disturbed, undisturbed = (shutil.copytree(source, tmp_path / source.parent.name) for source in (killed, extracted))
    for folder in (disturbed, undisturbed):
        train_by_id(open_corpus(folder), RUN, **FIRST)
    assert not fresh_starts(caplog)
    assert outcome(disturbed, **FIRST)[1] == outcome(undisturbed, **FIRST)[1]
    folders = [run_folder(folder, **FIRST) for folder in (disturbed, undisturbed)]
    weights = [(folder / "weights.safetensors").read_bytes() for folder in folders]
    assert weights[0] == weights[1]
    assert len(list((folders[0] / "log").iterdir())) == 2
