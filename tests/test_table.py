"From a corpus folder to the paper's table, through the command line, as a user would."

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tiktok_mm import classification, regression
from tiktok_mm.classification import make_report, report_corpus
from tiktok_mm.data import open_corpus
from tiktok_mm.lib.core import UserError
from tiktok_mm.lib.runs import default_runs
from tiktok_mm.lib.splits import Split
from tiktok_mm.lib.targets import Quartiles, TargetScaler
from tiktok_mm.lib.training import TrainConfig
from tiktok_mm.synthetic.toy import toy_experiment


def tiktok_mm(*arguments) -> subprocess.CompletedProcess:
    "The command line in a process of its own."
    return subprocess.run(
        [sys.executable, "-c", "from tiktok_mm.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def corpus(fixture_corpus, tmp_path_factory):
    "The fixture with its features."
    folder = shutil.copytree(fixture_corpus, tmp_path_factory.mktemp("table") / "corpus")
    assert tiktok_mm("extract", folder, "--no-sheet").returncode == 0
    return folder


EXPERIMENT = "random-65-10-25-seed42"


@pytest.fixture(scope="module")
def printed(corpus) -> str:
    "What `table` prints for it."
    run = tiktok_mm("table", corpus)
    assert run.returncode == 0, run.stderr
    assert [line.partition(":")[2].split()[0] for line in run.stderr.splitlines()] == ["random", "tables"], run.stderr
    return run.stdout


def test_the_table_says_what_it_is_worth(corpus, printed):
    "Every row is there, beside the paper's figures, with the warning that so few videos tell nothing."
    for label in ("Constant mean", "Constant median", "Gradient boosting", *(run.label for run in default_runs())):
        assert label in printed
    assert "4,730" in printed and "are too few to judge a model" in printed
    made = {path.name for path in (corpus / "runs" / EXPERIMENT / "table").iterdir()}
    assert made == {
        "table.txt",
        "table.json",
        "table.csv",
        "table.tex",
        "predictions.png",
        "losses.png",
        "confusion.png",
    }


def test_run_folders_and_keys_are_ids(corpus, printed):
    "A run has the same id as a folder, in JSON and in CSV; a classifier's folder is class-<id>."
    ids = [run.id for run in default_runs()]
    folders = {path.name for path in (corpus / "runs" / EXPERIMENT).iterdir() if path.is_dir()}
    classifiers = {"class-cnn3d", "class-swin-scratch", "class-ensemble-compact"}
    assert folders == {*ids, *classifiers, "autoencoder", "table"}
    table = json.loads((corpus / "runs" / EXPERIMENT / "table" / "table.json").read_text())
    assert list(table["scores"]) == ["mean", "median", "boosting", *ids]
    assert {id: row["label"] for id, row in table["scores"].items() if id in ids} == {
        run.id: run.label for run in default_runs()
    }
    assert list(table["classes"]) == ["chance", "majority", "cnn3d", "swin-scratch", "ensemble-compact"]


def test_formats(corpus, printed):
    "JSON and CSV can be read by programs and hold the same figures; what is printed is what is written."
    folder = corpus / "runs" / EXPERIMENT / "table"
    table, frame = json.loads((folder / "table.json").read_text()), pd.read_csv(folder / "table.csv", index_col="run")
    assert frame.loc["cnn3d", "MAE (K) value"] == pytest.approx(table["scores"]["cnn3d"]["MAE (K) value"])
    assert (folder / "table.tex").read_text().count(r"\bottomrule") == 2
    assert (folder / "table.txt").read_text() == printed
    assert tiktok_mm("table", corpus, "--csv").stdout == (folder / "table.csv").read_text()


def test_same_seed_same_table(corpus, printed):
    "Trained again from nothing, the table is the same to the last digit; another seed is another table."
    assert tiktok_mm("table", corpus).stdout == printed
    shutil.rmtree(corpus / "runs")
    assert tiktok_mm("table", corpus).stdout == printed


def test_train_lists_its_runs(corpus, printed):
    "`train` without an id lists ids and labels; with one it trains that run of the table."
    listed = tiktok_mm("train", corpus).stdout
    for run in default_runs():
        assert run.id in listed and run.label in listed
    assert f"runs/{EXPERIMENT}/cnn3d: MSE (K²)" in tiktok_mm("train", corpus, "cnn3d").stdout


def test_train_names_the_nearest_id(corpus):
    "One line, and exit code 2."
    run = tiktok_mm("train", corpus, "ensemble-compct")
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1)
    assert "no run 'ensemble-compct': did you mean 'ensemble-compact'?" in run.stderr


@pytest.mark.parametrize(
    "wrong, says",
    [
        (("--preset", "big"), "no preset 'big'"),
        (("--split", "moon"), "no split 'moon'"),
        (("--sizes", "1", "0", "1"), "share above zero"),
        (("--json", "--csv"), "choose one"),
    ],
)
def test_wrong_options(corpus, wrong, says):
    "One line that says what to do, and exit code 2."
    run = tiktok_mm("table", corpus, *wrong)
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1) and says in run.stderr


def test_too_few_real_clips(real_data, tmp_path):
    "Six clips with invented counts: it says that they are too few, and does not crash."
    clips = sorted((real_data / "clips").glob("*.mp4"))[:6]
    for clip in clips:
        shutil.copy(clip, tmp_path)
    (tmp_path / "views.csv").write_text(
        "id,views\n" + "".join(f"{clip.stem},{10**n}\n" for n, clip in enumerate(clips, 1))
    )
    assert tiktok_mm("extract", tmp_path, "--no-sheet").returncode == 0
    run = tiktok_mm("table", tmp_path)
    assert run.returncode == 2 and "too few to learn from" in run.stderr and run.stderr.count("\n") == 1


QUICK = TrainConfig(epochs=1, batch_size=16)


def with_split(experiment, **changes):
    "The experiment with another split."
    return replace(experiment, split=replace(experiment.split, **changes))


def with_reposts(experiment):
    "The experiment with a test video that is a near-duplicate of a training video."
    groups = experiment.groups.copy()
    groups[experiment.split.test[0]] = groups[experiment.split.train[0]]
    return replace(experiment, groups=groups)


LEAKS = {
    "videos in two parts": lambda toy: with_split(toy, train=(*toy.split.train, toy.split.test[0])),
    "near-duplicates": with_reposts,
    "the training of the autoencoder": lambda toy: replace(toy, encoder=[*toy.encoder, toy.split.valid[0]]),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_leaks_are_refused_before_training(leak, tmp_path):
    "An experiment with a leak of split, groups or encoder cannot be made, so no run is trained."
    toy = toy_experiment(tmp_path, n=40)
    runs = [replace(run, training=QUICK) for run in default_runs() if run.id == "ensemble-compact"]
    with pytest.raises(UserError, match=leak):
        make_report(LEAKS[leak](toy), runs)
    assert not (tmp_path / "runs").exists()
    assert make_report(toy, runs).labels == {"ensemble-compact": "Ensemble (compact)"}
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"ensemble-compact", "class-ensemble-compact"}


def test_a_leaky_split_is_refused_before_the_autoencoder(corpus, tmp_path, monkeypatch):
    "A split that separates near-duplicates or shares a video costs no training at all."

    def leaky_split(table, kind, sizes, seed, groups):
        ids = tuple(table.id)
        return Split(kind, seed, ids[:6], ids[6:8], ids[5:])

    folder = shutil.copytree(corpus, tmp_path / "corpus", ignore=shutil.ignore_patterns("runs"))
    monkeypatch.setattr(regression, "make_split", leaky_split)
    with pytest.raises(UserError, match="videos in two parts"):
        report_corpus(open_corpus(folder))
    assert not (folder / "runs").exists()


def test_a_leaky_autoencoder_is_refused_before_the_runs(corpus, tmp_path, monkeypatch):
    "An autoencoder that was trained on every video is the only run folder."
    fit_autoencoder = regression.fit_autoencoder

    def fit_on_everything(train, folder, config, training, valid, **options):
        everything = replace(train, **{name: [*value, *getattr(valid, name)] for name, value in lists(train).items()})
        return fit_autoencoder(everything, folder, replace(config, epochs=1), QUICK, valid, **options)

    def lists(videos):
        return {name: value for name, value in vars(videos).items() if isinstance(value, list)}

    folder = shutil.copytree(corpus, tmp_path / "corpus", ignore=shutil.ignore_patterns("runs"))
    monkeypatch.setattr(regression, "fit_autoencoder", fit_on_everything)
    with pytest.raises(UserError, match="held-out videos in the training of the autoencoder"):
        report_corpus(open_corpus(folder))
    assert {path.name for path in (folder / "runs" / EXPERIMENT).iterdir()} == {
        "autoencoder",
        "experiment.json",
        "split.json",
    }


def test_leaks_of_targets_are_refused_after_training(tmp_path, monkeypatch):
    "A scaler or quartiles of the test videos: the run that has them is refused, and no other is trained."
    toy, fit = toy_experiment(tmp_path, n=40), regression.fit
    test = toy.dataset.subset(toy.split.test).views_k
    runs = [replace(run, training=QUICK) for run in default_runs() if run.id in ("ensemble-compact", "ensemble-paper")]

    def fit_with_leak(run, videos, split, folder, outputs=1, target=None, progress=False):
        target = Quartiles().fit(test) if outputs == 4 else TargetScaler(run.target).fit(test)
        return fit(run, videos, split, folder, outputs, target)

    monkeypatch.setattr(regression, "fit", fit_with_leak)
    with pytest.raises(
        UserError, match="scaler of ensemble-paper was not fitted on the training videos, but on the test"
    ):
        make_report(toy, runs)
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"ensemble-paper"}
    assert not (tmp_path / "runs" / "ensemble-paper" / "predictions.csv").exists()
    monkeypatch.setattr(regression, "fit", fit)
    monkeypatch.setattr(classification, "fit", fit_with_leak)
    with pytest.raises(UserError, match="the quartiles are not those of the training videos"):
        make_report(toy, runs)
    assert not (tmp_path / "runs" / "class-ensemble-compact" / "predictions.csv").exists()


def test_undefined_metrics_are_null(tmp_path):
    "Test videos with equal views: what is divided by their variance is null in JSON and a dash in the table."
    toy = toy_experiment(tmp_path, n=40)
    test = np.isin(toy.dataset.ids, toy.split.test)
    equal = replace(toy.dataset, views_k=np.where(test, 7.0, toy.dataset.views_k))
    runs = [replace(run, training=QUICK) for run in default_runs() if run.id == "ensemble-compact"]
    report = make_report(replace(toy, dataset=equal), runs)
    scores = json.loads(report.render("json"))["scores"]["ensemble-compact"]
    assert scores["nMSE value"] is None and scores["R² log value"] is None and scores["MAE (K) value"] > 0
    assert report.table().loc["Ensemble (compact)", ("this corpus", "nMSE")] == "–"
