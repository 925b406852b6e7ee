"Properties of view counts, splits, scaling, masks and adapters, tried on random examples."

import json
from string import printable

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tiktok_mm.formats.adapters import find_records
from tiktok_mm.formats.files import VideoFiles
from tiktok_mm.formats.records import build_table
from tiktok_mm.formats.sources import read_sources
from tiktok_mm.formats.text import read_json
from tiktok_mm.lib.batch import pad_frames, pad_rows, real_rows
from tiktok_mm.lib.core import LARGEST, UserError, parse_count, safe_id
from tiktok_mm.lib.core import printable as as_printable
from tiktok_mm.lib.splits import Split, make_split
from tiktok_mm.lib.targets import Quartiles, TargetScaler

counts = st.integers(0, int(LARGEST) - 1)


@given(counts)
def test_a_whole_count_is_read_as_it_is(count):
    "As a number, as text, with separators of thousands."
    for text in (count, str(count), f"{count:,}", f"{count:,}".replace(",", " "), f"{count} views"):
        assert parse_count(text)[0] == count


@given(st.integers(10, 9999), st.sampled_from([("K", 1e3), ("M", 1e6), ("B", 1e9)]))
def test_a_short_count_is_the_number_times_its_unit(tenths, unit):
    "And is not exact."
    assume(tenths / 10 * unit[1] < LARGEST)
    text = f"{tenths // 10}.{tenths % 10}{unit[0]}"
    assert parse_count(text) == (round(tenths / 10 * unit[1]), False)


@given(st.text(max_size=30))
def test_any_text_is_a_count_or_one_line(text):
    try:
        value, _ = parse_count(text)
        assert value == int(value) and 0 <= value < LARGEST
        assert any(letter.isnumeric() for letter in text)
    except UserError as error:
        assert "\n" not in as_printable(str(error)) and "is not a view count" in str(error)


@given(st.text(max_size=200) | st.text(printable, max_size=20))
def test_a_safe_id_is_one_part_of_a_path(text):
    try:
        id = safe_id(text)
    except UserError:
        return
    assert id == text.strip() and "/" not in id and not id.startswith(".") and ".." not in id
    assert id.isascii() and id.isprintable() and len(id) <= 128


@st.composite
def tables(draw) -> pd.DataFrame:
    "Videos with dates, authors and groups, of which ten or more are independent of each other."
    n = draw(st.integers(10, 60))
    posted = draw(st.lists(st.integers(0, 1000), min_size=n, max_size=n))
    authors = draw(st.lists(st.integers(0, 50), min_size=n, max_size=n))
    return pd.DataFrame(
        {
            "id": [f"v{number}" for number in draw(st.permutations(range(n)))],
            "posted_at": pd.Timestamp("2020-01-01", tz="UTC") + pd.to_timedelta(posted, unit="h"),
            "author": [f"a{author}" for author in authors],
        }
    )


sizes = st.tuples(*[st.floats(0.01, 1)] * 3)


@given(tables(), st.sampled_from(["random", "time", "author"]), sizes, st.integers(0, 10**6), st.data())
def test_a_split_is_a_partition_that_keeps_groups_together(table, kind, shares, seed, data):
    "Every video is in one part; near-duplicates, and authors in that split, are in the same; it can be repeated."
    groups = pd.Series(data.draw(st.lists(st.integers(0, 80), min_size=len(table), max_size=len(table))), table.id)
    try:
        split = make_split(table, kind, shares, seed, groups)
    except UserError as error:
        assert "independent" in str(error) or "empty" in str(error)
        return
    parts = {id: part for part in ("train", "valid", "test") for id in getattr(split, part)}
    assert sorted(parts) == sorted(table.id) and len(split.train + split.valid + split.test) == len(table)
    assert set(parts.values()) == {"train", "valid", "test"}
    part = table.id.map(parts)
    assert part.groupby(table.id.map(groups).to_numpy()).nunique().max() == 1
    if kind == "author":
        assert part.groupby(table.author).nunique().max() == 1
    assert make_split(table, kind, shares, seed, groups) == split
    stored = json.loads(json.dumps({name: getattr(split, name) for name in ("kind", "seed", "train", "valid", "test")}))
    assert Split.from_dict(stored) == split


@given(tables(), sizes)
def test_a_split_by_time_tests_on_the_latest(table, shares):
    "No video to train on is younger than one to test on."
    split = make_split(table, "time", shares)
    posted = dict(zip(table.id, table.posted_at))
    assert max(posted[id] for id in split.train) <= min(posted[id] for id in split.valid)
    assert max(posted[id] for id in split.valid) <= min(posted[id] for id in split.test)


views = st.lists(st.floats(0, 1e8, allow_subnormal=False), min_size=4, max_size=40)


@given(views, st.sampled_from(["none", "standard", "log"]))
def test_scaling_can_be_undone(views, kind):
    "Up to rounding; order stays; the scaled counts of the training videos have mean 0 and deviation 1."
    assume(np.std(views) > 1e-3 * (1 + np.max(views)))
    scaler = TargetScaler(kind).fit(views)
    scaled = scaler.transform(views)
    np.testing.assert_allclose(scaler.inverse(scaled), views, rtol=1e-6, atol=1e-6 * max(views))
    assert (np.diff(scaled[np.argsort(views, kind="stable")]) >= 0).all()
    if kind != "none":
        assert abs(scaled.mean()) < 1e-6 and abs(scaled.std() - 1) < 1e-6


@given(
    views,
    st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1),
    st.sampled_from(["none", "standard", "log", "power"]),
)
def test_what_a_model_says_is_a_possible_count(views, outputs, kind):
    "Whatever number it gives: not negative, and finite."
    assume(np.std(views) > 1e-3 * (1 + np.max(views)))
    predicted = TargetScaler(kind).fit(views).inverse(outputs)
    assert np.isfinite(predicted).all() and (predicted >= 0).all()


@given(st.lists(st.floats(0, 1e8, allow_subnormal=False), min_size=8, max_size=40, unique=True))
def test_quartiles_hold_a_quarter_each(views):
    "Of different counts, up to one at each end; more views are never a lower class."
    classes = Quartiles().fit(views).transform(views)
    assert set(classes) <= {0, 1, 2, 3} and (np.diff(classes[np.argsort(views)]) >= 0).all()
    assert np.abs(np.bincount(classes, minlength=4) - len(views) / 4).max() <= 1


lengths = st.lists(st.integers(1, 6), min_size=1, max_size=5)


@given(lengths, st.integers(1, 4))
def test_a_mask_marks_what_is_real(lengths, least):
    "As many frames as a clip has are marked, and they are its own; the rest is padding."
    rng = np.random.default_rng(0)
    clips = [rng.integers(1, 255, (3, length, 4, 4), dtype=np.uint8) for length in lengths]
    padded, mask = pad_frames(clips, 1)
    assert mask.sum(1).tolist() == lengths
    for clip, row, real in zip(clips, padded, mask):
        np.testing.assert_array_equal(row[:, : clip.shape[1]], clip)
        assert real[: clip.shape[1]].all() and not real[clip.shape[1] :].any()


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ids = st.integers(10**18, 8 * 10**18).map(lambda id: id | 1)  # those that JavaScript rounded are even, and refused
videos = st.lists(
    st.tuples(ids, st.integers(0, 10**9), names),
    min_size=1,
    max_size=8,
    unique_by=lambda video: video[0],
)


@given(videos, st.sampled_from(["list", "itemList", "lines", "by id", "csv"]))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=settings().max_examples // 3,
)
def test_adapters_read_what_collectors_write(tmp_path, videos, form):
    "The ids and the counts of any videos, with any captions, in five forms; none is lost, none is made up."
    items = [{"id": str(id), "desc": text, "stats": {"playCount": count}} for id, count, text in videos]
    for old in tmp_path.iterdir():
        old.unlink()
    path = tmp_path / ("x.csv" if form == "csv" else "x.json")
    if form == "csv":
        rows = pd.DataFrame(videos, columns=["id", "views", "caption"])
        rows.to_csv(path, index=False)
        assume("\x00" not in path.read_text() and "\r" not in path.read_bytes().decode())
    else:
        value = {"list": items, "itemList": {"itemList": items}, "by id": {one["id"]: one for one in items}}.get(form)
        path.write_text("\n".join(map(json.dumps, items)) if form == "lines" else json.dumps(value))
    table, rejected = build_table(read_sources(path), VideoFiles(tmp_path))
    assert not rejected
    assert dict(zip(table.id, (table.views_k * 1000).round())) == {str(id): count for id, count, _ in videos}


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | names,
    lambda one: st.lists(one, max_size=3) | st.dictionaries(names, one, max_size=3),
    max_leaves=12,
)


@given(values, st.sampled_from([None, 1]))
def test_any_json_is_read_as_json_reads_it(value, indent):
    "And looking for records in it never fails."
    assume(isinstance(value, dict | list))
    text = json.dumps(value, indent=indent)
    (((_, read),), broken) = read_json(text)
    assert read == value and not broken
    for found in find_records(read):
        assert isinstance(found.values, dict)


def test_these_properties_can_fail():
    "A count that is read as another one, and a mask that marks padding, are found."

    @given(counts)
    @settings(max_examples=200)
    def wrong(count):
        assert parse_count(f"{count / 1000:.1f}K")[0] == count

    with pytest.raises(AssertionError):
        wrong()
    clips = [np.ones((3, length, 4, 4), np.uint8) for length in (1, 3)]
    assert pad_frames(clips, 1)[1].tolist() == [[True, False, False], [True, True, True]]
