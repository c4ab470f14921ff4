"""Parses listening addresses: Twisted's server endpoint strings, and the short forms of the Rust gateway.

An endpoint string is a list of arguments separated by colons. The first is the type; ``name=value`` is a named
argument; a backslash escapes the next character (Twisted, ``twisted.internet.endpoints.serverFromString``).
The Rust gateway accepts ``IP:port`` only (``TcpListener::bind`` in its ``ws_listener.rs``). ``0.0.0.0:8080``,
``[::]:8080``, ``:::8080``, ``localhost:8080``, ``:8080`` and a bare ``8080`` therefore mean TCP.

This module opens no sockets; :mod:`icwsgw.server.endpoints` makes endpoints from these strings.
"""

from __future__ import annotations

import ipaddress
import re
from enum import Enum
from typing import NamedTuple

from icwsgw.errors import ConfigError

#: Types that identify an endpoint string; they are never host names. Other types (plugins) are known by the form.
ENDPOINT_TYPES = frozenset({"tcp", "tcp6", "ssl", "tls", "unix", "systemd", "haproxy", "stdio", "fd", "onion"})
#: Those of TCP.
_TCP = frozenset({"tcp", "tcp6", "ssl", "tls"})

_PORT = re.compile(r":?(\d{1,5})")
# a container's host name may contain an underscore
_HOST_PORT = re.compile(r"([A-Za-z0-9._-]+):(\d{1,5})")
_BRACKETS = re.compile(r"\[(.*)\]:(\d{1,5})")


class Description(NamedTuple):
    """A parsed endpoint string: its type, its positional arguments, its named arguments."""

    kind: str
    args: tuple[str, ...]
    options: dict[str, str]

    def __str__(self) -> str:
        parts = [quote(word) for word in (self.kind, *self.args)]
        parts += [f"{quote(name)}={quote(value)}" for name, value in self.options.items()]
        return ":".join(parts)


def quote(word: str) -> str:
    """Escape the characters that separate the parts of an endpoint string."""
    return re.sub(r"([\\:=])", r"\\\1", word)


def parse_description(text: str) -> Description:
    """Parse an endpoint string.

    :raises ConfigError: it has no type, or ends in a single backslash
    """
    parts: list[tuple[str | None, str]] = []
    name: str | None = None
    word = ""
    characters = iter(text)
    for character in characters:
        if character == "\\":
            escaped = next(characters, None)
            if escaped is None:
                raise ConfigError(f"address {text!r} ends in a lone backslash")
            word += escaped
        elif character == ":":
            parts.append((name, word))
            name, word = None, ""
        elif character == "=" and name is None:
            name, word = word, ""
        else:
            word += character
    parts.append((name, word))
    if parts[0][0] is not None or not parts[0][1]:
        raise ConfigError(f"address {text!r} names no endpoint type")
    args = tuple(value for key, value in parts[1:] if key is None)
    return Description(parts[0][1], args, {key: value for key, value in parts[1:] if key is not None})


def normalise(text: str) -> str:
    """Convert an operator's address into a server endpoint string.

    :param text: an endpoint string, ``IP:port``, ``[IPv6]:port``, ``IPv6:port``, ``host:port``, ``:port`` or a port
    :return: an endpoint string; ``tcp:...`` for the short forms
    :raises ConfigError: it has none of these forms, or the port is missing or above 65535
    """
    text = text.strip()
    if not text:
        raise ConfigError("an address to listen on is empty")
    if match := _PORT.fullmatch(text):
        return f"tcp:{_port(match[1], text)}"
    if match := _BRACKETS.fullmatch(text):
        host = _ipv6(match[1])
        if host is None:
            raise ConfigError(f"address {text!r}: {match[1]!r} is not an IPv6 address")
        return f"tcp6:{_port(match[2], text)}:interface={quote(host)}"
    kind, _, rest = text.partition(":")
    before, _, port = text.rpartition(":")
    if kind not in ENDPOINT_TYPES and port.isdecimal() and (host := _ipv6(before)):
        return f"tcp6:{_port(port, text)}:interface={quote(host)}"
    if kind not in ENDPOINT_TYPES and (match := _HOST_PORT.fullmatch(text)):
        return f"tcp:{_port(match[2], text)}:interface={match[1]}"
    if not rest or not kind.isalnum():
        raise ConfigError(f"address {text!r} is neither an endpoint string nor IP:port")
    description = behind_proxy(parse_description(text))
    if description.kind in _TCP:
        port = _port_word(description)
        if not port:
            raise ConfigError(f"address {text!r} names no port")
        if not port.isdecimal():
            raise ConfigError(f"address {text!r}: {port!r} is not a port")
        _port(port, text)
    return text


def behind_proxy(description: Description) -> Description:
    """Return what is behind ``haproxy:``, or the description itself.

    :raises ConfigError: nothing is behind it, or another ``haproxy:``
    """
    if description.kind != "haproxy":
        return description
    if not description.args:
        raise ConfigError("haproxy: needs an address behind it")
    if description.args[0] == "haproxy":
        raise ConfigError(f"address {str(description)!r} has haproxy: twice: a connection has one PROXY header")
    return Description(description.args[0], description.args[1:], description.options)


def names_directory(description: Description) -> bool:
    """Return whether this is ``tls:`` with a directory of certificates in the first place."""
    return description.kind == "tls" and bool(description.args) and not description.args[0].isdecimal()


def _port_word(description: Description) -> str:
    args = description.args[1:] if names_directory(description) else description.args
    return args[0] if args else description.options.get("port", "")


def bound_port(text: str) -> int | None:
    """Return the port of an endpoint string that listens on TCP, also behind ``haproxy:``; None without one.

    :raises ConfigError: what is behind ``haproxy:`` is no address
    """
    return tcp_port(str(behind_proxy(parse_description(text))))


def tcp_port(text: str) -> int | None:
    """Return the port of an endpoint string that listens on TCP, or None; None for ``haproxy:``.

    No client can use the port of a ``haproxy:`` address without a PROXY header; see :func:`bound_port`.
    """
    description = parse_description(text)
    port = _port_word(description) if description.kind in _TCP else ""
    return int(port) if port.isdecimal() else None


class Exposure(Enum):
    """From which processes or machines an address is reachable."""

    UNIX = "programs of this machine that may open the socket's file"
    LOOPBACK = "programs of this machine"
    ANYWHERE = "other machines, as far as is known"


def exposure(text: str) -> Exposure:
    """Return from where an endpoint string is reachable; anywhere if that is not known."""
    kind, args, options = parse_description(text)
    path = args[0] if args else options.get("address", "")
    if kind == "unix" and path and not path.startswith("\0"):
        return Exposure.UNIX
    if kind in _TCP:
        # only for tcp is the second positional argument the interface
        interface = options.get("interface") or (args[1] if kind == "tcp" and len(args) > 1 else "")
        if interface == "localhost":
            return Exposure.LOOPBACK
        try:
            return Exposure.LOOPBACK if ipaddress.ip_address(interface).is_loopback else Exposure.ANYWHERE
        except ValueError:
            pass
    return Exposure.ANYWHERE


def private(text: str) -> str:
    """Return the endpoint string; a unix socket without an explicit mode gets one that only its owner may open."""
    description = parse_description(text)
    if description.kind == "unix" and "mode" not in description.options and len(description.args) < 2:
        description.options["mode"] = "600"
        return str(description)
    return text


def open_to_all(text: str) -> bool:
    """Return whether the mode of the endpoint string's unix socket lets every user of this machine open it."""
    kind, args, options = parse_description(text)
    mode = options.get("mode") or (args[1] if len(args) > 1 else "")
    return kind == "unix" and mode.isdecimal() and int(mode[-1]) & 2 != 0


def _ipv6(text: str) -> str | None:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        return None


def _port(digits: str, text: str) -> int:
    # Python converts 4,300 digits at most
    if len(digits.lstrip("0")) > 5 or int(digits) > 65535:
        raise ConfigError(f"address {text!r}: port {digits} is above 65535")
    return int(digits)


_PORT_BEHIND = re.compile(r":\d{1,5}\Z", re.ASCII)


def is_this_machine(host: str) -> bool:
    """Return whether a Host header is a loopback IP address or ``localhost``, a name that cannot be registered."""
    name = _PORT_BEHIND.sub("", host.strip().lower())
    if name == "localhost":
        return True
    try:
        if name.startswith("[") and name.endswith("]"):
            # an IPv6 zone can hold any text, and is not valid in a URL's host (RFC 3986, section 3.2.2)
            return "%" not in name and ipaddress.IPv6Address(name[1:-1]).is_loopback
        return ipaddress.IPv4Address(name).is_loopback
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Return whether the text is a loopback IP address; False if it is not an IP address."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return bool((getattr(address, "ipv4_mapped", None) or address).is_loopback)


def is_page_of(origin: str, host: str) -> bool:
    """Return whether a web origin is that of the server's pages, that is, whether it has the same host as the request.

    :param origin: the Origin header
    :param host: the Host header
    """
    return origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")
