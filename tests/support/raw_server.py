"""Servers on loopback for the transport's tests: well-behaved over raw bytes, or as rude as a test wants."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Callable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol


class RawConnection(Protocol):
    """Collects request bytes; calls ``server.on_request(self, request)`` for each whole request."""

    def __init__(self, server: RawServer) -> None:
        self.server = server
        self.buffer = b""
        self.number = 0
        self.requests = 0

    def connectionMade(self) -> None:
        self.server.connections.append(self)
        self.number = len(self.server.connections)

    def dataReceived(self, data: bytes) -> None:
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, rest = self.buffer.split(b"\r\n\r\n", 1)
            length = 0
            for line in head.split(b"\r\n")[1:]:
                name, value = line.split(b":", 1)
                if name.lower() == b"content-length":
                    length = int(value)
            if len(rest) < length:
                return
            self.buffer = rest[length:]
            self.requests += 1
            self.server.requests.append((head, rest[:length]))
            self.server.on_request(self, head, rest[:length])

    def connectionLost(self, reason: Any = None) -> None:
        self.server.ended += 1
        waiting, self.server.end_waiters = self.server.end_waiters, []
        for d in waiting:
            d.callback(None)

    def answer(self, body: bytes = b"ok", status: str = "200 OK", headers: str = "") -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        self.transport.write(head.encode() + body)

    def send(self, data: bytes) -> None:
        self.transport.write(data)

    def reset(self) -> None:
        self.transport.abortConnection()

    def end(self) -> None:
        self.transport.loseConnection()


class RawServer:
    """Listens on an ephemeral loopback port.

    :ivar connections: all that were ever made
    :ivar requests: (head, body) of all requests
    :ivar ended: how many connections have ended
    """

    def __init__(self, on_request: Callable[[RawConnection, bytes, bytes], object], ssl: Any = None) -> None:
        self.on_request = on_request
        self.connections: list[RawConnection] = []
        self.requests: list[tuple[bytes, bytes]] = []
        self.ended = 0
        self.end_waiters: list[Deferred[None]] = []
        self.factory = Factory.forProtocol(lambda: RawConnection(self))
        self.factory.noisy = False
        self.ssl = ssl
        self.listen(0)

    def listen(self, port: int) -> None:
        if self.ssl is None:
            self.listening: IListeningPort = reactor.listenTCP(port, self.factory, interface="127.0.0.1")
        else:
            self.listening = reactor.listenSSL(port, self.factory, self.ssl, interface="127.0.0.1")
        self.port: int = self.listening.getHost().port

    def an_end(self) -> Deferred[None]:
        """Fire when the next connection ends."""
        d: Deferred[None] = Deferred()
        self.end_waiters.append(d)
        return d

    async def stop(self) -> None:
        await maybeDeferred(self.listening.stopListening)
        while self.ended < len(self.connections):
            d = self.an_end()
            for connection in self.connections:
                connection.transport.abortConnection()
            await d


def make_certificate(
    names: list[str],
    issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None = None,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Make a certificate for names or addresses, or with no issuer a self-signed authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0] if names else "Test authority")])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if names:
        alternatives: list[x509.GeneralName] = []
        for name in names:
            try:
                alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
            except ValueError:
                alternatives.append(x509.DNSName(name))
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    certificate = builder.sign(issuer[1] if issuer else key, hashes.SHA256())
    return certificate, key


def pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
    """Give the PEM of a certificate, and of its key if there is one."""
    text = certificate.public_bytes(serialization.Encoding.PEM)
    if key is not None:
        text += key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    return text
