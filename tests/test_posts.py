"A corpus's own posts: rows for author, metadata, content and everything, of which nothing held out is learned."

import json

import numpy as np
import pandas as pd
import pytest
from command import tiktok_mm

from tiktok_mm.beyond.own_posts import post_report, video_branches
from tiktok_mm.beyond.posts import PostConfig
from tiktok_mm.beyond.smpd import read_posts
from tiktok_mm.data import open_corpus
from tiktok_mm.lib.batch import Dataset
from tiktok_mm.lib.core import UserError
from tiktok_mm.lib.store import Corpus

SMALL = PostConfig(trees=20, rounds=30, seeds=1, folds=2, embeddings=False)
COLUMNS = ["author", "followers", "following", "author_videos", "caption", "posted_at", "duration", "music"]


@pytest.fixture(scope="module")
def table(real_data) -> pd.DataFrame:
    "A slice of real posts, as a collector's table; their scores stand for views."
    posts = read_posts(real_data / "smpd_video")[::10][:300].reset_index(drop=True)
    return pd.DataFrame({"video_id": posts.id, "views": (2**posts.outcome).round().astype(int)}).join(posts[COLUMNS])


def test_the_command_on_real_posts(table, tmp_path):
    "A CSV file without videos: a row for each source, everything better than the median, and predictions in a file."
    (tmp_path / "corpus").mkdir()
    table.to_csv(tmp_path / "corpus" / "posts.csv", index=False)
    done = tiktok_mm("posts", tmp_path / "corpus", "--json", "--sizes", 60, 15, 25)
    assert done.returncode == 0 and "posts" in done.stderr.splitlines()[-1]
    found = json.loads(done.stdout)
    rows = [f"posts-{name}" for name in ("author", "metadata", "content", "all", "unsuspected")]
    assert list(found["scores"]) == ["mean", "median", *rows]
    assert found["scores"]["posts-all"]["MAE log value"] < found["scores"]["median"]["MAE log value"]
    assert found["scores"]["posts-all"]["SRC low"] > 0.3
    assert all(0.6 < row["coverage value"] < 0.97 for row in found["intervals"].values())
    assert any("followers (read when the post was collected" in note for note in found["notes"])
    folder = tmp_path / "corpus" / "runs" / "time-60-15-25-seed42" / "posts"
    written = pd.read_csv(folder / "predictions.csv")
    assert list(written) == ["id", "views_k", *(f"{row.removeprefix('posts-')}_k" for row in rows)]
    latest = table.sort_values("posted_at").video_id.iloc[-len(written) :]
    assert set(written.id) == set(latest) and np.isfinite(written.iloc[:, 1:]).all(axis=None)


def test_nothing_held_out_is_learned(table, tmp_path):
    "Other views of validation and test posts, and another order of the rows, change no prediction."
    table.to_csv(tmp_path / "posts.csv", index=False)
    corpus = open_corpus(tmp_path)
    report, _ = post_report(corpus, sizes=(60, 15, 25), config=SMALL)
    held_out = corpus.table.posted_at >= corpus.table.posted_at.sort_values().iloc[180]
    views_k = corpus.table.views_k.where(~held_out, corpus.table.views_k[::-1].to_numpy() * 3)
    other, _ = post_report(
        Corpus(corpus.folder, corpus.table.assign(views_k=views_k)), sizes=(60, 15, 25), config=SMALL
    )
    assert report.counts == other.counts == {"train": 180, "valid": 45, "test": 75}
    assert not np.array_equal(report.views_k, other.views_k)
    mixed, _ = post_report(Corpus(tmp_path / "mixed", corpus.table[::-1]), sizes=(60, 15, 25), config=SMALL)
    for id, predicted in report.predictions.items():
        assert np.array_equal(predicted, other.predictions[id]), id
        assert np.allclose(np.sort(predicted), np.sort(mixed.predictions[id])), id


@pytest.mark.parametrize(
    ("kept", "rows"),
    [
        (["posted_at"], ["metadata"]),
        (["author", "posted_at"], ["author", "metadata"]),
        (["author", "followers"], ["author"]),
        (["caption", "duration"], ["metadata", "content"]),
        (["author", "posted_at", "caption"], ["author", "metadata", "content", "all"]),
    ],
)
def test_columns_that_a_collector_may_have(table, tmp_path, kept, rows):
    "Whatever is known has its rows, and none of them twice."
    table[["video_id", "views", *kept]].to_csv(tmp_path / "posts.csv", index=False)
    report, _ = post_report(open_corpus(tmp_path), sizes=(60, 15, 25), config=SMALL)
    assert list(report.predictions) == ["mean", "median", *(f"posts-{row}" for row in rows)]
    assert all(np.isfinite(predicted).all() for predicted in report.predictions.values())


def test_features_of_a_part_of_the_videos(table, tmp_path):
    "Too few are not read, and a line says so; the posts are learned from all the same."
    table.to_csv(tmp_path / "posts.csv", index=False)
    corpus = open_corpus(tmp_path)
    for id in corpus.table.id[:30]:
        corpus.features("visual", id).parent.mkdir(parents=True, exist_ok=True)
        corpus.features("visual", id).touch()
    report, folder = post_report(corpus, sizes=(60, 15, 25), config=SMALL)
    assert "The 30 videos with frames and sound are too few to learn from." in report.notes
    assert report.counts["train"] == 180 and (folder / "predictions.csv").exists()
    with pytest.raises(UserError, match="choose another --name"):
        post_report(corpus, split="random", sizes=(60, 15, 25), name=folder.parent.name, config=SMALL)


def test_branches_that_early_posts_do_not_have(table):
    "Features that were extracted for the latest videos only say nothing of the early ones, and break nothing."
    ids, rng = [f"v{n}" for n in range(200)], np.random.default_rng(0)
    rows = [rng.normal(size=(1, 3)).astype(np.float32)[: int(n >= 150)] for n in range(200)]
    clips = [np.zeros((3, 1, 8, 8), np.uint8)] * 200
    branch = video_branches(Dataset(ids, clips, music_rows=rows))["music"]
    early, late = branch(ids[:100], rng.normal(size=100), ids[100:]), branch(ids, rng.normal(size=200), ids)
    assert np.ptp(early) == 0 and np.isfinite(early).all() and np.isfinite(late).all()


@pytest.mark.parametrize(
    ("kept", "rows", "says"),
    [
        (["video_id", "views"], 200, "has no captions, times, followers or features"),
        (["video_id", "views", "caption"], 90, "posts to learn from are too few: at least 80 are needed"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_in_a_line(table, tmp_path, kept, rows, says):
    "A table of ids and views, and one of few posts."
    table[kept][:rows].to_csv(tmp_path / "posts.csv", index=False)
    done = tiktok_mm("posts", tmp_path)
    assert done.returncode == 2 and says in done.stderr.splitlines()[-1] and not (tmp_path / "runs").exists()


def test_features_of_few_videos_are_refused_in_a_line(extracted, tmp_path):
    "A corpus that was extracted needs as many posts."
    done = tiktok_mm("posts", extracted, "--out", tmp_path)
    assert done.returncode == 2 and "posts to learn from are too few" in done.stderr and not any(tmp_path.iterdir())
