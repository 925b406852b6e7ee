"A corpus's own posts: rows for author, metadata, content and everything, of which nothing held out is learned."

import json

import numpy as np
import pandas as pd
import pytest
from command import tiktok_mm

from tiktok_mm.beyond.own_posts import post_report
from tiktok_mm.beyond.posts import PostConfig
from tiktok_mm.beyond.smpd import read_posts
from tiktok_mm.data import open_corpus
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
    mixed, _ = post_report(Corpus(corpus.folder, corpus.table[::-1]), sizes=(60, 15, 25), config=SMALL)
    for id, predicted in report.predictions.items():
        assert np.array_equal(predicted, other.predictions[id]), id
        assert np.allclose(np.sort(predicted), np.sort(mixed.predictions[id])), id


@pytest.mark.parametrize(
    ("kept", "rows", "says"),
    [
        (["video_id", "views"], 200, "has no captions, times, authors or features"),
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
