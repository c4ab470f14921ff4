"""The replica's HTTP interface: what goes to the endpoints of the IC, and what to the control."""

from __future__ import annotations

import json

import pytest

from icwsgw.ic import cbor
from tests.support.devnet import Net


@pytest.mark.parametrize("path", ["/api/v2/status", "api/v2/status/", "/api/v2/status?verbose=1"])
def test_the_endpoints_of_the_ic(path: str) -> None:
    net = Net()
    answers: list[tuple[int, dict[str, str], bytes]] = []
    net.replica.handle("GET", path).addCallback(answers.append)
    ((status, headers, body),) = answers
    assert status == 200
    assert headers["Content-Type"] == "application/cbor"
    assert cbor.loads(body)["root_key"] == net.replica.root_key_der


def test_the_control() -> None:
    net = Net()
    answers: list[tuple[int, dict[str, str], bytes]] = []
    net.replica.handle("GET", "/_/info?x").addCallback(answers.append)
    ((status, _, body),) = answers
    assert status == 200
    assert json.loads(body)["root_key"] == net.replica.root_key_der.hex()


def test_other_paths_are_not_there() -> None:
    net = Net()
    answers: list[tuple[int, dict[str, str], bytes]] = []
    for path in ("/", "/api", "/api/v9/canister/aaaaa-aa/query"):
        net.replica.handle("POST", path).addCallback(answers.append)
    assert [status for status, _, _ in answers] == [404, 404, 404]
