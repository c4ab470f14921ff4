"""Downloads one access list from a URL, and keeps a copy of the last good one on disk.

The copy is what counts: :mod:`icwsgw.server.access_files` reads it as it reads other lists. So a restart while the
URL's server is away begins with the list that was in force, and workers need no connection of their own. Its first line
is a comment with what the next request needs: the URL, and the validators of HTTP (RFC 9110, section 8.8).
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import Deferred

from icwsgw.config.access_list import AccessList, parse_access_list
from icwsgw.errors import ConfigError, IcwsError
from icwsgw.process.private_directory import make_private_directory

#: Bytes of the longest list that is downloaded.
MOST_BYTES = 4 << 20
#: Seconds for a whole download.
TIMEOUT = 30.0
#: Characters of the longest validator that is kept.
MOST_VALIDATOR = 1024

_MARK = "# kept by icwsgw: "


class ListUnusable(IcwsError):
    """A list cannot be downloaded, or is damaged; the text says why."""


class ListHttp(Protocol):
    """A client of one URL: :class:`icwsgw.agent.http.file_client.FileClient`."""

    def get(self, headers: dict[str, str]) -> Deferred[Any]:
        """Return treq's response, after no redirects; fails with IcwsError."""

    def close(self) -> Deferred[None]:
        """End the connection."""


class KeptList(NamedTuple):
    """A list as it was kept.

    :ivar etag, modified: validators, empty if the server sent none
    :ivar at: when it was downloaded, seconds since 1970
    """

    entries: AccessList
    etag: str
    modified: str
    at: float


def read_kept(path: Path, url: str) -> KeptList | None:
    """Return the kept copy of a list, or None if there is none of this URL.

    :raises ConfigError: the copy is damaged
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + (64 << 10))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"kept access list {path}: {error.strerror}") from None
    try:
        head, _, text = data.decode().partition("\n")
        if not head.startswith(_MARK):
            raise ConfigError("its first line is missing")
        marks = json.loads(head.removeprefix(_MARK))
        if marks["url"] != url:
            return None
        return KeptList(parse_access_list(text), str(marks["etag"]), str(marks["modified"]), float(marks["at"]))
    except (ValueError, KeyError, TypeError, ConfigError) as error:
        raise ConfigError(f"kept access list {path} is damaged: {error}") from None


class ListDownload:
    """One list.

    :param url: where it is
    :param path: where its copy is kept
    :param http: a client of this URL
    :param may_be_empty: a list without entries is valid; otherwise it is damaged
    :param now: seconds since 1970
    :ivar at: when the server last sent the list or confirmed it; None: never
    :ivar count: entries of the list in use
    """

    def __init__(
        self,
        url: str,
        path: Path,
        http: ListHttp,
        *,
        may_be_empty: bool,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.url = url
        self.path = path
        self.http = http
        self._may_be_empty = may_be_empty
        self._now = now
        self.at: float | None = None
        self.count = 0
        self._etag = self._modified = ""
        with contextlib.suppress(ConfigError):
            # the reader reports a damaged copy
            kept = read_kept(path, url)
            if kept is not None:
                self.at, self.count = kept.at, kept.entries.size
                self._etag, self._modified = kept.etag, kept.modified

    async def fetch(self) -> bool:
        """Ask the server; return whether the list is another one now.

        :raises ListUnusable: there is no answer, or it is not a list; what is kept stays
        """
        headers = {"Accept": "text/plain, */*;q=0.1"}
        if self._etag:
            headers["If-None-Match"] = self._etag
        if self._modified:
            headers["If-Modified-Since"] = self._modified
        try:
            response = await self.http.get(headers)
            body: bytes = await response.content()
        except IcwsError as error:
            raise ListUnusable(str(error) or type(error).__name__) from None
        if response.code == 304 and self.at is not None:
            self.at = self._now()
            return False
        if response.code != 200:
            raise ListUnusable(f"the server answered with HTTP {response.code}")
        self._keep(body, _validator(response, "etag"), _validator(response, "last-modified"))
        return True

    def _keep(self, body: bytes, etag: str, modified: str) -> None:
        try:
            text = body.decode()
            entries = parse_access_list(text)
        except UnicodeDecodeError:
            raise ListUnusable("it is not text in UTF-8") from None
        except ConfigError as error:
            raise ListUnusable(str(error)) from None
        if not entries.size and not self._may_be_empty:
            raise ListUnusable("it is empty, which would admit every client")
        at = self._now()
        head = json.dumps({"url": self.url, "etag": etag, "modified": modified, "at": round(at, 3)})
        try:
            make_private_directory(self.path.parent)
            new = self.path.with_suffix(".new")
            new.write_text(f"{_MARK}{head}\n{text}", encoding="utf-8", newline="")
            os.replace(new, self.path)
        except OSError as error:
            raise ListUnusable(f"it cannot be kept at {self.path}: {error.strerror}") from None
        self.at, self.count = at, entries.size
        self._etag, self._modified = etag, modified


def _validator(response: Any, name: str) -> str:
    """Return a validator of a response, empty if it has none that can be sent back."""
    values = response.headers.getRawHeaders(name, [])
    value = str(values[0]) if len(values) == 1 else ""
    return value if len(value) <= MOST_VALIDATOR and value.isascii() and value.isprintable() else ""
