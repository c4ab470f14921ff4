"""The health check of the container image: ``python -m icwsgw.process.healthcheck URL...``.

The image does not know at which address its gateway serves health. The check therefore tries several URLs and succeeds
when one of them answers 200. It imports only the standard library, because it runs every 30 seconds.
"""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException

TIMEOUT = 2.0
"""Timeout for each URL, in seconds."""


def failure(urls: Sequence[str]) -> str | None:
    """Request the URLs in order until one answers 200.

    :return: None on success, otherwise the error of the last URL
    """
    # Do not use the proxy from the environment.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    result = "no URL to ask"
    for url in urls:
        try:
            with opener.open(url, timeout=TIMEOUT) as answer:
                if answer.status == 200:
                    return None
                result = f"{url}: status {answer.status}"
        except (OSError, ValueError, HTTPException) as error:
            result = f"{url}: {error}"
    return result


if __name__ == "__main__":
    sys.exit(failure(sys.argv[1:]))
