"The web page of a trained model, as visitors use it: in Chromium, and through its HTTP API."

import base64
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from accessibility import serious

from replica.chromium import driver
from tiktok_mm.beyond.app import Limits, Service, about, make_app
from tiktok_mm.beyond.predict import load_model
from tiktok_mm.data import open_corpus
from tiktok_mm.lib.runs import default_runs, find_run
from tiktok_mm.regression import prepare_experiment, train_run

PHONE, DESK = (390, 844), (1280, 900)
MEGABYTES = 2
VISIBLE = "return [...document.querySelectorAll(arguments[0])].filter(element => element.checkVisibility());"
IN_TAB = """
const fields = [...document.querySelectorAll('input[type=file]')];
return fields.filter(field => field.closest('[role=tabpanel]').checkVisibility());
"""
FRAME = """
const root = document.documentElement, frame = document.querySelector('.answer iframe').contentDocument.documentElement;
const ink = element => getComputedStyle(element.ownerDocument.body).color;
return {wider: [root, frame].map(one => one.scrollWidth - one.clientWidth), ink: [root, frame].map(ink)};
"""


@pytest.fixture(scope="module")
def run(extracted, tmp_path_factory) -> Path:
    "The folder of a model that was trained for one epoch."
    folder = shutil.copytree(extracted, tmp_path_factory.mktemp("app") / "corpus")
    made = prepare_experiment(open_corpus(folder), max_steps=2)
    kind = find_run("ensemble-compact", default_runs(epochs=1, lr=1e-3))
    train_run(made, kind)
    return made.run(kind.folder_name)


@dataclass
class Server:
    "A running `tiktok-mm serve`."

    url: str
    folder: Path  # where it puts its temporary files
    process: psutil.Process

    def left(self) -> list[str]:
        "The names of the files that are in its temporary folders."
        return [path.name for path in self.folder.glob("tiktok-mm-*/**/*") if path.is_file()]


@pytest.fixture(scope="module")
def server(run, tmp_path_factory):
    "`tiktok-mm serve` at a free port."
    folder = tmp_path_factory.mktemp("server")
    command = [sys.executable, "-m", "tiktok_mm", "serve", str(run), "--port", "0", "--megabytes", str(MEGABYTES)]
    variables = {**os.environ, "TMPDIR": str(folder)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=variables)
    yield Server(process.stdout.readline().split()[0], folder, psutil.Process(process.pid))
    process.terminate()
    process.wait(120)
    assert not list(folder.glob("tiktok-mm-*"))


@pytest.fixture(scope="module")
def clips(fixture_corpus) -> list[Path]:
    return sorted((fixture_corpus / "videos").glob("*.mp4"))


class Visit:
    "What a visitor does with the page."

    def __init__(self, driver, server: Server, tab: str | None = None):
        self.driver = driver
        self.screen(DESK)
        driver.get_log("browser"), driver.get_log("performance")
        driver.get(server.url)
        self.wait(lambda: self.seen("button.primary"))
        if tab:
            next(button for button in self.seen("[role=tab]") if button.text == tab).click()

    def screen(self, size: tuple[int, int], scheme: str = "light") -> None:
        screen = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def wait(self, condition, seconds: float = 180):
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, seconds, 0.1).until(lambda _: condition())

    def seen(self, selector: str) -> list:
        "The visible elements."
        return self.driver.execute_script(VISIBLE, selector)

    def drop(self, *paths: Path) -> None:
        "Give files to the first empty field of the open tab, and wait until they are uploaded."
        before = len(self.seen("video, .file-preview"))
        self.driver.execute_script(IN_TAB)[0].send_keys("\n".join(map(str, paths)))
        self.wait(lambda: len(self.seen("video, .file-preview")) > before or self.seen(".toast-body"))

    def press(self) -> None:
        self.seen("button.primary")[0].click()

    def report(self, number: int = 0) -> str:
        "The text of a report that the page shows."
        frames = self.wait(lambda: self.seen(".answer iframe"))
        script = "return arguments[0].contentDocument.body.innerText"
        return self.wait(lambda: self.driver.execute_script(script, frames[number]))

    def error(self) -> str:
        "The last message, once it is readable."
        return self.wait(lambda: [line for box in self.seen(".toast-body") for line in box.text.splitlines()])[-1]

    def requested(self) -> set[str]:
        "The addresses that the page asked for, without data: and blob:."
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
        urls = {one["request"]["url"] for one in sent if not one["documentURL"].startswith("chrome:")}
        return {url for url in urls if not url.startswith(("data:", "blob:"))}

    def severe(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]


def check_answer(driver, server: Server, clip: Path) -> None:
    "A clip gets the report of the model, on a phone and a desk, in light and dark; nothing remote, nothing left."
    visit = Visit(driver, server)
    top = visit.seen(".about")[0].text
    assert top.index("Nothing can be said about this model") < top.index("trained on")
    visit.drop(clip)
    visit.press()
    report = visit.report()
    assert clip.name in report and "views" in report and "What moved the prediction" in report
    inks = set()
    for size in (PHONE, DESK):
        for scheme in ("light", "dark"):
            visit.screen(size, scheme)
            found = visit.wait(lambda: driver.execute_script(FRAME))
            assert max(found["wider"]) <= 0, (size, found)
            inks.add(tuple(found["ink"]))
    assert len(inks) == 2
    assert all(url.startswith(server.url) for url in visit.requested())
    assert not visit.severe()
    assert not visit.seen("video") and server.left() == []


def test_a_clip_gets_its_report(driver, server, clips):
    check_answer(driver, server, clips[0])


def test_a_real_clip_gets_its_report(driver, server, real_data):
    check_answer(driver, server, real_data / "clips" / "snap_1e719ead.mp4")


def test_a_bad_upload_is_one_line(driver, server, clips, tmp_path):
    "Text, a cut file, a large one: each says what is wrong, is deleted, and the next visitor gets an answer."
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "cut.mp4").write_bytes(clips[0].read_bytes()[:3000])
    for name in ("text.mp4", "cut.mp4"):
        visit = Visit(driver, server)
        visit.drop(tmp_path / name)
        visit.press()
        assert visit.wait(lambda visit=visit, name=name: visit.error().startswith(f"{name}: "))
    (tmp_path / "large.mp4").write_bytes(bytes(MEGABYTES * 2**20 + 1))
    visit = Visit(driver, server)
    visit.drop(tmp_path / "large.mp4")
    assert visit.wait(lambda: "exceed the maximum allowed size" in visit.error())
    visit = Visit(driver, server)
    visit.press()
    assert visit.wait(lambda: visit.error() == "Choose a video first")
    assert server.left() == []
    visit = Visit(driver, server)
    visit.drop(clips[0])
    visit.press()
    assert clips[0].name in visit.report()


def test_compare(driver, server, clips):
    "Two cuts side by side."
    visit = Visit(driver, server, "Compare")
    visit.drop(clips[0])
    visit.drop(clips[1])
    visit.press()
    assert clips[0].name in visit.report(0) and clips[1].name in visit.report(1)
    assert visit.seen(".answer .verdict")[0].text.startswith("Result: ")


def test_rank(driver, server, clips, tmp_path):
    "A table to download, in which no name is a formula; what cannot be read has its reason."
    formula = tmp_path / "-2-3.mp4"
    shutil.copy(clips[1], formula)
    (tmp_path / "notes.txt").write_text("no video")
    visit = Visit(driver, server, "Rank")
    visit.drop(clips[0], formula, tmp_path / "notes.txt")
    visit.press()
    visit.wait(lambda: visit.seen(".answer table"))
    link = visit.seen(".answer a[download]")[0].get_attribute("href")
    table = pd.read_csv(io.BytesIO(base64.b64decode(link.partition(",")[2])))
    assert set(table.file) == {clips[0].name, f"'{formula.name}", "notes.txt"}
    assert table.views_k[0] >= table.views_k[1] and np.isnan(table.views_k[2])
    assert "notes.txt: not a video" in visit.seen(".answer ul")[0].text
    assert server.left() == []


def test_keyboard(driver, server, clips):
    "Tab reaches tabs, upload, fields and the button in the order in which they stand; Enter predicts."
    from selenium.webdriver import ActionChains, Keys

    visit = Visit(driver, server)
    visit.drop(clips[0])
    reached = []
    for _ in range(40):
        ActionChains(driver).send_keys(Keys.TAB).perform()
        focused = driver.switch_to.active_element
        reached.append(focused.accessible_name)
        if reached[-1] == "Predict":
            break
    order = ["One video", "Caption", "Followers", "Posting time", "Predict"]
    places = [next((n for n, name in enumerate(reached) if name.startswith(one)), None) for one in order]
    assert None not in places and places == sorted(places), reached
    assert driver.execute_script("return arguments[0].matches(':focus-visible')", focused)
    ActionChains(driver).send_keys(Keys.ENTER).perform()
    assert clips[0].name in visit.report()


def test_accessible(driver, server, run, clips, tmp_path):
    "axe-core finds nothing serious before and after an answer, and in a report of its own; in light and dark."
    visit = Visit(driver, server)
    found = [serious(driver)]
    visit.drop(clips[0])
    visit.press()
    visit.report()
    for scheme in ("light", "dark"):
        visit.screen(DESK, scheme)
        found.append(serious(driver))
    load_model(run).predict(clips[0]).report(tmp_path / "report.html")
    driver.get((tmp_path / "report.html").as_uri())
    for scheme in ("light", "dark"):
        visit.screen(PHONE, scheme)
        found.append(serious(driver))
    assert found == [{}] * 5
    driver.get("data:text/html,<img src='a.png'>")
    assert "image-alt" in serious(driver)


def client_of(server: Server, **options):
    "A program that calls the API."
    from gradio_client import Client

    return Client(server.url, verbose=False, analytics_enabled=False, **options)


def test_api(server, run, clips):
    "The same numbers as in Python; what is wrong is an error of one line, and no address is fetched."
    from gradio_client import handle_file

    client = client_of(server)
    assert set(client.view_api(return_format="dict")["named_endpoints"]) == {"/predict", "/compare", "/rank"}
    html, told = client.predict(handle_file(clips[0]), followers="12.3K", api_name="/predict")
    expected = load_model(run).predict(clips[0], followers=12_300).to_dict()
    assert json.loads(json.dumps(expected)) == told and html.startswith("<iframe")
    html, told = client.predict(handle_file(clips[0]), other_caption="another", api_name="/compare")
    assert told["first"]["name"].endswith("(1)") and html.count("<iframe") == 2
    _, told = client.predict([handle_file(clip) for clip in clips[:2]], api_name="/rank")
    assert {row["file"] for row in told["videos"]} == {clip.name for clip in clips[:2]}
    for wrong, message in (({"at": "tomorrow"}, "no time such as"), ({"followers": "many"}, "no number of followers")):
        with pytest.raises(Exception, match=message):
            client.predict(handle_file(clips[0]), **wrong, api_name="/predict")
    elsewhere = {"path": "http://127.0.0.1:9/a.mp4", "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(Exception, match="no address is fetched"):
        client.predict(elsewhere, api_name="/predict")
    assert server.left() == []


def test_visitors_at_once(server, clips, long):
    "Eight visitors with the same file all get their answer, once or for a minute, and none deletes that of another."
    from gradio_client import handle_file

    gate, waited = threading.Barrier(8), []

    def ask(_) -> list[float]:
        client, answers = client_of(server), []
        gate.wait(60)
        end = time.monotonic() + 60 * long
        while not answers or time.monotonic() < end:
            start = time.monotonic()
            answers.append(client.predict(handle_file(clips[0]), api_name="/predict")[1]["views_k"])
            waited.append(time.monotonic() - start)
        return answers

    with ThreadPoolExecutor(8) as pool:
        answers = [answer for one in pool.map(ask, range(8)) for answer in one]
    assert len(set(answers)) == 1
    assert server.left() == []
    print(f"{len(answers)} answers; seconds to each: median {np.median(waited):.1f}, largest {max(waited):.1f}")


def test_a_reader_that_is_killed(server, clips):
    "When the process that reads the videos has just been killed, the next visitor gets an answer all the same."
    from gradio_client import handle_file

    client = client_of(server)
    first = client.predict(handle_file(clips[0]), api_name="/predict")[1]
    for process in server.process.children(recursive=True):
        process.kill()
    assert client.predict(handle_file(clips[0]), api_name="/predict")[1] == first


def test_files_of_others(server):
    "Neither a file of the machine nor an address is passed on; health needs no page."
    import urllib3

    for path in ("/etc/hostname", str(Path(__file__).resolve()), "http://127.0.0.1:9/", "https://example.org/"):
        assert urllib3.request("GET", f"{server.url}/gradio_api/file={path}").status in (403, 404)
    health = urllib3.request("GET", f"{server.url}/health")
    assert health.json() == {"status": "ok", "model": "ensemble-compact", "waiting": 0}
    assert "default-src 'self'" in health.headers["content-security-policy"]
    assert set(urllib3.request("GET", f"{server.url}/gradio_api/openapi.json").json()["paths"]) >= {
        "/gradio_api/call/v2/predict"
    }


def test_password(run, tmp_path):
    "Nothing but the health check without the password."
    from fastapi.testclient import TestClient

    app = make_app(Service(load_model(run)), tmp_path, auth=("ann", "secret"))
    with TestClient(app) as client:
        assert client.get("/health").status_code == 200
        assert client.get("/config").status_code == 401
        assert client.post("/gradio_api/upload", files={"files": b"a"}).status_code == 401
        assert client.post("/login", data={"username": "ann", "password": "wrong"}).status_code == 400
        assert client.post("/login", data={"username": "ann", "password": "secret"}).status_code == 200
        assert client.get("/config").status_code == 200
    assert not list(tmp_path.rglob("*.*"))


class Active(HTMLParser):
    "Collects what would run in a page: scripts, handlers of events, addresses that are code; also in its frames."

    def __init__(self, page: str):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        code = [name for name, value in attributes if name.startswith("on") or (value or "").startswith("javascript:")]
        self.found += ["script"] * (tag in ("script", "object", "embed")) + code
        for name, value in attributes:
            if name == "srcdoc":
                inner = Active(value)
                self.found, self.text = self.found + inner.found, self.text + inner.text

    def handle_data(self, data):
        self.text += data


HOSTILE = """<script>alert(1)</script><img src="x" onerror="alert(1)"><a href='javascript:alert(1)'>a</a>"""


def test_no_text_is_code_in_a_report(run, clips, tmp_path):
    "Names of files and corpora, captions and words, in every HTML that we write."
    film = Path(shutil.copy(clips[0], tmp_path / "<img src=x onerror=alert(1)>.mp4"))
    model = load_model(run)
    model = replace(model, reference=replace(model.reference, corpus=HOSTILE))
    prediction = model.predict(film, caption=HOSTILE)
    words = [{"text": HOSTILE, "effect": 1.0}, {"text": "'\"><script>", "effect": -1.0}]
    service = Service(model, keep=True)
    pages = {
        "report": replace(prediction, words=words).report().html,
        "answer": service.predict(film, HOSTILE)[0],
        "compared": service.compare(film, None, HOSTILE, other_caption=f"b{HOSTILE}")[0],
        "ranked": service.rank([film])[0],
        "top": about(model, Limits()),
    }
    assert [found for page in pages.values() for found in Active(page).found] == []
    assert HOSTILE in Active(pages["report"]).text and HOSTILE in Active(pages["top"]).text
    assert all(film.name in Active(pages[name]).text for name in ("report", "answer", "compared", "ranked"))
    assert Active(HOSTILE).found == ["script", "onerror", "href"]


def test_what_the_model_is_worth_stands_first(run):
    "A model that beats the median has no warning; others have it before everything else."
    model = load_model(run)
    poor = replace(model.reference, synthetic=False)
    truth = np.median(poor.views_k) * np.exp(np.random.default_rng(0).normal(0, 2, 60))
    good = replace(poor, test_views_k=truth, test_predicted_k=truth * 1.01)
    wrong = replace(poor, test_views_k=truth, test_predicted_k=truth[::-1])
    texts = [about(replace(model, reference=one), Limits()) for one in (good, wrong, poor)]
    assert ["warn" in text for text in texts] == [False, True, True]
    assert "This model beats the constant median by" in texts[0]
    assert texts[1].index("does not beat the constant median") < texts[1].index("trained on")
