"The pages of the replica, as the site's public pages are known to be."

import json
from html import escape

CAPTCHA = """<div class="TUXModal-overlay"><div class="TUXModal captcha-verify-container" role="dialog">Drag the puzzle piece into place</div></div>
<script>setInterval(() => fetch('/solved').then(r => r.text()).then(t => t === 'yes' && location.reload()), 200)</script>"""
BANNER = """<tiktok-cookie-banner></tiktok-cookie-banner><script>
window.held = true;
const banner = document.querySelector('tiktok-cookie-banner'), root = banner.attachShadow({mode: 'open'});
root.innerHTML = '<button>Decline optional cookies</button><button>Allow all</button>';
root.querySelectorAll('button').forEach(b => b.onclick = () => { fetch('/consent?choice=' + b.textContent[0]); banner.remove(); window.held = false; window.load && load(); });
</script>"""
POPUP = """<div class="TUXModal" role="dialog" id="popup">Log in to TikTok <button data-e2e="modal-close-inner-button">x</button></div><script>
window.held = true; document.body.style.overflow = 'hidden';
document.querySelector('#popup button').onclick = () => { document.getElementById('popup').remove(); document.body.style.overflow = ''; window.held = false; window.load && load(); };
</script>"""
DENIED = "<h1>Access Denied</h1>You don't have permission to access this page.<p>Reference #18.2d4f1402.1764</p>"
WRONG = "<main><h2>Something went wrong</h2><button>Refresh</button></main>"
MISSING = "<main><h2>Couldn’t find this hashtag</h2></main>"
REMOVED = "<main><p>Video currently unavailable</p></main>"


def page(body: str, json_scripts: dict | None = None) -> str:
    "A page with embedded JSON; a translation of every notice is part of every page, as on the site."
    scripts = "".join(
        f'<script id="{id}" type="application/json" aria-hidden="true">{json.dumps(data)}</script>'
        for id, data in (json_scripts or {}).items()
    )
    return f"<!doctype html><html><head><meta charset=utf-8><title>TikTok</title></head><body>{body}{scripts}</body></html>"


def universal(**scopes) -> dict:
    "The rehydration JSON of today's pages."
    return {
        "__UNIVERSAL_DATA_FOR_REHYDRATION__": {
            "__DEFAULT_SCOPE__": {
                "webapp.app-context": {},
                "webapp.i18n-translation": {"e": "Something went wrong"},
                **scopes,
            }
        }
    }


def tile(video: dict, layout: str) -> str:
    "One tile of a tag page; only the older layout shows views."
    user, id = video["author"]["uniqueId"], video["id"]
    views = (
        f'<strong data-e2e="video-views" class="video-count x1">{short(video["stats"]["playCount"])}</strong>'
        if layout == "old"
        else ""
    )
    return (
        f'<div style="height:600px"><div data-e2e="challenge-item" role="button"><a href="/@{user}/video/{id}"><img alt="{escape(video["desc"])}">{views}</a></div>'
        f'<div data-e2e="challenge-item-desc"><a data-e2e="challenge-item-avatar" href="/@{user}"></a><p data-e2e="challenge-item-username">{user}</p></div></div>'
    )


def explore_tiles(videos: list[dict]) -> str:
    "Tiles as the explore page shows them: marked like views, but what they count are likes."
    return (
        '<div data-e2e="explore-item-list">'
        + "".join(
            f'<div><div data-e2e="explore-item" role="button"><a href="/@{v["author"]["uniqueId"]}/video/{v["id"]}"><img alt="{escape(v["desc"])}">'
            f'<strong data-e2e="video-views" class="video-count x1">{short(v["stats"]["diggCount"])}</strong></a></div>'
            f'<div data-e2e="explore-item-desc"><p data-e2e="explore-item-username">{v["author"]["uniqueId"]}</p></div></div>'
            for v in videos
        )
        + "</div>"
    )


def short(count: int) -> str:
    "A count as the site writes it."
    for size, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if count >= 10 * size or count >= size >= 1e6:
            return f"{count / size:.1f}".removesuffix(".0") + suffix
    return str(count)


def tag_page(tag: str, videos: list[dict], layout: str, variant: str, page_size: int, extra: str) -> str:
    "A tag page: its script asks for the tiles; the server-rendered variant carries the first of them."
    posts = (
        '<h2 data-e2e="challenge-vvcount" title="posts">1.1M posts</h2>'
        if layout == "new"
        else '<h2 data-e2e="challenge-vvcount" title="views">21.1M views</h2>'
    )
    inlined = "".join(tile(v, layout) for v in videos[:page_size]) if variant == "ssr" else ""
    start = "" if variant == "ssr" else f"fetch('/api/challenge/detail/?challengeName={tag}').then(() => load());"
    script = f"""<script>
let cursor = '{page_size if variant == "ssr" else 0}', more = true, busy = false;
const list = document.querySelector('[data-e2e=challenge-item-list]');
async function load() {{
  if (busy || !more || window.held) return;
  busy = true;
  try {{
    const answer = await (await fetch(`/api/challenge/item_list/?challengeID=9{len(tag)}&name={tag}&count=30&cursor=${{cursor}}`)).json();
    if (answer.type === 'verify') document.body.insertAdjacentHTML('beforeend', '<div role="dialog" class="captcha-verify-container">Drag the slider to fit the puzzle</div>');
    for (const item of answer.itemList || []) list.insertAdjacentHTML('beforeend', item.tile);
    cursor = answer.cursor; more = answer.hasMore;
  }} catch (e) {{}}
  busy = false;
}}
addEventListener('scroll', () => innerHeight + scrollY >= document.body.scrollHeight - 50 && load());
{start}</script>"""
    body = f'<div id="main-content-challenge"><h1 data-e2e="challenge-title">#{tag}</h1>{posts}<div data-e2e="challenge-item-list">{inlined}</div></div>'
    scopes = {"webapp.challenge-detail": challenge(tag)} if variant == "ssr" else {}
    return page(body + extra + script, universal(**scopes))


def challenge(tag: str) -> dict:
    "What the site says of a hashtag as a whole."
    return {
        "statusCode": 0,
        "challengeInfo": {
            "challenge": {"id": f"9{len(tag)}", "title": tag},
            "stats": {"videoCount": 1100000, "viewCount": 21100000},
        },
    }


def video_page(item: dict, status: int, generation: str, extra: str) -> str:
    "A video page with its JSON in one of three generations, or with none."
    user, id, address = item["author"]["uniqueId"], item["id"], item["video"]["playAddr"]
    sources = f'<source src="{address}"><source src="/aweme/v1/play/?id={id}">'
    body = (
        f'<div id="xgwrapper-2-{id}"><video preload="none">{sources}</video></div><span data-e2e="browse-username">{user}</span>'
        f'<div data-e2e="browse-video-desc">{escape(item["desc"])}</div><strong data-e2e="browse-like-count">45.1K</strong><strong data-e2e="undefined-count">9</strong>'
    )
    detail = {"statusCode": status, "statusMsg": ""} | ({"itemInfo": {"itemStruct": item}} if not status else {})
    old = {k: v for k, v in item.items() if k != "statsV2"} | {"author": user}
    scripts = {
        "universal": universal(**{"webapp.video-detail": detail}),
        "sigi": {"SIGI_STATE": {"ItemModule": {id: old}}},
        "next": {"__NEXT_DATA__": {"props": {"pageProps": detail}}},
        "none": {},
    }[generation]
    return page((body if not status else "<main>Video currently unavailable</main>") + extra, scripts)
