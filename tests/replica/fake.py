"A fake browser that serves saved pages, and a flaky media server in this process, for the scraper's notebooks."

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar
from urllib.parse import urlparse

import av
import numpy as np

from tiktok_mm.scraping.site import ScrapeConfig

FAST = ScrapeConfig(delay=0, backoff=0, retries=1, scroll_wait=0.2)


def make_clip(path, seconds=2, fps=10):
    "Write an mp4 of a moving bright square, 72×128 pixels, without sound."
    with av.open(str(path), "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 72, 128, "yuv420p"
        for t in range(seconds * fps):
            image = np.zeros((128, 72, 3), np.uint8)
            image[5 * t % 100 : 5 * t % 100 + 20, 20:40] = 255
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                out.mux(packet)
        for packet in stream.encode():
            out.mux(packet)
    return path


class FlakyHandler(BaseHTTPRequestHandler):
    "Serves `clip` under every path, and ranges of it; sends only half of its first answer; claims HTML under `/html`."

    clip = b""
    starts: ClassVar[list[int]] = []  # the first byte of each request

    def log_message(self, *args):
        pass

    def do_GET(self):
        if self.path.startswith("/robots"):
            return self.send_error(404)
        start, size = int((self.headers.get("Range") or "bytes=0-")[6:-1]), len(self.clip)
        self.starts.append(start)
        body = self.clip[start:]
        status = 200 if "Range" not in self.headers else 206 if body else 416
        self.send_response(status)
        self.send_header("Content-Type", "video/mp4" if "html" not in self.path else "text/html")
        self.send_header("Content-Length", str(len(body)))
        if status != 200:
            span = f"{start}-{size - 1}" if body else "*"
            self.send_header("Content-Range", f"bytes {span}/{size}")
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if len(self.starts) == 1 else body)


with TemporaryDirectory() as folder:
    FlakyHandler.clip = make_clip(Path(folder) / "clip.mp4").read_bytes()
server = ThreadingHTTPServer(("127.0.0.1", 0), FlakyHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
home = f"http://127.0.0.1:{server.server_port}"


class FakeBrowser:
    "Has the methods of `Browser` and serves saved pages: {path: (html, [response body for each scroll])}."

    version, user_agent, base_url, status = "1.0", "fake", home, 200

    def __init__(self, pages):
        self.pages, self.opened = pages, []

    def open(self, url):
        self.address = url
        self.opened.append(urlparse(url).path)
        self.page, answers = self.pages[urlparse(url).path]
        self.answers, self.ready = list(answers), True

    def responses(self):
        if not self.ready or not self.answers:
            return []
        self.ready = False
        return [(f"{home}/api/challenge/item_list/?cursor=0", 200, self.answers.pop(0))]

    def scroll(self):
        self.ready = True

    def html(self):
        return self.page

    def url(self):
        return self.address

    def headers(self, url):
        return {"User-Agent": self.user_agent}

    def screenshot(self, path):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"image")

    def quit(self):
        pass


def entry(id, views=1776621):
    "A video as an entry of `itemList`; its file is on the flaky server."
    return {
        "id": str(id),
        "desc": f"#dance {id}",
        "author": {"uniqueId": f"user{int(id) % 7}"},
        "createTime": 1674750000,
        "video": {"duration": 2, "playAddr": f"{home}/{id}.mp4"},
        "stats": {"playCount": round(views, -5)},
        "statsV2": {"playCount": str(views)},
    }


def listing(ids, more):
    "An `item_list` response with the videos `ids`."
    return json.dumps({"itemList": [entry(id) for id in ids], "hasMore": more, "cursor": "30"})


def embedded(key, value):
    "A page with `value` under `key` of its embedded JSON."
    data = json.dumps({"__DEFAULT_SCOPE__": {key: value}})
    return f'<body><script id="__UNIVERSAL_DATA_FOR_REHYDRATION__" type="application/json">{data}</script></body>'


def path_of(id):
    "The path of a video's page."
    return f"/@user{int(id) % 7}/video/{id}"


def page_of(id, **detail):
    "The page of a video, which exists; or with `detail` (such as statusCode=10216) what it says instead."
    detail = detail or {"statusCode": 0, "itemInfo": {"itemStruct": entry(id)}}
    return embedded("webapp.video-detail", detail), []


first = list(range(7_100_000_000_000_000_000, 7_100_000_000_000_000_006))
rest = list(range(7_100_000_000_000_000_006, 7_100_000_000_000_000_010))
challenge = {"challenge": {"id": "9261"}, "stats": {"videoCount": 1100000}}
tag_page = embedded("webapp.challenge-detail", {"challengeInfo": challenge})
