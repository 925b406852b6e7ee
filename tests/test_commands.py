"The first contact: help of every command, completion, the page of all commands, and `import tiktok_mm`."

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from typer.main import get_command
from typer.testing import CliRunner

import tiktok_mm
from tiktok_mm.cli import app

ROOT = Path(__file__).parents[1]


def names_of(command, name=()):
    "The name of each command and of each group."
    yield name
    for part, inner in getattr(command, "commands", {}).items():
        yield from names_of(inner, (*name, part))


def python(*arguments, **environment) -> str:
    "The output of a Python of its own."
    command = [sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=True, cwd=ROOT)
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", list(names_of(get_command(app))), ids=" ".join)
def test_help(name):
    "`-h` and `--help` say the same, of every command."
    short, long = (CliRunner().invoke(app, [*name, option]) for option in ("-h", "--help"))
    assert (short.exit_code, short.output) == (0, long.output)
    assert " ".join(("Usage: tiktok-mm", *name)) in short.output


@pytest.mark.parametrize(
    "shell, typed",
    [
        ("bash", {"COMP_WORDS": "tiktok-mm scrape pu", "COMP_CWORD": "2"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "tiktok-mm scrape pu"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "tiktok-mm scrape pu", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
def test_completion(shell, typed):
    "The completion that `--install-completion` installs asks the command itself, and gets the one that fits."
    answer = python("-m", "tiktok_mm", _TIKTOK_MM_COMPLETE=f"complete_{shell}", **typed)
    assert "purge" in answer and "refresh" not in answer


def test_page_of_all_commands():
    "The page says what the commands say now; if not, run the notebook again."
    notebook = nbformat.read(ROOT / "nbs" / "commands" / "reference.ipynb", as_version=4)
    code, made = [cell for cell in notebook.cells if cell.cell_type == "code"], {}
    exec("\n".join(cell.source for cell in code), made)
    stored = [output.data["text/markdown"] for cell in code for output in cell.outputs]
    assert stored == [made["reference"]()]


def test_import_loads_nothing_heavy():
    "`import tiktok_mm` takes less than 0.3 s."
    lines = python("-X", "importtime", "-c", "import tiktok_mm").splitlines()
    took = {name.strip(): int(microseconds) for _, microseconds, name in (line.split("|") for line in lines[1:])}
    assert took["tiktok_mm"] < 300_000
    assert not {"numpy", "torch", "pandas", "tiktok_mm.data"} & set(took)


def test_who_does_not_learn_does_not_wait_for_pytorch():
    "Collecting, checking, packing and making a corpus do without."
    modules = [
        f"tiktok_mm.{name}" for name in ("scrape", "data", "beyond.suspects", "pipeline.shards", "synthetic.corpus")
    ]
    assert python("-c", f"import sys, {', '.join(modules)}; print('torch' in sys.modules)") == "False\n"


def test_offered_names():
    "What `import tiktok_mm` offers is what its modules have."
    from tiktok_mm.beyond import predict
    from tiktok_mm.data import open_corpus
    from tiktok_mm.lib.store import Corpus

    assert (tiktok_mm.Corpus, tiktok_mm.open_corpus) == (Corpus, open_corpus)
    assert (tiktok_mm.load_model, tiktok_mm.predict) == (predict.load_model, predict.predict_video)
    assert set(tiktok_mm.__all__) <= set(dir(tiktok_mm))
    with pytest.raises(AttributeError, match="no attribute 'open_corpse': it offers Corpus, load_model"):
        tiktok_mm.open_corpse  # noqa: B018


@pytest.mark.nightly
@pytest.mark.parametrize("path", [ROOT / "nbs" / "cli.ipynb", *sorted(ROOT.glob("nbs/commands/*.ipynb"))], ids=str)
def test_notebooks_of_commands_run_in_jupyter(path):
    "Where Rich displays a help text instead of printing it."
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}).execute()
