"The layout that CONTRIBUTING.md promises: who imports whom, and how long modules and lines are."

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tiktok_mm"
BY_HAND = ("__init__.py", "__main__.py", "_modidx.py")
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name not in BY_HAND)
NAMES = [".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in MODULES]
NOTEBOOKS = sorted(path for path in ROOT.glob("nbs/**/*.ipynb") if ".ipynb_checkpoints" not in path.parts)
STORY = [path.stem.partition("_")[2] for path in sorted((ROOT / "nbs").glob("0[0-8]_*.ipynb"))]
WORKSHOPS = {"scrape": "scraping", "data": "formats"}  # the workshop that a step of the story may use
COMMANDS = ("cli", "commands")  # may import everything, but only inside a command: `--help` answers at once
LONGEST_MODULE, LONGEST_LINE = 450, 120


def allowed(importer: str, imported: str) -> bool:
    "Whether module `importer` may import module `imported`, both named without the package."
    group, target = importer.partition(".")[0], imported.partition(".")[0]
    if group in COMMANDS or target in ("lib", group):
        return True
    if group in STORY:
        earlier = STORY[: STORY.index(group)]
        return target in (*earlier, WORKSHOPS.get(group))
    everything = [*STORY, *WORKSHOPS.values(), "synthetic", "pipeline"]
    return target in {"pipeline": STORY[:5], "beyond": everything}.get(group, [])


def imports_of(path: Path) -> list[tuple[str, str, int, bool]]:
    "What a module imports from the package: (module, name, line, whether at the top level)."
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        parts = path.relative_to(ROOT).with_suffix("").parts
        if isinstance(node, ast.Import):
            targets = [(alias.name, "") for alias in node.names]
        else:
            base = ".".join(parts[: -node.level]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            targets = [(module, alias.name) for alias in node.names]
        for module, name in targets:
            if module.partition(".")[0] == PACKAGE.name:
                found.append((*split(module, name), node.lineno, node in tree.body))
    return found


def split(module: str, name: str) -> tuple[str, str]:
    "`from .lib import store` names a module, `from .lib.store import read` a name in one: (module, name in it)."
    module = module.partition(".")[2]
    inner = f"{module}.{name}".strip(".")
    return (inner, "") if inner in NAMES else (module, name)


def code_cells(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("name", NAMES)
def test_imports(name):
    "A module imports only what stands below it in the architecture, and no private name of another module."
    wrong = []
    for module, imported, line, top in imports_of(MODULES[NAMES.index(name)]):
        if name.partition(".")[0] in COMMANDS and top and module.partition(".")[0] not in ("lib", "commands", ""):
            wrong.append(f"line {line}: {name} imports {module} outside of its command")
        if module and not allowed(name, module):
            wrong.append(f"line {line}: {name} may not import {module}")
        if imported.startswith("_") and not imported.startswith("__"):
            wrong.append(f"line {line}: {imported} is private to {module}")
    assert not wrong


@pytest.mark.parametrize("name", NAMES)
def test_size(name):
    "A module can be read in one sitting, and its lines fit beside a second window; the list `__all__` is nbdev's."
    text = MODULES[NAMES.index(name)].read_text(encoding="utf-8")
    lines = dict(enumerate(text.splitlines(), 1))
    assert len(lines) <= LONGEST_MODULE
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            lines = {number: line for number, line in lines.items() if not node.lineno <= number <= node.end_lineno}
    assert not {number: len(line) for number, line in lines.items() if len(line) > LONGEST_LINE}


def test_notebook_lines():
    "At most 1 % of the lines of code in the notebooks are longer."
    lines = [line for notebook in NOTEBOOKS for cell in code_cells(notebook) for line in cell.splitlines()]
    long = [line for line in lines if len(line) > LONGEST_LINE]
    assert len(long) <= len(lines) / 100


def test_every_module_has_its_notebook():
    "The package mirrors the folders of `nbs`, and nothing in it was written by hand."
    exported = {}
    for notebook in NOTEBOOKS:
        named = re.sub(r"^\d\d_", "", ".".join(notebook.relative_to(ROOT / "nbs").with_suffix("").parts))
        for cell in code_cells(notebook):
            if found := re.search(r"^#\|\s*default_exp\s+(\S+)", cell, re.MULTILINE):
                exported[named] = found[1]
    assert sorted(exported) == sorted(NAMES)
    assert [named for named, module in exported.items() if named != module] == []


def test_cells_have_ids_of_their_own():
    "Two cells of a notebook with the same id would be one to whoever edits or links them."
    ids = {path: [cell["id"] for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]] for path in NOTEBOOKS}
    assert not [path.name for path, found in ids.items() if len(found) != len(set(found))]


def test_notebooks_say_how_long_they_run():
    "Below the title, at most two minutes; if not, run scripts/run_times.py."
    line = re.compile(r"(a second|a few seconds|half a minute|a minute|two minutes)(\s+to\s+run| on two cores)")
    with_code = {
        path: json.loads(path.read_text(encoding="utf-8"))["cells"][1] for path in NOTEBOOKS if code_cells(path)
    }
    silent = [path.name for path, below_title in with_code.items() if not line.search("".join(below_title["source"]))]
    assert silent == ["index.ipynb"]


NOT_STORED = {"hide", "export", "exports", "cuda", "network", "eval:"}


def shows_something(cell: dict) -> bool:
    "Whether a code cell ends with a value, or prints at its end, for a reader to see."
    code = "".join(cell["source"])
    flags = {word for line in code.splitlines() if line.startswith("#|") for word in line[2:].split()[:1]}
    last = (ast.parse(code).body or [None])[-1]
    if flags & NOT_STORED or not isinstance(last, ast.Expr) or code.rstrip().endswith(";"):
        return False
    return not isinstance(last.value, ast.Call) or ast.unparse(last.value.func) == "print"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stored(path):
    "What a cell shows is there before a reader runs it."
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    empty = [cell for cell in cells if cell["cell_type"] == "code" and not cell["outputs"]]
    assert not [cell["id"] for cell in empty if shows_something(cell)]


def test_rules_can_fail():
    "The rules forbid what the architecture forbids."
    assert allowed("visual", "data") and allowed("scrape", "scraping.pages") and allowed("lib.store", "lib.core")
    assert allowed("cli", "beyond.app") and allowed("pipeline.extract", "autoencoder")
    assert (
        not allowed("lib.store", "data") and not allowed("data", "visual") and not allowed("visual", "formats.records")
    )
    assert not allowed("pipeline.extract", "baselines") and not allowed("scraping.pages", "formats.records")
    assert not allowed("data", "cli") and not allowed("ensemble", "synthetic.toy")
