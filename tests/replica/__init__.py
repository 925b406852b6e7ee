"""A small replica of the site for tests: tag and video pages, the listing's paging, signed media, and switches for everything that goes wrong.

    with Replica({"Dance": ["dance"]}, chaos={"empty_list": 1}) as site: scrape(out, site.topics, base_url=site.url, ...)

`chaos` says how many times a trouble strikes (FOREVER: always), `fates` what is wrong with single videos.
"""

from .site import FOREVER, Replica
