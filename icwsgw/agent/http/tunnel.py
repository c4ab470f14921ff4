"""Connections to https hosts through an HTTP proxy, with CONNECT (RFC 9110, section 9.3.6).

The environment names the proxy, as for most programs and the Rust gateway: ``https_proxy`` or ``all_proxy``, except for
the hosts of ``no_proxy``. TLS runs through the tunnel, between the gateway and the network, so a proxy sees where data
goes and how much, but not what. A network at ``http://`` is a local replica and gets its requests directly.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from icwsgw.agent.http.url import Url
from icwsgw.errors import ConnectFailed
from icwsgw.observe.logs import get_logger
from icwsgw.observe.peers import bracketed
from icwsgw.reactor.clock import Clock

MAX_ANSWER = 16_384
"""Bytes of the proxy's answer to CONNECT."""

_DEFAULT_PORT = 80

_log = get_logger("agent")


class Proxy(NamedTuple):
    """An HTTP proxy.

    :ivar host: name or address
    :ivar port: TCP port
    :ivar authorization: the value of Proxy-Authorization, or empty
    """

    host: str
    port: int
    authorization: bytes = b""

    def __str__(self) -> str:
        """Its address, without the password."""
        return f"{bracketed(self.host)}:{self.port}"


def chosen_proxy(url: str, environment: Mapping[str, str], what: str) -> Proxy | None:
    """The proxy for a URL's host, logged; None for none, also for one that is invalid.

    :param environment: for example ``os.environ``
    :param what: is reached through it, for the log
    """
    try:
        proxy = proxy_for(Url.parse(url), environment)
    except ValueError as error:
        _log.warn("the environment's proxy is not used", reason=str(error))
        return None
    if proxy is not None:
        _log.info(f"{what} is reached through a proxy", proxy=str(proxy))
    return proxy


def proxy_for(url: Url, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy for a URL's host; None for none.

    :param environment: for example ``os.environ``
    :raises ValueError: it is not of the form ``http://host:port`` (user and password may precede the host)
    """
    if url.scheme != "https":
        return None
    text = _first(environment, "https_proxy", "all_proxy")
    if not text or _excluded(url, _first(environment, "no_proxy")):
        return None
    try:
        return _proxy(urlsplit(text if "://" in text else f"http://{text}"))
    except ValueError:
        # other errors may quote a part of the password
        raise ValueError("a proxy is given as http://host:port, with a user and a password percent-encoded") from None


def _proxy(parts: SplitResult) -> Proxy:
    # an @ behind the host belongs to a password with a / that is not percent-encoded, whose begin looks like a port
    if parts.scheme != "http" or not parts.hostname or "@" in parts.path + parts.query + parts.fragment:
        raise ValueError
    authorization = b""
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = b"Basic " + base64.b64encode(user.encode())
    return Proxy(parts.hostname, parts.port or _DEFAULT_PORT, authorization)


def _first(environment: Mapping[str, str], *names: str) -> str:
    texts = (environment.get(name, "").strip() for lower in names for name in (lower, lower.upper()))
    return next(filter(None, texts), "")


def _excluded(url: Url, names: str) -> bool:
    """Whether ``no_proxy`` names a host: by its name, as a subdomain, or by the network of its address."""
    host = url.host.lower()
    for name in filter(None, (part.strip().lower() for part in names.split(","))):
        bare = name.removeprefix("*").removeprefix(".")
        if not bare or host == bare or f"{host}:{url.port}" == bare or host.endswith("." + bare):
            return True
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(bare, strict=False):
                return True
        except ValueError:
            pass
    return False


@implementer(IStreamClientEndpoint)
class TunnelEndpoint:
    """Makes connections through a proxy.

    :param reactor: source of time
    :param endpoint: connects to the proxy
    :param proxy: the proxy
    :param target: "host:port" of the network
    :param timeout: seconds for the proxy to answer
    """

    def __init__(self, reactor: Clock, endpoint: Any, proxy: Proxy, target: str, timeout: float) -> None:
        self._reactor = reactor
        self._endpoint = endpoint
        self._timeout = timeout
        lines = [f"CONNECT {target} HTTP/1.1".encode(), b"Host: " + target.encode()]
        if proxy.authorization:
            lines.append(b"Proxy-Authorization: " + proxy.authorization)
        self._request = b"\r\n".join(lines) + b"\r\n\r\n"
        self._name = str(proxy)

    def connect(self, protocolFactory: Any) -> Deferred[Any]:  # noqa: N803
        """Connect.

        :return: fires with the factory's protocol when the proxy has accepted; fails with ConnectFailed if it refuses,
            and as the endpoint does if there is no proxy
        """
        connecting: Deferred[Any] = self._endpoint.connect(_Tunnels(self, protocolFactory))
        return connecting.addCallback(lambda tunnel: tunnel.opened)


class _Tunnels(Factory):
    """The factory of one tunnel."""

    noisy = False

    def __init__(self, endpoint: TunnelEndpoint, factory: Any) -> None:
        self._endpoint = endpoint
        self._factory = factory

    def buildProtocol(self, addr: Any) -> Any:  # noqa: N802
        """Make the tunnel."""
        return _Tunnel(self._endpoint, self._factory, addr)


class _Tunnel(Protocol):
    """One connection: it asks the proxy, then passes data on.

    :ivar opened: fires with the protocol at the end of the tunnel
    """

    transport: Any

    def __init__(self, endpoint: TunnelEndpoint, factory: Any, address: Any) -> None:
        self._endpoint = endpoint
        self._factory = factory
        self._address = address
        self._inner: Any = None
        self._answer = b""
        self.opened: Deferred[Any] = Deferred(lambda _: self._give_up())

    def connectionMade(self) -> None:  # noqa: N802
        """The proxy has accepted the TCP connection."""
        endpoint = self._endpoint
        self._timer = endpoint._reactor.callLater(endpoint._timeout, self._late)
        self.transport.write(endpoint._request)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        """Bytes from the proxy, later from the network."""
        if self._inner is not None:
            self._inner.dataReceived(data)
            return
        self._answer += data
        head, end, rest = self._answer.partition(b"\r\n\r\n")
        if not end:
            if len(head) > MAX_ANSWER:
                self._fail(ConnectFailed(f"the proxy {self._endpoint._name} answers without end"))
            return
        line = head.split(b"\r\n", 1)[0]
        parts = line.split(b" ", 2)
        if not parts[0].startswith(b"HTTP/1.") or len(parts) < 2 or not parts[1].startswith(b"2"):
            status_line = line[:100].decode("ascii", "replace")
            self._fail(ConnectFailed(f"the proxy {self._endpoint._name} refuses: {status_line}"))
            return
        self._timer.cancel()
        self._answer = b""
        inner = self._inner = self._factory.buildProtocol(self._address)
        inner.makeConnection(self.transport)
        self.opened.callback(inner)
        if rest:
            inner.dataReceived(rest)

    def connectionLost(self, reason: Any = None) -> None:  # noqa: N802
        """The connection has ended."""
        if self._inner is not None:
            self._inner.connectionLost(reason)
        elif not self.opened.called:
            self._fail(ConnectFailed(f"the proxy {self._endpoint._name} hung up"))

    def _late(self) -> None:
        self._fail(ConnectFailed(f"the proxy {self._endpoint._name} did not answer in time"))

    def _fail(self, error: Exception) -> None:
        opened = self.opened
        self._give_up()
        if not opened.called:
            opened.errback(error)

    def _give_up(self) -> None:
        if self._timer.active():
            self._timer.cancel()
        self.transport.abortConnection()
