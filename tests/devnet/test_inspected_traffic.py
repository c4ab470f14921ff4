"""What the gateway's observers call when it inspects: the methods of the classes that make spans."""

from __future__ import annotations

import inspect

import pytest

from icwsgw.devnet import inspected_traffic
from icwsgw.devnet.inspected_traffic import InspectedTraffic
from icwsgw.devnet.inspector import Inspector
from icwsgw.observe import tracing

PAIRS = {
    "InspectedTraffic": "Tracing",
    "InspectedConnection": "ConnectionTrace",
    "InspectedSession": "SessionTrace",
    "InspectedMessage": "MessageTrace",
    "InspectedPolls": "PollTraces",
    "InspectedPoll": "PollTrace",
}
#: What only the export of spans uses.
OF_SPANS = {"add", "shutdown", "start"}


@pytest.mark.parametrize(("ours", "theirs"), PAIRS.items())
def test_each_method_of_a_trace_is_there_with_the_same_parameters(ours: str, theirs: str) -> None:
    one, other = getattr(inspected_traffic, ours), getattr(tracing, theirs)
    for name, method in inspect.getmembers(other, inspect.isfunction):
        if name.startswith("_") or name in OF_SPANS:
            continue
        assert list(inspect.signature(getattr(one, name)).parameters) == list(inspect.signature(method).parameters)


def test_a_session_has_no_trace_to_look_up_and_polls_none_to_link_to() -> None:
    traffic = InspectedTraffic(Inspector(), lambda: 1)
    connection = traffic.connection("x")
    session = connection.opened("s-1", "x")
    session.canister("c")
    session.ended({})
    connection.lost(None)
    assert session.id == ""
    polls = traffic.polls("c")
    polls.answered()
    poll = polls.iteration(1)
    poll.relaying(2).ended()
    poll.failed("timeout")
    poll.ended()
    assert (poll.context, traffic.detailed, traffic.idle_polls, polls.idle_polls) == (None, True, False, False)
    message = session.client_message("ws_open", b"\xa0")
    message.attempt(1)
    message.ended("refused", failed=True)
    assert list(traffic.inspector) == []


def test_a_session_that_another_process_has_served_goes_on() -> None:
    traffic = InspectedTraffic(Inspector(), lambda: 1)
    first = traffic.connection("x").opened("s-1", "x")
    second = traffic.handed_over("s-1", first.written())
    first.left()
    second.client_message("ws_message", b"\xa0").ended("refused", failed=True)
    assert list(traffic.inspector) == []
