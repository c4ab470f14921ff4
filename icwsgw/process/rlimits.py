"""Raises the limit on open files: each client's connection is one.

The soft limit that shells and service managers give (1,024 is common) is there for programs that use select; the
hard limit is what the administrator allows. So the soft one is raised as far as the configuration needs it. Where that
is not enough, fewer clients are taken: strangers who take the last descriptor would take metrics and health probes as
well, and a supervisor would restart a gateway that works.
"""

from __future__ import annotations

import resource
from typing import Final, NamedTuple

#: Connections to the network that are reckoned with: :data:`icwsgw.agent.http.transport.MAX_CONNECTIONS`.
NETWORK: Final = 2048
#: Connections that wait to be told that they are too many.
REFUSED: Final = 256
#: All other files, these included: 256 connections to --prometheus-endpoint, 25 that are being accepted,
#: 16 to --admin-endpoint, listening sockets, logs, Python's own.
OTHERS: Final = 640


class Room(NamedTuple):
    """What fits into the limit.

    :ivar files: that may be open; None for no limit
    :ivar connections: of clients
    :ivar network: connections to the network
    :ivar refused: connections that wait to be told that they are too many
    """

    files: int | None
    connections: int
    network: int
    refused: int = REFUSED


def make_room(connections: int) -> Room:
    """Raise the soft limit of open files so that ``connections`` clients fit, as far as the hard limit allows."""
    return share(_raise(connections + NETWORK + OTHERS), connections)


def share(files: int | None, connections: int) -> Room:
    """Share files out: as asked where they suffice, else up to half for others, a quarter of the rest for the network.

    :param files: that may be open; None for no limit
    :param connections: of clients, that are wanted
    """
    if files is None or files >= connections + NETWORK + OTHERS:
        return Room(files, connections, NETWORK)
    others = min(OTHERS, files // 2)
    network = max(1, min(NETWORK, (files - others) // 4))
    return Room(files, max(1, min(connections, files - others - network)), network, REFUSED * others // OTHERS)


def _raise(wanted: int) -> int | None:
    """Raise the soft limit to ``wanted`` if it is lower; the limit then, None for none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    if soft >= wanted:
        return soft
    new = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (new, hard))
    except (OSError, ValueError):
        # more than the kernel's own bound (fs.nr_open), or than the sandbox allows
        return soft
    return new
