"A fake browser of saved pages, and a flaky media server in this process: what the notebooks of the scraper run on."

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlparse

import av
import numpy as np

from tiktok_mm.scraping.site import ScrapeConfig


def make_clip(path, seconds=2, fps=10):
    "A tiny real mp4: a moving bright square."
    with av.open(str(path), "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 72, 128, "yuv420p"
        for t in range(seconds * fps):
            picture = np.zeros((128, 72, 3), np.uint8)
            picture[5 * t % 100 : 5 * t % 100 + 20, 20:40] = 255
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                out.mux(packet)
        for packet in stream.encode():
            out.mux(packet)
    return path


class FlakyHandler(BaseHTTPRequestHandler):
    clip, asked = b"", []

    def log_message(self, *args):
        pass

    def do_GET(self):
        if self.path.startswith("/robots"):
            return self.send_error(404)
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        self.asked.append(start)
        if start >= len(self.clip):
            body, status = b"", 416
        else:
            body, status = self.clip[start:], 206 if "Range" in self.headers else 200
        self.send_response(status)
        self.send_header("Content-Type", "video/mp4" if "html" not in self.path else "text/html")
        self.send_header("Content-Length", str(len(body)))
        if status != 200:
            self.send_header(
                "Content-Range",
                f"bytes {start}-{len(self.clip) - 1}/{len(self.clip)}" if body else f"bytes */{len(self.clip)}",
            )
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if len(self.asked) == 1 else body)


folder = TemporaryDirectory()
tmp = Path(folder.name)
FlakyHandler.clip = make_clip(tmp / "clip.mp4").read_bytes()
server = ThreadingHTTPServer(("127.0.0.1", 0), FlakyHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
home = f"http://127.0.0.1:{server.server_port}"


class FakeBrowser:
    "Saved pages: {path: (html, [response bodies, one for each scroll])}."

    version, user_agent, base_url, status = "1.0", "paper", home, 200

    def __init__(self, pages):
        self.pages, self.opened = pages, []

    def open(self, url):
        self.here = url
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
        return self.here

    def headers(self, url):
        return {"User-Agent": "paper"}

    def screenshot(self, path):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"picture")

    def quit(self):
        pass


def entry(id, views=1776621):
    return {
        "id": str(id),
        "desc": f"#dance {id}",
        "author": {"uniqueId": f"user{id % 7}"},
        "createTime": 1674750000,
        "video": {"duration": 2, "playAddr": f"{home}/{id}.mp4"},
        "stats": {"playCount": round(views, -5)},
        "statsV2": {"playCount": str(views)},
    }


def listing(ids, more):
    return json.dumps({"itemList": [entry(id) for id in ids], "hasMore": more, "cursor": "30"})


first, rest = (
    list(range(7_100_000_000_000_000_000, 7_100_000_000_000_000_006)),
    list(range(7_100_000_000_000_000_006, 7_100_000_000_000_000_010)),
)


def embedded(key, value):
    return f'<body><script id="__UNIVERSAL_DATA_FOR_REHYDRATION__" type="application/json">{json.dumps({"__DEFAULT_SCOPE__": {key: value}})}</script></body>'


tag_page = embedded(
    "webapp.challenge-detail", {"challengeInfo": {"challenge": {"id": "9261"}, "stats": {"videoCount": 1100000}}}
)


def page_of(id, **detail):
    detail = detail or {"statusCode": 0, "itemInfo": {"itemStruct": entry(id)}}
    return embedded("webapp.video-detail", detail), []


fast = ScrapeConfig(delay=0, backoff=0, retries=1, scroll_wait=0.2)
