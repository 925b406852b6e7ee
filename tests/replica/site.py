"The server of the replica: which request gets which page, and which failures occur."

import hashlib
import hmac
import io
import json
import math
import secrets
import socket
import struct
import threading
import time
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

from . import pages
from .media import clip_plan, make_clip, make_sound

FOREVER = math.inf
WORDS = {  # fate of a video → the site's status code, and its words
    "deleted": (10204, "item_privacy_authorization&status_deleted"),
    "cross_border": (10204, "cross_border_violation_ur"),
    "self_see": (10204, "status_self_see"),
}


class Replica:
    "The site on 127.0.0.1; a context manager, or `start` and `stop`."

    def __init__(
        self,
        topics: dict,  # topic → its hashtags
        per_tag=12,  # videos of a hashtag, besides two of the hashtag before
        page_size=6,  # videos in one answer
        layout="new",  # old: tiles show views, the heading counts views
        variant="xhr",  # ssr: the first tiles are part of the page
        generation="universal",  # of the embedded JSON: universal, reflow, sigi, next, none
        spelling="camel",  # of the fields of the listing's answers: camel, snake
        chaos=None,  # failure → how often it occurs
        fates=None,  # id → what is wrong with the video
        robots="User-agent: *\nDisallow: /inapp\n",
    ):
        self.topics, self.page_size, self.layout = topics, page_size, layout
        self.variant, self.generation, self.spelling = variant, generation, spelling
        self.chaos, self.fates, self.robots = dict(chaos or {}), dict(fates or {}), robots
        self.lock, self.secret, self.log = threading.Lock(), secrets.token_bytes(16), []
        tags = [tag for tags in topics.values() for tag in tags]
        first = 1_000_000_000_000_000
        own = {tag: [f"7{first + t * 1000 + i:018}" for i in range(per_tag)] for t, tag in enumerate(tags)}
        self.tags = {tag: own[tag] + own[tags[t - 1]][:2] * (t > 0) for t, tag in enumerate(tags)}

    def start(self):
        "Start the server."
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"site": self}))
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def stop(self):
        "Stop the server."
        self.server.shutdown()
        self.server.server_close()

    def __enter__(self):
        return self.start()

    def __exit__(self, *error):
        self.stop()

    def strikes(self, name: str) -> bool:
        "Whether a failure occurs now; it occurs one time less from then on."
        with self.lock:
            left = self.chaos.get(name, 0)
            if left > 0:
                self.chaos[name] = left - 1
            return left > 0

    def on(self, name: str) -> bool:
        "Whether a failure still occurs."
        return self.chaos.get(name, 0) > 0

    def seconds(self, id: str) -> int:
        "The duration of a video as its page states it, in seconds."
        return round(clip_plan(id).seconds)

    def views(self, id: str) -> int:
        "The exact view count of a video, from 100 to 10 million; none looks like a rounded one."
        views = int(10 ** (2 + int(hashlib.sha256(id.encode()).hexdigest()[:6], 16) / 2**24 * 5))
        return views + (views >= 10_000 and views % 100 == 0)

    def author(self, id: str) -> str:
        "The handle of a video's author."
        return f"user.{int(id) % 89}"

    def clip(self, id: str) -> bytes:
        "The mp4 of a video."
        with self.lock:
            return (make_sound if self.fates.get(id) == "audio_only" else make_clip)(id)

    def sign(self, id: str, expire: int, token: str) -> str:
        "The signature of a media URL for one session."
        return hmac.new(self.secret, f"{id}:{expire}:{token}".encode(), "sha256").hexdigest()[:32]

    def item(self, id: str, token: str) -> dict:
        "A video as the site's JSON describes it, with a URL that is signed for one session."
        views, tag = self.views(id), next(tag for tag, ids in self.tags.items() if id in ids)
        expire = int(time.time()) + (-60 if self.strikes("expired") else 7200)
        address = f"{self.url}/media/{id}.mp4?expire={expire}&signature={self.sign(id, expire, token)}"
        rounded = views if views < 10_000 else int(float(f"{views:.2g}"))
        item = {
            "id": id,
            "desc": f"Clip {id[-4:]} #{tag} #fyp",
            "createTime": str(1_700_000_000 + int(id) % 10_000_000),
            "author": {"id": "1", "uniqueId": self.author(id), "nickname": "N", "verified": False},
            "authorStats": {"followerCount": int(id) % 100_000},
            "music": {"id": "5", "title": "original sound", "authorName": "N"},
            "challenges": [{"id": "9", "title": tag}],
            "textExtra": [{"hashtagName": tag}, {"hashtagName": "fyp"}],
            "stats": {"playCount": rounded, "diggCount": rounded // 10},
            "statsV2": {"playCount": str(views), "diggCount": str(views // 10)},
            "video": {
                "duration": self.seconds(id),
                "ratio": "540p",
                "playAddr": address,
                "downloadAddr": address + "&watermark=1",
            },
        }
        fate = self.fates.get(id)
        if fate == "slideshow":
            item |= {"imagePost": {"images": [{"imageURL": {"urlList": []}, "imageWidth": 1, "imageHeight": 1}]}}
        if fate == "rounded":
            del item["statsV2"]
        if fate == "rounded_2026":
            item["statsV2"] = {key: str(value) for key, value in item["stats"].items()}
        if fate == "no_stats":
            del item["statsV2"], item["stats"]
        if fate == "other_duration":
            item["video"]["duration"] += 5
        if fate == "only_download_addr":
            item["video"]["playAddr"] = ""
        if fate == "odd_fields":
            item |= {"music": 5, "challenges": {}, "authorStats": []}
            item["video"] |= {"playAddr": [address], "bitrateInfo": None}
        if fate in ("h266_first", "h266_only"):
            sent = [("bytevc2", f"{address}&vvc"), ("h265_hvc1", f"{self.url}/media-video-hvc1/x"), ("h264", address)]
            sent = [{"CodecType": codec, "PlayAddr": {"UrlList": [url]}} for codec, url in sent]
            item["video"] |= {"playAddr": "", "bitrateInfo": sent if fate == "h266_first" else sent[:2]}
            del item["video"]["downloadAddr"]
        if fate == "no_play_addr":
            item["video"] |= {
                "playAddr": "",
                "bitrateInfo": [{"PlayAddr": {"UrlList": [address, f"{self.url}/aweme/v1/play/"]}}],
            }
        return item


class Handler(BaseHTTPRequestHandler):
    "Answers for one replica."

    site: Replica

    def log_message(self, *args):
        pass

    def send(self, body, kind="text/html; charset=utf-8", status=200, cut=None, **headers):
        "Send an answer, or only its first `cut` bytes."
        body = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.token_is_new:
            self.send_header("Set-Cookie", f"tt_chain_token={self.token}; Path=/; HttpOnly")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body[:cut])

    def reset(self):
        "Reset the connection, as a failing network does."
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.wfile = self.rfile = io.BytesIO()

    def do_GET(self):
        url = urlparse(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        cookie = SimpleCookie(self.headers.get("Cookie", "")).get("tt_chain_token")
        self.token, self.token_is_new = (cookie.value, False) if cookie else (secrets.token_hex(8), True)
        self.site.log.append(self.path)
        parts = url.path.strip("/").split("/")
        try:
            if parts[0] == "robots.txt":
                self.robots()
            elif parts[0] == "solved":
                self.send("no" if self.site.on("captcha") else "yes", "text/plain")
            elif parts[0] == "login":
                self.send(pages.page("<h1>Log in to TikTok</h1>"))
            elif parts[0] == "consent":
                self.send("", "text/plain")
            elif parts[0] == "media":
                self.media(parts[1].removesuffix(".mp4"), query)
            elif url.path == "/api/challenge/detail/":
                self.send(json.dumps(pages.challenge(query["challengeName"])), "application/json")
            elif url.path == "/api/challenge/item_list/":
                self.item_list(query["name"], int(query["cursor"]))
            elif parts[0] == "explore":
                self.send(pages.page(self.explore()))
            elif parts[0] == "tag":
                self.tag(parts[1])
            elif len(parts) == 3 and parts[1] == "video":
                self.video(parts[2])
            elif len(parts) == 3 and parts[1] == "photo":
                self.send(pages.page("", pages.universal()))
            else:
                self.send("not here", status=404)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def robots(self):
        if self.site.strikes("robots_500"):
            return self.send("", status=500)
        self.send(self.site.robots, "text/plain")

    def trouble(self, where: str) -> bool:
        "Whether a failure or a wall was sent instead of the page."
        strikes = self.site.strikes
        if strikes(f"reset_{where}"):
            self.reset()
        elif strikes(f"error_500_{where}"):
            self.send("oops", status=500)
        elif strikes(f"empty_{where}"):
            self.send("")
        elif strikes(f"verify_{where}"):
            self.send('{"code":"10000","type":"verify","subtype":"slide"}', "application/json")
        elif strikes(f"login_{where}"):
            self.send("", status=302, Location="/login?redirect_url=x")
        elif strikes(f"went_wrong_{where}"):
            self.send(pages.page(pages.WRONG))
        elif strikes(f"denied_{where}"):
            self.send(pages.page(pages.DENIED), status=403)
        elif where != "list" and self.site.on("check") and "_wafchallengeid" not in self.headers.get("Cookie", ""):
            self.site.strikes("check")
            self.send(pages.CHECK)
        elif where != "list" and strikes("check_without_end"):
            self.send(pages.CHECK.partition("<script>")[0])
        elif self.site.on("captcha") and where != "list":
            self.send(pages.page(pages.CAPTCHA))
        else:
            return False
        return True

    def extra(self) -> str:
        "Overlays and other tiles that are not walls."
        overlays = {
            "captcha_container": '<div id="captcha_container"></div>',
            "captcha_2023": pages.CAPTCHA_2023,
            "cookie_banner": pages.BANNER,
            "login_popup": pages.POPUP,
        }
        shown = "".join(html for name, html in overlays.items() if self.site.strikes(name))
        return shown + (self.explore() if self.site.on("explore_tiles") else "")

    def explore(self) -> str:
        "The tiles of all videos with their likes."
        return pages.explore_tiles([self.site.item(id, self.token) for ids in self.site.tags.values() for id in ids])

    def tag(self, tag: str):
        if self.trouble("tag"):
            return
        if self.site.on("missing_tag") or tag not in self.site.tags:
            return self.send(pages.page(pages.MISSING))
        videos = [self.site.item(id, self.token) for id in self.site.tags[tag]]
        look = {"layout": self.site.layout, "variant": self.site.variant, "page_size": self.site.page_size}
        self.send(pages.tag_page(tag, videos, **look, extra=self.extra()))

    def item_list(self, tag: str, cursor: int):
        if self.site.strikes("slow_list"):
            time.sleep(1)
        if self.trouble("list"):
            return
        site, ids = self.site, self.site.tags[tag]
        if cursor >= len(ids):
            return self.send('{"statusCode":0,"cursor":"800","hasMore":false}', "application/json")
        items = [site.item(id, self.token) for id in ids[cursor : cursor + site.page_size]]
        for item in items:
            item["tile"] = pages.tile(item, site.layout)
        after = cursor if site.strikes("duplicate_pages") else cursor + site.page_size
        more = after < len(ids) or site.on("no_item_list_at_end")
        if site.strikes("null_list"):
            items = None
        answer = pages.listing(items, more, cursor if items is None else after, site.spelling)
        if site.strikes("unknown_list"):
            answer = {"statusCode": 0, "hasMore": False, "aweme_list": items}
        self.send(json.dumps(answer), "application/json")

    def video(self, id: str):
        fate = self.site.fates.get(id, "")
        if self.trouble("video"):
            return
        if fate == "removed":
            return self.send(pages.page(pages.REMOVED))
        if fate == "404":
            return self.send("not here", status=404)
        if fate == "photo":
            return self.send("", status=302, Location=self.path.replace("/video/", "/photo/"))
        status = WORDS.get(fate) or (int(fate) if fate.isdigit() else 0, "")
        if not status[0]:
            self.site.clip(id)  # made now, because a download has a shorter timeout than a page
        generation = "none" if not status[0] and self.site.strikes("no_json") else self.site.generation
        item = self.site.item(id, self.token)
        if fate == "classified":
            item = {"id": id, "desc": "", "author": item["author"], "isContentClassified": True, "stats": item["stats"]}
            item["video"] = {}
        self.send(pages.video_page(item, status, generation, self.extra()))

    def media(self, id: str, query: dict):
        site, clip, fate = self.site, self.site.clip(id), self.site.fates.get(id)
        wanted = site.sign(id, int(query.get("expire", 0)), self.token)
        fair = (
            query.get("signature") == wanted
            and int(query["expire"]) > time.time()
            and (self.headers.get("Referer") or "").startswith(site.url)
        )
        if not fair:
            return self.send(pages.page("<h1>403</h1>" + " " * 300), status=403)
        if site.strikes("reset_media"):
            return self.reset()
        if site.strikes("html_media") or fate == "html_media":
            return self.send(pages.page("please wait" + " " * 300))
        if site.strikes("foreign_redirect"):
            return self.send("", status=302, Location=f"http://localhost:{self.server.server_port}{self.path}")
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if start >= len(clip):
            return self.send("", status=416, Content_Range=f"bytes */{len(clip)}")
        body, ranged = clip[start:], "Range" in self.headers
        span = {"Content_Range": f"bytes {start}-{len(clip) - 1}/{len(clip)}"} if ranged else {}
        cut = len(body) // 2 if fate == "truncated" or site.strikes("truncated") or site.on("slow_body") else None
        self.send(body, "video/mp4", 206 if ranged else 200, cut, Accept_Ranges="bytes", **span)
        if site.strikes("slow_body"):
            self.wfile.flush()
            time.sleep(2)
