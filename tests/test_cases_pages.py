"""Pages and answers as the site gives them in the field: each case of `cases/pages` gives the right result.

A case is a folder: `page.html` or `listing.json`, the address and the requested id (`url.txt`), and a README.
"""

import json
import os
from pathlib import Path

import pytest

if not os.environ.get("CI"):
    pytest.importorskip("pydantic", reason="no pydantic: pip install 'tiktok_mm[scrape]'")
from tiktok_mm.scraping.listings import read_challenge, read_listing, read_tiles
from tiktok_mm.scraping.pages import PageError, media_urls, read_video, read_video_page

CASES = Path(__file__).parent / "cases" / "pages"
ID = "7300000000000000011"
H264 = "https://v16-webapp-prime.us.tiktok.com/video/tos/a/?a=1988&tk=tt_chain_token"
ODD = {"a25_bad_bitrate": "https://v16/a"}  # the first address where it is another one
MARKED = "https://v16-webapp-prime.us.tiktok.com/video/tos/b/?a=1988"


def item_of(case: Path):
    "The item of a case and the record of it; `PageError` says what there is instead."
    if (case / "listing.json").exists():
        (item,) = read_listing((case / "listing.json").read_text(encoding="utf-8")).items
        return item, read_video(item, "item_list")
    url, id, *_ = [*(case / "url.txt").read_text(encoding="utf-8").split("\n"), ""]
    item, source, _ = read_video_page((case / "page.html").read_text(encoding="utf-8"), url, id or None)
    return item, read_video(item, source)


VIEWS = {  # case → views, whether the count is exact
    "a01_video_2026_rounded_statsV2": (83_200, False),
    "a03_stats_only_small": (5_675, True),
    "a08_mobile_reflow": (83_200, False),
    "a15_sigi": (83_200, False),
    "a20_item_list_2024": (1_585_253, True),
    "a21_explore_2026": (2_800_000, False),
    "a22_search_item_list": (83_200, False),
    "a25_bad_bitrate": (83_200, False),
    "a26_bytevc2": (83_200, False),
    "a32_two_cases_of_a_tag": (83_200, False),
}
ERRORS = {  # case → kind and code of the error, and what its message says
    "a04_deleted": ("unavailable", "10204", "deleted"),
    "a05_cross_border": ("unavailable", "10204", "not available in this region"),
    "a06_code_100004": ("unavailable", "100004", "not available in this region"),
    "a10_photo_without_item": ("unavailable", "slideshow", "pictures"),
    "a11_classified": ("unavailable", "classified", "logged-in adults"),
    "a12_js_challenge": ("retry", "checking", "checking the browser"),
    "a13_captcha_2023_markup": ("wall", "captcha", "captcha"),
    "a16_sigi_removed": ("unavailable", "10204", "does not exist"),
    "a18_slideshow": ("unavailable", "slideshow", "pictures"),
    "a28_profile_next_2020": ("retry", "no_data", "no data of the video"),
    "a29_verify_answer": ("wall", "captcha", "captcha"),
    "a30_empty_200": ("retry", "empty", "empty"),
}
OTHERS = {"a23_item_list_null", "a27_tag_2026_ssr"}


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_a_case_gives_the_right_result(case):
    if case in VIEWS:
        item, video = item_of(CASES / case)
        assert (video.id, round(video.views_k * 1000), video.views_exact) == (ID, *VIEWS[case])
        assert (video.author, video.hashtags, video.duration) == ("user0", ["dance", "fun"], 64)
        assert media_urls(item)[0] == ODD.get(case, H264) and media_urls(item)[-1] == MARKED
        assert not any(word in url for url in media_urls(item) for word in ("vvc", "hvc1", "/aweme/"))
    elif case in ERRORS:
        with pytest.raises(PageError) as error:
            item_of(CASES / case)
        kind, code, says = ERRORS[case]
        assert (error.value.kind, error.value.code) == (kind, code) and says in str(error.value)
    else:
        assert case in OTHERS, "a case without a stated result"


MORE = [json.loads(line) for line in (CASES.parent / "pages_more.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("case", MORE, ids=[case["name"] for case in MORE])
def test_small_pages(case):
    "A page or a listing, and what it has to give: views and some fields, the number of items, or an error."
    url = case.get("url", f"https://www.tiktok.com/@user0/video/{ID}")
    try:
        if "listing" in case:
            listing = read_listing(case["listing"])
            assert [len(listing.items), listing.has_more] == case["items"]
            return
        item, source, _ = read_video_page(case["html"], url, ID)
    except PageError as error:
        assert [error.kind, error.code] == case["error"]
        return
    video = read_video(item, source)
    facts = video.model_dump() | {"urls": media_urls(item)}
    assert (video.id, round(video.views_k * 1000)) == (ID, case["views"])
    assert {name: facts[name] for name in case.get("fields", {})} == case.get("fields", {})


def test_a_list_that_is_null_is_no_end():
    listing = read_listing((CASES / "a23_item_list_null" / "listing.json").read_text(encoding="utf-8"))
    assert (listing.items, listing.cursor, listing.has_more) == ([], "30", True)


def test_the_tag_page_of_today_says_nothing_before_its_scripts_run():
    page = (CASES / "a27_tag_2026_ssr" / "page.html").read_text(encoding="utf-8")
    assert (read_challenge(page), read_tiles(page)) == ({}, [])
