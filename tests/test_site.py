"The documentation site as readers see it: built by scripts/docs.py and opened, page by page, in Chromium."

import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import pytest
import yaml
from PIL import Image

from replica.chromium import need
from tiktok_mm.scraping.browser import chromium_flags

pytestmark = pytest.mark.nightly  # and part of the workflow that publishes the site
ROOT = Path(__file__).parents[1]
NOTEBOOKS = {path.relative_to(ROOT / "nbs").with_suffix("").as_posix(): path for path in ROOT.glob("nbs/**/*.ipynb")}
PAGES = sorted([*(name for name in NOTEBOOKS if ".ipynb_checkpoints" not in name), "changelog"])
SAMPLE = "demo/report"  # shown on the landing page, and a page of its own
WORD = "Winograd"
CARD = "images/social_card.png"
DESKTOP, PHONE = (1280, 900), (390, 844)

READ_PAGE = """
const urls = (selector, name) => [...document.querySelectorAll(selector)].map(element => element[name]);
return {
    text: document.body.innerText,
    links: urls('a[href], link[href]', 'href'),
    sources: urls('img[src], script[src], source[src], video[src]', 'src').filter(url => !url.startsWith('data:')),
    blank: [...document.images].filter(image => !image.naturalWidth).map(image => image.src.slice(0, 200)),
    status: performance.getEntriesByType('navigation')[0].responseStatus,
};
"""
WIDER = """
const root = document.documentElement, scrolls = element => /auto|scroll/.test(getComputedStyle(element).overflowX);
const boxed = element => element && element.tagName != 'MAIN' && (scrolls(element) || boxed(element.parentElement));
const wide = [...document.querySelectorAll('main *')].filter(
    element => element.getBoundingClientRect().right > root.clientWidth + 1 && !boxed(element));
return [root.scrollWidth - root.clientWidth, wide.map(element => element.outerHTML.slice(0, 200))];
"""


@dataclass
class Visit:
    "What Chromium makes of one page."

    status: int
    text: str  # what a reader sees
    links: list[str]
    sources: list[str]
    blank: list[str]  # images without pixels
    errors: list[str]  # of the console
    overflow: int  # pixels that the document is wider than the screen of a phone
    cut: list[str]  # elements that a phone cuts off and that do not scroll by themselves


@pytest.fixture(scope="session")
def build(tmp_path_factory) -> subprocess.CompletedProcess:
    "scripts/docs.py, run in a copy of what it reads."
    copy = tmp_path_factory.mktemp("docs")
    for folder in ("nbs", "tiktok_mm", "tests", "scripts"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", ".*"), symlinks=True)
    for file in ("settings.ini", "_quarto.yml", "CHANGELOG.md", "Makefile"):
        shutil.copy(ROOT / file, copy)
    command = [sys.executable, "scripts/docs.py"]
    return subprocess.run(command, cwd=copy, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


@pytest.fixture(scope="session")
def site(build, tmp_path_factory) -> Path:
    "The folder of the site."
    folder = tmp_path_factory.getbasetemp() / "docs0" / "_docs"
    assert folder.is_dir(), build.stdout
    return folder


@pytest.fixture(scope="session")
def url(site):
    "The address at which this machine serves the site."

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="session")
def driver(url, tmp_path_factory):
    "A Chromium that reaches nothing but the site, so what a page loads from elsewhere is an error."
    need(("chromium", "google-chrome"), "chromium")
    need(("chromedriver",), "chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome")
    for flag in chromium_flags(url, tmp_path_factory.mktemp("profile")):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


def set_screen(driver, size: tuple[int, int]) -> None:
    "Lay pages out for a screen of `size` pixels."
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == PHONE}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


@pytest.fixture(scope="session")
def visits(driver, url) -> dict[str, Visit]:
    "Every page, opened once on a desktop and laid out again for a phone."
    seen = {}
    for page in [*PAGES, SAMPLE]:
        set_screen(driver, DESKTOP)
        driver.get(f"{url}{page}.html")
        found = driver.execute_script(READ_PAGE)
        set_screen(driver, PHONE)
        overflow, cut = driver.execute_script(WIDER)
        errors = [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
        seen[page] = Visit(**found, errors=errors, overflow=overflow, cut=cut)
    return seen


def hidden_lines(notebook: Path | None) -> set[str]:
    "The lines of a notebook that stand in cells with `#| hide` and nowhere else; none of a page that is no notebook."
    if notebook is None:
        return set()
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    hidden, shown = set(), set()
    for cell in cells:
        source = "".join(cell["source"])
        lines = hidden if re.search(r"^#\|\s*hide\s*$", source, re.MULTILINE) else shown
        lines |= {line.strip() for line in source.splitlines() if not line.startswith("#|")}
    everything_shown = "\n".join(shown)
    return {line for line in hidden if len(line) > 15 and line not in everything_shown}


def test_build_finds_nothing_wrong(build):
    "`smalldocs check` finds neither broken links nor options that it ignores."
    assert build.returncode == 0, build.stdout


@pytest.mark.parametrize("page", [*PAGES, SAMPLE])
def test_page(page, visits):
    "The page opens without an error and shows neither hidden cells nor directives; on a phone it fits the screen."
    visit = visits[page]
    assert visit.status == 200
    assert not visit.errors
    assert not visit.blank
    assert not re.findall(r"^\s*#\|.*", visit.text, re.MULTILINE)
    assert not [line for line in hidden_lines(NOTEBOOKS.get(page)) if line in visit.text]
    assert visit.overflow <= 0
    assert not visit.cut


def test_links(visits, url, site):
    "Every link and every source within the site leads to a file, and to a part of the page that is there."
    published = yaml.safe_load((ROOT / "_quarto.yml").read_text())["website"]["site-url"]
    anchors = {
        path: set(re.findall(r'\bid="([^"]+)"', path.read_text(encoding="utf-8"))) for path in site.rglob("*.html")
    }
    broken = []
    for page, visit in visits.items():
        for link in {*visit.links, *visit.sources}:
            target, anchor = urldefrag(link)
            path = site / unquote(urlparse(target).path).strip("/")
            inside = link.startswith(url)
            no_file = inside and not path.is_file()
            no_anchor = inside and anchor and unquote(anchor) not in anchors.get(path, ())
            if link.startswith(published) or no_file or no_anchor:
                broken.append((page, link))
    assert not broken


def test_social_card_and_version(site):
    "Every page names an image that is there, and the version that stands first in the changelog."
    version = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)[0]
    published = yaml.safe_load((ROOT / "_quarto.yml").read_text())["website"]["site-url"]
    for page in PAGES:
        text = (site / f"{page}.html").read_text(encoding="utf-8")
        assert set(re.findall(r'(?:og|twitter):image" content="([^"]+)"', text)) == {f"{published}/{CARD}"}
        assert f">{version}<" in re.sub(r"\s*(<[^>]+>)\s*", r"\1", text)
    with Image.open(site / CARD) as card:
        assert card.size == (1200, 630)


def test_sitemap_lists_every_page(site):
    "The sitemap has every page, at the address at which the site is published."
    published = yaml.safe_load((ROOT / "_quarto.yml").read_text())["website"]["site-url"]
    listed = re.findall(r"<loc>(.+?)</loc>", (site / "sitemap.xml").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(f"{published}/{page}.html" for page in PAGES)


def test_sidebar_leads_everywhere(driver, url):
    "The sidebar lists every page, and nothing else."
    driver.get(f"{url}index.html")
    listed = driver.execute_script("return [...document.querySelectorAll('#quarto-sidebar a[href]')].map(a => a.href)")
    assert sorted(listed) == sorted(f"{url}{page}.html" for page in PAGES)


def test_search(driver, url):
    "The search finds a word while it is typed, and its first result leads to a page with this word."
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    set_screen(driver, DESKTOP)
    driver.get(f"{url}index.html")
    driver.find_element(By.CSS_SELECTOR, "#quarto-search input").send_keys(WORD)
    results = WebDriverWait(driver, 10).until(lambda d: d.find_elements(By.CSS_SELECTOR, "a.search-result"))
    assert results[0].is_displayed()
    results[0].click()
    WebDriverWait(driver, 10).until(lambda d: "index.html" not in d.current_url)
    assert WORD in driver.find_element(By.TAG_NAME, "main").text
