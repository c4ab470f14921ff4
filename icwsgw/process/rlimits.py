"""Raises the limit on open files: each client's connection is one.

Shells and service managers set a low soft limit (1,024 is common) for programs that use ``select``. The hard limit is
what the administrator allows. The gateway raises the soft limit as far as its configuration needs. If the hard limit is
too low, the gateway accepts fewer clients. Otherwise clients could use up all descriptors, health probes would fail,
and a service manager would restart a working gateway.
"""

from __future__ import annotations

import resource
from typing import Final, NamedTuple

#: Expected connections to the network: :data:`icwsgw.agent.http.transport.MAX_CONNECTIONS`.
NETWORK: Final = 2048
#: Connections over the limit that wait for their refusal.
REFUSED: Final = 256
#: All other files: among them 256 connections to --prometheus-endpoint, 25 that are being accepted,
#: 16 to --admin-endpoint, listening sockets, logs, Python's own.
OTHERS: Final = 640


class Room(NamedTuple):
    """How many files and connections fit into the limit.

    :ivar files: the limit on open files; None for no limit
    :ivar connections: connections of clients
    :ivar network: connections to the network
    :ivar refused: connections over the limit that wait for their refusal
    """

    files: int | None
    connections: int
    network: int
    refused: int = REFUSED


def make_room(connections: int) -> Room:
    """Raise the soft limit of open files so that ``connections`` clients fit, as far as the hard limit allows.

    :return: the limit then, and how many connections fit into it
    """
    return share(_raise(connections + NETWORK + OTHERS), connections)


def share(files: int | None, connections: int) -> Room:
    """Divide the limit on open files between clients, network and others.

    If the limit is too low for ``connections``, up to half goes to others, and a quarter of the rest to the network.

    :param files: the limit on open files; None for no limit
    :param connections: wanted connections of clients
    """
    if files is None or files >= connections + NETWORK + OTHERS:
        return Room(files, connections, NETWORK)
    others = min(OTHERS, files // 2)
    network = max(1, min(NETWORK, (files - others) // 4))
    return Room(files, max(1, min(connections, files - others - network)), network, REFUSED * others // OTHERS)


def _raise(wanted: int) -> int | None:
    """Raise the soft limit to ``wanted`` if it is lower; return the resulting limit, None for no limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    if soft >= wanted:
        return soft
    new = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (new, hard))
    except (OSError, ValueError):
        # ``wanted`` exceeds the kernel's bound (fs.nr_open), or the sandbox forbids it.
        return soft
    return new
