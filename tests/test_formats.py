"Metadata as collectors really write it: each case in tests/cases/corpora gives the result that its README states."

import base64
import json
import subprocess
import sys
from pathlib import Path

import av
import pytest
from command import tiktok_mm

from tiktok_mm.data import check_corpus, open_corpus
from tiktok_mm.lib.core import UserError

pytestmark = pytest.mark.usefixtures("in_this_process")

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


FORMATS = {
    "b01_tiktokapi_list": "TikTok-Api or itemList",
    "b03_tiktokscraper_collector": "tiktok-scraper",
    "b04_research_api": "Research API",
    "b05_zeeschuimer_ndjson": "Zeeschuimer",
    "b07_search_data_item": "TikTok search",
    "b10_sigi_itemmodule": "SIGI_STATE",
    "b11_aweme_list": "app API",
    "b12_tikwm": "tikwm",
    "b20_pyktok": "pyktok or traktok",
    "b21_4cat": "4CAT",
    "b25_apify_overview_csv": "Apify",
    "b33_semicolon": "plain table",
    "b47_ytdlp_lines": "yt-dlp",
}
WRITTEN = {  # what other collectors write, for one video
    "Apify": "authorMeta/name,hashtags/0/name,hashtags/1/name,webVideoUrl,playCount,createTimeISO\n"
    "user0,dance,fun,{url},42500,2023-11-14T22:13:20.000Z\n",
    "TikTok Studio": "Video title,Video link,Post time,Total likes,Total views\na,{url},October 5,1,42500\n",
    "Bright Data": 'post_id,url,play_count,hashtags,profile_username\n{id},{url},42500,"[""dance"",""fun""]",a\n',
    "pyktok or traktok": "video_id,video_url,video_playcount,video_fn\n{id},{url},42500,./@user0_video_{id}.mp4\n",
    "Research API": "id,video_description,view_count,hashtag_names\n{id},text,42500,\"['dance', 'fun']\"\n",
    "app API": '{{"data": [{{"aweme_info": {{"aweme_id": "{id}", "statistics": {{"play_count": 42500}}}}}}]}}',
    "yt-dlp": '{{"_type": "playlist", "id": "user0", "view_count": 9, '
    '"entries": [{{"id": "{id}", "view_count": 42500, "upload_date": "20231114"}}]}}',
    "TikTok-Api or itemList": '{{"__DEFAULT_SCOPE__": {{"video-detail": {{"itemInfo": {{"itemStruct": {{"id": "{id}", '
    '"stats": {{"playCount": 42500}}, "challenges": [{{"title": "dance"}}, {{"title": "fun"}}]}}}}}}}}}}',
}


@pytest.mark.parametrize("case", FORMATS)
def test_the_check_says_which_format_it_took_a_file_for(case, tmp_path, tiny_video):
    corpus = open_corpus(lay_out(case, tmp_path, tiny_video))
    assert corpus.format.startswith(f"{FORMATS[case]} (")


@pytest.mark.parametrize("name", WRITTEN)
def test_other_collectors(name, tmp_path):
    url = f"https://www.tiktok.com/@user0/video/{IDS[0]}"
    (tmp_path / "export.txt").write_text(WRITTEN[name].format(id=IDS[0], url=url))
    (tmp_path / f"@user0_video_{IDS[0]}.mp4").touch()
    corpus = open_corpus(tmp_path)
    row = corpus.table.iloc[0]
    assert (corpus.format, len(corpus.table)) == (f"{name} (export.txt)", 1)
    assert (row.id, row.views_k, row.views_exact, row.path.stem) == (IDS[0], 42.5, False, f"@user0_video_{IDS[0]}")
    assert row.get("hashtags", ["dance", "fun"]) == ["dance", "fun"]


TABLE = "id,views\n" + "".join(f"{id},{views}\n" for id, views in zip(IDS, VIEWS))
VARIANTS = {  # the same table as programs of other countries and habits save it
    "dots for thousands": TABLE.replace(",", ";").replace("21100000", "21.100.000").replace("42500", "42.500").encode(),
    "Excel's text guard": TABLE.replace("73", "'73").encode(),
    "a floating-point column": TABLE.replace(",", ".0,").replace("id.0,", "id,").encode(),
    "UTF-16 without a mark": TABLE.encode("utf-16-be"),
    "a title above": b"Export of my clips; 12 videos\n\n" + TABLE.encode(),
    "bars": TABLE.replace(",", "|").encode(),
    "old Macintosh lines": TABLE.replace("\n", "\r").encode(),
    "thousands": ("id,Views (K)\n" + "".join(f"{id},{v / 1000}\n" for id, v in zip(IDS, VIEWS))).encode(),
    "a list of lines": (
        "[\n" + ",\n".join(f'{{"id": {id}.0, "views": {v}}}' for id, v in zip(IDS, VIEWS)) + "\n"
    ).encode(),
    "counts by id": json.dumps(dict(zip(IDS, VIEWS))).encode(),
    "records by id": json.dumps({id: {"views": f"{views:,}"} for id, views in zip(IDS, VIEWS)}).encode(),
    "from a database": json.dumps(
        [{"_id": {"$oid": "64f"}, "id": {"$numberLong": id}, "views": views} for id, views in zip(IDS, VIEWS)]
    ).encode(),
    "items as pandas writes them": b"id,stats\n"
    + "".join(f"{id},\"{{'playCount': {views}, 'diggCount': 1}}\"\n" for id, views in zip(IDS, VIEWS)).encode(),
    "with messages": "\n".join(
        f'[TikTok] {id}: done\n{{"id": "{id}", "view_count": {views}}}' for id, views in zip(IDS, VIEWS)
    ).encode(),
    "in an unknown wrapper": json.dumps(
        {"data": {"edges": [{"node": {"video_id": id, "play_count": views}} for id, views in zip(IDS, VIEWS)]}}
    ).encode(),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_table_written_differently(name, tmp_path):
    (tmp_path / "videos.csv").write_bytes(VARIANTS[name])
    table = open_corpus(tmp_path).table
    assert (table.id.tolist(), (table.views_k * 1000).round(6).tolist()) == (IDS, VIEWS)


MORE = [json.loads(line) for line in (CASES.parent / "corpora_more.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("case", MORE, ids=[case["name"] for case in MORE])
def test_small_corpora(case, tmp_path, tiny_video):
    "`files` and `videos` of a corpus, and what has to be read: the views of each id, and some fields of the first row."
    for name, text in case["files"].items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        coded = text.removeprefix("base64:")
        (tmp_path / name).write_bytes(base64.b64decode(coded) if coded != text else text.encode())
    for name in case.get("videos", [f"{id}.mp4" for id in case["views"]]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).hardlink_to(tiny_video)
    corpus = open_corpus(tmp_path)
    found = check_corpus(corpus, progress=False)
    assert dict(zip(corpus.table.id, (corpus.table.views_k * 1000).round(3))) == case["views"]
    assert found.usable == len(case["views"])
    assert {name: str(corpus.table[name][0]) for name in case.get("fields", [])} == case.get("fields", {})
    assert all(said in json.dumps(found.to_dict()) for said in case.get("said", []))


ROUNDED = {
    "floating point": [int(float(int(id) + 7 * 1024 * n)) for n, id in enumerate(IDS)],
    "fifteen digits": [int(id) // 10**4 * 10**4 + n * 10**6 for n, id in enumerate(IDS)],
}


@pytest.mark.parametrize("how", ROUNDED)
def test_rounded_ids_are_refused(how, tmp_path):
    (tmp_path / "videos.csv").write_text("id,views\n" + "".join(f"{id},5\n" for id in ROUNDED[how]))
    with pytest.raises(UserError, match="last digits are lost: export ids as text"):
        open_corpus(tmp_path)


def test_a_few_ids_that_look_rounded_are_ids(tmp_path):
    (tmp_path / "videos.csv").write_text(TABLE + "7300000000000001000,5\n")
    assert len(open_corpus(tmp_path).table) == 13


@pytest.mark.parametrize(
    "files, said",
    [
        ({}, "found no file"),
        ({"a.csv": TABLE, "intro.mp4": "x"}, "none of the 12 videos is in"),
        ({"a.csv": TABLE, **{f"{id}.mp4": "<html>" for id in IDS}}, "can be read: 7300000000000000011: a web page"),
        ({"a.csv": "id,views\n7.3E+18,5\n"}, "rounded by a spreadsheet"),
    ],
)
def test_what_cannot_be_checked_is_said_in_one_line(files, said, tmp_path):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    code, output, error = tiktok_mm("check", tmp_path)
    assert (code, output, error.count("\n")) == (2, "", 1) and said in error


def test_formats_are_listed():
    code, output, error = tiktok_mm("formats")
    assert (code, error) == (0, "") and all(name in output for name in {*FORMATS.values(), *WRITTEN})


CAPTIONS = {  # encodings: captions in a language that is written in them
    "cp1250 iso8859_2": "Žluťoučký kůň skáče přes louku|Jak se naučit tančit za týden|Příšerně jsem se lekla, přátelé",
    "cp1250 iso8859-2": "Zażółć gęślą jaźń na wesoło|Mój kot śpi cały dzień|Ćwiczenia na płaski brzuch",
    "cp1252 cp850 mac_roman": "Heute backen wir Brötchen mit Käse|Schöne Grüße aus den Bergen|Die längste Straße",
    "cp1252 cp850": "Ma recette préférée de crêpes|Voilà l'été à la montagne|Ça va être génial",
    "cp1254": "Bugün börek yapıyoruz arkadaşlar|Bir haftada dans etmeyi öğren|Şu güzel gün batımına bakın",  # noqa: RUF001
    "cp1257": "Šiandien verdame cepelinus|Gražiausias saulėlydis prie jūros|Mano šuo bijo fejerverkų",
    "cp874": "วันนี้เราจะทำอาหารไทย|หมาของฉันกลัวพลุ|พระอาทิตย์ตกที่ทะเลสวยมาก",
    "cp1251 koi8_r": "Сегодня готовим борщ вместе|Моя собака боится салюта|Красивый закат на море",
    "cp932 euc_jp": "今日は一緒にカレーを作ります|うちの犬は花火が怖い|一週間でダンスを覚える方法",
}
CODED = [(encoding, captions.split("|")) for encodings, captions in CAPTIONS.items() for encoding in encodings.split()]


@pytest.mark.parametrize("encoding, captions", CODED, ids=[encoding for encoding, _ in CODED])
def test_captions_in_old_encodings(encoding, captions, tmp_path):
    rows = zip(IDS, VIEWS, 4 * captions)
    text = "id,views,caption\n" + "".join(f'{id},{views},"{caption}"\n' for id, views, caption in rows)
    (tmp_path / "videos.csv").write_bytes(text.encode(encoding))
    assert open_corpus(tmp_path).table.caption.tolist() == 4 * captions
