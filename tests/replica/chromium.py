"What the browser tests share: one Chromium, and one way to run the scraper against a replica."

import os
import shutil
import subprocess
from unittest.mock import patch

import pytest

from tiktok_mm.scrape import scrape
from tiktok_mm.scraping.browser import Browser
from tiktok_mm.scraping.manifest import Manifest
from tiktok_mm.scraping.site import ScrapeConfig

from .site import Replica

FAST = ScrapeConfig(delay=0, backoff=0.02, retries=2, scroll_wait=1, page_timeout=8, media_timeout=1, person_wait=10)


def need(names: tuple[str, ...], package: str) -> None:
    "Skip the test where no program of these `names` is on the path; in CI it fails."
    if not any(map(shutil.which, names)):
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no {names[0]}: apt install {package}")


@pytest.fixture(scope="module")
def browser():
    "A Chromium that reaches nothing but this machine; without one tests skip with one line, and in CI they fail."
    need(("chromium", "google-chrome"), "chromium")
    need(("chromedriver",), "chromium-driver")
    browser = Browser("http://127.0.0.1", page_timeout=FAST.page_timeout)
    yield browser
    browser.quit()


@pytest.fixture
def display(browser):
    "The name of an X display of its own, on which windows are shown to nobody."
    need(("Xvfb",), "xvfb")
    told, tell = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(tell), "-screen", "0", "1280x1600x24", "-nolisten", "tcp"],
        pass_fds=[tell],
        stderr=subprocess.DEVNULL,
    )
    os.close(tell)
    with open(told) as file:
        number = file.readline().strip()
    yield f":{number}"
    server.terminate()
    server.wait()


def collect(browser, out, site: Replica, n=3, topics=None, config=FAST, **kwargs):
    "Run the scraper against `site` as a new visitor, without the picture, which takes longer than the run; its result and its corpus."
    browser.base_url = site.url
    browser.driver.get("about:blank")
    browser.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
    with patch("tiktok_mm.scrape.views_figure"), patch("tiktok_mm.scrape.save_figure"):
        result = scrape(
            out, topics or site.topics, n=n, base_url=site.url, config=config, quiet=True, browser=browser, **kwargs
        )
    return result, Manifest(out)


def states(corpus: Manifest) -> dict[str, str]:
    return {id: video["state"] for id, video in corpus.videos.items()}
