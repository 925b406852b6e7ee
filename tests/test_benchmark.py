"The benchmark of real posts: every post is predicted, nothing of later posts reaches training, order does not matter."

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from tiktok_mm.beyond.benchmark import held_out, run_benchmark
from tiktok_mm.beyond.context import author_history, context_columns, times
from tiktok_mm.beyond.posts import PostConfig, PostFeatures, PostModel, build_features, in_time_order, predict_posts
from tiktok_mm.beyond.smpd import FEATURE_SETS, SUSPECTS, read_posts
from tiktok_mm.beyond.suspects import suspect_columns
from tiktok_mm.commands.benchmark import benchmarks
from tiktok_mm.lib.core import UserError

SMALL = PostConfig(trees=20, rounds=30, seeds=1, folds=2, embeddings=False)
FILES = ("posts.jsonl", "users.jsonl", "videos.jsonl", "popularity.jsonl")


@pytest.fixture(scope="session")
def smpd(real_data) -> Path:
    "The real posts, which are not part of the repository."
    folder = real_data / "smpd_video"
    if not folder.is_dir():
        pytest.skip(f"the posts of the SMP Challenge are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def parts(smpd) -> tuple[pd.DataFrame, pd.DataFrame]:
    "A slice of 300 real posts, the last fifth held out."
    return held_out(read_posts(smpd)[::10][:300])


def write_slice(smpd: Path, folder: Path, start: int, stop: int, leave_out=()) -> Path:
    "Lines `start` to `stop` of the posts in a folder of the same form."
    folder.mkdir()
    for name in FILES:
        lines = (smpd / name).read_text(encoding="utf-8").splitlines()
        if name not in leave_out:
            chosen = lines[start:stop] if name == "posts.jsonl" else lines
            (folder / name).write_text("\n".join(chosen) + "\n", encoding="utf-8")
    return folder


def test_every_post_is_predicted(smpd, tmp_path):
    "No labels, no sound, no videos, half of the users, and rows with faults: a finite row each, in the file's order."
    train = write_slice(smpd, tmp_path / "train", 0, 200)
    test = write_slice(smpd, tmp_path / "test", 200, 240, leave_out=("popularity.jsonl", "videos.jsonl"))
    users = (test / "users.jsonl").read_text().splitlines()
    (test / "users.jsonl").write_text("\n".join(users[::2]) + "\n")
    odd = [
        json.dumps({"pid": "ODD1"}),
        json.dumps(
            {"pid": "ODD2", "uid": None, "post_content": None, "post_time": "soon", "post_suggested_words": "a"}
        ),
        json.dumps({"pid": "ODD3", "uid": 7, "post_content": ["a", 1], "post_time": 3, "post_location": {}}),
        '{"pid": "ODD4", "uid": "USER00000001", "post_con',
        json.dumps({"pid": "ODD1"}),
    ]
    with open(test / "posts.jsonl", "a") as file:
        file.write("\n".join(odd) + "\n")
    out = tmp_path / "predictions.csv"
    options = ["--train", str(train), "--test", str(test), "--features", "author", "--out", str(out)]
    done = CliRunner().invoke(benchmarks, ["smpd", *options], catch_exceptions=False)
    assert done.exit_code == 0 and "no labels: no metrics" in done.output
    written = pd.read_csv(out)
    expected = [json.loads(line)["pid"] for line in (test / "posts.jsonl").read_text().splitlines()[:40]]
    assert list(written) == ["pid", "prediction", "lower80", "upper80"]
    assert written.pid.tolist() == [*expected, "ODD1", "ODD2", "ODD3", "ODD4", "ODD1"]
    assert np.isfinite(written.drop(columns="pid")).all(axis=None)
    assert (written.lower80 <= written.prediction).all() and (written.prediction <= written.upper80).all()


def test_order_does_not_matter(parts):
    "Shuffled training and test rows give the same prediction for each post."
    earlier, later = parts
    plain = run_benchmark(earlier, later, config=SMALL).posts.set_index("pid")
    mixed = earlier.sample(frac=1, random_state=1), later.sample(frac=1, random_state=2)
    again = run_benchmark(*mixed, config=SMALL).posts.set_index("pid").loc[plain.index]
    np.testing.assert_allclose(again, plain, rtol=1e-9)


def test_one_post_alone_is_predicted_alike(parts):
    "A prediction depends on no other new post."
    earlier, later = parts
    model = PostModel(PostConfig(**{**vars(SMALL), "blocks": FEATURE_SETS["all"]})).fit(earlier, earlier.outcome)
    together = predict_posts(model, later)
    alone = predict_posts(model, later.iloc[[5]])
    np.testing.assert_allclose(alone, together.iloc[[5]], rtol=1e-9)


def test_labels_of_new_posts_change_nothing(parts):
    "The outcomes of the test part are for the metrics alone."
    earlier, later = parts
    plain = run_benchmark(earlier, later, "metadata", config=SMALL).posts
    other = run_benchmark(earlier, later.assign(outcome=later.outcome.to_numpy()[::-1]), "metadata", config=SMALL).posts
    pd.testing.assert_frame_equal(plain, other)


def test_features_of_a_post_come_from_earlier_posts(parts):
    "Other outcomes of later posts leave the history of an earlier one as it is, and the nearest posts, too."
    posts, y = in_time_order(parts[0], parts[0].outcome.to_numpy())
    posts = posts.assign(author=[f"a{n % 20}" for n in range(len(posts))])
    config, half = PostConfig(blocks=("caption", "history"), embeddings=False), len(y) // 2
    changed = np.where(np.arange(len(y)) >= half, y + 5, y)
    names = ["history.mean", "history.last", "text.nearest"]
    tables = [build_features(PostFeatures(config, None, posts, one))[0][names] for one in (y, changed)]
    known = times(posts) < times(posts)[half]
    several = known & (posts.groupby("author").cumcount() > 0)
    pd.testing.assert_frame_equal(tables[0][several], tables[1][several])
    assert not np.allclose(tables[0][half + 20 :], tables[1][half + 20 :])


def test_a_future_leak_is_caught(parts):
    "A column made from the outcome, a later mean of the author, and comments are found or refused."
    posts = pd.concat(parts, ignore_index=True)
    posts["author"] = [f"a{n % 25}" for n in range(len(posts))]
    after = posts.outcome > posts.outcome.quantile(0.6)
    leaky = posts.assign(comment_count=posts.outcome.round(), related=np.where(after, "words", None))
    leaky["total_hearts"] = leaky.groupby("author").outcome.transform("sum").mul(1000).round()
    found = suspect_columns(leaky, "outcome", author="author", time="posted_at")
    reasons = set(zip(found.column, found.reason))
    assert {("comment_count", "outcome"), ("related", "written after")} <= reasons
    with pytest.raises(UserError, match="comment_count: known only after the post"):
        context_columns(leaky, extra=["comment_count"])
    assert not [name for name in context_columns(leaky) if "comment" in name or "related" in name]


def test_planted_snapshot_is_found():
    "The mean of all of an author's posts, later ones too, is a snapshot; the history from earlier posts is none."
    rng = np.random.default_rng(0)
    author, days = rng.integers(60, size=900), pd.Timestamp("2022-01-01") + pd.to_timedelta(np.arange(900), unit="D")
    y = np.exp(rng.normal(3, 1, size=60)[author] + rng.normal(size=900)) * 1000
    table = pd.DataFrame({"author": author.astype(str), "time": days, "y": y})
    table["average"] = table.groupby("author").y.transform("mean").round()
    table["earlier"] = author_history(table.author, pd.Series(days), y)["history.mean"].round().to_numpy()
    found = suspect_columns(table, "y", author="author", time="time")
    assert ("average", "snapshot") in set(zip(found.column, found.reason))
    assert "earlier" not in set(found.column)


def test_without_suspects_reads_none(parts):
    "No set without suspects has a block that the sets with them add, nor an id."
    earlier, later = parts
    for features, suspects in SUSPECTS.items():
        assert not set(FEATURE_SETS[features]) & set(suspects)
    note = run_benchmark(earlier, later, "all", suspects=False, config=SMALL).notes[0]
    assert not {"likes", "suggested", "resolution"} & set(note.partition("features: ")[2].split(", "))
    assert not [name for name in context_columns(later) if "pid" in name or "vid" in name.split(".")[-1].split("_")]


def test_metrics_stand_beside_constants(parts):
    "With labels: a model, two constants, coverage, width, and a word on single authors."
    result = run_benchmark(*parts, config=SMALL)
    assert list(result.metrics.index) == ["model", "constant median", "best constant for MAPE"]
    assert result.metrics["MAPE", "value"]["model"] < result.metrics["MAPE", "value"]["constant median"]
    assert result.intervals.loc["all", ("coverage", "low")] <= result.intervals.loc["all", ("coverage", "value")]
    assert "too few for a claim" in str(result)


def test_faults_of_a_person_are_one_line(tmp_path):
    "No posts, no labels, an unknown set."
    done = CliRunner().invoke(benchmarks, ["smpd", "--train", str(tmp_path)])
    assert isinstance(done.exception, UserError) and "has no posts.jsonl" in str(done.exception)
    (tmp_path / "posts.jsonl").write_text('{"pid": "a"}\n')
    done = CliRunner().invoke(benchmarks, ["smpd", "--train", str(tmp_path)])
    assert isinstance(done.exception, UserError) and "no popularity.jsonl" in str(done.exception)
