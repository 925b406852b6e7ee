"Runs of the scraper that are killed at random times and resumed, with the real Chromium."

import functools
import operator
import os
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

if not os.environ.get("CI"):
    pytest.importorskip("selenium", reason="no selenium: pip install 'tiktok_mm[scrape]'")
import psutil

from replica import Replica
from replica.chromium import browser, collect, content, start
from tiktok_mm.scraping.manifest import Manifest, read_raw
from tiktok_mm.scraping.sampling import draw_order


def running(process: psutil.Process) -> bool:
    "Whether a process still runs."
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_runs_killed_at_random_times_end_like_an_undisturbed_one(browser, tmp_path, long):
    "Killed with -9 at a random time (two while they start, the others after their first event) and resumed."
    times, kills = random.Random(42), 30 if long else 3
    with Replica({"Dance": ["dance"], "Music": ["music"]}, per_tag=5, page_size=3) as site:
        order = draw_order(site.tags["dance"], 42)
        site.fates = {order[0]: "10216", order[1]: "slideshow"}

        def begun(out) -> bool:
            return (out / "manifest.jsonl").exists()

        def killed(k: int) -> list[psutil.Process]:
            "Start a run and kill it; returns the processes that it had started."
            out, until = tmp_path / f"run{k}", time.monotonic() + 30
            process = start(out, site, 4)
            while k >= 2 and not begun(out) and time.monotonic() < until:
                time.sleep(0.01)
            time.sleep(times.uniform(0, lasts))
            children = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.communicate()
            return children

        undisturbed = start(tmp_path / "undisturbed", site, 4)
        while not begun(tmp_path / "undisturbed"):
            time.sleep(0.01)
        first = time.monotonic()
        assert undisturbed.wait() == 0
        lasts, expected = time.monotonic() - first, content(Manifest(tmp_path / "undisturbed"))
        with ThreadPoolExecutor(2) as pool:
            children = functools.reduce(operator.iadd, pool.map(killed, range(kills)), [])
        _, alive = psutil.wait_procs([child for child in children if running(child)], timeout=10)
        assert not [child for child in alive if running(child)], "a browser outlived its run"

        reached = Counter()
        for k in range(kills):
            out = tmp_path / f"run{k}"
            events = Manifest(out).events if begun(out) else []
            reached[events[-1].get("state") or events[-1]["event"] if events else "nothing"] += 1
            result, corpus = collect(browser, out, site, n=4)
            assert (result.stopped, result.short) == (None, 0)
            assert content(corpus) == expected, f"run {k}"
            for path in out.rglob("*.json.gz"):
                assert read_raw(path)["seed"] == 42
    print("the last event before each kill:", dict(reached))
    assert len(reached) > (3 if long else 1)
