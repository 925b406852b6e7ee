"More videos than one machine holds: shards."

import shutil
from unittest.mock import patch

import pytest

from tiktok_mm.data import check_corpus, open_corpus
from tiktok_mm.lib.core import UserError
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
