"""The sockets that systemd hands over (sd_listen_fds(3)), for ``systemd:`` addresses.

Twisted takes none of them where ``$LISTEN_FDNAMES`` is missing, and then says that there are none. The protocol gives
them the name ``unknown`` instead (sd_listen_fds_with_names(3)).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import AdoptedStreamServerEndpoint

from icwsgw.config.addresses import Description
from icwsgw.errors import ConfigError

#: Number of the first socket's descriptor.
FIRST = 3
_DOMAINS = {"INET": socket.AF_INET, "INET6": socket.AF_INET6, "UNIX": socket.AF_UNIX}


def handed_over(environment: Mapping[str, str] | None = None) -> list[tuple[str, int]]:
    """Return the names and descriptors of the sockets, in systemd's order; none if they are for another process.

    :param environment: by default that with which this process was started
    """
    variables = _environment_of_the_start() if environment is None else environment
    count = variables.get("LISTEN_FDS", "")
    if variables.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal():
        return []
    names = variables.get("LISTEN_FDNAMES", "").split(":")
    if len(names) != int(count):
        names = [""] * int(count)
    return [(name or "unknown", FIRST + index) for index, name in enumerate(names)]


def _environment_of_the_start() -> Mapping[str, str]:
    """Return the environment of this process's start; Twisted removes systemd's variables when it is imported."""
    try:
        data = Path("/proc/self/environ").read_bytes()
    except OSError:
        return os.environ
    pairs = (os.fsdecode(entry).partition("=") for entry in data.split(b"\0") if entry)
    return {name: value for name, _, value in pairs}


def systemd_endpoint(reactor: Any, description: Description, environment: Mapping[str, str] | None = None) -> Any:
    """Make the endpoint of ``systemd:domain=INET:name=NAME`` or ``systemd:domain=INET:index=0``.

    :raises ConfigError: the address is invalid, or systemd has handed over no such socket; the text names those that
        it has handed over
    """
    options = dict(zip(("domain", "index", "name"), description.args, strict=False)) | description.options
    domain, index, name = options.get("domain"), options.get("index"), options.get("name")
    if unknown := set(options) - {"domain", "index", "name"}:
        raise ConfigError(f"address {str(description)!r}: {min(unknown)} is not known")
    if domain not in _DOMAINS:
        raise ConfigError(f"address {str(description)!r} needs domain=INET, INET6 or UNIX")
    if (index is None) == (name is None):
        raise ConfigError(f"address {str(description)!r} needs name= or index=, one of them")
    sockets = handed_over(environment)
    if index is not None and index.isdecimal() and int(index) < len(sockets):
        return AdoptedStreamServerEndpoint(reactor, sockets[int(index)][1], _DOMAINS[domain])
    found = [descriptor for known, descriptor in sockets if known == name]
    if found:
        return AdoptedStreamServerEndpoint(reactor, found[0], _DOMAINS[domain])
    has = ", ".join(f"{number} ({known})" for number, (known, _) in enumerate(sockets))
    raise ConfigError(
        f"address {str(description)!r}: systemd has handed over no such socket; "
        + (f"it has handed over, by index and name: {has}" if has else "it has handed over none to this process")
    )
