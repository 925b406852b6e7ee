"""kill -9 at 30 random moments of an extraction, a training and a table: a new run ends as an undisturbed one.

The tests of every change kill an extraction (test_extract) and trainings (test_interrupted) a few times.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tiktok_mm.audio import AudioConfig
from tiktok_mm.data import open_corpus
from tiktok_mm.pipeline.extract import extract
from tiktok_mm.regression import train_by_id
from tiktok_mm.visual import VisualConfig
from videos import copy_videos

pytestmark = [pytest.mark.usefixtures("in_this_process"), pytest.mark.nightly]
KILLS = 30
RUN = "ensemble-compact-speech"
EXTRACT = "from tiktok_mm.pipeline.extract import extract; extract(open_corpus(folder), progress=False)"
TRAIN = f"from tiktok_mm.regression import train_by_id; train_by_id(open_corpus(folder), {RUN!r}, epochs=12, lr=0.001)"
TABLE = "from tiktok_mm.classification import report_corpus; report_corpus(open_corpus(folder), max_steps=1)"
READY = "from tiktok_mm.data import open_corpus; folder = {!r}; print('ready', flush=True); "


def made(folder: Path) -> dict[str, bytes]:
    "Features, sound, transcripts; and of runs what they predict, and the weights."
    patterns = ["features/*/*", "audio/*", "transcripts.jsonl", "runs/**/*.safetensors", "runs/**/*.csv"]
    files = [path for pattern in patterns for path in folder.glob(pattern) if "log" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def errors_of(folder: Path) -> Path:
    "Where a process that works on a corpus writes its errors."
    return folder.with_name("errors.txt")


def start(folder: Path, code: str) -> subprocess.Popen:
    "A process that works on a corpus, after its first line of output."
    command = [sys.executable, "-c", READY.format(str(folder)) + code]
    with open(errors_of(folder), "w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, start_new_session=True)
    process.stdout.readline()
    return process


def kill(source: Path, folder: Path, code: str, seconds: float) -> Path:
    "A copy on which a run was killed after so many seconds, with all it had started; in half the time, if it ended."
    folder = folder / "corpus"  # whose name is in the table
    while True:
        shutil.copytree(source, folder)
        process = start(folder, code)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), errors_of(folder).read_text()
        if process.returncode:
            return folder
        shutil.rmtree(folder)
        seconds /= 2


@pytest.fixture(scope="module")
def small(fixture_corpus, tmp_path_factory) -> Path:
    "Three videos of the corpus, without features."
    folder = tmp_path_factory.mktemp("killed") / "small"
    rows = copy_videos(fixture_corpus, folder, 3)
    (folder / "list.csv").write_text("id,views\n" + "".join(f"{row['id']},5000\n" for row in rows))
    return folder


def undisturbed(source: Path, folder: Path, code: str) -> tuple[dict[str, bytes], float]:
    "What a run makes that nobody kills, and how many seconds it takes."
    folder = shutil.copytree(source, folder / "corpus")
    process, begun = start(folder, code), time.monotonic()
    assert process.wait(timeout=600) == 0
    process.communicate()
    return made(folder), time.monotonic() - begun


def test_extract(small, tmp_path):
    "Every second run resumes with other settings, of which nothing old is left."
    times = random.Random(42)
    expected, lasts = undisturbed(small, tmp_path / "undisturbed", EXTRACT)
    other = shutil.copytree(small, tmp_path / "other")
    extract(open_corpus(other), VisualConfig(frame_skip=50), progress=False)
    for number in range(KILLS):
        folder = kill(small, tmp_path / f"run{number}", EXTRACT, times.uniform(0.3, 0.9) * lasts)
        changed = number % 2
        assert not extract(
            open_corpus(folder), VisualConfig(frame_skip=50 if changed else 200), progress=False
        ).failures
        assert made(folder) == (made(other) if changed else expected), f"run {number}"
        assert not list(folder.rglob("*.tmp"))


def test_train(extracted, tmp_path):
    "The same: after a kill the run resumes; with another seed it starts anew, and each has its own folder."
    times = random.Random(7)
    expected, lasts = undisturbed(extracted, tmp_path / "undisturbed", TRAIN)
    other = shutil.copytree(extracted, tmp_path / "other")
    train_by_id(open_corpus(other), RUN, epochs=12, lr=0.001, seed=43)
    assert any("weights" in name for name in expected)
    for number in range(KILLS):
        folder = kill(extracted, tmp_path / f"run{number}", TRAIN, times.uniform(0.3, 0.9) * lasts)
        changed = number % 2
        train_by_id(open_corpus(folder), RUN, epochs=12, lr=0.001, seed=43 if changed else 42)
        after, wanted = made(folder), made(other) if changed else expected
        assert {name: after.get(name) for name in wanted} == wanted, f"run {number}"


def test_table(extracted, tmp_path):
    "All runs of the table."
    times = random.Random(1)
    expected, lasts = undisturbed(extracted, tmp_path / "undisturbed", TABLE)
    for number in range(KILLS):
        folder = kill(extracted, tmp_path / f"run{number}", TABLE, times.uniform(0.1, 0.9) * lasts)
        process = start(folder, TABLE)
        assert process.wait(timeout=1200) == 0, errors_of(folder).read_text()
        process.communicate()
        assert made(folder) == expected, f"run {number}"
        shutil.rmtree(folder)
