"""Build the documentation site into `_docs` and check its links, for `make docs`, the docs workflow and the site test.

nbdev processes the notebooks (docments, hidden cells), smalldocs renders the result from `_quarto.yml`, and `repair`
changes what smalldocs does not do itself. The build fails where a link within the site leads nowhere.
"""

import json
import os
import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import yaml
from latex2mathml.converter import convert

ROOT = Path(__file__).resolve().parents[1]
PROCESSED, SITE = ROOT / "_proc", ROOT / "_docs"

MATH = re.compile(r'(?<=<span class="math )(inline|display)">\\[(\[](.*?)\\[)\]]', re.DOTALL)
KATEX = re.compile(r"<(?:link|script)[^>]*katex[^>]*>(?:</script>)?")
CODE = ("pre", "code", "script", "style")
NESTED = re.compile(r"\[\[(`[^`]+`)\]\([^)\s]+\)\]\(")
WEB_FONT = re.compile(r"@import url\(['\"]?https?:[^)]*\);?")


def process() -> None:
    "Run `nbdev_proc_nbs` into `_proc`. It asks only whether Quarto is there, so a stub stands in for it."
    shutil.rmtree(PROCESSED, ignore_errors=True)
    with TemporaryDirectory() as tmp:
        stub = Path(tmp) / "quarto"
        stub.write_text("#!/bin/sh\nexit 0\n")
        stub.chmod(0o755)
        # the import cells of the notebooks run here, and some examples import from tests/
        paths = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], tmp]),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        }
        subprocess.run(["nbdev_proc_nbs"], cwd=ROOT, env=os.environ | paths, check=True)


def clean() -> dict[str, str]:
    """No link in a link, and no `output-file`, which smalldocs does not read.

    Returns which page (value) nbdev's links call by that name (key)."""
    pages = {}
    for path in PROCESSED.rglob("*.ipynb"):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        folder = path.parent.relative_to(PROCESSED)
        for cell in notebook["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] == "raw" and (found := re.search(r"^output-file: (.+)\n", source, re.MULTILINE)):
                pages[(folder / found[1].strip()).as_posix()] = (folder / f"{path.stem}.html").as_posix()
                cell["source"] = source.replace(found[0], "")
        # nbdev makes a link of the name of a function also where it is the text of a link
        path.write_text(NESTED.sub(r"[\1](", json.dumps(notebook, ensure_ascii=False)), encoding="utf-8")
    return pages


def add_changelog_and_version() -> None:
    "CHANGELOG.md as a page of the site, and the version that stands first in it in the navbar."
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    (PROCESSED / "changelog.md").write_text(changelog.replace("](nbs/", "]("), encoding="utf-8")
    version = re.findall(r"^## (.+)$", changelog, re.MULTILINE)[0]
    config = PROCESSED / "_quarto.yml"
    text = config.read_text(encoding="utf-8").replace("{version}", version)
    config.unlink()  # a link to the one of the repository
    config.write_text(text, encoding="utf-8")


def render() -> bool:
    "Run smalldocs on `_proc` and move the site to `_docs`; whether `smalldocs check` found nothing wrong."
    smalldocs = str(Path(sys.executable).with_name("smalldocs"))
    subprocess.run([smalldocs, "render", "--quiet", PROCESSED], check=True, stderr=subprocess.DEVNULL)
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.move(PROCESSED / SITE.name, SITE)
    return subprocess.run([smalldocs, "check", PROCESSED], check=False).returncode == 0


def mathml(match: re.Match) -> str:
    "One formula as MathML: browsers draw it without KaTeX, which smalldocs would load from another server."
    return f'{match[1]}">' + convert(unescape(match[2]), display="inline" if match[1] == "inline" else "block")


def relative_link(match: re.Match, here: str, pages: dict[str, str], anchors: dict[str, set[str]]) -> str:
    "nbdev's link, relative to page `here`; a part of a class that has no anchor of its own leads to the class."
    target, _, name = match[1].partition("#")
    target = pages.get(target, target)
    while name and name not in anchors.get(target, ()):
        name = name.rpartition(".")[0]
    return posixpath.relpath(target, posixpath.dirname(here) or ".") + (f"#{name}" if name else "")


def site_url() -> str:
    "Where the site is published."
    return yaml.safe_load((ROOT / "_quarto.yml").read_text())["website"]["site-url"].rstrip("/") + "/"


def repair(pages: dict[str, str]) -> None:
    "In every page: nbdev's absolute links made relative, formulas as MathML; nothing loaded from other servers."
    base = site_url()
    link = re.compile(f'(?<=<a href="){re.escape(base)}([^"]+)')
    texts = {path.relative_to(SITE).as_posix(): path.read_text(encoding="utf-8") for path in SITE.rglob("*.html")}
    anchors = {page: set(re.findall(r'\bid="([^"]+)"', text)) for page, text in texts.items()}
    for page, text in texts.items():
        text = link.sub(partial(relative_link, here=page, pages=pages, anchors=anchors), text)
        text = KATEX.sub("", MATH.sub(mathml, text))
        # the navbar is a dark part of the page, in which the results of the search would be dark on dark
        text = text.replace('id="quarto-search"', 'id="quarto-search" data-bs-theme="light"')
        (SITE / page).write_text(text, encoding="utf-8")
    for theme in SITE.glob("site_libs/themes/*.css"):
        theme.write_text(WEB_FONT.sub("", theme.read_text(encoding="utf-8")), encoding="utf-8")


class Links(HTMLParser):
    "What a page links to or loads, the ids of its parts, and the text outside of code that looks like a link."

    def __init__(self, text: str):
        super().__init__()
        self.targets: set[str] = set()
        self.ids: set[str] = set()
        self.unmade: list[str] = []
        self.code = 0  # depth
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.code += tag in CODE
        for name, value in attrs:
            if name == "id" and value:
                self.ids.add(value)
            elif name in ("href", "src") and value:
                self.targets.add(value)

    def handle_endtag(self, tag: str) -> None:
        self.code -= tag in CODE

    def handle_data(self, data: str) -> None:
        if not self.code and "](" in data:
            self.unmade.append(data.strip())


def broken_links(site: Path, base: str) -> Iterator[str]:
    "Links of pages, search and sitemap to files or parts of pages that are not there; other sites are not asked."
    pages = {
        path.relative_to(site).as_posix(): Links(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")
    }
    listed = {entry["href"] for entry in json.loads((site / "search.json").read_text(encoding="utf-8"))}
    yield from (f"{page}: not made a link: {text[:80]}" for page, found in pages.items() for text in found.unmade)
    links = [(page, target) for page, found in pages.items() for target in found.targets]
    for page, target in sorted([*links, *(("search.json", href) for href in listed)]):
        url = urlsplit(target)
        if url.scheme or url.netloc:
            if target.startswith(base):
                yield f"{page}: {target} leaves the site that it stands on"
            continue
        place = posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(url.path))) if url.path else page
        place = f"{place}/index.html" if (site / place).is_dir() else place
        if not (site / place).is_file():
            yield f"{page}: no file {target}"
        elif url.fragment and place in pages and unquote(url.fragment) not in pages[place].ids:
            yield f"{page}: no part {target}"
    places = [element.text or "" for element in ElementTree.parse(site / "sitemap.xml").iter() if element.text]
    mapped = {place.removeprefix(base) for place in places if place.startswith(base)}
    yield from (f"sitemap.xml: no file {page}" for page in sorted(mapped - set(pages)))


def main() -> int:
    process()
    pages = clean()
    add_changelog_and_version()
    nothing_wrong = render()
    repair(pages)
    shutil.rmtree(PROCESSED)
    broken = list(broken_links(SITE, site_url()))
    print(*broken, f"{len(list(SITE.rglob('*.html')))} pages in {SITE.name}/, {len(broken)} broken links", sep="\n")
    return not nothing_wrong or bool(broken)


if __name__ == "__main__":
    sys.exit(main())
