"A full disk at every write, folders without permission, vanished files, two runs at once, a clock that was set back."

import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tiktok_mm.audio import AudioConfig
from tiktok_mm.data import open_corpus
from tiktok_mm.lib.core import UserError
from tiktok_mm.lib.runs import default_runs, find_run
from tiktok_mm.lib.store import VERSIONS, features_header, stale_features
from tiktok_mm.lib.writing import only_run
from tiktok_mm.pipeline.extract import extract
from tiktok_mm.pipeline.sheet import update_contact_sheet
from tiktok_mm.regression import train_by_id

pytestmark = pytest.mark.usefixtures("in_this_process")
DEMO = AudioConfig("demo")
COMMAND = [sys.executable, "-m", "tiktok_mm"]
RUN = "ensemble-compact-speech"


@pytest.fixture
def small(fixture_corpus, tmp_path) -> Path:
    "Two videos of the corpus."
    folder = tmp_path / "small"
    (folder / "videos").mkdir(parents=True)
    for video in sorted((fixture_corpus / "videos").iterdir())[:2]:
        shutil.copy(video, folder / "videos")
    shutil.copy(fixture_corpus / "oracle.json", folder)
    ids = [video.stem for video in (folder / "videos").iterdir()]
    (folder / "list.csv").write_text("id,views\n" + "".join(f"{id},5000\n" for id in ids))
    return folder


def made(folder: Path) -> dict[str, bytes]:
    "What an extraction made."
    files = [*folder.glob("features/*/*"), *folder.glob("audio/*"), *folder.glob("transcripts.jsonl")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


class Room:
    "No file may grow beyond so many bytes: each write beyond it fails, as on a full disk, in whatever library it is."

    def __init__(self, size: int):
        self.size, self.limits = size, resource.getrlimit(resource.RLIMIT_FSIZE)

    def __enter__(self):
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.limits[1]))

    def __exit__(self, *_):
        resource.setrlimit(resource.RLIMIT_FSIZE, self.limits)


def work(folder: Path) -> None:
    "Extract, draw the sheet, and train a run."
    extract(open_corpus(folder), progress=False)
    update_contact_sheet(open_corpus(folder))
    if len(open_corpus(folder).table) > 10:
        train_by_id(open_corpus(folder), RUN, epochs=1, max_steps=1)


def test_no_room_at_any_write_of_an_extraction(small):
    "With more and more room it comes further: one line each time, complete files only, and the same bytes at the end."
    undisturbed = shutil.copytree(small, small.parent / "undisturbed")
    extract(open_corpus(undisturbed), progress=False)
    failed, before = [], set()
    for size in (0, 500, 60_000, 150_000, 10**9):
        try:
            with Room(size):
                work(small)
        except UserError as error:
            assert "cannot be written: files of this size are not allowed" in str(error) and "\n" not in str(error)
            failed.append(str(error).partition(" cannot")[0].rpartition(".")[2])
        now = set(made(small))
        assert before <= now and not list(small.rglob("*.tmp"))
        assert all(features_header(path) for path in small.glob("features/*/*"))
        before = now
    assert len(failed) == 4 and len(set(failed)) > 1, failed
    assert made(small) == made(undisturbed)


def test_no_room_at_any_write_of_a_training(extracted, tmp_path):
    "The same of a run: its settings, its checkpoints, its weights, its predictions."
    folder, failed = shutil.copytree(extracted, tmp_path / "corpus"), []
    for size in (0, 200, 2_000, 30_000, 10**9):
        try:
            with Room(size):
                train_by_id(open_corpus(folder), RUN, epochs=1, max_steps=1)
        except (UserError, OSError) as error:  # the command line makes one line of both
            assert "not allowed" in str(error) or "File too large" in str(error)
            failed.append(size)
        assert not [path for path in folder.rglob("*.tmp") if path.is_file()]
    assert failed[:2] == [0, 200] and 10**9 not in failed
    other = shutil.copytree(extracted, tmp_path / "undisturbed")
    train_by_id(open_corpus(other), RUN, epochs=1, max_steps=1)
    weights = [next(one.glob(f"runs/*/{RUN}*/weights.safetensors")).read_bytes() for one in (folder, other)]
    assert weights[0] == weights[1]


def restricted(*command) -> subprocess.CompletedProcess:
    "Run a command; where root runs the tests, without its right to pass over permissions."
    rights = "-dac_override,-dac_read_search"
    drop = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"] if os.geteuid() == 0 else []
    return subprocess.run([*drop, *map(str, command)], capture_output=True, text=True, timeout=280)


@pytest.fixture
def out(tmp_path) -> Path:
    "A folder for results; skips where root cannot give up its rights."
    (closed := tmp_path / "closed").mkdir(mode=0o555)
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("root passes over permissions, and there is no setpriv to stop it")
    if restricted("touch", closed / "x").returncode == 0:
        pytest.skip("this system lets everybody pass over permissions")
    return tmp_path / "out"


def test_no_permission_to_write(small, out):
    "One line, exit code 2, and nothing changes; the other test gives another folder for the results."
    before = sorted(small.rglob("*"))
    for path in [small, *before]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    done = restricted(*COMMAND, "extract", small, "--workers", 1)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert "there is no permission to write to the folder: make it writable, or give --out FOLDER" in done.stderr
    assert sorted(small.rglob("*")) == before


def test_no_permission_to_read(small, out):
    "A video that may not be read fails alone; metadata that may not be read is one line."
    video = sorted((small / "videos").iterdir())[0]
    video.chmod(0)
    done = restricted(*COMMAND, "extract", small, "--workers", 1, "--out", out)
    assert done.returncode == 1 and f"{video.name}: no permission to read it" in done.stdout, done.stderr
    (small / "list.csv").chmod(0)
    done = restricted(*COMMAND, "check", small)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "cannot be read" in done.stderr


def test_a_file_that_vanishes(small, monkeypatch):
    "Between the list and the reading, or between two stages: it fails alone."
    opened = open_corpus(small)
    gone, other = sorted((small / "videos").iterdir())
    import tiktok_mm.pipeline.extract as module

    made_clip = module.extract_visual

    def vanish(corpus, id, path, config, **options):
        result = made_clip(corpus, id, path, config, **options)
        if id == gone.stem:
            path.unlink()
        return result

    monkeypatch.setattr(module, "extract_visual", vanish)
    summary = extract(opened, audio=DEMO, progress=False)
    assert [(one["id"], one["stage"]) for one in summary.failures] == [(gone.stem, "audio")]
    assert summary.failures[0]["reason"] in ("No such file or directory", f"{gone.name}: no such file")
    monkeypatch.undo()
    other.unlink()
    again = extract(opened, audio=DEMO, progress=False)
    assert {one["reason"] for one in again.failures} == {f"{gone.name}: no such file"} | {f"{other.name}: no such file"}


def test_two_extractions_at_once(small):
    "The second one is refused in one line while the first one works; the result is that of one alone."
    undisturbed = shutil.copytree(small, small.parent / "undisturbed")
    first = subprocess.Popen([*COMMAND, "extract", str(small)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while not list(small.glob("features/*/.*.tmp")) + list(small.glob("features/*/*")) and time.monotonic() < until:
        time.sleep(0.005)
    with pytest.raises(UserError, match=r"another extract is at work in .*: wait for its end"):
        extract(open_corpus(small), audio=DEMO, progress=False)
    assert first.wait() == 0 and not first.stderr.read()
    extract(open_corpus(undisturbed), progress=False)
    assert made(small) == made(undisturbed)
    assert extract(open_corpus(small), progress=False).cached == 2


def test_two_trainings_at_once(extracted, tmp_path):
    "Of the same run the second one is refused in one line, and so is that of an autoencoder; another run may train."
    corpus = open_corpus(shutil.copytree(extracted, tmp_path / "corpus"))
    settings = dict(epochs=1, max_steps=2)
    run = find_run("cnn3d", default_runs(**settings)).folder_name
    settings["name"] = "twice"
    for one in ("autoencoder", run):
        with only_run(corpus.runs / "twice" / one, "training"):
            with pytest.raises(UserError, match=rf"another training is at work in .*{one}: wait for its end"):
                train_by_id(corpus, "cnn3d", **settings)
            if one != "autoencoder":
                train_by_id(corpus, "ensemble-paper", **settings)
    assert "MAE" in train_by_id(corpus, "cnn3d", **settings)


def test_a_clock_that_was_set_back(small, monkeypatch):
    "Files of the future and of 1970 are what they hold: nothing is made again, and a change is seen."
    extract(open_corpus(small), audio=DEMO, progress=False)
    for when in (4_000_000_000, 0):
        for path in small.rglob("*"):
            os.utime(path, (when, when))
        assert extract(open_corpus(small), audio=DEMO, progress=False).cached == 2
    one, other = sorted((small / "videos").iterdir())
    shutil.copy(other, one)
    os.utime(one, (0, 0))
    assert extract(open_corpus(small), audio=DEMO, progress=False).extracted == 1


def test_features_of_another_version(small, monkeypatch):
    "Older or newer: named before a training, never used, made again with the same bytes."
    extract(open_corpus(small), audio=DEMO, progress=False)
    before = made(small)
    for version in (VERSIONS["visual"] + 1, 0.5):
        with monkeypatch.context() as patch:
            patch.setitem(VERSIONS, "visual", version)
            assert set(stale_features(open_corpus(small)).videos.values()) == {
                "visual features of another version of tiktok-mm"
            }
        assert stale_features(open_corpus(small)) is None
    with monkeypatch.context() as patch:
        patch.setitem(VERSIONS, "visual", 99)
        assert extract(open_corpus(small), audio=DEMO, progress=False).extracted == 2
    assert made(small) != before
    assert extract(open_corpus(small), audio=DEMO, progress=False).extracted == 2
    assert made(small) == before
