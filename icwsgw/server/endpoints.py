"""The endpoints for the operator's addresses, and the service that listens on one.

    tcp:8080, tcp6:8080, systemd:...     plain; TLS where the PEM paths of the options are given
    ssl:8443:privateKey=K:certKey=C      TLS with files of its own; ``tls:`` means the same
    ssl:8443                             TLS with the PEM paths of the options
    tls:/directory:8443                  TLS with a directory of certificates, chosen by the client's server name
    unix:/run/icws.sock                  always plain: for a proxy on the same machine
    haproxy:ADDRESS                      any of these behind a proxy that sends the PROXY protocol. haproxy:tcp:8081 is
                                         plain, whatever the options; haproxy:ssl:8443 has TLS, behind the PROXY header

Other addresses of Twisted's plugins work without TLS. The gateway adds TLS itself in every form, so that it can read
certificates again when their files change. A PROXY header comes before the TLS handshake.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from zope.interface import implementer

from icwsgw.config.addresses import Description, behind_proxy, names_directory, normalise, parse_description
from icwsgw.errors import ConfigError
from icwsgw.observe.logs import get_logger
from icwsgw.server.accept_gate import AcceptGate
from icwsgw.server.proxy_header import ProxyHeaders
from icwsgw.server.systemd_sockets import systemd_endpoint
from icwsgw.server.tls import RELOAD_INTERVAL, PemFiles, ServerTls, Tls
from icwsgw.server.tls_directory import CertificateDirectory
from icwsgw.server.tls_transport import LookingTlsTransports, TlsTransports

#: The backlog of ``listen(2)``: Twisted's 50 is too small when thousands of clients reconnect at once.
BACKLOG = 4096
#: Connections that are accepted in one turn of the event loop. Twisted accepts more and more while there are more, up
#: to 400; each costs 0.1 ms, with TLS 3 ms.
MOST_ACCEPTS = 5

#: Types of addresses without TLS of their own, to which the PEM path options add it.
_PLAIN = frozenset({"tcp", "tcp6", "systemd"})
_TLS_OPTIONS = frozenset({"privateKey", "certKey", "extraCertChain"})
_log = get_logger("server")


class Listenable(NamedTuple):
    """An endpoint, and the certificate of its TLS; None if it is plain, or if Twisted's own parser made it."""

    endpoint: Any
    tls: Tls | None


def make_endpoint(
    reactor: Any,
    address: str,
    tls: Tls | None = None,
    *,
    observe_handshake: Callable[[float], None] | None = None,
    passphrase: Path | None = None,
    below: Any = None,
) -> Listenable:
    """Make the endpoint for an address.

    :param address: as :func:`icwsgw.config.addresses.normalise` accepts it
    :param tls: TLS by the PEM paths of the options; it is added to plain addresses too, except unix: and haproxy:
    :param passphrase: the file with the passphrase of the keys that the address names, if they are encrypted
    :param below: an endpoint of the socket itself, to which the PROXY protocol and TLS of the address are added; None:
        one that binds the address
    :raises ConfigError: the address or its certificate is invalid
    """
    address = normalise(address)
    try:
        return _make(reactor, parse_description(address), tls, _Keys(observe_handshake, passphrase), below)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OSError) as error:
        raise ConfigError(f"address {address!r}: {_plain(error)}") from None


def socket_endpoint(reactor: Any, address: str) -> Any:
    """Make the endpoint for the socket of an address, without its TLS and PROXY protocol.

    :raises ConfigError: the address is invalid
    """
    address = normalise(address)
    try:
        return _plain_endpoint(reactor, behind_proxy(parse_description(address)))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OSError) as error:
        raise ConfigError(f"address {address!r}: {_plain(error)}") from None


class _Keys(NamedTuple):
    """What the TLS of an address needs besides its files."""

    observe: Callable[[float], None] | None
    passphrase: Path | None


def _make(reactor: Any, description: Description, tls: Tls | None, keys: _Keys, below: Any) -> Listenable:
    inner = behind_proxy(description)
    endpoint = _plain_endpoint(reactor, inner) if below is None else below
    proxied = inner is not description
    # a proxy that speaks the PROXY protocol has usually ended TLS; haproxy:ssl: is for one that has not
    own = _own_tls(inner, None if proxied and inner.kind in _PLAIN else tls, keys)
    return _lay(_ProxiedEndpoint(endpoint) if proxied else endpoint, own)


def _own_tls(description: Description, tls: Tls | None, keys: _Keys) -> Tls | None:
    kind, args, options = description
    observe, passphrase = keys
    if names_directory(description):
        return CertificateDirectory(Path(args[0]).absolute(), observe_handshake=observe, passphrase=passphrase)
    if kind in ("ssl", "tls"):
        if "privateKey" in options:
            key = options["privateKey"]
            chain = options.get("extraCertChain")
            files = PemFiles(
                Path(options.get("certKey", key)).absolute(),
                Path(key).absolute(),
                Path(chain).absolute() if chain else None,
                passphrase,
            )
            return ServerTls(files, observe_handshake=observe)
        if "certKey" in options:
            raise ConfigError(f"address {str(description)!r} has a certKey but no privateKey")
        if tls is None:
            raise ConfigError(f"address {str(description)!r} needs privateKey= and certKey=, or the PEM path options")
        return tls
    return tls if kind in _PLAIN else None


def _plain_endpoint(reactor: Any, description: Description) -> Any:
    kind, args, options = description
    if names_directory(description):
        args = args[1:]
    if kind in ("ssl", "tls"):
        kind, options = "tcp", {name: value for name, value in options.items() if name not in _TLS_OPTIONS}
    if kind in ("tcp", "tcp6"):
        options = {"backlog": str(BACKLOG), **options}
        if unknown := set(options) - {"port", "interface", "backlog"}:
            raise ConfigError(f"address {str(description)!r}: {min(unknown)} is not known")
    for name, digits, what in (("mode", "01234567", "octal, such as 660"), ("backlog", "0123456789", "a number")):
        if name in options and not (options[name] and set(options[name]) <= set(digits)):
            raise ConfigError(f"address {str(description)!r}: {name}={options[name]} is not {what}")
    if kind == "systemd":
        return systemd_endpoint(reactor, description)
    return serverFromString(reactor, str(Description(kind, args, options)))


def _lay(endpoint: Any, tls: Tls | None) -> Listenable:
    return Listenable(endpoint if tls is None else _TlsEndpoint(endpoint, tls), tls)


@implementer(IStreamServerEndpoint)
class _TlsEndpoint:
    """Adds TLS to what another endpoint accepts."""

    def __init__(self, endpoint: Any, tls: Tls) -> None:
        self._endpoint = endpoint
        self._tls = tls

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen on the inner endpoint."""
        transports = LookingTlsTransports if self._tls.looks_at_hello else TlsTransports
        listening: Deferred[IListeningPort] = self._endpoint.listen(transports(cast(Any, self._tls), False, factory))
        return listening


@implementer(IStreamServerEndpoint)
class _ProxiedEndpoint:
    """Adds the PROXY protocol to what another endpoint accepts."""

    def __init__(self, endpoint: Any) -> None:
        self._endpoint = endpoint

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen on the inner endpoint."""
        headers = cast(Any, ProxyHeaders)(factory)
        inner: Any = factory
        while hasattr(inner, "wrappedFactory"):
            inner = inner.wrappedFactory
        headers.refused = getattr(inner, "no_proxy_header", None)
        listening: Deferred[IListeningPort] = self._endpoint.listen(headers)
        return listening


def listening_service(
    address: str,
    factory: object,
    *,
    reactor: Any,
    tls: Tls | None = None,
    observe_handshake: Callable[[float], None] | None = None,
    passphrase: Path | None = None,
    below: Any = None,
    limits: AcceptLimits | None = None,
    option: str = "",
) -> ListeningService:
    """Make a service that listens on an address.

    :param factory: an IProtocolFactory
    :param tls: as in :func:`make_endpoint`
    :param passphrase: as in :func:`make_endpoint`
    :param below: as in :func:`make_endpoint`
    :param limits: decide how many connections are accepted; None: as many as come
    :param option: where the address comes from, as ``--gateway-address``; a failure names it
    :raises ConfigError: the address or its certificate is invalid; the service raises it if the port is taken
    """
    made = make_endpoint(reactor, address, tls, observe_handshake=observe_handshake, passphrase=passphrase, below=below)
    return ListeningService(normalise(address), made, factory, reactor, limits, option)


class AcceptLimits(Protocol):
    """How many connections a port accepts: :class:`icwsgw.server.connection_limits.ConnectionLimits`.

    :ivar gate: whether it accepts any
    :ivar room: how many more before the limit is reached
    """

    gate: AcceptGate

    @property
    def room(self) -> int: ...


class ListeningService(Service):
    """Listens while it runs, and watches its certificate.

    :ivar port: the IListeningPort, or None while it does not listen
    :ivar accepting: whether it accepts connections while it listens; see :meth:`accept`
    :ivar tls: the certificate of its TLS, or None
    """

    def __init__(
        self,
        address: str,
        listenable: Listenable,
        factory: object,
        reactor: Any,
        limits: AcceptLimits | None = None,
        option: str = "",
    ) -> None:
        self.address = address
        self._option = option
        self._limits = limits
        self.accepting = True
        self._reactor = reactor
        self.tls = listenable.tls
        self.port: Any = None
        self._endpoint = listenable.endpoint
        self._factory = factory
        self._waiting: Deferred[Any] | None = None
        self._reloading: LoopingCall | None = None
        if self.tls is not None:
            self._reloading = LoopingCall(self._look_at_certificate, self.tls)
            self._reloading.clock = reactor

    def privilegedStartService(self) -> None:  # noqa: N802
        """Start to listen while the process may still bind ports below 1024.

        :raises ConfigError: the address is taken or not one of this machine
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        self._listen()

    def startService(self) -> None:  # noqa: N802
        """Start to listen, if it does not yet.

        :raises ConfigError: the address is taken or not one of this machine
        """
        super().startService()  # type: ignore[no-untyped-call]
        if self._waiting is None:
            self._listen()
        if self._reloading is not None and not self._reloading.running:
            self._reloading.start(RELOAD_INTERVAL, now=False)

    def stopService(self) -> Deferred[None]:  # noqa: N802
        """Stop accepting; connections stay.

        :return: fires when the port is free
        """
        super().stopService()  # type: ignore[no-untyped-call]
        if self._reloading is not None and self._reloading.running:
            self._reloading.stop()
        waiting, self._waiting = self._waiting, None
        if waiting is not None and self.port is None:
            waiting.cancel()
        port, self.port = self.port, None
        if self._limits is not None and port is not None:
            self._limits.gate.remove(port)
        return maybeDeferred(port.stopListening if port is not None else lambda: None)

    @staticmethod
    def _look_at_certificate(tls: Tls) -> None:
        try:
            tls.reload_if_changed()
        except Exception:  # it would end the loop, and the next file may be a good one
            _log.failure("checking the TLS certificate failed")

    def accept(self) -> None:
        """Accept connections, after a start with :attr:`accepting` False."""
        self.accepting = True
        if self.port is not None:
            self.port.startReading()
            self._accepts(self.port)

    def detach(self) -> None:
        """Close the socket here only: another process listens on it."""
        port, self.port = self.port, None
        if port is not None:
            if self._limits is not None:
                self._limits.gate.remove(port)
            port.stopReading()
            getattr(port, "socket", port).close()

    def _accepts(self, port: Any) -> None:
        """Leave it to the gate whether a port accepts from now on. Before, the gate knows nothing of it."""
        if self._limits is not None:
            self._limits.gate.add(port)
        self._listening()

    def _listening(self) -> None:
        _log.info("listening", address=self.address, tls=self.tls is not None)

    def _listen(self) -> None:
        refusals: list[ConfigError] = []
        starting = True

        def listening(port: Any) -> None:
            self.port = port
            _accept_few(port, self._limits)
            if self.accepting:
                self._accepts(port)
            else:
                port.stopReading()

        def failed(failure: Failure) -> None:
            if failure.check(CancelledError):
                return
            place = f"{self.address} ({self._option})" if self._option else self.address
            refusal = ConfigError(f"cannot listen on {place}: {_plain(failure.value)}")
            if starting:
                refusals.append(refusal)
            else:
                _log.error(str(refusal))

        self._waiting = maybeDeferred(self._endpoint.listen, self._factory)
        self._waiting.addCallbacks(listening, failed)
        starting = False
        if refusals:
            raise refusals[0]


def _accept_few(port: Any, limits: AcceptLimits | None) -> None:
    """Let a port accept few connections in one turn of the event loop, which leaves time for others.

    :param limits: while siblings have room, it accepts no more than there is room for
    """
    if not hasattr(port, "numberAccepts"):
        return
    accept = port.doRead

    def do_read() -> None:
        most = MOST_ACCEPTS
        if limits is not None and limits.gate.room_elsewhere:
            most = max(1, min(most, limits.room))
        port.numberAccepts = min(port.numberAccepts, most)
        accept()

    port.doRead = do_read


def _plain(error: BaseException | None) -> str:
    """What went wrong, in words and without the form of Python's exceptions."""
    if isinstance(error, CannotListenError):
        error = error.socketError
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)
