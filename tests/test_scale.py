"More videos than one machine holds: shards, and a Ray cluster."

import os
import shutil
from pathlib import Path
from unittest.mock import patch

import pytest

from tiktok_mm.data import check_corpus, open_corpus
from tiktok_mm.lib.core import UserError
from tiktok_mm.lib.store import read_jsonl, write_jsonl
from tiktok_mm.pipeline.cluster import make_engine
from tiktok_mm.pipeline.extract import extract
from tiktok_mm.pipeline.shards import pack
from tiktok_mm.regression import train_by_id


def test_shards_train_to_the_same_digits(extracted, tmp_path):
    "A run of a packed corpus has the bytes of the same run of the folder: weights, log, predictions, metrics."
    folder, packed = shutil.copytree(extracted, tmp_path / "corpus"), tmp_path / "packed"
    assert pack(folder, packed, megabytes=1, progress=False) == (12, 1)
    made = []
    for corpus in (folder, packed):
        train_by_id(open_corpus(corpus), "ensemble-compact", epochs=1, max_steps=2, lr=0.001)
        files = [path for path in corpus.rglob("runs/**/*") if path.is_file()]
        made.append({path.relative_to(corpus).as_posix(): path.read_bytes() for path in files})
    assert made[0] == made[1]
    assert {"weights.safetensors", "predictions.csv"} <= {name.rpartition("/")[2] for name in made[1]}


def test_an_interrupted_pack_is_no_corpus(extracted, tmp_path):
    "Before its rows are written a packed folder cannot be opened; packed again it is whole."
    with patch("tiktok_mm.pipeline.shards.write_rows", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        pack(extracted, tmp_path / "packed", progress=False)
    with pytest.raises(UserError, match="view count"):
        open_corpus(tmp_path / "packed")
    assert pack(extracted, tmp_path / "packed", progress=False) == (12, 1)
    here, there = (check_corpus(open_corpus(path), progress=False) for path in (extracted, tmp_path / "packed"))
    assert (there.videos, there.usable, there.groups) == (here.videos, here.usable, here.groups)


DEATHS = """\
import os, pathlib, signal, sys, time
place, deaths = pathlib.Path({!r}), {!r}
def watch(event, arguments):
    target = pathlib.Path(str(arguments[1])) if event == "os.rename" else None
    if target and target.parent.name == "visual" and target.stem in deaths:
        whose, times = deaths[target.stem]
        if (n := len(list(place.glob(target.stem + "-*")))) < times:
            (place / f"{{target.stem}}-{{n}}").touch()
            os.kill(os.getppid() if whose == "worker" else os.getpid(), signal.SIGKILL)
            time.sleep(30)
sys.addaudithook(watch)
"""


def features(corpus) -> dict[str, bytes]:
    "All features and sounds of a corpus."
    files = [*corpus.glob("features/*/*"), *corpus.glob("audio/*")]
    return {path.relative_to(corpus).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def few(fixture_corpus, tmp_path_factory) -> Path:
    "Four videos of the corpus, without features."
    folder = tmp_path_factory.mktemp("few") / "corpus"
    (folder / "videos").mkdir(parents=True)
    shutil.copy(fixture_corpus / "oracle.json", folder)
    rows = read_jsonl(fixture_corpus / "videos.jsonl")[:4]
    for row in rows:
        shutil.copy(fixture_corpus / "videos" / f"{row['id']}.mp4", folder / "videos")
    write_jsonl(folder / "videos.jsonl", rows)
    return folder


@pytest.fixture(scope="module")
def expected(few, extracted) -> dict[str, bytes]:
    "The features of these videos, made on one machine."
    ids = {path.stem for path in (few / "videos").iterdir()}
    return {name: content for name, content in features(extracted).items() if Path(name).stem in ids}


@pytest.mark.nightly
def test_ray_loses_nothing(few, expected, monkeypatch, tmp_path, capfd):
    """A worker of Ray is killed once while a video is written, and each time that another is written: the first is run
    again, the second fails after two retries. The process that reads a third is killed: a failure with this reason, at
    once, as on one machine. Every byte is that of one machine."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'tiktok_mm[ray]'")
    corpus = shutil.copytree(few, tmp_path / "corpus")
    once, always, crashes, _ = sorted(path.stem for path in (corpus / "videos").iterdir())
    deaths = {once: ("worker", 1), always: ("worker", 100), crashes: ("process", 100)}
    (tmp_path / "sitecustomize.py").write_text(DEATHS.format(str(tmp_path), deaths))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    summary = extract(open_corpus(corpus), progress=False, engine=make_engine("ray", workers=2))
    assert [len(list(tmp_path.glob(f"{id}-*"))) for id in deaths] == [1, 3, 1]
    assert (summary.extracted, summary.cached) == (2, 0)
    assert {failure["id"]: failure["reason"] for failure in summary.failures} == {
        always: "the worker that ran this video died 3 times",
        crashes: "the process that read this video was killed, as when there is too little memory",
    }
    assert "raylet" not in capfd.readouterr().out
    monkeypatch.undo()
    summary = extract(open_corpus(corpus), progress=False)
    assert (summary.extracted, summary.cached, summary.failures) == (2, 2, [])
    assert features(corpus) == expected
    assert not list(corpus.rglob("*.tmp"))
