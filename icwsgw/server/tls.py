"""TLS towards clients: a certificate chain and its key from PEM files, reloaded when the files change.

New connections use a renewed certificate from the next look at the files on. An invalid one (half written, malformed,
of another key) is logged as an error, and the previous one stays in use until the files change again. One with wrong
dates (expired, not valid yet) does not replace a valid one either; each look compares the two again, because the one in
use may expire. So a failed renewal costs no connection.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from cryptography import x509
from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface import implementer

from icwsgw.errors import ConfigError
from icwsgw.observe.logs import get_logger
from icwsgw.server.certificates import Validity, chain_warnings, host_names, is_better, issuer_name, key_warning

#: TLS 1.2: forward secrecy and authenticated encryption only. TLS 1.3 has no others.
CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!PSK:!SRP"
#: Longest PEM file that is read, bytes.
MAX_PEM = 1 << 20
#: Seconds between two looks at the files.
RELOAD_INTERVAL = 10.0

_log = get_logger("server.tls")


class PemFiles(NamedTuple):
    """The paths of a certificate and its key.

    :ivar chain: has further certificates, if the first file does not
    :ivar passphrase: has the passphrase of the key, if that is encrypted
    """

    certificate: Path
    key: Path
    chain: Path | None = None
    passphrase: Path | None = None


class Loaded(NamedTuple):
    """A context for connections, the chain it sends, and when its first certificate is valid."""

    context: SSL.Context
    chain: tuple[x509.Certificate, ...]
    validity: Validity


def load(files: PemFiles) -> Loaded:
    """Read the files and make a context from them.

    :raises ConfigError: a file cannot be read, or they do not belong together; the text names the file
    """
    certificates = _certificates(files.certificate)
    if files.chain is not None:
        certificates += _certificates(files.chain)
    key = _private_key(files)
    leaf = certificates[0]
    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    try:
        matches = leaf.public_key().public_bytes(*spki) == key.public_key().public_bytes(*spki)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"TLS certificate {files.certificate}: {error}") from None
    if not matches:
        raise ConfigError(f"TLS key {files.key} does not belong to the first certificate of {files.certificate}")
    context = new_context()
    try:
        context.use_certificate(leaf)
        context.use_privatekey(key)  # type: ignore[arg-type]
        for certificate in certificates[1:]:
            context.add_extra_chain_cert(certificate)
        context.check_privatekey()
    except (SSL.Error, crypto.Error, TypeError, ValueError) as error:
        raise ConfigError(f"TLS certificate {files.certificate} is refused by OpenSSL: {_reason(error)}") from None
    return Loaded(context, tuple(certificates), Validity.of(leaf))


def new_context() -> SSL.Context:
    """Make a context for connections of clients, without a certificate."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(CIPHERS)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_CIPHER_SERVER_PREFERENCE | SSL.OP_NO_RENEGOTIATION)
    # Idle connections, which are most, free their buffers. Sessions resume by tickets, so the server keeps none.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    return context


def _private_key(files: PemFiles) -> PrivateKeyTypes:
    pem = _read(files.key)
    try:
        return load_pem_private_key(pem, password=None)
    except TypeError:
        pass  # it is encrypted
    except (ValueError, UnsupportedAlgorithm, InternalError):
        raise ConfigError(f"TLS key {files.key} is not a private key in PEM") from None
    if files.passphrase is None:
        raise ConfigError(f"TLS key {files.key} is encrypted: --tls-passphrase-file names the file of its passphrase")
    try:
        return load_pem_private_key(pem, password=read_passphrase(files.passphrase))
    except (UnsupportedAlgorithm, InternalError):
        raise ConfigError(f"TLS key {files.key} is encrypted in a way that is not supported") from None
    except ValueError:
        # OpenSSL does not distinguish a wrong passphrase from damage
        raise ConfigError(f"TLS key {files.key} cannot be decrypted by the passphrase in {files.passphrase}") from None


def read_passphrase(path: Path) -> bytes:
    """Read a passphrase: the first line of a file, without its end.

    :raises ConfigError: the file cannot be read, or the line is empty
    """
    passphrase = _read(path).partition(b"\n")[0].removesuffix(b"\r")
    if not passphrase:
        raise ConfigError(f"there is no passphrase in the first line of {path}")
    return passphrase


def _certificates(path: Path) -> list[x509.Certificate]:
    try:
        return list(x509.load_pem_x509_certificates(_read(path)))
    except (ValueError, x509.InvalidVersion):
        raise ConfigError(f"TLS certificate {path} is not a certificate in PEM") from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_PEM)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None


def why_tls_failed(error: Exception) -> str:
    """Say why a handshake failed, for the log.

    :param error: what OpenSSL raised
    """
    reason = _reason(error)
    if reason == "http request":
        return "the request is plain HTTP, and this port speaks TLS: use wss://, not ws://"
    if reason in ("no shared cipher", "no suitable signature algorithm"):
        reason += " (the client is too old, or there is no certificate yet)"
    return f"the TLS handshake failed: {reason}" if reason else "the TLS handshake failed"


def _reason(error: Exception) -> str:
    of_openssl = isinstance(error, (SSL.Error, crypto.Error))
    if of_openssl and error.args and isinstance(error.args[0], list) and error.args[0]:
        return str(error.args[0][0][-1])
    return str(error)


class _TimedConnection(SSL.Connection):
    """A connection with the time at which it was accepted, until its handshake is done."""

    started: float | None = None


_Signature = tuple["tuple[int, int, int] | None", ...]


class Tls(Protocol):
    """What makes the TLS side of connections: :class:`ServerTls`, or a directory of certificates.

    :ivar validities: from when to when each certificate that clients get is valid
    :ivar reloads: how often changed files were read, by outcome
    :ivar looks_at_hello: whether connections need ``offers_acme`` before the handshake, see
        :mod:`icwsgw.server.client_hello`
    """

    @property
    def looks_at_hello(self) -> bool: ...

    @property
    def validities(self) -> list[Validity]: ...

    @property
    def reloads(self) -> dict[str, int]: ...

    def warnings(self) -> list[str]:
        """Return what makes clients refuse a certificate; for the operator."""

    def rows(self) -> list[dict[str, Any]]:
        """Return what the operator may know of each certificate, as JSON values."""

    def reload_if_changed(self) -> bool:
        """Look at the files; return whether they are used now and were not before."""

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:  # noqa: N802
        """Make the TLS side of one connection (IOpenSSLServerConnectionCreator)."""


@implementer(IOpenSSLServerConnectionCreator)
class ServerTls:
    """Makes the TLS side of each accepted connection.

    :param files: the certificate and its key
    :param clock: seconds, to measure handshakes
    :param now: seconds since 1970, to judge certificates
    :param observe_handshake: called with the seconds of each finished handshake
    :param choose: called within a handshake when the client's server name is known
    :raises ConfigError: as :func:`load`
    :ivar reloads: how often changed files were read, by outcome
    """

    looks_at_hello = False

    def __init__(
        self,
        files: PemFiles,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        observe_handshake: Callable[[float], None] | None = None,
        choose: Callable[[SSL.Connection], None] | None = None,
    ) -> None:
        self.files = files
        self._choose = choose
        self._clock = clock
        self._now = now
        self._observe = observe_handshake
        self.reloads = {"ok": 0, "failed": 0}
        self._tried = self._signature()
        self._loaded = self._load()
        #: A newer certificate with wrong dates, which is not better than the one in use so far.
        self._refused: Loaded | None = None
        if (fault := self._loaded.validity.fault(now())) is not None:
            _log.warn("clients refuse the TLS certificate", certificate=files.certificate, reason=f"it {fault}")

    @property
    def not_after(self) -> float:
        """When the certificate in use expires, seconds since 1970."""
        return self._loaded.validity.not_after

    @property
    def validities(self) -> list[Validity]:
        """From when to when the certificate in use is valid."""
        return [self._loaded.validity]

    @property
    def context(self) -> SSL.Context:
        """The context of the certificate in use."""
        return self._loaded.context

    @property
    def names(self) -> list[str]:
        """The host names of the certificate in use, in lower case."""
        return host_names(self._loaded.chain[0])

    def rows(self) -> list[dict[str, Any]]:
        """Return what the operator may know of the certificate, as JSON values; every client gets it."""
        leaf, validity, now = self._loaded.chain[0], self._loaded.validity, self._now()
        return [
            {
                "certificate": str(self.files.certificate),
                "names": self.names,
                "issuer": issuer_name(leaf),
                "not_before": validity.not_before,
                "not_after": validity.not_after,
                "days_left": int((validity.not_after - now) // 86400),
                "fault": validity.fault(now),
                "sni": self.names,
                "default": True,
            }
        ]

    def warnings(self) -> list[str]:
        """Return what makes clients refuse the certificate, and which secrets are open to others; for the operator."""
        texts = [
            f"TLS certificate {self.files.certificate} {text}"
            for text in chain_warnings(self._loaded.chain, self._now())
        ]
        secrets = {"TLS key": self.files.key, "TLS passphrase": self.files.passphrase}
        modes = {f"{what} {path}": key_warning(path) for what, path in secrets.items() if path is not None}
        return texts + [f"{what} {warning}" for what, warning in modes.items() if warning is not None]

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:  # noqa: N802
        """Make the TLS side of one connection (IOpenSSLServerConnectionCreator)."""
        if self._observe is None:
            return SSL.Connection(self._loaded.context, None)
        connection = _TimedConnection(self._loaded.context, None)
        connection.started = self._clock()
        return connection

    def reload_if_changed(self) -> bool:
        """Look at the files, and use them if they have changed, are valid, and clients accept them.

        :return: whether they are used now
        """
        signature = self._signature()
        if signature == self._tried:
            return self._look_again()
        self._tried = signature
        self._refused = None
        try:
            loaded = self._load()
        except ConfigError as error:
            self.reloads["failed"] += 1
            _log.error("invalid TLS certificate ignored", reason=error)
            return False
        if not is_better(loaded.validity, self._loaded.validity, self._now()):
            self.reloads["failed"] += 1
            self._refused = loaded
            fault = loaded.validity.fault(self._now())
            _log.error("invalid TLS certificate ignored", reason=f"TLS certificate {self.files.certificate} {fault}")
            return False
        self._use(loaded)
        return True

    def _look_again(self) -> bool:
        """Use the refused certificate if it is better by now: its time has come, or the other one's has ended."""
        refused = self._refused
        if refused is None or not is_better(refused.validity, self._loaded.validity, self._now()):
            return False
        self._refused = None
        self._use(refused)
        return True

    def _use(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self.reloads["ok"] += 1
        _log.info(
            "TLS certificate reloaded",
            certificate=self.files.certificate,
            days_left=int((self.not_after - self._now()) // 86400),
        )
        if (fault := loaded.validity.fault(self._now())) is not None:
            _log.warn("clients refuse the TLS certificate", certificate=self.files.certificate, reason=f"it {fault}")

    def _load(self) -> Loaded:
        loaded = load(self.files)
        if self._observe is not None:
            loaded.context.set_info_callback(self._on_tls_state)
        if self._choose is not None:
            loaded.context.set_tlsext_servername_callback(self._choose)
        return loaded

    def _on_tls_state(self, connection: SSL.Connection, where: int, _: int) -> None:
        # OpenSSL reports "handshake done" again after the tickets of TLS 1.3, hence the None.
        if where & SSL.SSL_CB_HANDSHAKE_DONE and self._observe is not None:
            started = getattr(connection, "started", None)
            if started is not None:
                connection.started = None  # type: ignore[attr-defined]
                self._observe(self._clock() - started)

    def _signature(self) -> _Signature:
        return tuple(_stat(path) for path in self.files if path is not None)


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
