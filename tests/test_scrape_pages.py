"Saved pages of every known variant, read without a browser."

import contextlib
import json
import os
import re
from pathlib import Path

import pytest

if not os.environ.get("CI"):
    pytest.importorskip("pydantic", reason="no pydantic: pip install 'tiktok_mm[scrape]'")
from tiktok_mm.scraping.listings import read_challenge, read_listing, read_tiles
from tiktok_mm.scraping.pages import PageError, media_urls, page_notice, parse_html, read_video, read_video_page

ID = "7193025561881496874"
PAGES = Path(__file__).parent / "pages"
VIDEO = f"https://www.tiktok.com/@mia.moves/video/{ID}"
SIGNED = "https://v16-webapp-prime.us.tiktok.com/video/tos/a/?expire=1674760000&signature=5d0c"


def saved(name: str) -> str:
    "A saved page."
    return (PAGES / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name, source, views, exact",
    [
        ("video", "page", "1776621", True),
        ("video_sigi", "page", "1800000", False),
        ("video_next", "page", "1800000", False),
        ("video_dom", "dom", None, None),
        ("video_broken_json", "dom", None, None),
    ],
)
def test_a_video_page(name, source, views, exact):
    item, found, _ = read_video_page(saved(f"{name}.html"), VIDEO, ID)
    video = read_video(item, found)
    assert (found, video.views_raw, video.views_exact) == (source, views, exact)
    assert (video.id, video.author, video.url) == (ID, "mia.moves", VIDEO)
    assert media_urls(item)[0] == SIGNED and not any("/aweme/" in url for url in media_urls(item))
    if source == "page":
        assert (video.followers, video.hashtags, video.duration, video.posted_at) == (
            45100,
            ["dance", "fyp"],
            21,
            "2023-01-26T16:21:02+00:00",
        )
        assert (video.comments, video.shares) == (1635, 5951) and video.caption.startswith("Step by step ✨")
        assert media_urls(item)[-1].endswith("signature=77aa")  # the watermarked one comes last


def test_unknown_fields_are_kept():
    item = read_video_page(saved("video.html"), VIDEO, ID)[0]
    assert item.itemCommentStatus == 0 and item.author.secUid == "MS4wLjABAAAA" and item.video.ratio == "540p"


@pytest.mark.parametrize(
    "name, code",
    [(f"video_{code}", str(code)) for code in (10204, 10216, 10222, 10221, 10231)]
    + [
        ("video_slideshow", "slideshow"),
        ("video_removed", "removed"),
        ("video_went_wrong", "went_wrong"),
        ("empty", "empty"),
        ("tag_missing", "missing_tag"),
        ("wall_captcha_puzzle", "captcha"),
        ("wall_captcha_slider", "captcha"),
        ("wall_captcha_shapes", "captcha"),
        ("wall_verify", "captcha"),
        ("wall_denied", "blocked"),
        ("tag", "no_data"),
    ],
)
def test_the_code_of_a_page_without_a_video(name, code):
    with pytest.raises(PageError) as error:
        read_video_page(saved(f"{name}.html"), VIDEO, ID)
    assert error.value.code == code


def test_a_login_wall_is_recognised_by_its_address():
    with pytest.raises(PageError) as error:
        read_video_page(saved("wall_login.html"), "https://www.tiktok.com/login?redirect_url=x", ID)
    assert error.value.code == "login"


def test_another_video_than_the_requested_one_is_refused():
    with pytest.raises(PageError) as error:
        read_video_page(saved("video.html"), VIDEO, "7193025561881496875")
    assert error.value.code == "other_video"


@pytest.mark.parametrize("name", ["video", "tag", "tag_server"])
def test_an_empty_captcha_container_and_translated_notices_are_ignored(name):
    assert page_notice(parse_html(saved(f"{name}.html")), VIDEO) is None


@pytest.mark.parametrize(
    "name, views",
    [
        ("tag", [None] * 3),
        ("tag_server", [None] * 3),
        ("tag_old", ["1.8M", "5951", "42.5K"]),
        ("profile", ["1.8M", "5951", "42.5K"]),
        ("search", ["1.8M", "5951", "42.5K"]),
        ("explore", []),
    ],
)
def test_tiles(name, views):
    tiles = read_tiles(saved(f"{name}.html"))
    assert [tile.get("views_raw") for tile in tiles] == views
    assert [tile["id"] for tile in tiles] == [f"719302556188149687{4 + i}" for i in range(len(views))]
    if tiles:
        assert [tile["caption"] for tile in tiles] == ["Step by step", "House & home", ""]
        assert tiles[1]["author"] == "old_house"


@pytest.mark.parametrize(
    "name, about",
    [
        ("tag.html", {"posts": 1_100_000}),
        ("tag_old.html", {}),
        ("tag_server.html", {"challenge_id": "9261", "posts": 1_100_000}),
        ("challenge_detail.json", {"challenge_id": "9261", "posts": 1_100_000}),
    ],
)
def test_about_a_hashtag(name, about):
    assert read_challenge(saved(name)) == about


def test_a_listing_and_its_end():
    listing = read_listing(saved("item_list.json"))
    assert ([item.id for item in listing.items], listing.cursor, listing.has_more) == (
        [ID, "7193025561881496880"],
        "30",
        True,
    )
    assert read_video(listing.items[0], "item_list").views_k == 1776.621 and listing.items[1].imagePost
    end = read_listing(saved("item_list_end.json"))
    assert (end.items, end.has_more) == ([], False)


@pytest.mark.parametrize(
    "name, code",
    [
        ("item_list_empty.txt", "empty"),
        ("item_list_verify.json", "captcha"),
        ("item_list_10201.json", "10201"),
        ("item_list_10205.json", "10205"),
        ("tag.html", "not_json"),
    ],
)
def test_the_code_of_an_answer_without_a_listing(name, code):
    with pytest.raises(PageError) as error:
        read_listing(saved(name))
    assert error.value.code == code


ODD = 1, "x", 1e999, [], [[1]], {"x": 1}


def changed(value, odd):
    "`value` with each of its parts, one after the other, replaced by `odd`."
    yield odd
    if isinstance(value, dict):
        for key, part in value.items():
            for other in changed(part, odd):
                yield value | {key: other}
    if isinstance(value, list):
        for i, part in enumerate(value):
            for other in changed(part, odd):
                yield [*value[:i], other, *value[i + 1 :]]


@pytest.mark.parametrize("name", ["video", "video_sigi", "video_next", "tag_server"])
def test_a_page_with_an_odd_value_raises_only_page_errors(name):
    before, data, after = re.split(
        r'(?<=true">|json">)(.*?)(?=</script>)', saved(f"{name}.html"), maxsplit=1, flags=re.DOTALL
    )
    for odd in ODD:
        for value in changed(json.loads(data), odd):
            page = before + json.dumps(value) + after
            read_challenge(page)
            try:
                item, source, _ = read_video_page(page, VIDEO, ID)
            except PageError:
                continue
            read_video(item, source)
            media_urls(item)


@pytest.mark.parametrize("odd", ODD)
def test_a_listing_with_an_odd_value_raises_only_page_errors(odd):
    for value in changed(json.loads(saved("item_list.json")), odd):
        try:
            items = read_listing(json.dumps(value)).items
        except PageError:
            continue
        for item in items:
            read_video(item, "item_list")
            media_urls(item)


@pytest.mark.parametrize("cut", range(0, 4000, 173))
def test_a_truncated_page_raises_only_page_errors(cut):
    for name in ("video.html", "tag_old.html", "wall_verify.html"):
        text = saved(name)[:cut]
        read_tiles(text)
        read_challenge(text)
        with contextlib.suppress(PageError):
            read_video_page(text, VIDEO, ID)
