"The pages of the replica, built like the public pages of the site as they are known."

import json
from html import escape

STYLE = """
body { font: 20px sans-serif; margin: 24px; background: #f4f4f4 }
img, video { border-radius: 12px }
.tile { height: 600px; display: flex; gap: 24px; align-items: flex-end }
.tile a { color: #333; text-decoration: none }
strong.video-count { margin-left: 16px; font-size: 28px }
tiktok-cookie-banner { position: fixed; inset: auto 0 0 0; padding: 32px; background: #fff; box-shadow: 0 0 12px #888 }
.TUXModal { position: fixed; inset: 200px 25% auto 25%; padding: 48px; background: #fff; box-shadow: 0 0 12px #888 }
"""
CAPTCHA = """
<div class="TUXModal-overlay">
  <div class="TUXModal captcha-verify-container" role="dialog">Drag the puzzle piece into place</div>
</div>
<script>
setInterval(() => fetch('/solved').then(r => r.text()).then(t => t === 'yes' && location.reload()), 200);
</script>"""
BANNER = """
<tiktok-cookie-banner></tiktok-cookie-banner>
<script>
window.held = true;
const banner = document.querySelector('tiktok-cookie-banner'), root = banner.attachShadow({mode: 'open'});
root.innerHTML = '<button>Decline optional cookies</button> <button>Allow all</button>';
root.querySelectorAll('button').forEach(button => button.onclick = () => {
  fetch('/consent?choice=' + button.textContent[0]);
  banner.remove();
  window.held = false;
  window.load && load();
});
</script>"""
POPUP = """
<div class="TUXModal" role="dialog" id="popup">
  Log in to TikTok <button data-e2e="modal-close-inner-button">x</button>
</div>
<script>
window.held = true;
document.body.style.overflow = 'hidden';
document.querySelector('#popup button').onclick = () => {
  document.getElementById('popup').remove();
  document.body.style.overflow = '';
  window.held = false;
  window.load && load();
};
</script>"""
CAPTCHA_2023 = """
<div class="captcha_verify_container style__CaptchaWrapper-sc-1gpeoge-0 fDAOJT">
  <div class="captcha_verify_bar--title">Drag the slider to fit the puzzle</div><img id="captcha-verify-image">
</div>"""
CHECK = """<!doctype html><html><head></head><body>
<p id="wci" class="_wafchallengeid"></p><p id="rs" class="waforiginalreid"></p>Please wait...
<script>
setTimeout(() => { document.cookie = '_wafchallengeid=1; path=/'; location.reload(); }, 300);
</script></body></html>"""
DENIED = "<h1>Access Denied</h1>You don't have permission to access this page.<p>Reference #18.2d4f1402.1764</p>"
WRONG = "<main><h2>Something went wrong</h2><button>Refresh</button></main>"
MISSING = "<main><h2>Couldn’t find this hashtag</h2></main>"
REMOVED = "<main><p>Video currently unavailable</p></main>"


def page(body: str, json_scripts: dict | None = None) -> str:
    "A page with embedded JSON, among it a translation of every notice, as on the site."
    scripts = "".join(
        f'<script id="{id}" type="application/json" aria-hidden="true">{json.dumps(data)}</script>'
        for id, data in (json_scripts or {}).items()
    )
    head = f"<head><meta charset=utf-8><title>TikTok</title><style>{STYLE}</style></head>"
    return f"<!doctype html><html>{head}<body>{body}{scripts}</body></html>"


def universal(**scopes) -> dict:
    "The embedded JSON of current pages."
    scopes = {"webapp.app-context": {}, "webapp.i18n-translation": {"e": "Something went wrong"}, **scopes}
    return {"__UNIVERSAL_DATA_FOR_REHYDRATION__": {"__DEFAULT_SCOPE__": scopes}}


def image(video: dict) -> str:
    "A coloured rectangle in place of the video's cover, with the caption as its text."
    colour = f"hsl({int(video['id']) * 47 % 360} 45% 60%)"
    play = '<path d="M110 200 l70 40 l-70 40" fill="white"/>'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="300" height="533" style="background:{colour}">{play}</svg>'
    return f'<img src="data:image/svg+xml,{escape(svg).replace("#", "%23")}" alt="{escape(video["desc"])}">'


def tile(video: dict, layout: str) -> str:
    "One tile of a tag page; only the older layout shows views."
    user, views = video["author"]["uniqueId"], ""
    if layout == "old":
        views = f'<strong data-e2e="video-views" class="video-count x1">{short(video["stats"]["playCount"])}</strong>'
    return f"""<div class="tile">
<div data-e2e="challenge-item" role="button"><a href="/@{user}/video/{video["id"]}">{image(video)}{views}</a></div>
<div data-e2e="challenge-item-desc">
  <a data-e2e="challenge-item-avatar" href="/@{user}"></a><p data-e2e="challenge-item-username">{user}</p>
</div></div>"""


def explore_tile(video: dict) -> str:
    "One tile of the explore page: marked as if it showed views, but the number is of likes."
    user, likes = video["author"]["uniqueId"], short(video["stats"]["diggCount"])
    return f"""<div>
<div data-e2e="explore-item" role="button"><a href="/@{user}/video/{video["id"]}">
  <img alt="{escape(video["desc"])}"><strong data-e2e="video-views" class="video-count x1">{likes}</strong>
</a></div>
<div data-e2e="explore-item-desc"><p data-e2e="explore-item-username">{user}</p></div></div>"""


def explore_tiles(videos: list[dict]) -> str:
    "The tiles of the explore page."
    return f'<div data-e2e="explore-item-list">{"".join(map(explore_tile, videos))}</div>'


def short(count: int) -> str:
    "A count as the site writes it."
    for size, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if count >= 10 * size or count >= size >= 1e6:
            return f"{count / size:.1f}".removesuffix(".0") + suffix
    return str(count)


LISTING = """
const list = document.querySelector('[data-e2e=challenge-item-list]');
async function load() {
  if (busy || !more || window.held) return;
  busy = true;
  try {
    const answer = await (await fetch(address + cursor)).json();
    if (answer.type === 'verify') document.body.insertAdjacentHTML('beforeend',
      '<div role="dialog" class="captcha-verify-container">Drag the slider to fit the puzzle</div>');
    for (const item of answer.itemList || answer.item_list || []) list.insertAdjacentHTML('beforeend', item.tile);
    if (answer.itemList === null) setTimeout(load, 100);
    cursor = answer.cursor; more = answer.hasMore || answer.has_more;
  } catch (e) {}
  busy = false;
}
addEventListener('scroll', () => innerHeight + scrollY >= document.body.scrollHeight - 50 && load());
"""


def tag_page(tag: str, videos: list[dict], layout: str, variant: str, page_size: int, extra: str) -> str:
    "A tag page whose script requests the tiles; the server-rendered variant (ssr) contains the first ones."
    rendered = variant == "ssr"
    title, count = ("posts", "1.1M posts") if layout == "new" else ("views", "21.1M views")
    tiles = "".join(tile(video, layout) for video in videos[:page_size]) if rendered else ""
    address = f"/api/challenge/item_list/?challengeID=9{len(tag)}&name={tag}&count=30&cursor="
    begin = "" if rendered else f"fetch('/api/challenge/detail/?challengeName={tag}').then(() => load());"
    body = f"""<div id="main-content-challenge">
<h1 data-e2e="challenge-title">#{tag}</h1>
<h2 data-e2e="challenge-vvcount" title="{title}">{count}</h2>
<div data-e2e="challenge-item-list">{tiles}</div></div>
{extra}
<script>
let cursor = '{page_size if rendered else 0}', more = true, busy = false;
const address = '{address}';
{LISTING}
{begin}
</script>"""
    scopes = {"webapp.challenge-detail": challenge(tag)} if rendered else {}
    return page(body, universal(**scopes))


def challenge(tag: str) -> dict:
    "What the site states about a hashtag as a whole."
    return {
        "statusCode": 0,
        "challengeInfo": {
            "challenge": {"id": f"9{len(tag)}", "title": tag},
            "stats": {"videoCount": 1100000, "viewCount": 21100000},
        },
    }


def video_page(item: dict, status: tuple[int, str], generation: str, extra: str) -> str:
    "A video page with its status (code, words) and its JSON in one of four generations, or with none."
    code, words = status
    user, id, address = item["author"]["uniqueId"], item["id"], item["video"].get("playAddr", "")
    player = f"""<div id="xgwrapper-2-{id}"><video preload="none">
<source src="{address}"><source src="/aweme/v1/play/?id={id}"></video></div>
<span data-e2e="browse-username">{user}</span><div data-e2e="browse-video-desc">{escape(item["desc"])}</div>
<strong data-e2e="browse-like-count">45.1K</strong><strong data-e2e="undefined-count">9</strong>"""
    detail = {"statusCode": code, "statusMsg": words} | ({"itemInfo": {"itemStruct": item}} if not code else {})
    old = {k: v for k, v in item.items() if k != "statsV2"} | {"author": user}
    scripts = {
        "universal": universal(**{"webapp.video-detail": detail}),
        "reflow": universal(**{"webapp.reflow.video.detail": detail}),
        "sigi": {"SIGI_STATE": {"ItemModule": {} if code else {id: old}, "VideoPage": {"statusCode": code}}},
        "next": {"__NEXT_DATA__": {"props": {"pageProps": detail}}},
        "none": {},
    }[generation]
    return page((REMOVED if code else player) + extra, scripts)


def listing(items: list[dict], more: bool, cursor: int, spelling: str) -> dict:
    "An answer to the page's request for tiles, as hashtags (camel) or search results (snake) spell it."
    if spelling == "snake":
        return {"status_code": 0, "item_list": items, "has_more": int(more), "cursor": cursor}
    return {"statusCode": 0, "status_code": 0, "itemList": items, "hasMore": more, "cursor": str(cursor)}
