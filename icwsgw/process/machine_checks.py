"""What of a configuration does not fit this machine at this moment, for ``--check-config``.

These are warnings and no errors: a port is taken because the gateway runs already, a directory is made by the service
manager, a name resolves later. Nothing is changed: a port is bound for a moment, but never listened on.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from icwsgw.agent.http.tunnel import proxy_for
from icwsgw.agent.http.url import Url
from icwsgw.config.addresses import Description, behind_proxy, parse_description, tcp_port
from icwsgw.config.schema import BY_NAME, GatewayConfig, addresses

#: How names become addresses; as :func:`socket.getaddrinfo`.
Resolve = Callable[..., Any]


def machine_warnings(config: GatewayConfig, resolve: Resolve = socket.getaddrinfo) -> Iterator[str]:
    """Yield what does not fit this machine now, one sentence each: directories, ports, names.

    :param resolve: resolves host names; it may block
    """
    yield from _directory_doubt(config.data_dir)
    if config.key_file is not None and not os.path.exists(config.key_file):
        yield f"there is no key file {config.key_file} yet: the first start makes it, with a new principal"
    for option, address in addresses(config):
        fault = address_fault(address)
        if fault is not None:
            yield f"--{option} {address}: {fault}"
    network = Url.parse(config.ic_network_url)
    if not _by_proxy(network):
        yield from _host_doubt("--ic-network-url", network.host, resolve)
    for name in config.acme_domains:
        yield from _host_doubt("--acme-domain", name, resolve)
    if config.opentelemetry_collector_endpoint is not None:
        host = urlsplit(config.opentelemetry_collector_endpoint).hostname or ""
        yield from _host_doubt("--opentelemetry-collector-endpoint", host, resolve)


def _directory_doubt(path: Path) -> Iterator[str]:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        # the default directory is missing before every first start; one that an option names may be misspelt
        if path != Path(BY_NAME["data-dir"].default).absolute():
            yield f"there is no directory {path} yet: the first start makes it, with a new key and principal"
    except OSError as error:
        yield f"--data-dir {path}: {error.strerror}"


def address_fault(address: str) -> str | None:
    """Return why nothing could listen on an address now, or None; None also for forms that cannot be tried."""
    description = behind_proxy(parse_description(address))
    if description.kind == "unix":
        return _unix_fault(description)
    port = tcp_port(str(description))
    if port is None:
        return None
    interface = description.options.get("interface", "")
    if description.kind == "tcp" and len(description.args) > 1:
        interface = interface or description.args[1]
    return _port_fault(port, interface, socket.AF_INET6 if description.kind == "tcp6" else socket.AF_INET)


def _port_fault(port: int, interface: str, family: socket.AddressFamily) -> str | None:
    # an IPv6 address makes Twisted's tcp: an IPv6 socket
    family = socket.AF_INET6 if ":" in interface else family
    try:
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # as Twisted does: an IPv6 socket takes IPv4 connections too
                tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            tried.bind((interface, port))
    except (OSError, OverflowError, TypeError, ValueError) as error:
        # all but the first are for interfaces that are no host names
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, PermissionError):
            return f"{reason}: this user may not bind ports below 1024"
        return f"{reason}{', unless this gateway has it' if 'in use' in reason else ''}"
    return None


def _unix_fault(description: Description) -> str | None:
    text = description.args[0] if description.args else description.options.get("address", "")
    if not text or text.startswith("\0"):
        return None
    path = Path(text)
    if not os.path.isdir(path.parent):
        return f"there is no directory {path.parent}"
    if not os.access(path.parent, os.W_OK | os.X_OK):
        return f"this user may not write to {path.parent}"
    if not os.path.exists(path):
        return None
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as tried:
            tried.settimeout(1.0)
            tried.connect(text)
    except ConnectionRefusedError:
        return None  # left behind by a process that has ended; Twisted replaces it
    except OSError as error:
        return error.strerror or str(error)
    return "Address already in use, unless this gateway has it"


def _by_proxy(network: Url) -> bool:
    """Whether a proxy resolves the network's name; an invalid proxy is not used."""
    try:
        return proxy_for(network, os.environ) is not None
    except ValueError:
        return False


def _host_doubt(option: str, host: str, resolve: Resolve) -> Iterator[str]:
    try:
        resolve(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        yield f"{option}: the host {host} cannot be resolved: {reason}"
