"Any metadata file gives a table, or one line that says what is wrong with it."

import json
import string

import numpy as np
import pytest

from tiktok_mm.data import check_corpus, open_corpus
from tiktok_mm.lib.core import UserError, parse_count
from tiktok_mm.synthetic.corpus import make_corpus

GOOD = {
    "videos.csv": "id,views\n1,21.1M\n2,1635\n",
    "semicolons.csv": "video_id;playCount\n1;21.1M\n2;1 635\n",
    "excel.csv": '\ufeffID,Views\r\n1,"21,100,000"\r\n2,"1,635"\r\n',
    "tabs.tsv": "id\tviews_k\n1\t21100\n2\t1.635\n",
    "labels.jsonl": '{"id": 1, "url": "u", "views": "21.1M"}\n{"id": 2, "url": "u", "views": "1635"}\n',
    "map.json": '{"1": "21.1M", "2": 1635}',
    "records.json": '{"1": {"views": "21.1M"}, "2": {"views": 1635}}',
    "items.json": json.dumps(
        {
            "itemList": [
                {"id": "1", "stats": {"playCount": 21100000}, "author": {"uniqueId": "a"}, "createTime": 1669075200},
                {"id": "2", "stats": {"playCount": 9}, "statsV2": {"playCount": "1635"}},
            ]
        }
    ),
    "manifest.jsonl": '{"id": "1", "state": "discovered"}\n'
    '{"id": "2", "state": "meta", "views_raw": "1635"}\n'
    '{"id": "3", "state": "meta", "views_raw": 5}\n'
    '{"id": "1", "state": "verified", "views_raw": "21.1M"}\n'
    '{"id": "2", "state": "verified"}\n'
    '{"id": "3", "state": "failed:10204"}\n',
}


@pytest.mark.parametrize("name", GOOD)
def test_every_format_gives_the_same_table(tmp_path, name):
    (tmp_path / name).write_bytes(GOOD[name].encode())
    table = open_corpus(tmp_path).table
    assert table.id.tolist() == ["1", "2"]
    assert table.views_k.tolist() == [21100.0, 1.635]


TEXTS = {
    "cp1252": "le café à la crème est déjà prêt",
    "utf-16": "le café à la crème est déjà prêt",
    "cp1251": "привет как дела сегодня",
    "gb18030": "今天天气很好我们去公园玩",
    "big5": "今天天氣很好我們去公園玩",
    "cp932": "今日はとてもいい天気ですね",
    "cp949": "오늘은 날씨가 정말 좋네요",
}


@pytest.mark.parametrize("encoding", TEXTS)
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_encodings_and_delimiters_of_spreadsheets(tmp_path, encoding, delimiter):
    rows = [("id", "views", "caption"), ("1", "21.1M", TEXTS[encoding]), ("2", "1635", TEXTS[encoding])]
    text = "\r\n".join(delimiter.join(row) for row in rows)
    (tmp_path / "export.csv").write_bytes(text.encode(encoding))
    table = open_corpus(tmp_path).table
    assert table.views_k.tolist() == [21100.0, 1.635]
    assert table.caption.tolist() == [TEXTS[encoding]] * 2


@pytest.mark.parametrize("header", ["vid;url;views;desc, short", '"vid";"desc, with, many, commas";"views"'])
def test_a_delimiter_within_a_header_name(tmp_path, header):
    (tmp_path / "videos.csv").write_text(f"{header}\n1;;5\n" if "many" in header else f"{header}\n1;u;5;x\n")
    assert open_corpus(tmp_path).table.views_k.tolist() == [0.005]


def test_a_check_as_json(fixture_corpus):
    checked = check_corpus(open_corpus(fixture_corpus), progress=False)
    silent = {"check": "no sound", "level": "warning", "id": "7100205716037144820", "detail": ""}
    expected = {
        "format": "plain table (videos.jsonl)",
        "videos": 12,
        "usable": 12,
        "groups": 12,
        "ok": True,
        "advice": "10 of 12 videos have fewer than 3 sampled frames at --frame-skip 200: try --frame-skip 50",
        "findings": [silent],
    }
    assert json.loads(json.dumps(checked.to_dict())) == expected


def test_manifest_comes_before_other_files(tmp_path):
    for name in ("manifest.jsonl", "videos.csv"):
        (tmp_path / name).write_text(GOOD[name])
    assert open_corpus(tmp_path).table.views_raw.tolist() == ["21.1M", "1635"]


def test_any_bytes_give_a_table_or_a_user_error(tmp_path):
    rng = np.random.default_rng(0)
    seeds = [text.encode() for text in GOOD.values()]
    for n in range(300):
        data = bytearray(seeds[n % len(seeds)])
        for _ in range(rng.integers(1, 6)):
            start = rng.integers(len(data))
            data[start : start + rng.integers(0, 4)] = rng.bytes(rng.integers(0, 4))
        path = tmp_path / list(GOOD)[n % len(GOOD)]
        path.write_bytes(data)
        try:
            assert len(open_corpus(path).table)
        except UserError as error:
            assert "\n" not in str(error)


def test_any_text_is_a_count_or_a_user_error():
    rng, letters = np.random.default_rng(0), list(string.digits * 3 + ".,KMBkmb万亿 '-+eE ")
    for _ in range(5000):
        text = "".join(rng.choice(letters, rng.integers(0, 8)))
        try:
            count, _ = parse_count(text)
        except UserError:
            continue
        assert count >= 0 and count == int(count)


def test_the_fixture_is_what_its_script_makes(tmp_path, fixture_corpus):
    made = make_corpus(tmp_path / "corpus", n=12, seed=24, seconds=(7, 12), progress=False)
    assert (made / "videos.jsonl").read_text() == (fixture_corpus / "videos.jsonl").read_text()
    assert {path.name for path in (made / "videos").iterdir()} == {
        path.name for path in (fixture_corpus / "videos").iterdir()
    }
