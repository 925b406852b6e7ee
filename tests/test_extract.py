"A run of the extraction survives everything that can happen to it."

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tiktok_mm.data import open_corpus
from tiktok_mm.lib.core import UserError
from tiktok_mm.lib.store import features_header
from tiktok_mm.pipeline.extract import extract

COMMAND = [sys.executable, "-c", "from tiktok_mm.cli import main; main()", "extract"]


@pytest.fixture
def corpus(fixture_corpus, tmp_path):
    return shutil.copytree(fixture_corpus, tmp_path / "corpus")


def contents(corpus) -> dict[str, bytes]:
    "All features and transcripts of a corpus."
    files = [*corpus.glob("features/*/*"), corpus / "transcripts.jsonl"]
    return {str(path.relative_to(corpus)): path.read_bytes() for path in files}


def test_killed_run_resumes(corpus, fixture_corpus, tmp_path):
    "Killed at several moments and run again, a corpus ends with the bytes of an undisturbed run."
    undisturbed = shutil.copytree(fixture_corpus, tmp_path / "undisturbed")
    extract(open_corpus(undisturbed), progress=False)
    for files in (1, 4, 9, 15):
        run = subprocess.Popen(
            [*COMMAND, str(corpus), "--no-sheet"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while run.poll() is None and len(list(corpus.glob("features/*/*.safetensors"))) < files:
            time.sleep(0.01)
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
        assert all(features_header(path) for path in corpus.glob("features/*/*.safetensors"))
    workers_end(run.pid)
    summary = extract(open_corpus(corpus), progress=False)
    assert 0 < summary.already <= 12 and not summary.failures
    assert contents(corpus) == contents(undisturbed)
    assert not list(corpus.rglob("*.tmp"))


def workers_end(session: int) -> None:
    "Workers notice that their parent was killed."
    deadline = time.time() + 20
    while time.time() < deadline:
        if (
            subprocess.run(["ps", "-o", "pid=", "--sid", str(session)], capture_output=True, text=True).stdout.strip()
            == ""
        ):
            return
        time.sleep(0.2)
    pytest.fail("workers outlived the run that was killed")


def test_a_crashing_video_is_named_and_the_rest_is_done(corpus, monkeypatch, tmp_path):
    "A file that takes down the process that reads it fails alone."
    victim = sorted((corpus / "videos").iterdir())[3]
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "def watch(event, arguments):\n"
        f"    if event == 'os.rename' and '{victim.stem}' in str(arguments[1]) and 'visual' in str(arguments[1]): os.abort()\n"
        "sys.addaudithook(watch)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    summary = extract(open_corpus(corpus), progress=False)
    assert [(f["id"], f["stage"]) for f in summary.failures] == [(victim.stem, "decoding")]
    assert summary.extracted == 11


def test_full_disk_stops_with_one_line(corpus):
    "A file system of one megabyte runs full: one line, exit code 2, whole files only; with room the run goes on."
    small = corpus / "features"
    small.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(small)], capture_output=True
        ).returncode
    ):
        pytest.skip("needs the right to mount a small file system")
    try:
        run = subprocess.run([*COMMAND, str(corpus)], capture_output=True, text=True)
        assert run.returncode == 2 and "the disk is full" in run.stderr and run.stderr.count("\n") == 1
        assert all(features_header(path) for path in small.glob("*/*.safetensors"))
        assert not list(small.glob("*/.*.tmp"))
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert extract(open_corpus(corpus), progress=False).extracted == 12


def test_exit_codes(corpus, tmp_path):
    def run(*arguments):
        return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True)

    assert run(corpus, "--workers", "1").returncode == 0
    assert (corpus / "contact_sheet.png").stat().st_size > 20_000
    (corpus / "videos" / "broken.mp4").write_bytes(b"<html>")
    with open(corpus / "videos.jsonl", "a") as file:
        file.write('{"id": "broken", "views": 5}\n')
    failed = run(corpus)
    assert failed.returncode == 1 and "1 failed" in failed.stdout
    assert {json.loads(line)["id"] for line in (corpus / "failures.jsonl").read_text().splitlines()} == {"broken"}
    empty = tmp_path / "empty"
    empty.mkdir()
    for bad in (empty, tmp_path / "nowhere", corpus / "contact_sheet.png"):
        done = run(bad)
        assert done.returncode == 2 and done.stderr.startswith("tiktok-mm: ") and done.stderr.count("\n") == 1


def test_folder_without_its_videos(corpus):
    shutil.rmtree(corpus / "videos")
    with pytest.raises(UserError, match="none of the 12 videos"):
        extract(open_corpus(corpus))


def test_real_clips_with_a_hand_written_list(real_data, tmp_path):
    "What a person does: put videos into a folder, write a CSV, run."
    corpus = shutil.copytree(real_data / "clips", tmp_path / "mine")
    names = sorted(path.stem for path in corpus.glob("*.mp4"))
    (corpus / "views.csv").write_text("id,views\n" + "".join(f"{name},{n + 1}.5K\n" for n, name in enumerate(names)))
    summary = extract(open_corpus(corpus), progress=False)
    assert (summary.videos, summary.extracted, summary.failures) == (6, 6, [])
