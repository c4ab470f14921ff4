"""The operations that are counted: each in its own gateway, from a steady state, several times.

Each message follows a quiet time, so it shares no work with others; bench/ measures how much many clients share. The
answers' headers differ in their request ids, as those of the public network do.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from tests.costs.harness import Client, Harness

#: How often each operation is done while it is counted.
TIMES = 10
#: The number of connections whose bytes are counted.
CROWD = 50
#: Bytes of content of a message of which only half has arrived.
HALF = 1000

#: Does an operation; only the work inside the given context is counted.
Operation = Callable[[Harness, Client, Callable[[], AbstractContextManager[None]]], None]


def message_up(harness: Harness, client: Client, count: Callable[[], AbstractContextManager[None]]) -> None:
    harness.new_second()
    for counting in (nullcontext, count):
        payload = client.message()
        with counting():
            client.send(payload)
            harness.turn()
            assert harness.network.answer() == "call"
            harness.turn()
        harness.rest()
        client.read()


def message_up_posted_again(
    harness: Harness, client: Client, count: Callable[[], AbstractContextManager[None]]
) -> None:
    payload = client.message()
    harness.network.change = lambda _status, _content: (202, b"")
    with count():
        client.send(payload)
        harness.turn()
        assert harness.network.answer() == "call"
        harness.turn()
    harness.network.change = None
    harness.until(harness.relay._under_way)
    with count():
        harness.turn()
        assert harness.network.answer() == "call"
        harness.turn()
    harness.rest()
    client.read()


def idle_poll(harness: Harness, client: Client, count: Callable[[], AbstractContextManager[None]]) -> None:
    with count():
        harness.poll()


def poll(messages: int) -> Operation:
    def operation(harness: Harness, client: Client, count: Callable[[], AbstractContextManager[None]]) -> None:
        harness.canister_sends(client, messages)
        with count():
            harness.poll()
        client.read()
        harness.rest()

    return operation


def opening(harness: Harness, client: Client, count: Callable[[], AbstractContextManager[None]]) -> None:
    with count():
        other = harness.client()
        other.open()
    harness.rest()


def closing(harness: Harness, client: Client, count: Callable[[], AbstractContextManager[None]]) -> None:
    other = harness.client()
    other.open()
    harness.rest()
    with count():
        other.close_cleanly()
        other.disconnect()
        assert harness.network.answer() == "call"
        harness.turn()
    harness.rest()


#: As on the public network: requests have a budget, nodes' signatures are checked.
PUBLIC: dict[str, Any] = {"query_budget": 1000, "verify_queries": "on"}
EXECUTED: dict[str, Any] = {**PUBLIC, "relay_order": "executed"}
ACCEPTED: dict[str, Any] = {**PUBLIC, "relay_order": "accepted", "call_latency": 0.15}

#: By name: the gateway's options, and the operation.
OPERATIONS: dict[str, tuple[dict[str, Any], Operation]] = {
    "message up, executed, answered 200": (EXECUTED, message_up),
    "message up, executed, answered 202, then 200": (EXECUTED, message_up_posted_again),
    "message up, accepted, answered 202": (ACCEPTED, message_up),
    "poll that finds nothing": (EXECUTED, idle_poll),
    "poll that brings 1 message down": (EXECUTED, poll(1)),
    "poll that brings 50 messages down": (EXECUTED, poll(50)),
    "opening": (EXECUTED, opening),
    "closing by the client": (EXECUTED, closing),
}
