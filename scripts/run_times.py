"""Write into each notebook how long it runs from top to bottom, from the output of `nbdev_test --timing`.

    nbdev_test --n_workers 2 --timing --flags browser | tee times.txt
    python scripts/run_times.py times.txt
    python scripts/run_times.py --check times.txt

`--check`, a part of the nightly run, changes nothing and fails where a notebook took four times as long as it says.
nbdev prints names without folders: notebooks of the same name say what the slowest of them takes, and are compared with
the fastest.
"""

import argparse
import json
import re
import sys
from hashlib import sha1
from pathlib import Path

NBS = Path(__file__).parents[1] / "nbs"
WORDS = {10: "a few seconds", 30: "half a minute", 60: "a minute", 120: "two minutes"}  # at most so many seconds
LINE = re.compile(r"^\*Runs? top to bottom in (.+?) on two cores")
OWN_LINE = re.compile(r"(a second|a few seconds|half a minute|a minute|two minutes)\s+to\s+run")  # of a tutorial


def times(text: str) -> dict[str, list[int]]:
    "Name → seconds of each notebook of this name."
    found: dict[str, list[int]] = {}
    for name, seconds in re.findall(r"^(\S+\.ipynb): (\d+) secs$", text, re.MULTILINE):
        found.setdefault(name, []).append(int(seconds))
    return found


def words(seconds: int) -> str:
    "How long that is; more than two minutes is too long for a notebook without its slow cells."
    return next((text for most, text in WORDS.items() if seconds <= most), f"{-(-seconds // 60)} minutes")


def said(cells: list[dict]) -> str:
    "What a notebook says about its time, in the second cell; empty where it says nothing."
    text = "".join(cells[1]["source"]) if len(cells) > 1 else ""
    found = LINE.search(text) or OWN_LINE.search(text)
    return found[1] if found else ""


def write(path: Path, seconds: int) -> None:
    "Put the line below the title, or change the one that is there; a tutorial's own line stays."
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = notebook["cells"]
    if OWN_LINE.search("".join(cells[1]["source"])) or not any(cell["cell_type"] == "code" for cell in cells):
        return
    slow = any("#| slow" in "".join(cell["source"]) for cell in cells)
    apart = ", cells marked `#| slow` apart" if slow else ""
    line = f"*Runs top to bottom in {words(seconds)} on two cores{apart}.*"
    if not LINE.search("".join(cells[1]["source"])):
        id = sha1(path.relative_to(NBS).as_posix().encode()).hexdigest()[:8]
        cells.insert(1, {"cell_type": "markdown", "id": id, "metadata": {}, "source": []})
    cells[1]["source"] = [line]
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main(log: Path, check: bool) -> int:
    measured, late = times(log.read_text(encoding="utf-8")), []
    limits = {"a second": 10, "": 0} | {text: 4 * most for most, text in WORDS.items()}
    for path in sorted(NBS.rglob("*.ipynb")):
        seconds = measured.get(path.name)
        if seconds is None or path == NBS / "index.ipynb" or ".ipynb_checkpoints" in path.parts:
            continue
        if not check:
            write(path, max(seconds))
            continue
        claim = said(json.loads(path.read_text(encoding="utf-8"))["cells"])
        if min(seconds) > limits[claim]:
            late.append(f"{path.relative_to(NBS)}: {min(seconds)} s, and it says {claim or 'nothing'}")
    print(*late, f"{len(measured)} names of notebooks, {len(late)} took much longer than they say", sep="\n")
    return bool(late)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path, help="what `nbdev_test --timing` printed")
    parser.add_argument("--check", action="store_true", help="compare only")
    sys.exit(main(**vars(parser.parse_args())))
