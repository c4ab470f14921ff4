"""The status page in Chromium: it keeps up with the gateway, and says so when there is none any more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from icwsgw.admin.page import page
from icwsgw.ic.principal import Principal
from tests.acceptance.conftest import Devnet, Stack
from tests.acceptance.crowd import connect, echoes, leave
from tests.acceptance.processes import run_node
from tests.acceptance.test_demo_page import chromium
from tests.admin.documents import crowded

pytestmark = [pytest.mark.acceptance, pytest.mark.sdk]

OTHER = Principal(b"\x00\x00\x00\x00\x00\x90\x00\x01\x01\x01").text


def test_a_person_watches_the_gateway(
    stacks: Callable[..., Stack], devnets: Callable[..., Devnet], tmp_path: Path
) -> None:
    stack = stacks(network=devnets("--echo-any").network)
    tight = tmp_path / "crowded.html"
    tight.write_text(page(crowded()))
    crowd = [connect(stack), connect(stack), connect(stack, canister=OTHER)]
    for client in crowd:
        echoes(client)

    def act(event: dict[str, Any]) -> None:
        if event.get("name") == "seen":
            leave(crowd.pop())
            crowd.extend(connect(stack) for _ in range(4))
        elif event.get("name") == "updated":
            stack.server.kill()

    result = run_node(
        "status.mjs",
        {
            "url": f"{stack.admin}/",
            "crowded": tight.as_uri(),
            "executable": chromium(),
            "before": "3",
            "after": "6",
        },
        on_event=act,
    )[-1]
    first, second = result["first"], result["second"]
    assert (first["state"], first["title"], first["wide"]) == ("Ready", "Ready – IC WebSocket Gateway", True)
    assert first["canisters"] == [[stack.echo, "2"], [OTHER, "1"]]
    assert result["still"] == {"clients": "3", "canisters": 2}, "without a script"
    assert result["room"] == {"360": True, "800": True, "1200": True}, "nothing has to be scrolled sideways"
    assert second["canisters"] == [[stack.echo, "6"]]
    assert "the connection broke" in second["closes"]
    assert result["curve"].startswith("M"), "a curve has begun"
    assert result["mark"] == "not loaded again"
    assert result["silence"]["words"].startswith("No answer since ")
    assert result["silence"]["title"].startswith("No answer")
    assert not result["silence"]["state"]
    assert result["policy"].startswith("default-src 'none'")
    assert result["complaints"] == []
