"""The transports have the interface the agent is written against."""

from __future__ import annotations

import inspect

import pytest

from icwsgw.agent.interfaces import NetworkTransport
from icwsgw.agent.transport import Transport
from tests.support.memory_transport import MemoryTransport


@pytest.mark.parametrize("transport", [Transport, MemoryTransport])
@pytest.mark.parametrize("name", ["fetch", "agent"])
def test_same_parameters(transport, name):
    wanted = inspect.signature(getattr(NetworkTransport, name)).parameters
    given = inspect.signature(getattr(transport, name)).parameters
    assert [(p.name, p.kind) for p in given.values()] == [(p.name, p.kind) for p in wanted.values()]
