"Explanations name the causes that were planted: the whole way from rendered videos to the reasons of a prediction."

import numpy as np
import pandas as pd
import pytest

from tiktok_mm.beyond.predict import load_model
from tiktok_mm.data import open_corpus
from tiktok_mm.lib.metrics import spearman
from tiktok_mm.pipeline.extract import extract
from tiktok_mm.regression import train_by_id
from tiktok_mm.synthetic.causes import load_truth
from tiktok_mm.synthetic.corpus import make_corpus
from tiktok_mm.synthetic.plans import WORD_EFFECT


@pytest.mark.nightly
def test_attributions_follow_the_planted_causes(tmp_path):
    "Frames move by the visual cause, sound by the spoken one, words by their effects; nothing is crossed over."
    corpus = open_corpus(make_corpus(tmp_path / "corpus", 180, progress=False))
    extract(corpus, progress=False)
    model = load_model(train_by_id(corpus, "ensemble-compact").partition(": ")[0])
    ids, paths = list(model.run.split.test), corpus.table.set_index("id").path
    truth, predictions = load_truth(corpus.folder).loc[ids], [model.predict(paths[id]) for id in ids]
    effects = pd.DataFrame([one.effects for one in predictions], index=ids)
    moved = {"visual": effects.frames.to_numpy(), "spoken": effects.drop(columns="frames").sum(axis=1).to_numpy()}
    found = {pair: float(spearman(truth[pair[0]].to_numpy(), moved[pair[1]])) for pair in PAIRS}
    assert found["visual", "visual"] > 0.6 and found["spoken", "spoken"] > 0.6
    assert abs(found["visual", "spoken"]) < 0.3 and abs(found["spoken", "visual"]) < 0.3
    said = pd.DataFrame([word for one in predictions for word in one.words])
    mean = said[said.text.isin(WORD_EFFECT)].groupby("text").effect.mean()
    assert len(mean) > 20 and spearman(np.array([WORD_EFFECT[word] for word in mean.index]), mean.to_numpy()) > 0.35


PAIRS = [(cause, part) for cause in ("visual", "spoken") for part in ("visual", "spoken")]
