"The authors' trained autoencoder gives here what it gives in their own code."

import json
import pickle
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import torch

from tiktok_mm.autoencoder import (
    AUTOENCODER_PRESETS,
    AutoencoderConfig,
    ConvLSTMAutoencoder,
    embed_clip,
    embed_corpus,
    load_autoencoder,
    load_published,
    reconstruction_loss,
)
from tiktok_mm.lib.batch import Batch, embedding_file, pad_frames
from tiktok_mm.lib.core import UserError
from tiktok_mm.lib.store import Corpus, Provenance, load_features, save_features
from tiktok_mm.lib.training import save_weights
from tiktok_mm.visual import VISUAL_PRESETS, read_clip

# the authors' code with these weights: frames, MSE, mean of the reconstruction, mean absolute value of the embedding
REFERENCE = {
    "nasa_13013": (2, 845.2, 34.643, 0.42565),
    "snap_1e719ead": (1, 670.22, 155.638, 0.35515),
    "snap_3fe99801": (2, 686.54, 98.863, 0.66302),
    "snap_421c8b59": (1, 846.38, 139.628, 0.35489),
    "snap_59d4fdb6": (1, 666.95, 137.48, 0.3507),
}
LAYERS = {"encoder_1.conv": 3, "encoder_2.conv": 64, "decoder_1.conv": 64, "decoder_2.conv": 64}  # input channels


@pytest.fixture(scope="session")
def checkpoint(real_data):
    "The authors' checkpoint."
    return real_data / "authors" / "convlstm_autoencoder_hidden64.pt"


@pytest.mark.parametrize("name", REFERENCE)
def test_reconstructions_agree_with_the_authors(name, real_data, checkpoint):
    frames, mse, mean, size = REFERENCE[name]
    clip, _ = read_clip(real_data / "clips" / f"{name}.mp4", VISUAL_PRESETS["paper"])
    model, batch = load_published(checkpoint), Batch(*pad_frames([clip], 1))
    with torch.no_grad():
        embedding = model.encode(batch.clips, batch.frame_mask)[:, -1]
        reconstruction = model.decode(embedding, clip.shape[1])
    assert clip.shape == (3, frames, 128, 72)
    assert reconstruction_loss(reconstruction, batch, model.config).item() == pytest.approx(mse, rel=1e-3)
    assert reconstruction.mean().item() == pytest.approx(mean, abs=0.01)
    assert embedding.abs().mean().item() == pytest.approx(size, rel=1e-3)
    np.testing.assert_array_equal(embed_clip(model, clip)["embedding"], embedding[0].half().numpy())


def test_the_right_cell_cannot_use_these_weights(real_data, checkpoint):
    published = load_published(checkpoint)
    right = ConvLSTMAutoencoder(AutoencoderConfig.paper())
    right.load_state_dict(published.state_dict())
    clip, _ = read_clip(real_data / "clips" / "nasa_13013.mp4", VISUAL_PRESETS["paper"])
    batch = Batch(*pad_frames([clip], 1))
    with torch.no_grad():
        losses = [reconstruction_loss(model(batch), batch, model.config).item() for model in (published, right)]
    assert losses[1] > 2 * losses[0]


def test_the_stored_loss_is_the_training_loss(checkpoint):
    stored = torch.load(checkpoint, weights_only=True)
    assert stored["val_loss"] == pytest.approx(1169.02, abs=0.005)
    assert sum(value.numel() for value in stored["model_state_dict"].values()) == 1_041_859


def authors_format() -> dict[str, torch.Tensor]:
    "Random weights under the authors' names."
    shapes = {layer: (256, 64 + channels, 3, 3) for layer, channels in LAYERS.items()}
    shapes["decoder_CNN"] = (3, 64, 1, 3, 3)
    weights = {f"{layer}.weight": torch.randn(shape) for layer, shape in shapes.items()}
    return {**weights, **{f"{layer}.bias": torch.randn(shape[0]) for layer, shape in shapes.items()}}


def test_every_tensor_has_one_place(tmp_path):
    weights = authors_format()
    torch.save({"model_state_dict": weights, "val_loss": 1.0}, tmp_path / "weights.pt")
    model = load_published(tmp_path / "weights.pt")
    assert model.config == AutoencoderConfig.published()
    assert not model.training
    assert torch.equal(model.encoder[1].gates.weight, weights["encoder_2.conv.weight"])
    assert torch.equal(model.decoder[0].gates.bias, weights["decoder_1.conv.bias"])
    assert torch.equal(model.out_conv.weight, weights["decoder_CNN.weight"])
    assert sum(p.numel() for p in model.parameters()) == sum(value.numel() for value in weights.values())


class Malicious:
    "Runs code when it is unpickled."

    def __reduce__(self):
        return print, ("code of the file has run",)


OTHERS = {
    "text": b"not weights",
    "empty": b"",
    "pickled code": pickle.dumps({"model_state_dict": Malicious()}, protocol=2),
    "tensor": torch.zeros(3),
    "weights without their dictionary": authors_format(),
    "no weights": {"model_state_dict": {}},
    "a tensor too many": {"model_state_dict": {**authors_format(), "encoder_3.conv.weight": torch.zeros(1)}},
    "another shape": {"model_state_dict": {**authors_format(), "decoder_CNN.bias": torch.zeros(4)}},
    "no tensor": {"model_state_dict": {**authors_format(), "decoder_CNN.bias": "zeros"}},
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_files_are_refused_in_one_line(kind, tmp_path, capsys):
    path, content = tmp_path / "weights.pt", OTHERS[kind]
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(UserError, match=r"^.*weights.pt is not the authors' autoencoder \(\w+\): give .*$"):
        load_published(path)
    assert "has run" not in capsys.readouterr().out


def test_a_missing_file_is_named(tmp_path):
    for path in (tmp_path / "nothing.pt", tmp_path):
        with pytest.raises(UserError, match=f"there is no file {path}"):
            load_published(path)


@pytest.mark.parametrize("swapped", [False, True])
def test_run_folder_says_which_cell(swapped, tmp_path):
    "Weights of a run folder are loaded into the cell that they were trained in; older folders hold the right one."
    model = ConvLSTMAutoencoder(AutoencoderConfig.compact(hidden=4, swapped=swapped))
    save_weights(tmp_path, model, {"model": "autoencoder", "config": asdict(model.config)})
    assert load_autoencoder(tmp_path).config == model.config
    batch = Batch(*pad_frames([np.random.default_rng(0).integers(0, 256, (3, 2, 128, 72), np.uint8)], 1))
    with torch.no_grad():
        assert torch.equal(load_autoencoder(tmp_path)(batch), model(batch))
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["config"].pop("swapped") is swapped
    (tmp_path / "run.json").write_text(json.dumps(run))
    assert load_autoencoder(tmp_path).config.swapped is False


def test_embeddings_of_the_other_cell_are_made_anew(tmp_path):
    corpus = Corpus(tmp_path, pd.DataFrame({"id": ["a"], "views_k": 1.0}))
    clip = np.random.default_rng(0).integers(0, 256, (3, 2, 128, 72), np.uint8)
    save_features(corpus.features("visual", "a"), {"clip": clip}, Provenance("visual", {}, "a"))
    weights, embeddings = ConvLSTMAutoencoder(AutoencoderConfig.compact(hidden=4)).state_dict(), []
    for swapped in (False, True):
        model = ConvLSTMAutoencoder(AutoencoderConfig.compact(hidden=4, swapped=swapped))
        model.load_state_dict(weights)
        save_weights(tmp_path / "run", model, {"config": asdict(model.config)})
        assert [embed_corpus(corpus, tmp_path / "run") for _ in range(2)] == [1, 0]
        embeddings.append(load_features(embedding_file(tmp_path / "run", "a"))["embedding"])
    assert np.abs(embeddings[0] - embeddings[1]).max() > 0.1


def test_the_swap_is_no_preset_of_the_command_line():
    assert sorted(AUTOENCODER_PRESETS) == ["compact", "paper"]
    assert not any(config.swapped for config in AUTOENCODER_PRESETS.values())
