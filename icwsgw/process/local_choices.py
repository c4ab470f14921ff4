"""Chooses, at the start, what depends on what runs on this machine.

*The network* of ``--ic-network-url auto``: the first of :func:`icwsgw.config.project_networks.local_networks` that
answers; if none does, the first of them, since it may start later.

*The embedded replica's port*: if ``--devnet-listen`` is not set and another program has its port, such as dfx,
the replica listens on one of the next ports.

A choice holds until the process ends: a reload does not look again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from icwsgw.blocking_http import request
from icwsgw.config.addresses import bound_port, parse_description, tcp_port
from icwsgw.config.devnet_options import DEVNET_ADDRESS
from icwsgw.config.project_networks import LocalNetwork, local_networks
from icwsgw.config.schema import GatewayConfig
from icwsgw.config.sources import Sourced
from icwsgw.errors import FormatError, TransportError
from icwsgw.ic import cbor
from icwsgw.ic.networks import AUTO
from icwsgw.process.machine_checks import address_fault

#: Seconds for the answer of a network on this machine, and the bytes of its status that are read.
TIMEOUT = 1.0
_MOST = 1 << 16
#: Ports after the embedded replica's that are tried.
MORE_PORTS = 16


class LocalChoices:
    """What was chosen at the start.

    :param folder: the working directory
    :param answers: whether a network answers at a URL; None: :func:`answers_status`
    :param fault: why nothing could listen on an address
    :ivar sourced: the configuration with the choices
    :ivar notes: what was chosen and why, one sentence each
    """

    def __init__(
        self,
        sourced: Sourced,
        folder: Path,
        *,
        answers: Callable[[str], bool] | None = None,
        fault: Callable[[str], str | None] = address_fault,
    ) -> None:
        self._before = sourced.config
        self._chosen: dict[str, Any] = {}
        self.notes: list[str] = []
        sources = dict(sourced.sources)
        if sourced.config.ic_network_url == AUTO:
            url, note = choose_network(local_networks(folder), answers or answers_status)
            self._chosen["ic_network_url"] = url
            self.notes.append(note)
        if sourced.config.devnet and sources["devnet_listen"] == "default":
            self._step_aside(fault)
        self.sourced = sourced._replace(config=replace(sourced.config, **self._chosen))

    def _step_aside(self, fault: Callable[[str], str | None]) -> None:
        """Choose another port for the embedded replica if its own is taken."""
        port, interface = tcp_port(DEVNET_ADDRESS), parse_description(DEVNET_ADDRESS).options["interface"]
        assert port is not None
        before = self._before
        taken = {bound_port(each) for each in filter(None, (*before.gateway_addresses, before.prometheus_endpoint))}
        for other in range(port, port + MORE_PORTS):
            address = f"tcp:{other}:interface={interface}"
            if other in taken or fault(address) is not None:
                continue
            if other != port:
                self._chosen["devnet_listen"] = address
                self._chosen["ic_network_url"] = f"http://127.0.0.1:{other}"
                self.notes.append(
                    f"another program has port {port}: the embedded replica listens on port {other} "
                    "(see --devnet-listen)"
                )
            return

    def kept(self, config: GatewayConfig) -> GatewayConfig:
        """Return a configuration that was read again, with the choices where its values are those of the start."""
        same = {
            field: value
            for field, value in self._chosen.items()
            if getattr(config, field) == getattr(self._before, field)
        }
        return replace(config, **same)


def choose_network(networks: list[LocalNetwork], answers: Callable[[str], bool]) -> tuple[str, str]:
    """Choose the first network that answers, else the first.

    :param networks: at least one
    :returns: its URL; a sentence that says what was chosen and why
    """
    silent: list[str] = []
    for network in networks:
        if answers(network.url):
            others = f"; nothing answers at {' and '.join(silent)}" if silent else ""
            return network.url, f"the network is {network.url}: {network.why}{others}"
        silent.append(network.url)
    first = networks[0]
    return first.url, f"the network is {first.url}: {first.why}; nothing answers yet at {' and '.join(silent)}"


def answers_status(url: str, seconds: Callable[[], float] = time.monotonic) -> bool:
    """Whether a network of the Internet Computer answers at a URL, with its status and a root key.

    :param seconds: the time, in seconds of a monotonic clock
    """
    try:
        status_url = f"{url.rstrip('/')}/api/v2/status"
        answer = request(status_url, timeout=TIMEOUT, max_bytes=_MOST, direct=True, seconds=seconds)
        status = cbor.loads(answer.body) if answer.status == 200 else None
    except (TransportError, FormatError):
        return False
    return isinstance(status, dict) and isinstance(status.get("root_key"), bytes)
