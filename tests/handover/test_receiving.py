"""Taking over from one process or several; tests of the single steps are in test_transfer.py."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock

from icwsgw.handover.channel import Channel
from icwsgw.handover.receiving import NothingTaken, Receiving, Source
from icwsgw.handover.service_state import VERSION


def test_a_state_of_another_version_is_refused_with_the_reason() -> None:
    ours, theirs = socket.socketpair()
    other = Channel(theirs)
    other.send({"version": VERSION + 1})
    service: Any = SimpleNamespace(reactor=Clock(), gateway=None)
    with pytest.raises(NothingTaken, match="version"):
        Receiving(service, [Source(Channel(ours))]).run()
    assert "version" in other.receive(5.0)[0]["failed"]
    other.close()
