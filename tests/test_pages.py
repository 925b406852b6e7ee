"Pages that show stored figures show them as they are now, and broken links are found."

import importlib.util
import json
import re
from pathlib import Path

import nbformat
import pandas as pd
from execnb.nbio import read_nb
from execnb.shell import CaptureShell

from tiktok_mm.beyond.page import STYLE, TEMPLATE
from tiktok_mm.lib.units import number, views_text

ROOT = Path(__file__).parents[1]
DAY = re.compile(r" Stored on \d{4}-\d\d-\d\d\.")


def shown(notebook) -> list[str]:
    "What the cells of a notebook without `#| hide` show: HTML, or else Markdown; without the days."
    outputs = [one for cell in notebook.cells if "#| hide" not in cell.source for one in cell.get("outputs", [])]
    kinds = ("text/html", "text/markdown")
    data = [
        next((one["data"][kind] for kind in kinds if kind in one["data"]), None) for one in outputs if "data" in one
    ]
    return [DAY.sub("", "".join(text)).strip() for text in data if text]


def test_how_good_is_it_shows_what_was_measured(monkeypatch):
    "The page has the figures that its sources have; if not, run nbs/how_good.ipynb again."
    path = ROOT / "nbs" / "how_good.ipynb"
    monkeypatch.chdir(path.parent)
    now = read_nb(path)
    CaptureShell().run_all(now, exc_stop=True)
    stored = shown(nbformat.read(path, as_version=4))
    assert len(stored) > 60
    assert shown(now) == stored


def test_samples_of_the_demo_belong_together():
    "Table and report are those of one demo, and the report is small."
    table = pd.read_csv(ROOT / "nbs" / "demo" / "table.csv", index_col="run")
    report = (ROOT / "nbs" / "demo" / "report.html").read_text(encoding="utf-8")
    text = (ROOT / "nbs" / "demo" / "table.txt").read_text(encoding="utf-8")
    assert len(report) < 300_000
    for run in ("median", "ensemble-compact"):
        error = table["MAE (K) value"][run]
        assert views_text(error) in report and number(error, 10) in text


def test_sample_report_is_made_by_this_version():
    "Its styles and headings are those of the template; if not, run the demo and scripts/demo_samples.py."
    report = (ROOT / "nbs" / "demo" / "report.html").read_text(encoding="utf-8")
    assert STYLE in report
    of_the_post = {"The post"}  # the demo's model reads nothing of it
    headings = set(re.findall(r"<h2>([^<{]+)</h2>", TEMPLATE)) - of_the_post
    assert headings == set(re.findall(r"<h2>([^<]+)</h2>", report))


def test_landing_page_shows_the_table_of_the_demo():
    "The stored table of nbs/index.ipynb has the rows of nbs/demo/table.csv."
    cells = json.loads((ROOT / "nbs" / "index.ipynb").read_text(encoding="utf-8"))["cells"]
    shown = "".join("".join(one["data"].get("text/markdown", "")) for cell in cells for one in cell.get("outputs", []))
    rows = [line for line in shown.splitlines() if line.startswith("| ") and "[" in line]
    table = (ROOT / "nbs" / "demo" / "table.csv").read_text(encoding="utf-8")
    assert len(rows) == 8
    assert all(f",{row.split(' | ')[0].removeprefix('| ')}," in table for row in rows)


def test_broken_links_are_found(tmp_path):
    "The build finds links to no file, to no part of a page, to the published site itself, and those that stay text."
    spec = importlib.util.spec_from_file_location("docs", ROOT / "scripts" / "docs.py")
    docs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(docs)
    base, good = "https://example.org/site/", '<a href="b/c.html#part">x</a><a href="https://elsewhere.org/none">y</a>'
    (tmp_path / "b").mkdir()
    (tmp_path / "a.html").write_text(good)
    (tmp_path / "b" / "c.html").write_text('<p id="part"><a href="../a.html">x</a></p>')
    (tmp_path / "search.json").write_text('[{"href": "b/c.html#part"}]')
    (tmp_path / "sitemap.xml").write_text(f"<urlset><url><loc>{base}a.html</loc></url></urlset>")
    assert list(docs.broken_links(tmp_path, base)) == []
    (tmp_path / "a.html").write_text(f'{good}<img src="no.png"><a href="b/c.html#no">x</a><a href="{base}a.html">z</a>')
    (tmp_path / "b" / "c.html").write_text('<p id="part">[a](a.html)</p><code>b](c</code>')
    (tmp_path / "search.json").write_text('[{"href": "gone.html"}]')
    (tmp_path / "sitemap.xml").write_text(f"<urlset><url><loc>{base}old.html</loc></url></urlset>")
    found = [line.partition(":")[2].split()[:2] for line in docs.broken_links(tmp_path, base)]
    expected = [["no", "part"], [f"{base}a.html", "leaves"], *[["no", "file"]] * 3, ["not", "made"]]
    assert sorted(found) == sorted(expected)
