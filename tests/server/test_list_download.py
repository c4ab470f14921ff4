"""The download of one access list from a URL: what is stored, requested and refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.web.http_headers import Headers

from icwsgw.errors import ConfigError, ConnectionLost
from icwsgw.server import list_download
from icwsgw.server.list_download import MOST_VALIDATOR, ListDownload, ListHttp, ListUnusable, read_kept

URL = "https://lists.example/deny"


class Response:
    def __init__(self, code: int, body: bytes = b"", **headers: str) -> None:
        self.code = code
        self._body = body
        self.headers = Headers({name.replace("_", "-"): [value] for name, value in headers.items()})

    def content(self) -> Deferred[bytes]:
        return succeed(self._body)


class ScriptedHttp(ListHttp):
    """An HTTP client whose answers the test gives.

    :ivar requests: the headers of each request
    """

    def __init__(self, *answers: Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[dict[str, str]] = []

    def get(self, headers: dict[str, str]) -> Deferred[Any]:
        self.requests.append({name: value for name, value in headers.items() if name != "Accept"})
        answer = self.answers.pop(0)
        return fail(answer) if isinstance(answer, Exception) else succeed(answer)

    def close(self) -> Deferred[None]:
        return succeed(None)


def download(path: Path, http: ScriptedHttp, **more: Any) -> ListDownload:
    return ListDownload(URL, path, http, **{"may_be_empty": True, "now": lambda: 1000.0, **more})


def fetched(one: ListDownload) -> bool:
    results: list[Any] = []
    Deferred.fromCoroutine(one.fetch()).addBoth(results.append)
    (result,) = results
    if not isinstance(result, bool):
        result.raiseException()
    return bool(result)


def test_what_is_fetched_is_kept_and_not_sent_again_while_it_is_the_same(tmp_path: Path) -> None:
    path = tmp_path / "lists" / "deny.list"
    http = ScriptedHttp(
        Response(200, b"203.0.113.7 # one\n2vxsx-fae\n", etag='"v1"', last_modified="Sat, 01 Aug 2026 00:00:00 GMT"),
        Response(304),
        Response(200, b"203.0.113.8\n"),
        Response(200, b"203.0.113.8\n"),
    )
    one = download(path, http)
    assert (one.at, fetched(one), one.at, one.count) == (None, True, 1000.0, 2)
    kept = read_kept(path, URL)
    assert kept is not None
    assert (kept.etag, kept.at, kept.entries.networks.hold("203.0.113.7")) == ('"v1"', 1000.0, True)
    assert path.stat().st_mode & 0o077 == 0 or path.parent.stat().st_mode & 0o077 == 0
    before = path.stat().st_mtime_ns, path.stat().st_ino
    assert not fetched(one)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before, "so that nobody reads it again"
    assert fetched(one)
    # the server has sent no validators this time
    assert fetched(one)
    both = {"If-None-Match": '"v1"', "If-Modified-Since": "Sat, 01 Aug 2026 00:00:00 GMT"}
    assert http.requests == [{}, both, both, {}]


def test_another_process_goes_on_with_the_copy(tmp_path: Path) -> None:
    path = tmp_path / "deny.list"
    assert fetched(download(path, ScriptedHttp(Response(200, b"203.0.113.7\n", etag='"v1"'))))
    http = ScriptedHttp(Response(304))
    later = download(path, http, now=lambda: 5000.0)
    assert (later.at, later.count) == (1000.0, 1)
    assert not fetched(later)
    assert (http.requests, later.at) == ([{"If-None-Match": '"v1"'}], 5000.0)


def test_the_copy_of_another_url_counts_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "deny.list"
    fetched(download(path, ScriptedHttp(Response(200, b"203.0.113.7\n", etag='"v1"'))))
    assert read_kept(path, "https://lists.example/other") is None
    http = ScriptedHttp(Response(304))
    other = ListDownload("https://lists.example/other", path, http, may_be_empty=True)
    assert other.at is None
    with pytest.raises(ListUnusable, match="HTTP 304"):
        fetched(other)
    assert http.requests == [{}]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Response(404, b"203.0.113.9\n"), "the server answered with HTTP 404"),
        (Response(302, b"", location="http://elsewhere/"), "HTTP 302"),
        (Response(200, b"<html>maintenance</html>"), "line 1: '<html>maintenance</html>' is no address"),
        (Response(200, b"203.0.113.7\n\xff\n"), "not text in UTF-8"),
        (ConnectionLost("in the middle"), "in the middle"),
    ],
)
def test_what_is_no_list_leaves_the_last_good_one(tmp_path: Path, answer: Response | Exception, words: str) -> None:
    path = tmp_path / "deny.list"
    one = download(path, ScriptedHttp(Response(200, b"203.0.113.7\n", etag='"v1"'), answer, Response(304)))
    fetched(one)
    before = path.read_bytes()
    with pytest.raises(ListUnusable, match=words):
        fetched(one)
    assert (path.read_bytes(), one.count) == (before, 1)
    # and its validator, too
    assert not fetched(one)


def test_an_empty_list_admits_all_clients_so_an_empty_allow_list_is_damaged(tmp_path: Path) -> None:
    one = download(tmp_path / "a", ScriptedHttp(Response(200, b"# none\n")), may_be_empty=False)
    with pytest.raises(ListUnusable, match="it is empty, which would admit every client"):
        fetched(one)
    assert fetched(download(tmp_path / "d", ScriptedHttp(Response(200, b"# none\n"))))


@pytest.mark.parametrize("etag", ['"' + "x" * MOST_VALIDATOR + '"', '"ä"'])
def test_validators_that_cannot_be_sent_back_are_left_out(tmp_path: Path, etag: str) -> None:
    http = ScriptedHttp(Response(200, b"", etag=etag), Response(200, b""))
    one = download(tmp_path / "a", http)
    fetched(one)
    fetched(one)
    assert http.requests == [{}, {}]


def test_a_disk_that_takes_nothing_is_reported(tmp_path: Path) -> None:
    (tmp_path / "lists").write_text("a file in the way")
    one = download(tmp_path / "lists" / "deny.list", ScriptedHttp(Response(200, b"203.0.113.7\n")))
    with pytest.raises(ListUnusable, match="it cannot be kept at"):
        fetched(one)


@pytest.mark.parametrize(
    "content",
    [b"203.0.113.7\n", b"# kept by icwsgw: {\n", b"# kept by icwsgw: {}\n", b"\xff", b"# kept by icwsgw: 5\n"],
)
def test_a_damaged_copy_is_reported_and_fetched_again(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "deny.list"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"kept access list .* is damaged: "):
        read_kept(path, URL)
    one = download(path, ScriptedHttp(Response(200, b"203.0.113.7\n")))
    assert one.at is None
    assert fetched(one)
    assert read_kept(path, URL) is not None


def test_a_copy_that_cannot_be_read(tmp_path: Path) -> None:
    assert read_kept(tmp_path / "none", URL) is None
    with pytest.raises(ConfigError, match="Is a directory"):
        read_kept(tmp_path, URL)


@pytest.mark.parametrize(
    ("values", "validator"),
    [
        ([b"x" * MOST_VALIDATOR], "x" * MOST_VALIDATOR),
        ([b"x" * (MOST_VALIDATOR + 1)], ""),
        ([b"a", b"b"], ""),
        ([], ""),
        (["\u00e9".encode()], ""),
        ([b"a\tb"], ""),
    ],
)
def test_a_validator_that_can_be_sent_back(values: list[bytes], validator: str) -> None:
    response = SimpleNamespace(headers=Headers({b"ETag": values}))
    assert list_download._validator(response, "ETag") == validator
