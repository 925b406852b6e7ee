"Names and contents that somebody made to do harm, or that a damaged disk leaves: refused or shown as text."

import csv
import io
import json
import os
import pickle
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from command import tiktok_mm

from tiktok_mm.audio import AudioConfig
from tiktok_mm.autoencoder import load_published
from tiktok_mm.baselines import kinetics_weights
from tiktok_mm.beyond.reference import Reference
from tiktok_mm.data import check_corpus, open_corpus
from tiktok_mm.lib.core import UserError, safe_id
from tiktok_mm.lib.runs import read_run
from tiktok_mm.lib.splits import Split
from tiktok_mm.lib.store import (
    Corpus,
    Provenance,
    atomic_write,
    features_header,
    is_current,
    load_array,
    load_features,
    read_json,
    read_jsonl,
    save_features,
    stored_notices,
    stored_provenance,
    write_jsonl,
)
from tiktok_mm.lib.tables import no_formula, write_csv
from tiktok_mm.lib.whisper_models import load_whisper
from tiktok_mm.pipeline.extract import extract

pytestmark = pytest.mark.usefixtures("in_this_process")
COMMAND = [sys.executable, "-m", "tiktok_mm"]
DEEP = 200_000  # brackets


@pytest.fixture
def film(fixture_corpus) -> Path:
    "The smallest film of the fixture."
    return min((fixture_corpus / "videos").iterdir(), key=lambda path: path.stat().st_size)


@pytest.fixture
def corpus(film, tmp_path) -> Path:
    "A folder with one video, and a view count for it."
    (tmp_path / "corpus" / "videos").mkdir(parents=True)
    shutil.copy(film, tmp_path / "corpus" / "videos" / "one.mp4")
    (tmp_path / "corpus" / "list.json").write_text('[{"id": "one", "views": 5}]')
    return tmp_path / "corpus"


def run(*arguments) -> subprocess.CompletedProcess:
    "Run the command line."
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, timeout=120)


IDS = {  # as written: the id in the table, or nothing if the row is refused
    "a/b": "",
    "../../etc/passwd": "",
    "..": "",
    ".": "",
    ".hidden": "",
    "a..b": "",
    "/etc/passwd": "",
    "C:\\x": "",
    "a\\..\\b": "",
    "x" * 300: "",
    "9" * 300: "",
    "9" * 5000: "",
    "видео": "",
    "é": "",
    "a\0b": "ab",  # what nobody can see is left out
    "a\nb": "ab",
    "\u202e123": "123",
    "\uff11\uff12\uff13\uff14": "1234",  # digits of another width
    "=7095": "7095",
    '"7096"': "7096",
    "$(reboot)": "",
    "a;b": "",
    "*": "",
    "\ud800": "",
    "a" * 128: "a" * 128,
}


@pytest.mark.parametrize("kind", ["json", "jsonl", "csv"])
def test_ids_are_safe_names_or_refused(kind, corpus, film):
    "No path that is made of an id lies outside of its folder, in whatever form the list is."
    rows = [{"id": id, "views": 5} for id in ("one", *IDS)]
    (corpus / "list.json").unlink()
    if kind == "csv":
        rows = [row for row in rows if row["id"] not in ("a\nb", "a\0b", "\ud800", '"7096"', "a;b")]
        pd.DataFrame(rows).to_csv(corpus / "list.csv", index=False)
    else:
        text = json.dumps(rows) if kind == "json" else "\n".join(map(json.dumps, rows))
        (corpus / f"list.{kind}").write_text(text)
    opened = open_corpus(corpus)
    expected = set(filter(None, (IDS.get(row["id"], row["id"]) for row in rows)))
    assert sorted(opened.table.id) == sorted(expected)
    refused = [row for row in opened.rejected if "cannot be a file name" in row.reason]
    assert len(refused) >= sum(not IDS.get(row["id"], "x") for row in rows) - 1  # an id of nothing visible is none
    for id in opened.table.id:
        for path in (opened.features("visual", id), opened.wav(id)):
            assert path.resolve().is_relative_to(corpus.resolve()) and len(path.name) < 255
    for row in opened.rejected:
        assert "\n" not in row.reason and len(row.reason) < 200
    assert "cannot be a file name" in str(check_corpus(opened, progress=False))


@pytest.mark.parametrize("stated", ["../secret.mp4", "{outside}", "videos/../../secret.mp4", "a\0b", "x" * 5000, "~"])
def test_a_stated_path_does_not_leave_the_folder(stated, corpus, film):
    shutil.copy(film, outside := corpus.parent / "secret.mp4")
    stated = stated.format(outside=outside)
    (corpus / "list.json").write_text(json.dumps([{"id": "one", "views": 5}, {"id": "2", "views": 5, "path": stated}]))
    paths = dict(zip(*(open_corpus(corpus).table[name] for name in ("id", "path"))))
    assert paths["one"] is not None and paths["2"] is None


def test_what_lies_there_instead_of_a_video(corpus):
    "Pipes and devices have no end; links to themselves, to folders and to texts elsewhere are no videos."
    videos, rows = corpus / "videos", [{"id": "one", "views": 5}]
    os.mkfifo(videos / "pipe.mp4")
    targets = {"zero": "/dev/zero", "loop": "loop.mp4", "folder": str(corpus), "text": "/etc/hosts", "self": "."}
    for name, target in targets.items():
        (videos / f"{name}.mp4").symlink_to(target)
    rows += [{"id": name, "views": 5} for name in ("pipe", *targets)]
    (corpus / "list.json").write_text(json.dumps(rows))
    opened = open_corpus(corpus)
    found = dict(zip(opened.table.id, opened.table.path))
    summary = extract(opened, audio=AudioConfig("demo"), progress=False)
    reasons = {one["id"]: one["reason"].partition(": ")[2] for one in summary.failures if found[one["id"]]}
    assert summary.extracted == 1 and summary.failed == 6
    assert reasons.pop("text") == "text, not a video"
    assert reasons.pop("pipe") == reasons.pop("zero") == "a device or a pipe, not a video"
    assert set(reasons.values()) <= {"a folder, not a video", "cannot be read (Too many levels of symbolic links)"}
    check = str(check_corpus(opened, progress=False))
    assert "root:" not in check and "localhost" not in check and "pipe (a device or a pipe, not a video)" in check


def test_a_link_in_the_place_of_what_is_written(corpus, tmp_path):
    "A corpus from elsewhere may hold links under the names that are written: what they point to stays as it is."
    (precious := tmp_path / "precious").write_text("do not touch")
    names = ["transcripts.jsonl", "failures.jsonl", "contact_sheet.png"]
    for name in (*names, "features/visual/one.safetensors", "features/audio/one.safetensors", "audio/one.wav"):
        path = corpus / name
        path.parent.mkdir(parents=True, exist_ok=True)
        for link in (path, path.with_name(f".{path.name}.tmp")):
            link.symlink_to(precious)
    assert tiktok_mm("extract", corpus, "--whisper", "demo").returncode == 0
    assert precious.read_text() == "do not touch"
    assert not (corpus / "features/visual/one.safetensors").is_symlink() and not list(corpus.glob("*/*/*.tmp"))


def test_names_of_files_that_are_no_text(corpus, film):
    "A name that is not UTF-8, or holds what a terminal obeys, is printed as text by every command."
    shutil.copy(film, os.fsencode(corpus / "videos") + b"/\xff\xfe.mp4")
    shutil.copy(film, corpus / "videos" / "\x1b[31mred.mp4")
    with open(corpus / "list.json", "w") as file:
        json.dump([{"id": name, "views": 5 + n} for n, name in enumerate("abcdefghijklm")], file)
    for n, name in enumerate("abcdefghijkl"):
        (corpus / "videos" / f"{name}.mp4").write_bytes(film.read_bytes() + bytes(n))
    shutil.copy(corpus / "videos" / "a.mp4", os.fsencode(corpus / "videos") + b"/\xff[m].mp4")
    done = run("check", corpus)
    assert done.returncode in (0, 1) and not done.stderr
    assert b"\\udcff" in done.stdout and b"\x1b" not in done.stdout


FORMULAS = [
    "=1+1",
    "+SUM(A1)",
    "-2+3|cmd",
    "@x",
    " =1",
    "\t=1",
    "\r=1",
    "\uff1d1",
    "a\r=1",
    "=HYPERLINK(A1)",
    '=cmd|"/C calc"!A0',
]


def test_no_text_in_a_table_is_a_formula(tmp_path):
    "Neither in a cell nor in the name of a column; numbers and other texts stay what they are."
    plain = ["fine", "-5", "+3.5", "a=b", "1-2", "", 7, 1.5, None]
    table = pd.DataFrame({"=name": [*FORMULAS, *plain]}, dtype=object)
    write_csv(tmp_path / "x.csv", table)
    with open(tmp_path / "x.csv", newline="") as file:
        (name,), *rows = csv.reader(io.StringIO(file.read().replace("\r", "\n"), newline=""))
    cells = [row[0] if row else "" for row in rows]
    assert name == "'=name" and len(cells) == len(FORMULAS) + len(plain)
    assert all(cell.startswith(("'", "a\n")) for cell in cells[: len(FORMULAS)])
    assert [no_formula(value) for value in plain] == plain


class Harm:
    "An object whose pickle makes a file when it is read."

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def pickles(marker: Path) -> dict[str, bytes]:
    "The same object as a plain pickle, and as torch and NumPy write it."
    as_torch, as_numpy = io.BytesIO(), io.BytesIO()
    torch.save({"state_dict": Harm(marker), "dims": {}, "model_state_dict": {}}, as_torch)
    np.save(as_numpy, np.array([Harm(marker)], dtype=object), allow_pickle=True)
    return {"pickle": pickle.dumps(Harm(marker)), "torch": as_torch.getvalue(), "numpy": as_numpy.getvalue()}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol 4")  # torch says it before it refuses
@pytest.mark.parametrize("kind", ["pickle", "torch", "numpy"])
def test_pickles_are_refused(kind, tmp_path, corpus):
    "As a checkpoint, as weights, as features: nothing in them is executed, and one line says that they are refused."
    content = pickles(marker := tmp_path / "harm")[kind]
    for name in ("x.pt", "x.pth", "x.safetensors", "reference.safetensors"):
        (tmp_path / name).write_bytes(content)
    readers = {
        load_whisper: "x.pt",
        load_published: "x.pt",
        kinetics_weights: "x.pth",
        load_features: "x.safetensors",
        read_run: "x.safetensors",
    }
    for read, name in readers.items():
        with pytest.raises(UserError) as refused:
            read(str(tmp_path / name))
        assert "\n" not in str(refused.value)
    with pytest.raises(UserError):
        kinetics_weights(str(tmp_path / "x.safetensors"))
    assert Reference.load(tmp_path) is None
    features = corpus / "features" / "visual" / "one.safetensors"
    features.parent.mkdir(parents=True)
    features.write_bytes(content)
    assert features_header(features) == {}
    assert extract(open_corpus(corpus), audio=AudioConfig("demo"), progress=False).extracted == 1
    assert load_array(features, "clip").ndim == 4
    assert not marker.exists()
    pickle.loads(pickles(marker)["pickle"])
    assert marker.exists()  # as it would have been


BOMBS = {
    "brackets": "[" * DEEP + "]" * DEEP,
    "braces": '{"a":' * DEEP + "1" + "}" * DEEP,
    "open": "[" * DEEP,
    "number": '{"id": "2", "views": ' + "9" * 10_000 + "}",
    "text of digits": '{"id": "2", "views": "' + "9" * 100_000 + '"}',
    "infinite": '{"id": "2", "views": 1e999999}',
    "half a character": '{"id": "\\ud800", "views": 5}',
    "list": "[1, 2]",
    "text": '"x"',
    "constant": "NaN",
}


@pytest.mark.parametrize("name", ["list.json", "list.jsonl", "manifest.jsonl", "list.csv"])
@pytest.mark.parametrize("bomb", BOMBS)
def test_json_bombs(bomb, name, corpus):
    "As a whole file: one line. As one line of several: that line is left out, or named."
    (corpus / "list.json").unlink()
    (corpus / name).write_text(BOMBS[bomb])
    with pytest.raises(UserError) as refused:
        open_corpus(corpus)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 500
    if name == "list.jsonl":
        (corpus / name).write_text('{"id": "one", "views": 5}\n' + BOMBS[bomb] + "\n")
        assert open_corpus(corpus).table.id.tolist() == ["one"]


@pytest.mark.parametrize("bomb", ["brackets", "number", "list", "constant", "open"])
def test_bombs_in_what_the_program_wrote(bomb, tmp_path):
    "Each reader says so in one line."
    (path := tmp_path / "x.json").write_text(BOMBS[bomb])
    readers = [read_run, Split.load, *([read_jsonl] if bomb != "open" else [])]
    for read in (*readers, *([read_json] if bomb not in ("list", "constant") else [])):
        with pytest.raises(UserError) as refused:
            read(path)
        assert "\n" not in str(refused.value)


def test_half_characters_are_replaced(corpus):
    "JSON can name halves of characters, which no file can hold: in captions, and escaped twice, too."
    text = r'[{"id": "one", "views": 5, "desc": "a\ud800b \ud83d\ude00 \\ud800", "author": "\udc00"}]'
    (corpus / "list.json").write_text(text)
    row = open_corpus(corpus).table.iloc[0]
    assert row.caption == "a\ufffdb 😀 \\ud800" and row.author == "\ufffd"
    write_jsonl(corpus / "x.jsonl", [{"name": "\udcff"}])
    assert read_jsonl(corpus / "x.jsonl") == [{"name": "\ufffd"}]


def safetensors(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    "A safetensors file that says this."
    return struct.pack("<Q", len(header) if length is None else length) + header + data


ABOUT = json.dumps({"provenance": {}, "metadata": {}})
FOUR = b'{"clip":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
LIES = {
    "empty": b"",
    "short": b"\1\0",
    "a header of 2^64 bytes": safetensors(FOUR, bytes(4), 2**64 - 1),
    "a header of 90 MB": safetensors(FOUR, bytes(4), 90_000_000),
    "no JSON": safetensors(b"\xff" * 40, bytes(4)),
    "brackets": safetensors(b"[" * DEEP + b"]" * DEEP),
    "less data": safetensors(FOUR, bytes(2)),
    "more data": safetensors(FOUR, bytes(9)),
    "another shape": safetensors(FOUR.replace(b"[4]", b"[5]"), bytes(4)),
    "a huge shape": safetensors(FOUR.replace(b"[4]", b"[4294967295,4294967295,4294967295]"), bytes(4)),
    "a negative shape": safetensors(FOUR.replace(b"[4]", b"[-4]"), bytes(4)),
    "offsets behind the end": safetensors(FOUR.replace(b"[0,4]", b"[4,8]"), bytes(4)),
    "offsets backwards": safetensors(FOUR.replace(b"[0,4]", b"[4,0]"), bytes(4)),
    "an unknown type": safetensors(FOUR.replace(b"U8", b"X9"), bytes(4)),
    "overlapping": safetensors(FOUR[:-1] + b',"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}', bytes(4)),
}


@pytest.mark.parametrize("lie", LIES)
def test_headers_of_features_that_lie(lie, tmp_path):
    "Such a file counts as none; who reads it nevertheless gets one line."
    (path := tmp_path / "features" / "visual" / "x.safetensors").parent.mkdir(parents=True)
    path.write_bytes(LIES[lie])
    assert features_header(path) == {} and stored_provenance(path) is None
    for read in (load_features, lambda path: load_array(path, "clip")):
        with pytest.raises(UserError, match=r"^x\.safetensors is damaged \(.*\): remove it and run extract again$"):
            read(path)


def test_features_that_were_cut_are_made_again(corpus):
    "Their header is whole: the run that a full disk or a copy cut would otherwise be found cached for ever."
    demo = AudioConfig("demo")
    extract(open_corpus(corpus), audio=demo, progress=False)
    file = corpus / "features" / "visual" / "one.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    assert extract(open_corpus(corpus), audio=demo, progress=False).extracted == 1
    assert file.read_bytes() == whole


PROVENANCES = [5, "x", [], {}, {"stage": "visual"}, {"stage": "nothing"}, {"stage": ["visual"]}]
PROVENANCES += [{"stage": "visual", "settings": [], "source": "x"}, {"stage": "visual", "settings": {}, "source": 5}]


@pytest.mark.parametrize("stored", PROVENANCES, ids=json.dumps)
def test_headers_of_features_with_other_contents(stored, tmp_path):
    "Valid JSON that is not what a stage wrote: the file is of another version, and nobody fails over it."
    from safetensors.numpy import save_file

    corpus = Corpus(tmp_path, pd.DataFrame())
    (path := corpus.features("visual", "x")).parent.mkdir(parents=True)
    for about in ({"provenance": stored, "metadata": {}}, {"provenance": {}, "metadata": stored}, stored):
        save_file({"clip": np.zeros(3)}, path, {"about": json.dumps(about)})
        assert stored_provenance(path) is None
        assert not is_current(path, Provenance("visual", {}, "x"))
        assert stored_notices(corpus, "x", "y") == []


def test_what_is_no_name_is_no_path():
    for name in ("", " ", "..", "a/..", "a\0", "a\n", "a" * 129, ".x", "x.", "a b", "é"):
        if name.strip() != "a":
            with pytest.raises(UserError, match="cannot be a file name"):
                safe_id(name)
