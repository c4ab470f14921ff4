"""The health check of the container image: ``python -m icwsgw.process.healthcheck URL...``.

An image does not know where its gateway was told to serve health, so it asks at several addresses and is content with
one that answers 200. Loads nothing but the standard library: it runs every half minute.
"""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Sequence

TIMEOUT = 2.0
"""Seconds for each URL."""


def failure(urls: Sequence[str]) -> str | None:
    """Ask the URLs, one after the other, until one answers 200; None then, or what was wrong with the last."""
    # never by the proxy that the environment names for others
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    said = "no URL to ask"
    for url in urls:
        try:
            with opener.open(url, timeout=TIMEOUT) as answer:
                if answer.status == 200:
                    return None
                said = f"{url}: status {answer.status}"
        except (OSError, ValueError) as error:
            said = f"{url}: {error}"
    return said


if __name__ == "__main__":
    sys.exit(failure(sys.argv[1:]))
