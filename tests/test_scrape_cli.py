"`tiktok-mm scrape` from the command line."

import os
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest

if not os.environ.get("CI"):
    pytest.importorskip("selenium", reason="no selenium: pip install 'tiktok_mm[scrape]'")
from replica import FOREVER, Replica
from replica.chromium import browser, display
from tiktok_mm.scraping.manifest import Manifest


def command(*args) -> list[str]:
    "The command line of `tiktok-mm scrape`."
    return [sys.executable, "-c", "from tiktok_mm.cli import main; main()", "scrape", *map(str, args)]


def tiktok_mm(*args) -> subprocess.CompletedProcess:
    "Run `tiktok-mm scrape`."
    return subprocess.run(command(*args), capture_output=True, text=True, timeout=300)


def test_the_plan_needs_no_browser_and_writes_nothing(tmp_path):
    done = tiktok_mm("plan", "--n", 101, "--topics", "Dance,Music")
    assert done.returncode == 0 and "dancechallenge" in done.stdout and "51" in done.stdout
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "args, says",
    [
        (["run", "--topics", "Knitting"], "unknown topic 'knitting'"),
        (["plan", "--n", "3"], "less than one video"),
        (["refresh", "nowhere"], "not a corpus that was scraped"),
        (["purge", "corpus", "../x"], "cannot be a file name"),
        (["export", "corpus", "export"], "no verified videos"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(args, says, tmp_path):
    done = subprocess.run(command(*args), cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and says in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_corpus_from_the_command_line(tmp_path, browser):
    out = tmp_path / "corpus"
    table = tmp_path / "topics.csv"
    table.write_text("topic,hashtag\nCooking,cooking\nCooking,baking\nKnitting,knitting\n")
    with Replica({"Cooking": ["cooking", "baking"], "Knitting": ["knitting"]}, per_tag=4) as site:
        common = ["--out", out, "--topics", table, "--n", 4, "--base-url", site.url, "--delay", 0]
        done = tiktok_mm("run", *common)
        assert (done.returncode, done.stderr) == (0, "")
        assert "views by topic" in done.stdout and "Knitting" in done.stdout
        again = tiktok_mm("run", *common, "--seed", 7)
        assert again.returncode == 2 and "was begun with seed=42" in again.stderr
        assert tiktok_mm("refresh", out, "--delay", 0).returncode == 0
        check = tiktok_mm("self-check", "--base-url", site.url, "--delay", 0)  # this site has no #dance
        assert check.returncode == 1 and "BROKEN" in check.stdout and "no such hashtag" in check.stdout
        site.chaos["captcha"] = FOREVER
        walled = tiktok_mm("run", *common[:-4], "--base-url", site.url, "--delay", 0, "--out", tmp_path / "other")
        assert walled.returncode == 1 and "--headed" in walled.stderr and len(walled.stderr.strip().splitlines()) == 1
    there = [id for id, video in Manifest(out).videos.items() if video["state"] == "verified"]
    assert tiktok_mm("export", out, tmp_path / "export").stdout.startswith("4 videos exported")
    purged = tiktok_mm("purge", out, *there[:3])
    assert purged.stdout.count("removed from") == 3
    assert not any(id in (out / "manifest.jsonl").read_text() for id in there[:3])


def test_a_captcha_is_solved_in_a_visible_window(tmp_path, display):
    "The run prints what to do and waits; when the captcha has been solved it continues by itself."
    out, printed, table = tmp_path / "corpus [new]", tmp_path / "printed.txt", tmp_path / "topics.csv"
    patience = 300  # s
    table.write_text("topic,hashtag\nDance,dance\n")
    with Replica({"Dance": ["dance"]}, per_tag=4, chaos={"captcha": FOREVER}) as site, open(printed, "w") as file:
        run = subprocess.Popen(
            command("run", "--headed", "--out", out, "--topics", table, "--n", 2, "--base-url", site.url, "--delay", 0),
            env=os.environ | {"DISPLAY": display},
            stdout=file,
            stderr=file,
        )
        try:
            until = time.monotonic() + patience
            while "waiting" not in printed.read_text() and run.poll() is None and time.monotonic() < until:
                time.sleep(0.1)
            text = printed.read_text()
            assert "a wall (captcha)" in text and "Please deal with it in the window; waiting" in text
            image = next(out.glob("screenshots/captcha-*.png"))
            assert image.read_bytes().startswith(b"\x89PNG") and str(image) in text
            windows = [line for line in command_lines(run.pid) if "--user-data-dir" in line]
            assert windows and not any("--headless" in line for line in windows)
            assert not any("/api/" in path for path in site.log), "it continued without the person"
            site.chaos.clear()
            assert run.wait(patience) == 0, printed.read_text()
        finally:
            run.kill()
    corpus = Manifest(out)
    assert [event["code"] for event in corpus.run_events("wall")] == ["captcha"] and not corpus.run_events("stopped")
    assert sum(video["state"] == "verified" for video in corpus.videos.values()) == 2


def command_lines(pid: int) -> list[str]:
    "The command lines of the descendants of a process, without those that end meanwhile."
    lines = []
    for process in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.Error):
            lines.append(" ".join(process.cmdline()))
    return lines


def test_a_visible_browser_needs_a_display(tmp_path, browser):
    env = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    done = subprocess.run(
        command("run", "--headed", "--out", tmp_path / "corpus", "--base-url", "http://127.0.0.1:9"),
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2 and "a visible browser needs a display" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
