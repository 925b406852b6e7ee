"An extraction survives kills, crashes, full disks and broken files."

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
from command import tiktok_mm
from conftest import without_processes

from tiktok_mm.audio import AudioConfig
from tiktok_mm.data import check_corpus, open_corpus
from tiktok_mm.lib.core import UserError
from tiktok_mm.lib.store import features_header
from tiktok_mm.pipeline.extract import ExtractTask, extract, extract_one, run_here

COMMAND = [sys.executable, "-c", "from tiktok_mm.cli import main; main()", "extract"]


@pytest.fixture
def corpus(fixture_corpus, tmp_path):
    return shutil.copytree(fixture_corpus, tmp_path / "corpus")


@pytest.fixture
def small(fixture_corpus, tmp_path):
    "Two videos of the corpus."
    (tmp_path / "small" / "videos").mkdir(parents=True)
    for video in sorted((fixture_corpus / "videos").iterdir())[:2]:
        shutil.copy(video, tmp_path / "small" / "videos")
    ids = [video.stem for video in (tmp_path / "small" / "videos").iterdir()]
    lines = (fixture_corpus / "videos.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "small" / "videos.jsonl").write_text("".join(line for line in lines if any(id in line for id in ids)))
    return tmp_path / "small"


def contents(corpus) -> dict[str, bytes]:
    "All features and transcripts of a corpus."
    files = [*corpus.glob("features/*/*"), corpus / "transcripts.jsonl"]
    return {str(path.relative_to(corpus)): path.read_bytes() for path in files}


def test_killed_run_resumes(corpus, extracted):
    "Killed and run again, a corpus has the same bytes as after one uninterrupted run; at 30 moments each night."
    run = subprocess.Popen(
        [*COMMAND, str(corpus), "--no-sheet"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while run.poll() is None and len(list(corpus.glob("features/*/*.safetensors"))) < 5:
        time.sleep(0.01)
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert all(features_header(path) for path in corpus.glob("features/*/*.safetensors"))
    wait_for_end(run.pid)
    summary = extract(open_corpus(corpus), progress=False)
    assert 0 < summary.cached <= 12 and not summary.failures
    assert contents(corpus) == contents(extracted)
    assert not list(corpus.rglob("*.tmp"))


def wait_for_end(session: int) -> None:
    "Wait until no process of a session is left: workers and their children end with the run that was killed."
    deadline = time.time() + 20
    while time.time() < deadline:
        command = ["ps", "-o", "pid=", "--sid", str(session)]
        if not subprocess.run(command, capture_output=True, text=True).stdout.strip():
            return
        time.sleep(0.2)
    pytest.fail("workers outlived the run that was killed")


def extract_or_crash(victim: str, task: ExtractTask) -> list[dict]:
    "Crash in the place of the last step that makes the frames of one video."

    def watch(event, arguments):
        if event == "os.rename" and victim in str(arguments[1]) and "visual" in str(arguments[1]):
            os.abort()

    sys.addaudithook(watch)
    return extract_one(task)


def test_a_crashing_video_is_named_and_the_rest_is_done(corpus):
    "A file that crashes the process that reads it is the only failure."
    victim = sorted((corpus / "videos").iterdir())[3].stem
    crashing = partial(run_here, workers=1, work=partial(extract_or_crash, victim))
    summary = extract(open_corpus(corpus), engine=crashing, progress=False)
    assert [(f["id"], f["stage"]) for f in summary.failures] == [(victim, "decoding")]
    assert summary.extracted == 11


def test_full_disk_stops_with_one_line(small):
    "A file system of 100 kB runs full: one line, exit code 2, complete files only; with room the run resumes."
    features = small / "features"
    features.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(features)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        run = tiktok_mm("extract", small, "--whisper", "demo", "--workers", 1)
        assert run.returncode == 2 and "the disk is full" in run.stderr and run.stderr.count("\n") == 1
        assert all(features_header(path) for path in features.glob("*/*.safetensors"))
        assert not list(features.glob("*/.*.tmp"))
    finally:
        subprocess.run(["umount", str(features)], check=True)
    with without_processes():
        assert extract(open_corpus(small), audio=AudioConfig("demo"), progress=False).extracted == 2


def test_exit_codes(extracted, tmp_path):
    corpus = shutil.copytree(extracted, tmp_path / "corpus")
    assert tiktok_mm("extract", corpus, "--workers", 1).returncode == 0
    assert (corpus / "contact_sheet.png").stat().st_size > 20_000
    (corpus / "videos" / "broken.mp4").write_bytes(b"<html>")
    with open(corpus / "videos.jsonl", "a") as file:
        file.write('{"id": "broken", "views": 5}\n')
    failed = tiktok_mm("extract", corpus)
    assert failed.returncode == 1 and "1 failed" in failed.stdout
    assert {json.loads(line)["id"] for line in (corpus / "failures.jsonl").read_text().splitlines()} == {"broken"}
    empty = tmp_path / "empty"
    empty.mkdir()
    for bad in (empty, tmp_path / "nowhere", corpus / "contact_sheet.png"):
        done = tiktok_mm("extract", bad)
        assert done.returncode == 2 and done.stderr.startswith("tiktok-mm: ") and done.stderr.count("\n") == 1


def test_what_decoding_notices_reaches_the_person(small, ffmpeg):
    "A cut video is used; the summary, the header of its features and `check` say so. A link to nothing fails alone."
    video, link = sorted((small / "videos").iterdir())
    link.unlink()
    link.symlink_to(small / "nowhere.mp4")
    whole = small / "whole.mp4"
    subprocess.run([ffmpeg, "-v", "error", "-i", video, "-c", "copy", "-movflags", "faststart", whole], check=True)
    video.write_bytes(whole.read_bytes()[: round(0.7 * whole.stat().st_size)])
    whole.unlink()
    with without_processes():
        summary = extract(open_corpus(small), audio=AudioConfig("demo"), progress=False)
    reason = f"{link.name}: a link to a file that is not there"
    assert summary.failures == [{"id": link.stem, "stage": "file", "reason": reason}]
    assert list(summary.notices) == [video.stem]
    (notice,) = summary.notices[video.stem]
    assert notice.startswith("cut short: ")
    assert f"  {video.stem}: {notice}" in str(summary).splitlines()
    assert features_header(small / "features" / "visual" / f"{video.stem}.safetensors")["metadata"]["complete"] is False
    with without_processes():
        assert notice in str(check_corpus(open_corpus(small), progress=False))
        again = extract(open_corpus(small), audio=AudioConfig("demo"), progress=False)
    assert again.notices == summary.notices  # of cached videos, too


def test_a_read_only_corpus_is_one_line(small, tmp_path):
    "With another folder for what is made it works."
    if os.geteuid() != 0 or subprocess.run(["mount", "--bind", small, small], capture_output=True).returncode:
        pytest.skip("needs the right to mount a folder")
    try:
        if subprocess.run(["mount", "-o", "remount,ro,bind", small], capture_output=True).returncode:
            pytest.skip("needs the right to mount a folder read-only")
        run = tiktok_mm("extract", small, "--whisper", "demo", "--workers", 1)
        assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1)
        assert "the folder is read-only: make it writable, or give --out FOLDER" in run.stderr
        elsewhere = tiktok_mm("extract", small, "--whisper", "demo", "--workers", 1, "--out", tmp_path / "made")
        assert (elsewhere.returncode, elsewhere.stderr) == (0, "")
        assert extract(open_corpus(tmp_path / "made"), audio=AudioConfig("demo"), progress=False).cached == 2
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_folder_without_its_videos(corpus):
    shutil.rmtree(corpus / "videos")
    with pytest.raises(UserError, match="none of the 12 videos"):
        extract(open_corpus(corpus))


def test_real_clips_with_a_hand_written_list(real_data, tmp_path):
    "Videos in a folder, a CSV written by hand, one command."
    corpus = shutil.copytree(real_data / "clips", tmp_path / "mine")
    names = sorted(path.stem for path in corpus.glob("*.mp4"))
    (corpus / "views.csv").write_text("id,views\n" + "".join(f"{name},{n + 1}.5K\n" for n, name in enumerate(names)))
    with without_processes():
        summary = extract(open_corpus(corpus), audio=AudioConfig("demo"), progress=False)
    assert (summary.videos, summary.extracted, summary.failures) == (6, 6, [])
