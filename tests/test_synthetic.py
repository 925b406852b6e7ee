"The kinds of synthetic corpus: what each plants, its oracle, and what resumes."

from dataclasses import replace

import av
import numpy as np
import pytest

from tiktok_mm.lib.core import UserError
from tiktok_mm.synthetic.causes import causes, kind_of, load_truth, oracle
from tiktok_mm.synthetic.corpus import make_corpus
from tiktok_mm.synthetic.frames import render
from tiktok_mm.synthetic.plans import KINDS, SIZES, plan_video
from tiktok_mm.visual import VisualConfig, read_clip


@pytest.fixture(scope="module", params=KINDS)
def corpus(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic") / request.param
    return make_corpus(folder, n=4, seed=3, seconds=(2, 3), progress=False, kind=request.param)


def test_the_oracle_knows_the_kind_from_the_folder(corpus):
    assert kind_of(corpus) == corpus.name
    plans = [plan_video(number, 3, 1, (2, 3), corpus.name) for number in range(4)]
    truth = load_truth(corpus)
    assert np.allclose(truth[["visual", "spoken", "author", "noise"]], causes(plans))
    assert np.isfinite(oracle(corpus, list(truth.index[:3]))["MAE (K)"]).all()


def test_the_truth_is_what_was_rendered(corpus):
    planned = [plan_video(number, 3, 1, (2, 3), corpus.name) for number in range(4)]
    truth = load_truth(corpus)
    assert truth.subjects.map(tuple).tolist() == [plan.scene.subjects for plan in planned]
    assert truth.words.map(tuple).tolist() == [plan.words for plan in planned]
    assert truth.gain_db.tolist() == [plan.manner.gain_db for plan in planned]


def test_an_interrupted_corpus_resumes(corpus):
    before = {path: path.read_bytes() for path in (corpus / "videos").iterdir()}
    removed = next(iter(before))
    removed.unlink()
    (corpus / "videos.jsonl").unlink()
    make_corpus(corpus, n=4, seed=3, seconds=(2, 3), progress=False, kind=corpus.name)
    assert {path: path.read_bytes() for path in (corpus / "videos").iterdir()} == before


def test_a_folder_keeps_its_kind(corpus):
    other = next(kind for kind in KINDS if kind != corpus.name)
    with pytest.raises(UserError, match="holds another corpus"):
        make_corpus(corpus, n=4, seed=3, seconds=(2, 3), progress=False, kind=other)


def test_a_wrong_kind_is_named_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match="choose scenes, textures, crowds"):
        make_corpus(tmp_path / "corpus", n=4, kind="scene")
    assert not (tmp_path / "corpus").exists()


def test_the_frames_of_the_file_are_the_rendered_ones(corpus):
    "Encoding changes little: the mean of a decoded frame is the mean of what was rendered."
    plan = plan_video(0, 3, 1, (2, 3), corpus.name)
    path = corpus / "videos" / f"{load_truth(corpus).index[0]}.mp4"
    width, height = SIZES[plan.rng(1).integers(len(SIZES))]
    clip, info = read_clip(path, VisualConfig(frame_skip=20, width=width, height=height, shrink=1))
    rendered = [av.VideoFrame.from_ndarray(frame, "yuv420p") for frame in render(plan, info.frames, width, height)]
    wanted = np.stack([frame.to_ndarray(format="rgb24") for frame in rendered[::20]]).transpose(3, 0, 1, 2)
    assert clip.shape == wanted.shape
    assert np.abs(clip.mean((2, 3)) - wanted.mean((2, 3))).max() < 3
    assert np.corrcoef(clip.ravel(), wanted.ravel())[0, 1] > 0.95


def test_things_move_in_a_crowd_only_where_the_plan_says_so():
    plans = [plan_video(number, 0, 9, kind="crowds") for number in range(60)]
    for plan in plans[:20]:
        scene = replace(plan.scene, lines=0)  # whose words would change
        first, *_, last = render(replace(plan, scene=scene), 60, 72, 128)
        assert np.array_equal(first, last) == ("drift" not in scene.motions)
