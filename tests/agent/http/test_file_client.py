"""A file from a real HTTP server, of Python's library: validators, bounds, and no redirects."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from icwsgw.agent.http.file_client import FileClient
from icwsgw.errors import AnswerTooLarge


class Files(SimpleHTTPRequestHandler):
    """Serves a directory, with Last-Modified and If-Modified-Since."""

    directory_served = ""

    def __init__(self, *words: Any) -> None:
        super().__init__(*words, directory=self.directory_served)

    def log_message(self, *words: Any) -> None:
        """Say nothing."""


class FileClientTest(TestCase):
    """With the real reactor."""

    @pytest.fixture(autouse=True)
    def served(self, tmp_path: Path) -> Iterator[None]:
        (tmp_path / "list").write_text("203.0.113.7\n" * 1000)
        (tmp_path / "folder").mkdir()
        handler = type("Served", (Files,), {"directory_served": str(tmp_path)})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        thread.start()
        yield
        self.server.shutdown()
        self.server.server_close()
        thread.join()

    def client(self, path: str, max_body: int = 1 << 20) -> FileClient:
        any_reactor: Any = reactor
        client = FileClient(any_reactor, f"http://127.0.0.1:{self.server.server_port}/{path}", max_body, 30.0)
        self.addCleanup(client.close)
        return client

    def test_a_file_and_that_it_is_still_the_same(self) -> Deferred[None]:
        async def ask() -> None:
            client = self.client("list")
            response = await client.get({})
            body = await response.content()
            assert (response.code, len(body)) == (200, 12_000)
            (modified,) = response.headers.getRawHeaders("last-modified")
            response = await client.get({"If-Modified-Since": modified})
            assert (response.code, await response.content()) == (304, b"")

        return Deferred.fromCoroutine(ask())

    def test_a_redirect_is_an_answer_and_is_not_followed(self) -> Deferred[None]:
        async def ask() -> None:
            response = await self.client("folder").get({})
            assert response.code == 301

        return Deferred.fromCoroutine(ask())

    def test_a_file_that_is_too_long_fails(self) -> Deferred[None]:
        async def ask() -> None:
            with pytest.raises(AnswerTooLarge):
                await self.client("list", max_body=11_999).get({})

        return Deferred.fromCoroutine(ask())
