"From a corpus folder to the paper's table, through the command line, as a user would."

import json
import shutil
import subprocess
import sys

import pandas as pd
import pytest


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


@pytest.fixture(scope="module")
def printed(corpus) -> str:
    "What `table` prints for it."
    run = tiktok_mm("table", corpus)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_table_says_what_it_is_worth(corpus, printed):
    "Every row is there, beside the paper's figures, with the warning that so few videos tell nothing."
    for row in (
        "constant: mean",
        "constant: median",
        "gradient boosting",
        "SwinTransformer, from scratch",
        "CNN3D",
        "ensemble, the paper's shape",
        "ensemble, compact",
    ):
        assert row in printed
    assert "4,730" in printed and "are too few to learn or to judge anything" in printed
    made = {path.name for path in (corpus / "runs" / "table").iterdir()}
    assert made == {
        "table.txt",
        "table.json",
        "table.csv",
        "table.tex",
        "predictions.png",
        "losses.png",
        "confusion.png",
    }


def test_formats(corpus, printed):
    "JSON and CSV can be read by programs and hold the same figures; what is printed is what is written."
    folder = corpus / "runs" / "table"
    table, frame = json.loads((folder / "table.json").read_text()), pd.read_csv(folder / "table.csv", index_col="model")
    assert frame.loc["CNN3D", "MAE (K) value"] == pytest.approx(table["scores"]["CNN3D"]["MAE (K) value"])
    assert (folder / "table.tex").read_text().count(r"\bottomrule") == 2
    assert (folder / "table.txt").read_text() == printed
    assert tiktok_mm("table", corpus, "--csv").stdout == (folder / "table.csv").read_text()


def test_same_seed_same_table(corpus, printed):
    "Trained again from nothing, the table is the same to the last digit; another seed is another table."
    assert tiktok_mm("table", corpus).stdout == printed
    shutil.rmtree(corpus / "runs")
    shutil.rmtree(corpus / "features" / "autoencoder")
    assert tiktok_mm("table", corpus).stdout == printed


def test_train_names_its_rows(corpus, printed):
    "`train` without a row lists them, with one it is the row of the table."
    assert "ensemble, compact" in tiktok_mm("train", corpus).stdout.split("\n")
    assert "runs/cnn3d: MSE (K²)" in tiktok_mm("train", corpus, "CNN3D").stdout


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
