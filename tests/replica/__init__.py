"""A small replica of the site: tag and video pages, paged listings, signed media, and a switch for each known failure.

    with Replica({"Dance": ["dance"]}, chaos={"empty_list": 1}) as site:
        scrape(out, site.topics, base_url=site.url)

`chaos` maps a failure to the number of times it occurs (FOREVER: always), `fates` a video to what is wrong with it.
"""

from .site import FOREVER, Replica
