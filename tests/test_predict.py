"From a trained run to one video: predictions, exports, models of one's own, commands, and the report in Chromium."

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command import tiktok_mm as run
from torch import nn
from typer.testing import CliRunner

import tiktok_mm
from replica.chromium import driver
from tiktok_mm.beyond.compare import compare
from tiktok_mm.beyond.explain import log_views
from tiktok_mm.beyond.extras import chosen_stages
from tiktok_mm.beyond.page import make_page
from tiktok_mm.beyond.portable import export_model, hub_folder, push_to_hub
from tiktok_mm.beyond.predict import UNLIKE, load_model
from tiktok_mm.cli import app
from tiktok_mm.data import open_corpus
from tiktok_mm.lib.core import UserError
from tiktok_mm.lib.registry import OWN_MODELS, register_model
from tiktok_mm.lib.runs import default_runs, find_run
from tiktok_mm.pipeline.extract import extract
from tiktok_mm.regression import prepare_experiment, train_run

SIZES = {"phone": (390, 844), "desk": (1280, 900)}
KINDS = ("ensemble-compact", "ensemble-paper", "cnn3d", "own", "ensemble-compact-text-image-context")
WITH = ("text", "image", "context")


@pytest.fixture(scope="module")
def experiment(fixture_corpus, tmp_path_factory, in_this_process):
    "Models of every kind, trained for one epoch on the fixture."
    folder = shutil.copytree(fixture_corpus, tmp_path_factory.mktemp("predict") / "corpus")
    extract(open_corpus(folder), progress=False, extra=chosen_stages(["text=hashed", *WITH[1:]]))

    @register_model("own")
    class Own(nn.Module):
        reads = ("words", "word_mask", "image_rows")

        def __init__(self, outputs, sizes):
            super().__init__()
            self.heads = nn.ModuleList(nn.Linear(*sizes[name], outputs) for name in ("words", "image_rows"))

        def forward(self, batch):
            words = batch.words.sum(1) / batch.word_mask.sum(1, keepdim=True).clamp(min=1)
            return self.heads[0](words) + self.heads[1](batch.image_rows.nan_to_num().mean(1))

    made = prepare_experiment(open_corpus(folder), max_steps=2)
    for kind in KINDS:
        train_run(made, run_of(kind))
    yield made
    del OWN_MODELS["own"]


def run_of(kind: str):
    return find_run(kind, default_runs(epochs=1, lr=1e-3, extra=WITH))


def folder_of(experiment, kind: str) -> Path:
    return experiment.run(run_of(kind).folder_name)


@pytest.fixture(scope="module")
def video(experiment) -> Path:
    "A test video with speech."
    table = experiment.corpus.table.set_index("id")
    spoken = [id for id in experiment.split.test if len(experiment.dataset.subset([id]).words[0])]
    return table.path[spoken[0]]


@pytest.fixture(scope="module")
def post(experiment, video) -> dict:
    "What the corpus knows of that video's post."
    row = experiment.corpus.table.set_index("id").loc[video.stem]
    known = {name: row[name] for name in ("caption", "followers", "hashtags", "music")}
    return known | {"at": row.posted_at.isoformat()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_gets_the_prediction_of_its_run(experiment, video, post, kind):
    "The stages of a corpus, in a temporary folder: the same digits as the table's, and nothing is left in the run."
    folder, id = folder_of(experiment, kind), video.stem
    model = load_model(folder)
    before = sorted(path for path in experiment.folder.rglob("*"))
    prediction = model.predict(video, **post)
    assert prediction.views_k == pytest.approx(float(model.run.predict(experiment.corpus, [id])[0]), rel=1e-6)
    assert sorted(path for path in experiment.folder.rglob("*")) == before
    moved = sum(prediction.effects.values())
    assert log_views(prediction.nothing_k) + moved == pytest.approx(float(log_views(prediction.views_k)), abs=1e-4)
    assert sum(prediction.quartiles) == pytest.approx(1)
    assert len(prediction.neighbours) == min(5, len(experiment.split.train))
    assert {one["id"] for one in prediction.neighbours} <= set(experiment.split.train)


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_gives_the_same_digits_without_its_corpus(experiment, video, kind, tmp_path):
    "Prediction, reasons and neighbours with their images; what was exported can be exported again."
    here = load_model(folder_of(experiment, kind)).predict(video)
    exported = export_model(folder_of(experiment, kind), tmp_path / "model")
    moved = export_model(shutil.move(exported, tmp_path / "elsewhere"), tmp_path / "again", thumbnails=False)
    there = load_model(tmp_path / "elsewhere").predict(video)
    assert there.to_dict() == here.to_dict()
    assert load_model(moved).predict(video).to_dict() == here.to_dict()
    assert there.model.thumbnail(here.neighbours[0]["id"]).startswith(b"\xff\xd8")
    assert load_model(moved).thumbnail(here.neighbours[0]["id"]) is None
    kinds = {path.suffix for path in moved.rglob("*") if path.is_file()}
    assert kinds == {".safetensors", ".json", ".md"}


def test_a_model_that_reads_the_post_is_moved_by_it(experiment, video, post):
    "Caption, followers and time change its prediction; to a model of frames and sound they are said to be of no use."
    reads = load_model(folder_of(experiment, KINDS[-1]))
    known, other = reads.predict(video, **post), reads.predict(video, caption="nothing of this kind")
    assert known.unused == other.unused == [] and known.views_k != other.views_k
    assert list(known.effects) == ["frames", "words", "sound", "text", "image", "context"]
    assert {"caption", "length", "followers", "hour"} <= set(known.post) and {"followers", "hour"}.isdisjoint(
        other.post
    )
    assert known.given["caption"] == post["caption"] and other.given == {"caption": "nothing of this kind"}
    assert f"“{post['caption']}”" in known.report().html and "of the post: " in str(known)
    heard = run("predict", folder_of(experiment, KINDS[-1]), video, "--known", "music=original sound", "--json")
    assert "music" in json.loads(heard.stdout)["post"], heard.stderr
    wrong = run("predict", folder_of(experiment, KINDS[-1]), video, "--known", "musik=a song")
    assert wrong.returncode == 2 and "did you mean 'music'?" in wrong.stderr
    again = run("predict", folder_of(experiment, KINDS[-1]), video, "--known", "followers=5000")
    assert again.returncode == 2 and again.stderr.count("\n") == 1 and "field of a post for --known" in again.stderr
    captions = compare(reads, video, video, {"caption": "nothing of this kind"}, **post)
    assert captions.first.views_k == known.views_k != captions.second.views_k
    blind = load_model(folder_of(experiment, "ensemble-compact"))
    assert "caption, followers, posted_at" in blind.predict(video, **post).unused[0]


def test_extra_features_of_another_model_are_refused(experiment, tmp_path):
    "A run that reads an image encoder's vectors takes no other encoder's; one that does not, does not care."
    copy = shutil.copytree(experiment.corpus.folder, tmp_path / "corpus")
    extract(open_corpus(copy), progress=False, extra=chosen_stages(["image=resnet18@random"]))
    with pytest.raises(UserError, match=r"12 videos have image features of other settings .* --with image"):
        load_model(folder_of(experiment, KINDS[-1])).run.predict(open_corpus(copy), list(open_corpus(copy).table.id))
    load_model(folder_of(experiment, "cnn3d")).run.predict(open_corpus(copy), list(open_corpus(copy).table.id))


def test_one_call_is_enough(experiment, video):
    "`import tiktok_mm` offers the same as the modules."
    folder = folder_of(experiment, "cnn3d")
    assert tiktok_mm.predict(folder, video).to_dict() == load_model(folder).predict(video).to_dict()


def test_the_interval_never_sees_training_or_test_videos(experiment):
    "It is calibrated on the validation videos alone; fewer than five give no interval, and the model says so."
    model = load_model(folder_of(experiment, "ensemble-compact"))
    valid = experiment.dataset.subset(experiment.split.valid)
    np.testing.assert_array_equal(model.reference.valid_views_k, valid.views_k)
    assert np.isnan(model.reference.intervals(np.array([10.0]))).all()
    assert "There is no interval" in model.caveats()[1]
    many = replace(
        model.reference, valid_views_k=np.exp(np.arange(20.0)), valid_predicted_k=np.exp(np.arange(20.0)[::-1])
    )
    low, high = many.intervals(np.array([10.0]))[0]
    assert low < 10 < high


def test_a_changed_run_gets_a_new_reference(experiment, tmp_path):
    "What is stored with a run is used as long as the run and its test results are the same."
    copy = shutil.copytree(experiment.corpus.folder, tmp_path / "corpus")
    folder = copy / "runs" / experiment.folder.name / run_of("cnn3d").folder_name
    load_model(folder)
    first = (folder / "reference.safetensors").read_bytes()
    load_model(folder)
    assert (folder / "reference.safetensors").read_bytes() == first
    (folder / "predictions.csv").write_text((folder / "predictions.csv").read_text() + "\n")
    load_model(folder)
    assert (folder / "reference.safetensors").read_bytes() != first


def test_what_does_not_work_is_one_line(experiment, video, tmp_path):
    "A wrong file, a folder without videos, a class that is not registered, a hub without a network, a classifier."
    folder = folder_of(experiment, "own")
    model = load_model(folder)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(video.read_bytes()[:2000])
    for wrong, message in ((tmp_path / "none.mp4", "there is no video"), (broken, r"^broken\.mp4: \S")):
        with pytest.raises(UserError, match=message) as error:
            model.predict(wrong)
        assert "\n" not in str(error.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="there is no video in"):
        model.rank(tmp_path / "empty")
    registered = OWN_MODELS.pop("own")
    with pytest.raises(UserError, match="the registered class 'own': import the module that registers it first"):
        load_model(folder)
    OWN_MODELS["own"] = registered
    assert model.predict(video, caption="a", followers=3).unused == [
        "Not used: caption, followers. This model reads only words and image."
    ]


def test_the_hub(monkeypatch, experiment, tmp_path):
    "Only weights, JSON, the card and images are fetched and uploaded; a failure is one line."
    huggingface_hub = pytest.importorskip("huggingface_hub")
    calls = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **k: calls.append((a, k)) or str(tmp_path))
    assert hub_folder("somebody/views") == tmp_path
    assert "*.safetensors" in calls[0][1]["allow_patterns"] and "*" not in calls[0][1]["allow_patterns"]

    def fail(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(UserError, match="cannot be fetched from the hub: no network"):
        load_model("somebody/views")
    exported = export_model(folder_of(experiment, "cnn3d"), tmp_path / "exported")
    monkeypatch.setattr(huggingface_hub, "create_repo", fail)
    with pytest.raises(UserError, match="cannot be uploaded to somebody/views: no network"):
        push_to_hub(exported, "somebody/views")


def test_commands(experiment, video, tmp_path):
    "predict prints text, JSON and a report, ranks a folder; compare and export."
    folder = str(folder_of(experiment, "ensemble-compact"))
    runner = CliRunner()
    shown = runner.invoke(app, ["predict", folder, str(video), "--caption", "a", "--html", str(tmp_path / "page.html")])
    assert shown.exit_code == 0, shown.output
    assert "views expected" in shown.stdout and "Not used: caption" in shown.stdout
    assert "<html" in (tmp_path / "page.html").read_text(encoding="utf-8")
    told = json.loads(runner.invoke(app, ["predict", folder, str(video), "--json"]).stdout)
    assert set(told["effects"]) == {"frames", "words", "sound"} and told["low_k"] is None
    several = tmp_path / "several"
    several.mkdir()
    (several / "broken.mp4").write_text("nothing")
    for path in experiment.corpus.table.path[:2]:
        shutil.copy(path, several)
    ranked = runner.invoke(app, ["predict", folder, str(several)])
    assert ranked.exit_code == 1 and "broken.mp4: " in ranked.stdout
    best = ranked.stdout.splitlines()[1]
    table = load_model(folder).rank(several)
    assert best.split()[0] == table.file[0] and table.views_k[0] >= table.views_k[1]
    other = next(path for path in experiment.corpus.table.path if path != video)
    compared = json.loads(runner.invoke(app, ["compare", folder, str(video), str(other), "--json"]).stdout)
    assert compared["first"]["name"] == video.name
    exported = runner.invoke(app, ["export", folder, str(tmp_path / "model")])
    assert exported.exit_code == 0 and (tmp_path / "model" / "README.md").exists()
    wrong = runner.invoke(app, ["predict", folder, str(video), "--at", "tomorrow"])
    assert isinstance(wrong.exception, UserError)


def test_a_file_that_crashes_its_reader_is_one_line(experiment, video, tmp_path):
    "The command goes on to say what happened: it does not crash with the process that reads the video."
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "def watch(event, arguments):\n"
        f"    if event == 'os.rename' and str(arguments[1]).endswith('visual/{video.stem}.safetensors'): os.abort()\n"
        "sys.addaudithook(watch)\n"
    )
    command = [sys.executable, "-m", "tiktok_mm", "predict", folder_of(experiment, "ensemble-compact"), video]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(tmp_path)})
    reason = "the process that read this video crashed (SIGABRT)"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"tiktok-mm: {video.name}: {reason}\n")


def test_the_same_video_twice_is_a_tie(experiment, video):
    "No difference, no winner."
    model = load_model(folder_of(experiment, "ensemble-compact"))
    many = replace(model.reference, valid_views_k=np.arange(1.0, 30), valid_predicted_k=np.arange(1.0, 30)[::-1])
    comparison = compare(replace(model, reference=many), video, video)
    assert comparison.probability == pytest.approx(0.5)
    assert "sees no difference" in str(comparison)


READ = """
const root = document.documentElement, right = e => e.getBoundingClientRect().right;
return {
    text: document.body.innerText, wider: root.scrollWidth - root.clientWidth,
    cut: [...document.querySelectorAll('body *')].filter(e => right(e) > root.clientWidth + 1).map(e => e.outerHTML),
    images: document.images.length, blank: [...document.images].filter(image => !image.naturalWidth).length,
    loaded: performance.getEntriesByType('resource').filter(entry => !entry.name.startsWith('data:')).length,
    page: getComputedStyle(document.body).backgroundColor, ink: getComputedStyle(document.body).color,
};
"""


def test_the_report_in_chromium(experiment, video, driver, tmp_path):
    "It fits a phone and a desk, in light and dark; loads nothing; what is hostile is text."
    model = load_model(folder_of(experiment, "ensemble-compact"))
    prediction = model.predict(video)
    hostile = '<script>document.title = "broken"</script>"><img src=x onerror=alert(1)>'
    words = [{"text": hostile, "effect": 0.3}, {"text": "w" * 200, "effect": -0.3}, *prediction.words]
    changed = replace(prediction, name=hostile, words=words, caveats=[*prediction.caveats, UNLIKE, hostile])
    make_page(changed, tmp_path / "page.html")
    inks = set()
    for size in SIZES.values():
        for scheme in ("light", "dark"):
            screen = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 500}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
            driver.get((tmp_path / "page.html").as_uri())
            seen = driver.execute_script(READ)
            assert seen["wider"] <= 0 and not seen["cut"], (size, seen["cut"])
            assert seen["images"] >= 2 and not seen["blank"] and not seen["loaded"]
            assert driver.title != "broken" and seen["text"].count(hostile) >= 3
            assert seen["text"].index("Nothing can be said about this model") < seen["text"].index("Frames")
            assert not [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
            inks.add((seen["page"], seen["ink"]))
    assert len(inks) == 2


def test_models_are_registered_by_file(experiment, video, tmp_path, monkeypatch):
    "The command line trains and predicts with a class in a file that TIKTOK_MM_MODELS names."
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "from tiktok_mm.lib.registry import register_model\n\n"
        "@register_model('from-file')\n"
        "class Mine(nn.Module):\n"
        "    reads = ('audio', 'speech')\n"
        "    def __init__(self, outputs, sizes):\n"
        "        super().__init__()\n"
        "        self.head = nn.Linear(sizes['audio'][1], outputs)\n"
        "    def forward(self, batch):\n"
        "        return self.head(batch.audio.mean(1))\n"
    )
    monkeypatch.setenv("TIKTOK_MM_MODELS", str(tmp_path / "mine.py"))
    trained = run("train", experiment.corpus.folder, "from-file", "--epochs", 1, "--max-steps", 2)
    assert trained.returncode == 0, trained.stderr
    folder = trained.stdout.partition(": ")[0]
    predicted = run("predict", folder, video)
    assert "if nothing were known: speech" in predicted.stdout, predicted.stderr
    monkeypatch.delenv("TIKTOK_MM_MODELS")
    del OWN_MODELS["from-file"]
    unknown = run("predict", folder, video)
    assert unknown.returncode == 2 and "name its file in TIKTOK_MM_MODELS" in unknown.stderr
