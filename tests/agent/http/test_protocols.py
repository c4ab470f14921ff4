"""The transports have the interface the agent is written against."""

from __future__ import annotations

import inspect

import pytest

from icwsgw.agent.http.protocols import NetworkTransport
from icwsgw.agent.http.transport import Transport
from tests.support.memory_transport import MemoryTransport


@pytest.mark.parametrize("transport", [Transport, MemoryTransport])
@pytest.mark.parametrize("name", ["fetch", "agent"])
def test_what_the_agent_passes_is_taken_and_nothing_else_is_asked_for(transport, name) -> None:
    wanted = inspect.signature(getattr(NetworkTransport, name)).parameters
    given = inspect.signature(getattr(transport, name)).parameters
    assert [(p.name, p.kind, p.default) for p in given.values() if p.name in wanted] == [
        (p.name, p.kind, p.default) for p in wanted.values()
    ]
    assert all(p.default is not p.empty for p in given.values() if p.name not in wanted)
