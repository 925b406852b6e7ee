"Complete runs with the real Chromium: all topics, kills at random times, leftovers, and contacted hosts."

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from command import tiktok_mm

if not os.environ.get("CI"):
    pytest.importorskip("selenium", reason="no selenium: pip install 'tiktok_mm[scrape]'")
import psutil

from replica import FOREVER, Replica
from replica.chromium import FAST, browser, collect, start
from replica.media import clip_plan
from tiktok_mm.data import open_corpus
from tiktok_mm.lib.store import read_jsonl
from tiktok_mm.scrape import scrape
from tiktok_mm.scraping.browser import Browser
from tiktok_mm.scraping.manifest import Manifest, history
from tiktok_mm.scraping.pages import PageError
from tiktok_mm.scraping.sampling import TOPICS
from tiktok_mm.scraping.upkeep import anonymise, purge, refresh, self_check


@pytest.fixture(scope="module")
def whole(browser, tmp_path_factory):
    "A corpus of all twelve topics and their hashtags, collected by a run with its own browser."
    with Replica(TOPICS, per_tag=8, page_size=8) as site:
        out = tmp_path_factory.mktemp("whole") / "corpus"
        yield scrape(out, "all", n=12, seed=42, base_url=site.url, config=FAST, quiet=True), out, site


def test_a_corpus_over_all_topics(whole):
    result, out, site = whole
    assert (result.stopped, result.exit_code, result.table.loc["all", "verified"]) == (None, 0, 12)
    corpus = Manifest(out)
    there = {id: video for id, video in corpus.videos.items() if video["state"] == "verified"}
    assert Counter(video["topic"] for video in there.values()) == dict.fromkeys(TOPICS, 1)
    for id, video in there.items():
        assert (video["views_raw"], video["views_exact"]) == (str(site.views(id)), True)
        assert video["audio"] == clip_plan(id).sound and abs(video["media_duration"] - video["duration"]) <= 1
        assert (out / video["path"]).read_bytes() == site.clip(id)
    assert any(len(video["topics"]) > 1 for video in corpus.videos.values())
    assert result.picture.read_bytes().startswith(b"\x89PNG") and not (out / ".browser").exists()


def test_the_frame_is_recorded_before_the_sample(whole):
    events = Manifest(whole[1]).events
    kinds = [event.get("event") or event["state"] for event in events]
    assert max(i for i, kind in enumerate(kinds) if kind in ("discovered", "listed", "frame")) < kinds.index("sampled")
    frames = {event["topic"]: event for event in events if event.get("event") == "frame"}
    sizes = Counter(video["topic"] for video in Manifest(whole[1]).videos.values())
    assert {topic: event["size"] for topic, event in frames.items()} == sizes
    for event in events:
        if event.get("state") == "sampled":
            assert event["inclusion_probability"] == 1 / sizes[Manifest(whole[1]).videos[event["id"]]["topic"]]


def test_each_page_is_opened_once_and_no_request_is_signed(whole):
    pages = Counter(path for path in whole[2].log if path.startswith(("/tag", "/@")))
    assert set(pages.values()) == {1} and len(pages) == sum(map(len, TOPICS.values())) + 12
    assert not any("X-Bogus" in path or "msToken" in path for path in whole[2].log)


def test_the_corpus_passes_the_next_stages(whole, tmp_path):
    "`check` and `extract` read it without any conversion."
    corpus = tmp_path / "corpus"
    shutil.copytree(whole[1], corpus)
    table = open_corpus(corpus).table
    assert len(table) == 12
    assert table.views_exact.tolist() == [views < 10 or round(views * 1000) % 100 > 0 for views in table.views_k]
    assert set(table.views_k) == {whole[2].views(id) / 1000 for id in table.id}
    for command in (["check", corpus], ["extract", corpus, "--whisper", "demo", "--workers", "1", "--no-sheet"]):
        done = tiktok_mm(*command)
        assert done.returncode == 0 and "12 videos" in done.stdout, done.stdout + done.stderr


def test_a_refresh_adds_a_snapshot_and_changes_no_label(whole, browser):
    _, out, site = whole
    browser.base_url, before = site.url, Manifest(out).videos
    removed, grown = [id for id, video in before.items() if video["state"] == "verified"][:2]
    views = site.views
    site.fates, site.views = {removed: "10204"}, lambda id: views(id) + 1000
    try:
        result = refresh(out, config=FAST, quiet=True, browser=browser)
    finally:
        site.fates, site.views = {}, views
    table = history(out).set_index("id")
    assert result.stopped is None and len(table) == 24
    assert table.loc[grown, "views_k"].diff().iloc[1] == pytest.approx(1)
    assert table.loc[removed, "code"].tolist() == ["", "10204"]
    assert Manifest(out).videos == before


def test_an_export_has_no_names(whole, tmp_path):
    assert anonymise(whole[1], tmp_path / "export") == 12
    text = (tmp_path / "export" / "manifest.jsonl").read_text()
    videos = [video for video in Manifest(whole[1]).videos.values() if video["state"] == "verified"]
    assert not any(video["id"] in text or video["author"] in text for video in videos) and "127.0.0.1" not in text
    assert sorted(video["path"] for video in read_jsonl(tmp_path / "export" / "manifest.jsonl")) == sorted(
        str(p.relative_to(tmp_path / "export")) for p in (tmp_path / "export" / "videos").iterdir()
    )


def test_a_purged_video_leaves_no_trace(whole, browser):
    _, out, site = whole
    id, topic = next((id, video["topic"]) for id, video in Manifest(out).videos.items() if video["state"] == "verified")
    (out / "features" / "visual").mkdir(parents=True)
    (out / "features" / "visual" / f"{id}.safetensors").write_bytes(b"clip")
    (out / "transcripts.jsonl").write_text(json.dumps({"id": id, "text": "hello"}) + "\n")
    purge(out, [id])
    for path in out.rglob("*"):
        if path.is_file():
            data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            assert id not in path.name and id.encode() not in data, path
    browser.base_url = site.url
    result = scrape(out, "all", n=12, seed=42, base_url=site.url, config=FAST, quiet=True, browser=browser)
    assert result.table.loc[topic, "verified"] == 1 and id not in Manifest(out).videos


def test_the_browser_reaches_only_the_site(browser):
    with Replica({"Dance": ["dance"]}) as site:
        with pytest.raises(PageError, match="ERR_NAME_NOT_RESOLVED"):
            browser.open(site.url.replace("127.0.0.1", "localhost"))
        assert site.log == []


def test_a_browser_that_crashed_is_restarted(tmp_path):
    with Replica({"Dance": ["dance"]}, per_tag=4) as site:
        own = Browser(site.url, page_timeout=8)
        try:
            for child in psutil.Process(own.driver.service.process.pid).children():
                child.kill()
            result = scrape(tmp_path, site.topics, n=2, base_url=site.url, config=FAST, quiet=True, browser=own)
        finally:
            own.quit()
    assert result.exit_code == 0 and not own.profile.exists()


def test_ctrl_c_leaves_a_corpus_that_can_be_resumed(browser, tmp_path):
    with Replica({"Dance": ["dance"]}, per_tag=4, chaos={"slow_body": FOREVER}) as site:
        process = start(tmp_path / "corpus", site, 2)
        until = time.monotonic() + 20
        while not any("/media" in path for path in site.log) and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        site.chaos.clear()
        assert not (tmp_path / "corpus" / ".browser").exists()
        assert collect(browser, tmp_path / "corpus", site, n=2)[0].exit_code == 0


@pytest.mark.parametrize(
    "site_args, broken",
    [
        ({}, set()),
        ({"layout": "old"}, set()),
        ({"variant": "ssr"}, {"the tag page asks for item_list", "entries carry statsV2"}),
        ({"generation": "sigi"}, {"the JSON is of the current generation", "the page carries statsV2"}),
        (
            {"generation": "none"},
            {"the video page carries its JSON", "the JSON is of the current generation", "the page carries statsV2"},
        ),
        ({"chaos": {"html_media": FOREVER}}, {"the file can be downloaded and decoded"}),
        ({"chaos": {"empty_list": FOREVER}}, {"the pages can be read"}),
    ],
)
def test_the_self_check_names_what_no_longer_holds(browser, site_args, broken):
    with Replica({"Dance": ["dance"]}, per_tag=6, **site_args) as site:
        browser.base_url = site.url
        table = self_check(site.url, "dance", config=FAST, browser=browser)
    assert set(table[~table["holds"]]["assumption"]) == broken


@pytest.mark.parametrize("package", ["selenium", "pydantic", "lxml", "protego", "filelock", "tenacity"])
def test_a_missing_extra_is_named(package, tmp_path):
    code = f"""
import sys
sys.modules['{package}'] = None
from tiktok_mm.scrape import scrape
scrape(r'{tmp_path}', 'Dance', n=1, base_url='http://127.0.0.1:9', quiet=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert "UserError" in last and f"needs {package}" in last and last.endswith("pip install 'tiktok_mm[scrape]'")
