"Metadata as collectors really write it: each case in tests/cases/corpora gives the result that its README states."

import json
import subprocess
import sys
from pathlib import Path

import av
import pytest

from tiktok_mm.data import check_corpus, open_corpus
from tiktok_mm.lib.core import UserError

CASES = Path(__file__).parent / "cases" / "corpora"
NAMES = sorted(path.name for path in CASES.iterdir())
IDS = [f"73000000000000000{n}" for n in range(11, 23)]
VIEWS = [1635, 42500, 21100000, 880, 15000, 230000, 9120, 777, 64000, 1200, 350, 5100000]


@pytest.fixture(scope="module")
def tiny_video(tmp_path_factory) -> Path:
    "A video of ten small frames, which is read in a millisecond."
    path = tmp_path_factory.mktemp("video") / "tiny.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 64, "yuv420p"
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame(32, 64, "yuv420p")))
        container.mux(stream.encode(None))
    return path


def lay_out(case: str, folder: Path, video: Path) -> Path:
    "The case's metadata in a folder, with a video under each name in its videos.txt."
    for path in (CASES / case).iterdir():
        if path.name not in ("README", "videos.txt"):
            (folder / path.name).write_bytes(path.read_bytes())
    for name in (CASES / case / "videos.txt").read_text().splitlines():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).hardlink_to(video)
    return folder


REFUSED = {
    "b14_userexport": "view counts",
    "b42_xlsx_name": "save it as CSV, with the ids as text",
    "b50_excel_ids": "rounded by a spreadsheet",
    "b51_excel_ids_german": "rounded by a spreadsheet",
    "b53_float_ids_json": "rounded by a spreadsheet",
}
COUNTS = {
    "b60_thousands": [1234567] * 5 + [12345, 1234567, 1234567, 12345, 123, 1234567, 1234567],
    "b61_suffixes": [12300, 12300, 12300, 1200000, 1500000, 12000, 15000, 2e9, 12300, 1200000, 3000, 1200000],
    "b63_arabic": [1234, 1234567, 1500000, 1234, 1234, 1234, 1635, 42500, 880, 15000, 9120, 777],
    "b64_science": [1500000, 1500000, 21100000, 1500000, 1635, 42500, 880, 15000, 9120, 777, 64000, 5],
}
GOOD_ROWS = {
    "b44_cut_line_in_the_middle": {n: VIEWS[n] for n in range(12) if n != 4},
    "b49_same_video_twice": {n: VIEWS[n] for n in range(1, 12)} | {0: 1700},
    "b62_missing": dict(zip((0, 2, 5, 7, 8, 9, 10, 11), (1635, 42500, 880, 15000, 230000, 9120, 777, 64000))),
    "b76_one_info_json": {0: 1635},
}
NAMED = {  # what the check has to say about the rows that it leaves out
    "b44_cut_line_in_the_middle": ["line 5"],
    "b49_same_video_twice": [IDS[0]],
    "b62_missing": [IDS[n] for n in (1, 3, 4, 6)],
}


def expected_counts(case: str) -> dict[str, float]:
    "The view count of each id that has to be read."
    rows = GOOD_ROWS.get(case) or dict(enumerate(COUNTS.get(case, VIEWS)))
    return {IDS[n]: count for n, count in rows.items()}


@pytest.mark.parametrize("case", NAMES)
def test_a_case_gives_the_right_result(case, tmp_path, tiny_video):
    folder = lay_out(case, tmp_path, tiny_video)
    if case in REFUSED:
        with pytest.raises(UserError, match=REFUSED[case]):
            check_corpus(open_corpus(folder), progress=False)
        return
    corpus = open_corpus(folder)
    found = check_corpus(corpus, progress=False)
    counts = dict(zip(corpus.table.id, (corpus.table.views_k * 1000).round(6)))
    assert counts == pytest.approx(expected_counts(case))
    assert (found.videos, found.usable) == (len(counts), len(counts))
    for named in NAMED.get(case, []):
        assert named in json.dumps(found.to_dict())
    if case in DETAILS:
        DETAILS[case](corpus.table)


def durations_in_seconds(table):
    assert table.duration.tolist() == pytest.approx([12.01] * 12)


def tags_in_every_row(table):
    assert table.hashtags.tolist() == [["dance", "fun"]] * 12
    assert table.topics.tolist() == [["Comedy and Drama"]] * 12


def addresses_of_pages(table):
    assert all(url.endswith(f"/video/{id}") for url, id in zip(table.url, table.id))


def no_date_of_collection(table):
    assert "collected_at" not in table and table.posted_at.notna().all()


def followers_but_one(table):
    assert table.followers.isna().tolist() == [n == 3 for n in range(12)]


def tags_by_name(table):
    assert table.hashtags.tolist() == [["dance"]] * 12


def captions_in_their_encoding(table):
    assert set(table.caption) == {"café – déjà vu"}


DETAILS = {
    "b03_tiktokscraper_collector": tags_by_name,
    "b11_aweme_list": durations_in_seconds,
    "b11b_aweme_plain_list": durations_in_seconds,
    "b21_4cat": addresses_of_pages,
    "b25_apify_overview_csv": addresses_of_pages,
    "b28_jsoncsv_hashtags": tags_in_every_row,
    "b32_cp1252_csv": captions_in_their_encoding,
    "b47_ytdlp_lines": addresses_of_pages,
    "b48_item_collected": no_date_of_collection,
    "b65_followers_na": followers_but_one,
}
