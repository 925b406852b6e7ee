"Experiments do not overwrite each other; a trained run gives its digits again, wherever it is loaded or repeated."

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext

import numpy as np
import psutil
import pytest
from command import tiktok_mm
from typer.testing import CliRunner

from tiktok_mm.beyond.trained import load_run, repeat_run
from tiktok_mm.classification import classification_runs, classify
from tiktok_mm.cli import app
from tiktok_mm.data import check_corpus, open_corpus
from tiktok_mm.lib.core import UserError
from tiktok_mm.lib.runs import default_runs, find_run
from tiktok_mm.lib.store import stored_provenance
from tiktok_mm.lib.training import read_log
from tiktok_mm.pipeline.extract import extract
from tiktok_mm.regression import predict_all, prepare_experiment, train_by_id, train_run, unfreeze_encoder
from tiktok_mm.visual import VisualConfig

pytestmark = pytest.mark.usefixtures("in_this_process")
RUNS = ("swin-scratch", "cnn3d", "ensemble-paper", "ensemble-compact", "ensemble-compact-speech")
NAME = "random-65-10-25-seed42"


@pytest.fixture(scope="module")
def corpus(extracted, tmp_path_factory):
    "The fixture with its features."
    return open_corpus(shutil.copytree(extracted, tmp_path_factory.mktemp("experiment") / "corpus"))


@pytest.fixture(scope="module")
def experiment(corpus):
    "One epoch of each kind of model, as regression and as classification, and of an ensemble end to end."
    experiment = prepare_experiment(corpus)
    runs = [find_run(id, default_runs(epochs=1)) for id in RUNS]
    end_to_end = unfreeze_encoder(runs[3], experiment)
    predict_all(experiment, [*runs, end_to_end], seeds=2)
    classify(experiment, classification_runs(runs))
    return experiment


PREDICT = """
import sys
import pandas as pd
from pathlib import Path
from tiktok_mm.beyond.trained import load_run
from tiktok_mm.cli import app
from tiktok_mm.data import open_corpus
corpus = open_corpus(sys.argv[1])
for folder in map(Path, sys.argv[2:]):
    table = pd.read_csv(folder / "predictions.csv", dtype={"id": str}, float_precision="round_trip")
    again = load_run(folder).predict(corpus, table.id)
    print(folder.name, int((again == table.iloc[:, 2]).sum()), len(table))
"""


def test_a_loaded_run_gives_the_digits_of_the_table(corpus, experiment, tmp_path):
    "Each kind of model, in another process, on another copy of the corpus that has no embeddings."
    copy = shutil.copytree(corpus.folder, tmp_path / "copy", ignore=shutil.ignore_patterns("embeddings"))
    folders = sorted((copy / "runs" / NAME).glob("*epochs*"))
    classifiers = classification_runs([find_run(id, default_runs()) for id in RUNS])
    assert len(folders) == 2 * (len(RUNS) + 1) + len(classifiers)
    done = subprocess.run([sys.executable, "-c", PREDICT, copy, *folders], capture_output=True, text=True)
    n = len(experiment.split.test)
    assert done.stdout.splitlines() == [f"{folder.name} {n} {n}" for folder in folders], done.stderr
    assert len(list((copy / "runs" / NAME / "autoencoder" / "embeddings").iterdir())) == n


def test_a_loaded_run_predicts_any_videos(corpus, experiment):
    "In any order, and one at a time up to rounding."
    run, ids = load_run(experiment.run("ensemble-compact-epochs-1")), list(experiment.split.train[:3])
    together = run.predict(corpus, ids)
    np.testing.assert_allclose(run.predict(corpus, ids[::-1])[::-1], together, rtol=1e-5)
    np.testing.assert_allclose([run.predict(corpus, [id])[0] for id in ids], together, rtol=1e-5)
    with pytest.raises(UserError, match="1 videos have no features, 'nobody' first"):
        run.predict(corpus, [*ids, "nobody"])


@pytest.mark.parametrize("folder", ["ensemble-compact-epochs-1", "class-ensemble-compact-epochs-1", "cnn3d-epochs-1"])
def test_features_of_other_settings_are_refused(corpus, experiment, tmp_path, folder):
    "One line that says what to run; a model that does not read the features takes them."
    copy = open_corpus(shutil.copytree(corpus.folder, tmp_path / "copy"))
    extract(copy, visual=VisualConfig(frame_skip=20), progress=False)
    run, ids = load_run(copy.runs / NAME / folder), list(experiment.split.test)
    options = "--frame-skip 200 --whisper demo"
    with pytest.raises(UserError, match=rf"visual features of other settings \(--frame-skip 20\).* {options}$"):
        run.predict(copy, ids)
    run.features["visual"]["recipe"] = stored_provenance(copy.features("visual", ids[0])).recipe
    run.features["audio"]["recipe"] = "of another version"
    reads_sound = bool({"audio", "words", "manner", "layers"} & set(run.model.reads))
    with pytest.raises(UserError, match="another version") if reads_sound else nullcontext():
        assert len(run.predict(copy, ids)) == len(ids)


@pytest.mark.parametrize("folder", ["nowhere", "autoencoder", "table"])
def test_a_folder_that_is_no_run(folder, experiment):
    "One line, not a traceback."
    with pytest.raises(UserError, match="holds no trained run"):
        load_run(experiment.run(folder))


def test_seeds_differ_in_nothing_else(experiment):
    "Rows are seeds; the first is the run alone; split and autoencoder are shared."
    runs = [find_run("ensemble-compact", default_runs(epochs=1))]
    one, two = predict_all(experiment, runs), predict_all(experiment, runs, seeds=2)
    n = len(experiment.split.test)
    assert {id: rows.test.shape for id, rows in two.items()} == {
        "mean": (1, n),
        "median": (1, n),
        "boosting": (1, n),
        "linear": (1, n),
        "ensemble-compact": (2, n),
    }
    assert np.array_equal(one["ensemble-compact"].test[0], two["ensemble-compact"].test[0])
    assert not np.array_equal(*two["ensemble-compact"].test)


def contents(folder) -> dict:
    "The bytes of all files."
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_experiment_overwrites_nothing(corpus, experiment, tmp_path):
    "Another seed, and another place; the same name with another seed is refused."
    before = contents(corpus.folder)
    train_by_id(corpus, "cnn3d", seed=7, name="seven", out=tmp_path, epochs=1)
    train_by_id(corpus, "cnn3d", seed=7, name="seven", epochs=1)
    assert before.items() <= contents(corpus.folder).items()
    here, there = corpus.runs / "seven" / "cnn3d-epochs-1", tmp_path / "seven" / "cnn3d-epochs-1"
    assert (here / "predictions.csv").read_bytes() == (there / "predictions.csv").read_bytes()
    done = tiktok_mm("table", corpus.folder, "--name", "seven")
    assert (done.returncode, done.stderr.count("\n")) == (
        2,
        1,
    ) and "seven holds an experiment with seed 7" in done.stderr


def test_the_same_run_is_loaded(corpus, experiment):
    "Nothing is trained again, however many processes make batches."
    weights = experiment.run("cnn3d-epochs-1") / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    train_by_id(corpus, "cnn3d", epochs=1, workers=1)
    assert weights.stat().st_mtime_ns == before


def test_a_run_is_repeated_from_its_run_json(corpus, experiment, tmp_path):
    "The same digits from the file alone; another corpus is refused in one line."
    run_json, folder = tmp_path / "run.json", "ensemble-compact-epochs-1-seed43"
    shutil.copy(experiment.run(folder) / "run.json", run_json)
    done = tiktok_mm("train", corpus.folder, "--config", run_json, "--out", tmp_path, "--num-workers", 1)
    assert done.returncode == 0 and f"{NAME}/{folder}: MSE" in done.stdout, done.stderr
    again = tmp_path / NAME / folder / "predictions.csv"
    assert again.read_bytes() == (experiment.run(folder) / "predictions.csv").read_bytes()
    other = shutil.copytree(corpus.folder, tmp_path / "other", ignore=shutil.ignore_patterns("runs"))
    lines = (other / "videos.jsonl").read_text().splitlines(True)
    (other / "videos.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(UserError, match="was trained on another corpus: 1 of its 12 videos are not in"):
        repeat_run(open_corpus(other), run_json)


MISTAKES = {
    "--precision bf16-mixd": "no precision 'bf16-mixd': did you mean 'bf16-mixed'?",
    "--device gpu": "no device 'gpu': choose auto, cpu, cuda or mps",
    "--logger wand": "no logger 'wand': did you mean 'wandb'?",
    "--preset papr": "no preset 'papr': did you mean 'paper'?",
    "--split autor": "no split 'autor': did you mean 'author'?",
    "--name a/b": "id 'a/b' cannot be a file name",
}


@pytest.mark.parametrize("wrong", MISTAKES)
def test_mistakes_cost_nothing(wrong, corpus, tmp_path):
    "One line with the nearest name, and no folder."
    arguments = ["train", str(corpus.folder), "cnn3d", "--out", str(tmp_path), *wrong.split()]
    error = CliRunner().invoke(app, arguments).exception
    assert isinstance(error, UserError) and MISTAKES[wrong] in str(error) and "\n" not in str(error)
    assert not list(tmp_path.iterdir())


LAST = "learning-rates/1e-09/checkpoints/last.ckpt"  # in the folder of a run at the paper's rate, while it trains
LOGS = {"tensorboard": "tensorboard/version_0/events.out.tfevents.*", "wandb": "wandb/offline-run-*/*.wandb"}


@pytest.mark.parametrize("logger", LOGS)
def test_other_loggers(logger, experiment, monkeypatch):
    "What TensorBoard or Weights & Biases shows is written beside the CSV log; nothing is sent."
    pytest.importorskip(logger, reason=f"needs the extra: pip install 'tiktok_mm[{logger}]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = find_run("cnn3d", default_runs(epochs=1, batch_size=4, logger=logger))
    shutil.rmtree(experiment.run(run.folder_name), ignore_errors=True)
    train_run(experiment, run)
    assert list(experiment.run(run.folder_name).glob(LOGS[logger]))
    assert read_log(experiment.run(run.folder_name))[0]["train_loss"] > 0


@pytest.mark.nightly
def test_a_killed_device_process_fails_the_training(corpus, experiment):
    "The last line says so, after what the other process had to say; the exit code is not 0."
    arguments = ["train", str(corpus.folder), "paper-ensemble", "--epochs", "500", "--devices", "2"]
    command = [sys.executable, "-c", "from tiktok_mm.cli import main; main()", *arguments]
    training = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    checkpoint = experiment.run("paper-ensemble-epochs-500-devices-2") / LAST
    while training.poll() is None and not checkpoint.exists():
        time.sleep(0.01)
    devices = [one for one in psutil.Process(training.pid).children() if "spawn_main" in " ".join(one.cmdline())]
    devices[-1].kill()
    output, error = training.communicate()
    assert (training.returncode, output) == (2, "") and "terminated with signal SIGKILL" in error.splitlines()[-1], (
        error
    )


@pytest.mark.parametrize("sign", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.nightly)])
def test_an_interrupt_says_how_to_resume(sign, corpus, tmp_path):
    "In the middle of a training: one more line, exit code 130, and a checkpoint to resume from."
    arguments = ("train", corpus.folder, "paper-ensemble", "--epochs", "500", "--name", NAME)
    command = [sys.executable, "-c", "from tiktok_mm.cli import main; main()", *map(str, arguments)]
    checkpoint = corpus.runs / NAME / "paper-ensemble-epochs-500" / LAST
    checkpoint.unlink(missing_ok=True)
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while run.poll() is None and not checkpoint.exists():
        time.sleep(0.01)
    os.kill(run.pid, sign)
    output, error = run.communicate()
    assert (run.returncode, output) == (130, "") and checkpoint.exists()
    assert error.splitlines()[1:] == ["tiktok-mm: interrupted; run the same command again to resume"], error


def test_check_and_train_count_alike(extracted, tmp_path):
    "Copies of one video count once: what training refuses, the check refuses with the same words."
    folder = shutil.copytree(extracted, tmp_path / "corpus")
    records = [json.loads(line) for line in (folder / "videos.jsonl").read_text().splitlines()]
    first = next((folder / "videos").glob(f"{records[0]['id']}.*"))
    for record in records[1:4]:
        shutil.copy(first, folder / "videos" / f"{record['id']}{first.suffix}")
    found = check_corpus(open_corpus(folder), progress=False)
    assert (found.usable, found.groups, found.ok) == (12, 9, False)
    extract(open_corpus(folder), progress=False)
    refused = "only 9 groups of videos are independent of each other"
    assert refused in str(found)
    with pytest.raises(UserError, match=refused):
        prepare_experiment(open_corpus(folder))
