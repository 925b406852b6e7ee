"What a person can do wrong gives one line that says what to do, and exit code 2; the page of these is up to date."

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

PAGE = Path(__file__).parents[1] / "nbs" / "commands" / "errors.ipynb"


@pytest.fixture(scope="module")
def page() -> tuple[dict, str]:
    "What the code of the page defines, and the table that is stored in it."
    cells = [cell for cell in nbformat.read(PAGE, as_version=4).cells if cell.cell_type == "code"]
    (stored,) = [out.data["text/markdown"] for cell in cells for out in cell.outputs if "text/markdown" in out.data]
    before, made = os.getcwd(), {}
    os.chdir(PAGE.parent)
    try:
        exec("\n".join(cell.source for cell in cells if "slow" not in cell.source.partition("\n")[0]), made)
    finally:
        os.chdir(before)
    return made, stored


def test_every_error_is_one_line(page):
    "On standard error, without a traceback; and it is the line that the page shows: if not, run the notebook again."
    made, stored = page
    found = made["outcomes"]()
    for what, command, code, output, line in found:
        assert (code, output, line.count("\n")) == (2, "", 1), (what, command, line)
        assert line.startswith("tiktok-mm: ") and "Traceback" not in line and len(line) < 400
    assert len(found) >= 25
    assert made["errors_page"](found) == stored


def test_the_command_itself_says_the_same(page, tmp_path):
    "As a process of its own, which writes to a pipe; also where the terminal knows ASCII only."
    made, stored = page
    made["make_folders"](tmp_path)
    for command in ("check cut", "train good cnn4d"):
        environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
        arguments = [sys.executable, "-m", "tiktok_mm", *command.split()]
        done = subprocess.run(arguments, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert f"| `{command}` | 2 | {done.stderr.strip().removeprefix('tiktok-mm: ')} |" in stored
