"""The certificates that the gateway gets by ACME, and answers to TLS-ALPN-01 challenges (RFC 8737).

There may be no certificate yet: then handshakes fail, and the log says why. A client that offers the protocol
``acme-tls/1`` for a name of this gateway gets the answer to the challenge, if there is one. It is read when it is asked
for, because another process may have written it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from OpenSSL import SSL

from icwsgw.config.tls_options import CERTIFICATES, CHALLENGES
from icwsgw.errors import ConfigError
from icwsgw.observe.logs import get_logger
from icwsgw.server.client_hello import ACME_TLS
from icwsgw.server.tls import PemFiles, load, new_context
from icwsgw.server.tls_directory import CertificateDirectory

_log = get_logger("server.tls")


class AcmeDirectory(CertificateDirectory):
    """As :class:`~icwsgw.server.tls_directory.CertificateDirectory`, for the names of the options.

    :param directory: of :class:`~icwsgw.acme.storage.AcmeStorage`; it may be missing
    :param names: clients that name no server get the certificate of the first
    """

    looks_at_hello = True

    def __init__(
        self, directory: Path, names: Collection[str], *, observe_handshake: Callable[[float], None] | None = None
    ) -> None:
        self._names = tuple(names)
        self._first = self._names[0]
        self._challenges = directory / CHALLENGES
        self._bare = new_context()
        self._bare.set_tlsext_servername_callback(self._choose)
        super().__init__(directory / CERTIFICATES, observe_handshake=observe_handshake)

    def _present(self) -> dict[str, PemFiles]:
        # others are of names that the gateway had once
        paths = {name: self._directory / f"{name}.pem" for name in self._names}
        return {name: PemFiles(path, path) for name, path in paths.items() if path.exists()}

    def _refuse_none(self) -> None:
        pass

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:  # noqa: N802
        """Make the TLS side of one connection (IOpenSSLServerConnectionCreator)."""
        if self._default is None:
            return SSL.Connection(self._bare, None)
        return super().serverConnectionForTLS(protocol)

    def _choose(self, connection: SSL.Connection) -> None:
        if getattr(connection, "offers_acme", False):
            answer = self._answer(connection.get_servername())
            if answer is not None:
                connection.set_context(answer)
                return
        super()._choose(connection)

    def _answer(self, asked: bytes | None) -> SSL.Context | None:
        """The context that answers the challenge of a name, or None."""
        name = (asked or b"").decode("ascii", "replace").lower()
        path = self._challenges / f"{name}.pem"
        if name not in self._names or not path.exists():
            return None
        try:
            context = load(PemFiles(path, path)).context
        except ConfigError as error:
            _log.error("invalid answer to a challenge", reason=error)
            return None
        context.set_alpn_select_callback(_select)
        _log.info("TLS-ALPN-01 challenge answered", name=name)
        return context


def _select(connection: SSL.Connection, offered: list[bytes]) -> Any:
    return ACME_TLS if ACME_TLS in offered else SSL.NO_OVERLAPPING_PROTOCOLS
