"""Temporary error answers of proxies do not affect clients: the gateway resubmits the identical call."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

from tests.memory.world import World


class FailingProxyWorld(World):
    """A world in which a proxy in front of the network answers calls itself, a given number of times.

    :ivar left: how many calls it still answers
    """

    def __init__(self, status: int, **options: Any) -> None:
        self.status = status
        self.left = 0
        super().__init__(verify=True, **options)
        answer = self.transport.handler

        def handle(method: str, path: str, body: bytes) -> Deferred[Any]:
            if path.endswith("/call") and self.left:
                self.left -= 1
                return succeed((self.status, {"Content-Type": "text/html"}, b"<html>"))
            return answer(method, path, body)  # type: ignore[return-value]

        self.transport.handler = handle


@pytest.mark.parametrize("order", ["executed", "accepted"])
@pytest.mark.parametrize("status", [404, 421, 425, 307, 308])
def test_transient_error_answers_to_calls(status: int, order: str) -> None:
    world = FailingProxyWorld(status, relay_order=order)
    world.left = 2
    (client,) = world.open()
    for number in range(5):
        world.left = 2
        client.echoes(b"%d" % number)
    assert client.close_code is None
    assert world.agent.api_versions["sync_call"] == 3, "executed stays executed"
    calls = world.metrics.relays.values
    assert calls["http"] == calls["unknown"] == 0


def test_two_404s_while_a_client_opens_do_not_count_as_refusals() -> None:
    world = FailingProxyWorld(404)
    world.left = 2
    world.open()
    late = world.client()
    world.until(lambda: late.opened)
    assert world.metrics.relays.values["accepted"] == 0
    assert world.metrics.relays.values["replied"] == 2
