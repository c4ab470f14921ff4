"""Handing over a supervisor."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

from icwsgw.handover.channel import Channel
from icwsgw.workers.handed_supervisor import HandedSupervisor
from icwsgw.workers.workers_transfer import WorkersTransfer


def test_it_reports_the_identities_of_its_workers_and_passes_their_sockets_on() -> None:
    supervisor: Any = SimpleNamespace(
        reactor=1, config=2, draining=True, listening_services=[3], identity_numbers=[[0], [1]], pool=None
    )
    handed = HandedSupervisor(supervisor)
    assert handed.handover_facts == {"supervisor": True, "workers": [[0], [1]]}
    assert (handed.reactor, handed.config, handed.draining, handed.listening_services) == (1, 2, True, [3])
    one, other = socket.socketpair()
    made = handed.transfer(Channel(one), [other.detach()], {"groups": [[0]]}, dict, print, print)
    assert isinstance(made, WorkersTransfer)
    made._close()
    one.close()
