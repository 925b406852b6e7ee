"Training on two processes gives what one process gives."

import os
import signal

import lightning as L
import numpy as np
import pytest
import torch
from torch import nn

from tiktok_mm.lib.batch import Dataset
from tiktok_mm.lib.core import UserError
from tiktok_mm.lib.loop import train_model
from tiktok_mm.lib.training import TrainConfig, objective


class FromSound(nn.Module):
    "A small model without noise: Batch → (B, 1)."

    reads = ("audio",)

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, batch):
        return self.layers(batch.audio.flatten(1))


class Killed(L.Callback):
    "Ends one of the two processes at the start of the third epoch."

    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == 2 and trainer.global_rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def videos(seed: int, n: int) -> Dataset:
    "Random sound, and a target that depends on it."
    audio = np.random.default_rng(seed).normal(size=(n, 2, 3)).astype(np.float32)
    clips = [np.zeros((3, 1, 2, 2), np.uint8)] * n
    return Dataset([f"{seed}-{k}" for k in range(n)], clips, audio=audio, target=audio.sum((1, 2)))


def train(folder, devices, callbacks=()) -> tuple[dict, list[dict]]:
    "The weights and the log of a training whose every step reads all videos."
    config = TrainConfig(epochs=8, batch_size=32 // devices, lr=0.05, devices=devices, device="cpu")
    model = FromSound()
    log = train_model(model, objective("mse"), videos(1, 32), folder, config, videos(2, 8), callbacks)
    return model.state_dict(), log


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    "What one process learns."
    weights, log = train(tmp_path_factory.mktemp("one"), 1)
    assert log[-1]["train_loss"] < 0.8 * log[0]["train_loss"]
    return weights, log


def assert_alike(one, two) -> None:
    "Losses and weights are those of one process, but for the rounding of sums."
    for expected, found in zip(one[1], two[1], strict=True):
        assert found == pytest.approx(expected, rel=1e-4)
    for name, weights in one[0].items():
        assert torch.allclose(weights, two[0][name], atol=1e-4)


def test_two_processes_learn_what_one_learns(one, tmp_path):
    "Half of all videos on each of two processes."
    assert_alike(one, train(tmp_path, 2))


@pytest.mark.nightly
def test_two_processes_resume(one, tmp_path):
    "One of them is killed in the middle, and the training started again."
    with pytest.raises(UserError, match="Run the same command again to resume"):
        train(tmp_path, 2, [Killed()])
    assert (tmp_path / "checkpoints" / "last.ckpt").exists()
    assert_alike(one, train(tmp_path, 2))
    assert len(list((tmp_path / "log").iterdir())) == 2
