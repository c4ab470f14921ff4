"""The health check of the container image: ``python -m icwsgw.process.healthcheck URL...``.

The image does not know at which address its gateway serves health. The check therefore tries several URLs and succeeds
when one of them answers 200. It imports no third-party package, because it runs every 30 seconds.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from icwsgw.blocking_http import request
from icwsgw.errors import TransportError

TIMEOUT = 2.0
"""Time limit of each request, in seconds."""

_MAX_ANSWER = 1 << 20


def failure(urls: Sequence[str]) -> str | None:
    """Request the URLs in order until one answers 200.

    :return: None on success, otherwise the error of the last URL
    """
    result = "no URL to ask"
    for url in urls:
        try:
            # the proxies of the environment are for other hosts
            status = request(url, timeout=TIMEOUT, max_bytes=_MAX_ANSWER, direct=True).status
        except TransportError as error:
            result = f"{url}: {error}"
        else:
            if status == 200:
                return None
            result = f"{url}: status {status}"
    return result


if __name__ == "__main__":
    sys.exit(failure(sys.argv[1:]))
