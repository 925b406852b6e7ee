"What the browser tests share: one Chromium, and a function that runs the scraper against a replica."

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from unittest.mock import patch

import pytest

from tiktok_mm.scrape import scrape
from tiktok_mm.scraping.browser import Browser, chromium_flags
from tiktok_mm.scraping.manifest import Manifest
from tiktok_mm.scraping.site import ScrapeConfig

from .site import Replica

FAST = ScrapeConfig(delay=0, backoff=0.02, retries=2, scroll_wait=1, page_timeout=8, media_timeout=1, person_wait=10)
PROGRAM = """
import json, sys
from unittest.mock import patch
from tiktok_mm.scrape import scrape
from tiktok_mm.scraping.site import ScrapeConfig
out, url, topics, n, config = sys.argv[1:]
config = ScrapeConfig(**json.loads(config))
with patch("tiktok_mm.scrape.views_figure"), patch("tiktok_mm.scrape.save_figure"):
    scrape(out, json.loads(topics), n=int(n), base_url=url, config=config, quiet=True)
"""


def start(out, site: Replica, n: int) -> subprocess.Popen:
    "Start the scraper in another process, with its own browser and without the figure."
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(out), site.url, json.dumps(site.topics), str(n), json.dumps(asdict(FAST))],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def content(corpus: Manifest) -> tuple:
    "The records of a corpus without times, how many events it has of each kind, and its files."
    drop = {"at", "collected_at"}
    videos = sorted(
        ({key: value for key, value in video.items() if key not in drop} for video in corpus.videos.values()),
        key=lambda video: video["id"],
    )
    steps = Counter(
        (event.get("id"), event.get("state"), event.get("event"))
        for event in corpus.events
        if event.get("event") != "run"
    )
    files = sorted(
        str(path.relative_to(corpus.path))
        for path in corpus.path.rglob("*")
        if path.is_file() and path.parts[-2] != "tags"
    )
    return videos, steps, files


def need(names: tuple[str, ...], package: str) -> None:
    "Skip the test where no program of these `names` is on the path; in CI it fails."
    if any(map(shutil.which, names)):
        return
    missing = pytest.fail if os.environ.get("CI") else pytest.skip
    missing(f"no {names[0]}: apt install {package}")


@pytest.fixture(scope="module")
def browser():
    "A Chromium that reaches only this machine; where there is none, tests are skipped, and fail in CI."
    need(("chromium", "google-chrome"), "chromium")
    need(("chromedriver",), "chromium-driver")
    browser = Browser("http://127.0.0.1", page_timeout=FAST.page_timeout)
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    "A Chromium without a network, which logs its console and its requests; skipped, in CI failed, without one."
    need(("chromium", "google-chrome"), "chromium")
    need(("chromedriver",), "chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome")
    for flag in chromium_flags("http://127.0.0.1", tmp_path_factory.mktemp("profile")):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture
def display(browser):
    "The name of a virtual X display."
    need(("Xvfb",), "xvfb")
    read_end, write_end = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "1280x1600x24", "-nolisten", "tcp"],
        pass_fds=[write_end],
        stderr=subprocess.DEVNULL,
    )
    os.close(write_end)
    with open(read_end) as file:
        number = file.readline().strip()
    yield f":{number}"
    server.terminate()
    server.wait()


def collect(browser, out, site: Replica, n=3, topics=None, config=FAST, **kwargs):
    "Run the scraper against `site` as a new visitor, without the figure, which takes longer: (result, corpus)."
    browser.base_url = site.url
    browser.driver.get("about:blank")
    browser.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
    settings = dict(n=n, base_url=site.url, config=config, quiet=True, browser=browser) | kwargs
    with patch("tiktok_mm.scrape.views_figure"), patch("tiktok_mm.scrape.save_figure"):
        result = scrape(out, topics or site.topics, **settings)
    return result, Manifest(out)


def states(corpus: Manifest) -> dict[str, str]:
    "The state of each video."
    return {id: video["state"] for id, video in corpus.videos.items()}
