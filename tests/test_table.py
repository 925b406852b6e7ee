"From a corpus folder to the paper's table, through the command line, as a user would."

import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from command import tiktok_mm

from tiktok_mm import classification, regression
from tiktok_mm.classification import classification_runs, make_report, report_corpus
from tiktok_mm.data import open_corpus
from tiktok_mm.lib.core import UserError
from tiktok_mm.lib.media import probe
from tiktok_mm.lib.rendering import render
from tiktok_mm.lib.report import DID_NOT_LEARN, Report
from tiktok_mm.lib.runs import default_runs
from tiktok_mm.lib.splits import Split
from tiktok_mm.lib.targets import Quartiles, TargetScaler
from tiktok_mm.lib.training import TrainConfig
from tiktok_mm.synthetic.toy import toy_experiment

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.fixture(scope="module")
def corpus(extracted, tmp_path_factory):
    "The fixture with its features."
    return shutil.copytree(extracted, tmp_path_factory.mktemp("table") / "corpus")


STEPS = ("--max-steps", "3")
EXPERIMENT = "random-65-10-25-seed42"
NAME = f"{EXPERIMENT}-steps3"


@pytest.fixture(scope="module")
def printed(corpus) -> str:
    "What `table` prints for it."
    run = tiktok_mm("table", corpus, *STEPS)
    assert run.returncode == 0, run.stderr
    assert [line.partition(":")[2].split()[0] for line in run.stderr.splitlines()] == ["random", "tables"], run.stderr
    return run.stdout


def test_the_table_says_what_it_is_worth(corpus, printed):
    "Every row is there, beside the paper's figures, with the warning that so few videos tell nothing."
    for label in (
        "Constant mean",
        "Constant median",
        "Gradient boosting",
        "Linear regression",
        *(run.label for run in default_runs()),
    ):
        assert label in printed
    assert "4,730" in printed and printed.startswith("Nothing can be said about any model: ")
    assert "beats" not in printed and "highest" not in printed
    made = {path.name for path in (corpus / "runs" / NAME / "table").iterdir()}
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
    ids, steps = [run.id for run in default_runs()], "-max_steps-3"
    folders = {path.name.removesuffix(steps) for path in (corpus / "runs" / NAME).iterdir() if path.is_dir()}
    classifiers = [run.id for run in classification_runs()]
    assert folders == {*ids, *(f"class-{id}" for id in classifiers), "autoencoder", "table"}
    table = json.loads((corpus / "runs" / NAME / "table" / "table.json").read_text())
    assert list(table["scores"]) == ["mean", "median", "boosting", "linear", *ids]
    labels = {id: row["label"].removesuffix(DID_NOT_LEARN) for id, row in table["scores"].items() if id in ids}
    assert labels == {run.id: run.label for run in default_runs()}
    assert list(table["classes"]) == ["majority", "boosting", *classifiers]


def test_formats(corpus, printed):
    "JSON and CSV can be read by programs and hold the same figures; what is printed is what is written."
    folder = corpus / "runs" / NAME / "table"
    table, frame = json.loads((folder / "table.json").read_text()), pd.read_csv(folder / "table.csv", index_col="run")
    assert frame.loc["cnn3d", "MAE (K) value"] == pytest.approx(table["scores"]["cnn3d"]["MAE (K) value"])
    assert (folder / "table.tex").read_text().count(r"\bottomrule") == 2
    assert (folder / "table.txt").read_text() == printed
    assert frame.label["note"].to_list() == [table["headline"], *table["notes"]]
    assert tiktok_mm("table", corpus, *STEPS, "--csv").stdout == (folder / "table.csv").read_text()


def test_the_table_is_loaded(corpus, printed):
    "A second time it is the same, and nothing is trained."
    weights = {path: path.stat().st_mtime_ns for path in corpus.rglob("weights.safetensors")}
    assert tiktok_mm("table", corpus, *STEPS).stdout == printed
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("weights.safetensors")} == weights


@pytest.mark.nightly
def test_same_seed_same_table(corpus, printed, tmp_path, monkeypatch):
    "Trained again from nothing, and in processes side by side, it is the same to the last digit."
    monkeypatch.setattr(regression, "FEW", 0)
    assert tiktok_mm("table", corpus, *STEPS, "--out", tmp_path / "again").stdout == printed


def test_train_lists_its_runs(corpus, printed):
    "`train` without an id lists ids and labels; with one it trains that run of the table."
    listed = tiktok_mm("train", corpus, *STEPS).stdout
    for run in default_runs():
        assert run.id in listed and run.label in listed
    assert f"runs/{NAME}/cnn3d-max_steps-3: MSE (K²)" in tiktok_mm("train", corpus, "cnn3d", *STEPS).stdout


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
    assert tiktok_mm("extract", tmp_path, "--whisper", "demo", "--no-sheet").returncode == 0
    run = tiktok_mm("table", tmp_path)
    assert run.returncode == 2 and "too few to learn from" in run.stderr and run.stderr.count("\n") == 1


PAGE = "https://www.tiktok.com/@me/video/"


def yt_dlp(views: dict[str, int]) -> dict[str, str]:
    return {
        f"{id}.info.json": json.dumps({"id": id, "extractor_key": "TikTok", "view_count": n, "webpage_url": PAGE + id})
        for id, n in views.items()
    }


def apify(views: dict[str, int]) -> dict[str, str]:
    rows = [f"{id},me,{n},dance,{PAGE}{id}\n" for id, n in views.items()]
    return {"dataset.csv": "id,authorMeta/name,playCount,hashtags/0/name,webVideoUrl\n" + "".join(rows)}


def zeeschuimer(views: dict[str, int]) -> dict[str, str]:
    items = [{"id": id, "stats": {"playCount": n}, "author": {"uniqueId": "me"}} for id, n in views.items()]
    lines = [{"item_id": item["id"], "source_platform": "tiktok.com", "data": item} for item in items]
    return {"export.ndjson": "".join(json.dumps(line) + "\n" for line in lines)}


def pyktok(views: dict[str, int]) -> dict[str, str]:
    rows = [f"{id},2023-11-14T22:13:20,5,{n},me\n" for id, n in views.items()]
    return {"p.csv": "video_id,video_timestamp,video_diggcount,video_playcount,author_username\n" + "".join(rows)}


def by_hand(views: dict[str, int]) -> dict[str, str]:
    return {"Liste.csv": "Dateiname;Aufrufe\n" + "".join(f"{id}.mp4;{n}\n" for id, n in views.items())}


COLLECTORS = {yt_dlp: "{}.mp4", apify: "@me_video_{}.mp4", zeeschuimer: "title [{}].mp4", pyktok: "me_video_{}.mp4"}
COLLECTORS |= {by_hand: "{}.mp4"}


@pytest.fixture(scope="module")
def pieces(real_data, ffmpeg, tmp_path_factory):
    "Up to three pieces of each real clip, of two seconds: enough videos for a table."
    folder = tmp_path_factory.mktemp("pieces")
    for clip in sorted((real_data / "clips").glob("*.mp4")):
        for start in ("0", "2", "4"):
            cut = [ffmpeg, "-v", "error", "-ss", start, "-t", "2", "-i", clip, folder / f"{clip.stem}-{start}.mp4"]
            subprocess.run(cut, check=True)
    return [piece for piece in sorted(folder.iterdir()) if not probe(piece).error]  # one clip ends before its second


@pytest.mark.nightly
@pytest.mark.parametrize("collector", COLLECTORS)
def test_real_clips_of_each_collector(collector, pieces, tmp_path):
    "check, extract and table on a folder as each of five collectors leaves it."
    views = {str(7300000000000000011 + n): 1635 * 2**n for n in range(len(pieces))}
    for id, piece in zip(views, pieces):
        shutil.copy(piece, tmp_path / COLLECTORS[collector].format(id))
    for name, text in collector(views).items():
        (tmp_path / name).write_text(text)
    checked = tiktok_mm("check", tmp_path)
    assert checked.returncode == 0 and f"{len(pieces)} videos, {len(pieces)} can be read" in checked.stdout, checked
    extracted = tiktok_mm("extract", tmp_path, "--whisper", "demo", "--frame-skip", 20, "--no-sheet")
    assert extracted.returncode == 0, extracted
    table = tiktok_mm("table", tmp_path, "--max-steps", 1)
    assert table.returncode == 0 and table.stdout.startswith("Nothing can be said about any model"), table.stderr


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
    scores = json.loads(render(report, "json"))["scores"]["ensemble-compact"]
    assert scores["nMSE value"] is None and scores["R² log value"] is None and scores["MAE (K) value"] > 0
    assert report.table().loc["Ensemble (compact)", ("this corpus", "nMSE")] == "–"


def made_up_report(n_test, scale=1.0, seeds=1, **changes) -> Report:
    "A report of made-up views around `scale` · 3,000 K: a nearly exact model, a useless one, the mean minus 1 K."
    rng = np.random.default_rng(0)
    views_k = scale * rng.lognormal(8, 1, n_test)
    mean, median = (np.full(n_test, scale * value) for value in (4900.0, 2980.0))
    truth = np.searchsorted(scale * np.array([1500, 2980, 5900]), views_k)
    predictions = {
        "mean": mean,
        "median": median,
        "boosting": mean - 1 * scale,
        "cnn3d": mean * rng.lognormal(0, 1, (seeds, n_test)),
        "ensemble-compact": views_k * rng.lognormal(0, 0.1, (seeds, n_test)),
        "paper-cnn3d": mean,
    }
    values = dict(
        name="made-up",
        counts={"train": 800, "valid": 200, "test": n_test},
        labels={"cnn3d": "CNN3D", "ensemble-compact": "Ensemble (compact)", "paper-cnn3d": "paper: CNN3D"},
        views_k=views_k,
        predictions=predictions,
        truth=truth,
        classes={"majority": np.zeros((1, n_test), int), "ensemble-compact": np.tile(truth, (seeds, 1))},
        logs={},
    )
    return Report(**{**values, **changes})


FORMATS = ("text", "json", "csv", "latex")
CLAIMS = r"[Bb]eats|Smallest|highest|\d ?%(?! interval)"


@pytest.mark.parametrize("n_test", [1, 5, 12, 29])
def test_nothing_is_claimed_about_few_videos(n_test):
    "The first line says so; no model beats or is best, no share is in percent; below 10 videos there is no interval."
    report = made_up_report(n_test, seeds=3, learned={"cnn3d": False})
    for format in FORMATS:
        text = render(report, format)
        lines = text.replace("\\begin{tabular}{p{\\linewidth}}\n", "").split("\n")
        first = lines[1] if format in ("csv", "json") else lines[0]  # below the names of the columns, the bracket
        assert re.search(f"Nothing can be said about any model: {n_test} test videos? in made-up, at least 30", first)
        assert not re.search(CLAIMS, text.replace("95 \\%", "95 %"))
        if format in ("text", "latex"):
            intervals = re.findall(r"\[([^\]]*\d), ([^\]]*)\]", text)
            assert bool(intervals) == (n_test >= 10) and all(low != high for low, high in intervals)


@pytest.mark.parametrize("n_test", [30, 100])
def test_what_beats_what(n_test):
    "A model that is nearly exact beats; one that is the mean minus 1 K does not, though its interval excludes zero."
    report = made_up_report(n_test, seeds=3)
    said = "\n".join(report.sentences())
    for constant in ("mean", "median"):
        assert f"Beats the {constant} of the training views in absolute error: “Ensemble (compact)”.\n" in said
    assert report.compare("boosting", "mean") == "differs by less than 2 % from"
    assert report.compare("paper-cnn3d", "mean") == "cannot be distinguished from"  # equal to it
    assert "“Ensemble (compact)” has the highest accuracy (100%) and beats the majority class" in said
    untrained = replace(report, learned={"ensemble-compact": False, "class-ensemble-compact": False})
    text = render(untrained).replace("No model beats", "")
    assert text.count("Ensemble (compact) — did not learn") == 2 and "eats" not in text


@pytest.mark.parametrize("scale", [1e-4, 1e-2, 1, 100, 1e5])
def test_units_fit_the_corpus(scale):
    "Median views from 300 to 300 billion: errors of at most three digits and a power of ten, never 0.1 or 12 digits."
    report = made_up_report(100, scale, seeds=2)
    for value in report.table()["this corpus"].filter(regex="^(MSE|MAE) \\(").to_numpy().ravel():
        for number in re.findall(r"[\d,]*\d(?:\.\d+)?", value):
            digits = number.replace(",", "").strip("0").replace(".", "").lstrip("0")
            assert len(digits.rstrip("0")) <= 3 and len(number) <= 11
    median = report.table()["this corpus"].filter(regex="^MAE \\(").loc["Constant median"].iloc[0]
    assert float(median.split()[0].replace(",", "")) >= 1
    assert len(max(render(report).split("\n"), key=len)) <= 200
    assert json.loads(render(report, "json"))["scores"]["median"]["MAE (K) value"] == pytest.approx(
        np.abs(report.views_k - report.predictions["median"]).mean()
    )


def test_rows_at_the_papers_settings():
    "They are a block of their own, below a line of its own, and the published figures stand beside them alone."
    report = made_up_report(100)
    table = report.table()
    assert list(table.index[-2:]) == ["at the paper's settings:", "paper: CNN3D"]
    assert table["paper", "MAE (K)"][["CNN3D", "paper: CNN3D", "Constant median"]].to_list() == ["–", "4,870", "4,730"]
    fair = replace(report, predictions={id: p for id, p in report.predictions.items() if id != "paper-cnn3d"})
    assert fair.table()["paper", "MAE (K)"]["CNN3D"] == "4,870" and len(fair.table()) == 5
    settings = {id: row["settings"] for id, row in json.loads(render(report, "json"))["scores"].items()}
    assert [id for id, setting in settings.items() if setting == "paper"] == ["paper-cnn3d"]


def test_every_row_has_intervals_and_an_order_within_authors():
    "At 80 % by 1,000 calibration videos, narrower for a better model; who knows the author alone orders nothing."
    rng, n = np.random.default_rng(1), 1000
    author = np.repeat(np.arange(n // 4), 4)
    level = rng.normal(8, 1.5, n // 4)[author]

    def drawn():
        "Views of four videos an author, and what a model of the author and a better one say of them."
        views_k = np.exp(level + rng.normal(0, 0.7, n))
        return views_k, {"mean": np.full(n, 5000.0), "median": np.full(n, 3000.0)} | {
            "boosting": np.exp(level),
            "ensemble-compact": views_k * rng.lognormal(0, 0.2, (3, n)),
        }

    (valid_views_k, valid), (views_k, test) = drawn(), drawn()
    calibration = dict(valid_views_k=valid_views_k, valid_predictions=valid, authors=tuple(map(str, author)))
    report = made_up_report(n, views_k=views_k, predictions=test, **calibration)
    scores = report.interval_scores
    assert (scores["coverage"].value - 0.8).abs().max() < 0.05
    width, within = scores["width"].value, scores["within"]
    assert width["ensemble-compact"] < width["boosting"] < width["median"]
    assert within.value["ensemble-compact"] > 0.8 and within.loc[["median", "boosting"]].isna().all(axis=None)
    rows = json.loads(render(report, "json"))["intervals"]
    assert rows["boosting"]["coverage value"] == pytest.approx(scores["coverage"].value["boosting"])
    assert rows["boosting"]["within value"] is None
    assert "order within an author" in render(report) and "over 250 authors with 3 test videos" in render(report)
    few = replace(
        report, valid_views_k=valid_views_k[:4], valid_predictions={id: p[..., :4] for id, p in valid.items()}
    )
    assert "coverage" not in few.interval_table() and few.interval_scores["coverage"].isna().all(axis=None)


def test_notes_are_in_every_format():
    "What a report was given to say about its training stands under the tables."
    note = "Every row was trained for at most 500 steps & 10 % of them are warm-up."
    report = made_up_report(40, notes=(note,))
    for format in FORMATS:
        expected = note if format != "latex" else note.replace("&", r"\&").replace("%", r"\%")
        assert expected in render(report, format)
