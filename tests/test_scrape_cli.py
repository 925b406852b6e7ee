"`tiktok-mm scrape` as a person calls it."
import os
import subprocess
import sys

import pytest

if not os.environ.get("CI"): pytest.importorskip("selenium", reason="no selenium: pip install 'tiktok_mm[scrape]'")
from replica import FOREVER, Replica
from replica.chromium import browser
from tiktok_mm.scrape import Corpus


def tiktok_mm(*args) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", "from tiktok_mm.cli import main; main()", "scrape", *map(str, args)], capture_output=True, text=True, timeout=120)


def test_the_plan_needs_no_browser_and_writes_nothing(tmp_path):
    done = tiktok_mm("--dry-run", "--n", 101, "--topics", "Dance,Music", "--out", tmp_path/"corpus")
    assert done.returncode == 0 and "dancechallenge" in done.stdout and "51" in done.stdout and not (tmp_path/"corpus").exists()


@pytest.mark.parametrize("args, says", [(["--topics", "Knitting"], "unknown topic 'knitting'"), (["--n", "3"], "less than one video"), (["--refresh", "nowhere"], "not a corpus that was scraped"),
                                        (["--purge", "../x"], "cannot be a file name"), (["--anonymise", "export"], "no verified videos")])
def test_mistakes_are_one_line_and_exit_code_2(args, says, tmp_path):
    done = tiktok_mm(*args, "--out", tmp_path/"corpus")
    assert done.returncode == 2 and says in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_corpus_from_the_command_line(tmp_path, browser):
    out = tmp_path/"corpus"
    table = tmp_path/"topics.csv"
    table.write_text("topic,hashtag\nCooking,cooking\nCooking,baking\nKnitting,knitting\n")
    with Replica({"Cooking": ["cooking", "baking"], "Knitting": ["knitting"]}, per_tag=4) as site:
        common = ["--out", out, "--topics", table, "--n", 4, "--base-url", site.url, "--delay", 0]
        done = tiktok_mm(*common)
        assert (done.returncode, done.stderr) == (0, "") and "views by topic" in done.stdout and "Knitting" in done.stdout
        again = tiktok_mm(*common, "--seed", 7)
        assert again.returncode == 2 and "was begun with seed=42" in again.stderr
        assert tiktok_mm("--refresh", out, "--delay", 0).returncode == 0
        check = tiktok_mm("--self-check", "--base-url", site.url, "--delay", 0)       # it looks for #dance, which this site has not
        assert check.returncode == 1 and "BROKEN" in check.stdout and "no such hashtag" in check.stdout
        site.chaos["captcha"] = FOREVER
        walled = tiktok_mm(*common[:-4], "--base-url", site.url, "--delay", 0, "--out", tmp_path/"other")
        assert walled.returncode == 1 and "--headed" in walled.stderr and len(walled.stderr.strip().splitlines()) == 1
    there = [id for id, video in Corpus(out).videos.items() if video["state"] == "verified"]
    assert tiktok_mm("--anonymise", tmp_path/"export", "--out", out).stdout.startswith("4 videos exported")
    assert tiktok_mm("--purge", there[0], "--purge", there[1], "--out", out).returncode == 0
    assert not any(id in (out/"manifest.jsonl").read_text() for id in there[:2])
