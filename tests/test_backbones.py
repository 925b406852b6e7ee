"Extra stages: what `extract --with` stores, what a batch makes of it, and how it fails."

import shutil

import numpy as np
import pytest

from tiktok_mm.beyond.extras import chosen_stages
from tiktok_mm.data import open_corpus
from tiktok_mm.lib.batch import load_dataset, real_rows
from tiktok_mm.lib.core import UserError
from tiktok_mm.lib.stages import FrameStage
from tiktok_mm.lib.store import load_features, stale_features
from tiktok_mm.pipeline.extract import extract

pytestmark = pytest.mark.usefixtures("in_this_process")


class Brightness(FrameStage):
    "A stage of one's own; the second frame of a video fails where it is asked to."

    def describe(self, frame):
        if self.settings.get("fails"):
            raise ValueError("no such colour")
        return np.array([frame.mean(), frame.std()]), None


@pytest.fixture
def corpus(fixture_corpus, tmp_path):
    "Two videos of the small corpus."
    folder = tmp_path / "corpus"
    shutil.copytree(fixture_corpus, folder)
    lines = (folder / "videos.jsonl").read_text().splitlines(keepends=True)[:2]
    (folder / "videos.jsonl").write_text("".join(lines))
    return folder


def run(corpus, *stages):
    return extract(open_corpus(corpus), workers=1, progress=False, extra=stages)


def test_cached_and_recorded(corpus):
    "A stage is cached like the others; one that fails is recorded for each video and stops nothing."
    first, again = run(corpus, Brightness("image")), run(corpus, Brightness("image"))
    assert (first.extracted, again.cached) == (2, 2)
    failed = run(corpus, Brightness("clip", {"fails": True}), Brightness("image"))
    assert [(one["stage"], one["reason"]) for one in failed.failures] == [("clip", "no such colour")] * 2
    videos = load_dataset(open_corpus(corpus))
    assert videos.extra_sizes() == (("image", 2),) and videos.clip_rows is None
    rows = videos.batch([0, 1], ["image_rows"]).image_rows
    assert real_rows(rows).sum(1).tolist() == [clip.shape[1] for clip in videos.clips]


def test_replaced_video(corpus):
    "The features of a replaced video are stale, and made again by the command that the message names."
    run(corpus, Brightness("image"))
    one, other = open_corpus(corpus).table.path
    before = load_features(open_corpus(corpus).features("image", one.stem))["rows"]
    shutil.copy(other, one)
    run(corpus)  # without the stage: frames and speech are new, the rows are not
    stale = stale_features(open_corpus(corpus))
    assert list(stale.videos) == [one.stem] and "--with image" in stale.command
    run(corpus, Brightness("image"))
    assert stale_features(open_corpus(corpus)) is None
    assert not np.array_equal(load_features(open_corpus(corpus).features("image", one.stem))["rows"], before)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("imag", "did you mean 'image'"),
        ("image=resnet18@none.pth", "there is no file"),
        ("music=loud", "no option"),
        ("ocr=fast", "no option"),
    ],
)
def test_wrong_choice(chosen, message):
    "What cannot work is said in one line."
    with pytest.raises(UserError, match=message):
        chosen_stages([chosen])


def test_offline(monkeypatch):
    "Weights that cannot be downloaded: one line that says what to do."
    from torchvision import models

    def no_network(*_, **__):
        raise OSError("Name or service not known")

    monkeypatch.setattr(models, "get_model", no_network)
    [stage] = chosen_stages(["image=squeezenet1_1"])
    with pytest.raises(UserError, match=r"no weights of squeezenet1_1 .*squeezenet1_1@FILE"):
        stage.prepare()
