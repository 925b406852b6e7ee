"Every known failure, alone and together: each test states the outcome."

import os
import threading
import time
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from urllib.parse import urlparse

import psutil
import pytest

if not os.environ.get("CI"):
    pytest.importorskip("selenium", reason="no selenium: pip install 'tiktok_mm[scrape]'")
from replica import FOREVER, Replica
from replica.chromium import FAST, browser, collect, states
from tiktok_mm.scraping.download import fetch_media
from tiktok_mm.scraping.listings import listing_pages, read_tiles
from tiktok_mm.scraping.manifest import read_raw
from tiktok_mm.scraping.pages import PageError
from tiktok_mm.scraping.sampling import draw_order
from tiktok_mm.scraping.visits import Scraper, Stopped

DANCE = {"Dance": ["dance"]}


@pytest.mark.parametrize(
    "failure",
    [f"{what}_{where}" for what in ("empty", "error_500", "reset", "went_wrong") for where in ("tag", "video")]
    + [
        "empty_list",
        "error_500_list",
        "reset_list",
        "reset_media",
        "html_media",
        "truncated",
        "expired",
        "slow_body",
        "duplicate_pages",
        "no_json",
        "null_list",
        "unknown_list",
        "check",
        "check_without_end",
    ],
)
def test_a_temporary_failure_is_retried(browser, tmp_path, failure):
    with Replica(DANCE, per_tag=8, chaos={failure: 1}) as site:
        result, corpus = collect(browser, tmp_path, site)
    assert not site.on(failure), "it never occurred"
    assert (result.stopped, result.short, result.table.loc["all", "failed"]) == (None, 0, 0)
    assert [event["size"] for event in corpus.run_events("listed")] == [8]
    assert Counter(states(corpus).values()) == {"verified": 3, "discovered": 5}


@pytest.mark.parametrize("overlay", ["captcha_container", "cookie_banner", "login_popup", "no_item_list_at_end"])
def test_an_overlay_is_not_a_wall(browser, tmp_path, overlay):
    with Replica(DANCE, per_tag=8, chaos={overlay: FOREVER}) as site:
        result, corpus = collect(browser, tmp_path, site)
    assert (result.exit_code, [event["size"] for event in corpus.run_events("listed")]) == (0, [8])
    if overlay == "cookie_banner":
        assert {path for path in site.log if "consent" in path} == {"/consent?choice=D"}  # declined


@pytest.mark.parametrize(
    "failure, code",
    [
        ("captcha", "captcha"),
        ("captcha_2023", "captcha"),
        ("verify_list", "captcha"),
        ("verify_tag", "captcha"),
        ("verify_video", "captcha"),
        ("login_tag", "login"),
        ("login_video", "login"),
        ("denied_tag", "blocked"),
        ("denied_video", "blocked"),
    ],
)
def test_a_wall_stops_the_run_and_discards_nothing(browser, tmp_path, failure, code):
    with Replica(DANCE, per_tag=8, chaos={failure: FOREVER}) as site:
        result, corpus = collect(browser, tmp_path, site)
        assert f"a wall ({code})" in result.stopped and "--headed" in result.stopped and result.exit_code == 1
        assert next(tmp_path.glob(f"screenshots/{code}-*.png")).read_bytes().startswith(b"\x89PNG")
        assert not any(state.startswith("failed") for state in states(corpus).values())
        visits = sum(path.startswith(("/tag", "/@")) for path in site.log)
        assert visits <= 2  # one page of each kind, and no retry at the wall
        site.chaos.clear()
        result, corpus = collect(browser, tmp_path, site)
    assert (result.exit_code, result.table.loc["all", "verified"]) == (0, 3)


def test_a_person_solves_the_captcha_in_the_visible_browser(browser, tmp_path):
    with Replica(DANCE, per_tag=8, chaos={"captcha": FOREVER}) as site:
        threading.Timer(2, site.chaos.clear).start()
        result, corpus = collect(browser, tmp_path, site, headed=True)
    assert (result.exit_code, [event["code"] for event in corpus.run_events("wall")]) == (0, ["captcha"])


def test_the_wait_for_a_person_has_a_limit(browser, tmp_path):
    with Replica(DANCE, per_tag=8, chaos={"captcha": FOREVER}) as site:
        result, _ = collect(browser, tmp_path, site, headed=True, config=replace(FAST, person_wait=0.5))
    assert "still there" in result.stopped


FATES = {
    "10204": "failed:10204",
    "deleted": "failed:10204",
    "cross_border": "failed:10204",
    "self_see": "failed:10204",
    "10202": "failed:10202",
    "10203": "failed:10203",
    "10216": "failed:10216",
    "10222": "failed:10222",
    "10221": "failed:10221",
    "10231": "failed:10231",
    "100004": "failed:100004",
    "rounded": "verified",
    "rounded_2026": "verified",
    "odd_fields": "verified",
    "classified": "failed:classified",
    "removed": "failed:removed",
    "404": "failed:404",
    "slideshow": "failed:slideshow",
    "photo": "failed:slideshow",
    "no_stats": "failed:no_views",
    "h266_only": "failed:unplayable",
    "h266_first": "verified",
    "html_media": "failed:not_video",
    "other_duration": "failed:bad_media",
    "truncated": "failed:truncated",
    "audio_only": "failed:bad_media",
    "no_play_addr": "verified",
}
REASONS = {
    "deleted": "deleted (item_privacy_authorization&status_deleted)",
    "cross_border": "not available in this region (cross_border_violation_ur)",
    "self_see": "private post (status_self_see)",
    "100004": "not available in this region",
    "classified": "for logged-in adults only",
}
RETRIED = {"html_media", "other_duration", "truncated", "audio_only"}  # the causes that another attempt may remove


@pytest.fixture(scope="module")
def fated(browser, tmp_path_factory):
    "One run over a hashtag in which each of the first sampled videos has another fate."
    with Replica(DANCE, per_tag=36, page_size=12) as site:
        order = draw_order(site.tags["dance"], 42)
        site.fates = dict(zip(order, FATES))
        _result, corpus = collect(browser, tmp_path_factory.mktemp("fated"), site, n=8)
        return _result, corpus, order, site


@pytest.mark.parametrize("fate, state", FATES.items())
def test_the_fate_of_one_video_is_recorded_and_affects_no_other(fated, fate, state):
    _result, corpus, order, site = fated
    id = order[list(FATES).index(fate)]
    video = corpus.videos[id]
    assert video["state"] == state and (state == "verified" or video["reason"])
    assert video.get("reason") == REASONS.get(fate, video.get("reason"))
    visits = sum(f"/video/{id}" in path for path in site.log)
    assert visits == {"slideshow": 0}.get(fate, FAST.retries + 1 if fate in RETRIED else 1)
    rounded = fate.startswith("rounded") and video["views_k"] >= 10
    assert video.get("views_exact", True) != rounded


def test_a_file_that_nothing_decodes_or_without_sound_is_not_requested(fated):
    site = fated[3]
    assert not any("vvc" in path or "media-video" in path for path in site.log)


def test_failures_are_replaced_in_the_order_of_sampling(fated):
    result, corpus, order, _site = fated
    assert (result.exit_code, result.table.loc["Dance", "verified"]) == (0, 8)
    last = max(place for place, id in enumerate(order) if corpus.videos[id]["state"] != "discovered")
    others = [corpus.videos[id]["state"] for id in order[len(FATES) : last + 1]]
    assert others == ["verified"] * (last + 1 - len(FATES))
    failed = [id for id in order if corpus.videos[id]["state"].startswith("failed")]
    assert [corpus.videos[id]["replaces"] for id in order[8 : last + 1]] == failed[: last + 1 - 8]
    assert not list(corpus.path.rglob("*.part")) and len(list(corpus.path.glob("videos/*"))) == 8


@pytest.mark.parametrize("failure", ["error_500_video", "empty_video", "html_media", "reset_list"])
def test_the_circuit_breaker_stops_and_a_rerun_resumes(browser, tmp_path, failure):
    config = replace(FAST, retries=0, breaker=3)
    topics = {name: [name.lower()] for name in ("Dance", "Music", "Autos")}
    with Replica(topics, per_tag=4, chaos={failure: FOREVER}) as site:
        result, corpus = collect(browser, tmp_path, site, n=6, config=config)
        assert "3 failures in a row" in result.stopped and result.exit_code == 1
        assert not any(state.startswith("failed") for state in states(corpus).values())
        site.chaos.clear()
        result, corpus = collect(browser, tmp_path, site, n=6)  # with retries: a slow machine is no failure
    assert (result.stopped, result.short) == (None, 0)
    assert Counter(states(corpus).values())["verified"] == 6
    assert set(states(corpus).values()) <= {"verified", "discovered"}  # no replacement is left over
    assert {video.get("draw") is None for video in corpus.videos.values() if video["state"] == "discovered"} == {True}


def test_many_unavailable_videos_stop_the_run(browser, tmp_path):
    with Replica(DANCE, per_tag=12) as site:
        site.fates = dict.fromkeys(site.tags["dance"], "10204")
        result, corpus = collect(browser, tmp_path, site, config=replace(FAST, breaker=2))
    assert "8 failures in a row" in result.stopped and Counter(states(corpus).values())["failed:10204"] == 8


def test_a_run_without_any_success_records_no_failure(browser, tmp_path):
    with Replica(DANCE, per_tag=4, chaos={"reset_tag": FOREVER}) as site:
        result, corpus = collect(browser, tmp_path, site)
        assert "nothing could be collected" in result.stopped and not corpus.run_events("listed")
        site.chaos = {"html_media": FOREVER}
        result, corpus = collect(browser, tmp_path, site)
        assert "nothing could be collected" in result.stopped
        assert not any(state.startswith("failed") for state in states(corpus).values())
        site.chaos.clear()
        assert collect(browser, tmp_path, site)[0].exit_code == 0


def test_a_watermarked_file_is_used_last_and_recorded(browser, tmp_path):
    with Replica(DANCE, per_tag=3) as site:
        site.fates = {site.tags["dance"][0]: "only_download_addr"}
        _, corpus = collect(browser, tmp_path, site)
    assert [video["id"] for video in corpus.videos.values() if video.get("watermark")] == [site.tags["dance"][0]]


def test_a_media_url_on_another_host_is_refused(browser, tmp_path):
    with Replica(DANCE, per_tag=8, chaos={"foreign_redirect": 1}) as site:
        result, _corpus = collect(browser, tmp_path, site)
    assert result.table.loc["Dance"].tolist() == [8, 4, 3, 1, "foreign_host"]


def test_a_file_that_is_too_large_is_refused(browser, tmp_path):
    with Replica(DANCE, per_tag=3) as site:
        result, _corpus = collect(browser, tmp_path, site, config=replace(FAST, max_mb=0.001))
    assert (result.table.loc["Dance", "causes"], result.short) == ("too_large ×3", 3)
    assert not list(tmp_path.glob("videos/*"))


def test_a_missing_hashtag_is_recorded_and_the_others_are_listed(browser, tmp_path):
    with Replica(DANCE, per_tag=8) as site:
        result, corpus = collect(browser, tmp_path, site, topics={"Dance": ["no_such_tag", "dance"]})
    assert [event["end"] for event in corpus.run_events("listed")] == ["missing_tag", "end"] and result.exit_code == 0


def test_a_refusal_leaves_no_connection_open(tmp_path):
    "Neither while its error is held, nor until somebody collects garbage."
    with Replica(DANCE, per_tag=2, chaos={"robots_500": FOREVER}) as site:
        visitor = SimpleNamespace(base_url=site.url, browser=SimpleNamespace(user_agent="test"), config=FAST)
        with pytest.raises(Stopped, match=r"robots\.txt") as no_robots:
            Scraper.fetch_robots(visitor)
        with pytest.raises(PageError, match="answered 404") as no_media:
            fetch_media(f"{site.url}/nothing.mp4", tmp_path / "a.mp4", {}, site.url)
        port = urlparse(site.url).port
        open_ones = [one for one in psutil.Process().net_connections() if one.raddr and one.raddr.port == port]
    assert (open_ones, no_media.value.code) == ([], "404") and "500" in str(no_robots.value)


def test_robots_txt_is_obeyed(browser, tmp_path):
    with Replica(DANCE, per_tag=8, robots="User-agent: *\nDisallow: /tag/") as site:
        result, corpus = collect(browser, tmp_path, site)
    assert [event["end"] for event in corpus.run_events("listed")] == ["robots"]
    assert not any(path.startswith("/tag") for path in site.log)
    assert result.short == 3


def test_a_robots_txt_that_cannot_be_read_allows_nothing(browser, tmp_path):
    with Replica(DANCE, per_tag=8, chaos={"robots_500": FOREVER}) as site:
        result, _corpus = collect(browser, tmp_path, site)
    assert "robots.txt" in result.stopped and set(site.log) <= {"/robots.txt"}


def test_a_crawl_delay_is_obeyed(browser, tmp_path):
    with Replica(DANCE, per_tag=2, robots="User-agent: *\nCrawl-delay: 1") as site:
        start = time.monotonic()
        collect(browser, tmp_path, site, n=2)
    assert time.monotonic() - start > 3  # before each of three pages


@pytest.mark.parametrize(
    "layout, variant, generation, spelling, source, exact",
    [
        ("new", "xhr", "universal", "camel", "item_list", True),
        ("new", "xhr", "reflow", "snake", "item_list", True),
        ("old", "xhr", "sigi", "camel", "item_list", True),
        ("new", "ssr", "universal", "camel", "page", True),
        ("new", "ssr", "reflow", "snake", "page", True),
        ("new", "ssr", "next", "camel", "page", True),
        ("old", "ssr", "sigi", "camel", "page", False),
        ("old", "ssr", "none", "camel", "dom", False),
    ],
)
def test_every_variant_of_the_pages_gives_the_same_sample(
    browser, tmp_path, layout, variant, generation, spelling, source, exact
):
    with Replica(DANCE, per_tag=6, layout=layout, variant=variant, generation=generation, spelling=spelling) as site:
        _result, corpus = collect(browser, tmp_path, site)
    there = {id: video for id, video in corpus.videos.items() if video["state"] == "verified"}
    assert sorted(there) == sorted(draw_order(site.tags["dance"], 42)[:3])
    for id, video in there.items():
        full = exact or site.views(id) < 10_000  # no page rounds small counts
        assert (video["source"], video["views_exact"]) == (source, full)
        assert abs(video["views_k"] * 1000 / site.views(id) - 1) < (1e-9 if full else 0.06)
        assert video["author"] == site.author(id) and video["url"] == f"{site.url}/@{site.author(id)}/video/{id}"
        assert read_raw(tmp_path / "raw" / f"{id}.json.gz")["seed"] == 42


def test_likes_on_explore_tiles_are_never_taken_for_views(browser, tmp_path):
    "Without any other count: the explore page lists nothing, and its tiles on a tag page give no views."
    with Replica(DANCE, per_tag=4, variant="ssr", generation="none", chaos={"explore_tiles": FOREVER}) as site:
        browser.base_url = site.url
        browser.open(site.url + "/explore")
        assert browser.html().count('"video-views"') == 4 and read_tiles(browser.html()) == []
        with pytest.raises(PageError, match="no videos"):
            list(listing_pages(browser, replace(FAST, page_timeout=0.5)))
        result, corpus = collect(browser, tmp_path, site)
    assert result.table.loc["Dance"].tolist() == [4, 4, 0, 4, "no_views ×4"]
    assert not any("views_raw" in video for video in corpus.videos.values())


def test_a_late_answer_is_not_attributed_to_the_next_hashtag(browser):
    with Replica({"Dance": ["dance", "salsa"]}, per_tag=4, chaos={"slow_list": 1}) as site:
        browser.base_url, until = site.url, time.monotonic() + 10
        browser.open(site.url + "/tag/dance")
        while not any("item_list" in path for path in site.log) and time.monotonic() < until:
            time.sleep(0.02)
        browser.responses()
        browser.open(site.url + "/tag/salsa")
        found = [item.id for batch in listing_pages(browser, FAST) for item in batch.items]
    assert found == site.tags["salsa"]


def test_failures_together(browser, tmp_path):
    chaos = dict.fromkeys(
        (
            "empty_tag",
            "error_500_list",
            "reset_video",
            "expired",
            "truncated",
            "duplicate_pages",
            "went_wrong_video",
            "html_media",
            "cookie_banner",
            "no_json",
        ),
        1,
    )
    topics = {"Dance": ["dance", "no_such"], "Music": ["music"]}
    with Replica(
        {"Dance": ["dance"], "Music": ["music"]},
        per_tag=10,
        chaos=chaos | {"captcha_container": FOREVER, "no_item_list_at_end": FOREVER},
    ) as site:
        order = draw_order(site.tags["dance"][:10], 42)
        site.fates = {order[0]: "slideshow", order[1]: "10204", order[2]: "removed"}
        result, _corpus = collect(browser, tmp_path, site, n=8, topics=topics)
    assert result.table.loc["Dance"].tolist() == [10, 7, 4, 3, "10204, removed, slideshow"]
    assert result.table.loc["all", "verified"] == 8 and result.exit_code == 0
    assert not any(site.on(name) for name in chaos)
