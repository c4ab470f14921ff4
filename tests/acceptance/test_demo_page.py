"""The devnet's demo page and the client that it uses, in Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.conftest import ROUNDS_BY_CLOCK, Devnet, Stack
from tests.acceptance.processes import free_port, run_node

pytestmark = [pytest.mark.acceptance, pytest.mark.sdk]


def chromium() -> str:
    """The browser's program; its absence is a failure."""
    found = shutil.which("chromium")
    assert found is not None, "chromium is needed for the demo page's test (Debian: apt-get install chromium)"
    return found


def test_a_person_sees_messages_flow(
    devnets: Callable[..., Devnet], stacks: Callable[..., Stack], tmp_path: Path
) -> None:
    stack = stacks(network=devnets(*ROUNDS_BY_CLOCK).network)
    result = run_node(
        "page.mjs",
        {
            "url": stack.network,
            "gateway": stack.gateway,
            "executable": chromium(),
            "screenshots": str(tmp_path),
            "deadLink": f"ws://127.0.0.1:{free_port()}",
        },
    )[-1]
    assert result["texts"] == ["hello from the browser", *(f"burst 1, message {number}" for number in range(1, 31))]
    assert result["unverified"] == 0
    assert result["closed"] == "closed, 1000"
    assert "signed by the network, certified by the canister" in result["facts"]["checks"]
    assert int(result["facts"]["sent"]) >= 31
    assert int(result["facts"]["received"]) >= 32
    assert "median" in result["facts"]["latency"]
    assert len(result["facts"]["root"]) == 64
    assert result["wide"], "the page is wider than a desk's window"
    assert result["narrow"], "the page is wider than a phone"
    assert "cannot connect to the gateway" in result["trouble"]
    assert "Is the gateway running" in result["trouble"]
    assert result["again"]
    assert result["ownPort"] == "This is the port of the replica, which serves this page."
    assert result["links"] == ["echo.did", "demo.js"]
    listens = " The gateway listens at ws://127.0.0.1:8080 or wss://gw.example."
    assert result["checked"] == {
        "nonsense": "nonsense is not a URL such as ws://127.0.0.1:8080",
        "http://127.0.0.1:8080": "A gateway's URL begins with ws:// or wss://." + listens,
        "ws://localhost:4943": "This is the port of the replica, which serves this page." + listens,
        "wss://localhost:8080": "The gateway speaks ws:// there, without TLS, and not wss://.",
        "ws://gw.example:443": "The gateway speaks wss:// there, with TLS, and not ws://.",
        "ws://127.0.0.1:8080": None,
        "wss://gw.example/": None,
        "ws://elsewhere:1": None,
    }
    assert result["complaints"] == []


def test_a_person_inspects_a_session_that_has_ended(stacks: Callable[..., Stack]) -> None:
    stack = stacks()
    result = run_node("inspector.mjs", {"url": stack.network, "executable": chromium()})[-1]
    assert result["complaints"] == []
    assert len(result["rows"]) == 5, result["rows"]
    # the last one first
    closed, down, up, first, opened = [row[1:] for row in result["rows"]]
    assert (opened[0], opened[3], opened[6]) == ("→", "ws_open", "Ok")
    assert (first[0], first[3], first[7]) == ("←", "message: OpenMessage", "certificate, witness, content")
    assert (up[0], up[3], up[6]) == ("→", 'ws_message: {"text": "hello inspector"}', "Ok")
    assert [part.partition(" ")[0] for part in up[8].split(", ")] == ["client", "gateway", "relayed", "executed"]
    assert (down[3], down[4]) == ('message: {"text": "hello inspector"}', "2")
    assert {part.partition(" ")[0] for part in down[8].split(", ")} == {"canister", "polled", "delivered"}
    assert closed[3] == "ws_close"
    assert len({row[2] for row in (opened, first, up, down)}) == 1, "one session"
