import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from zope.interface.verify import verifyObject

from icwsgw.acme.issuance import challenge_pem
from icwsgw.config.tls_options import CERTIFICATES, CHALLENGES
from icwsgw.server.acme_directory import AcmeDirectory
from icwsgw.server.endpoints import make_endpoint
from icwsgw.server.tls import PemFiles, ServerTls, why_tls_failed
from tests.server.test_tls_directory import put, served
from tests.support import pem

NAMES = ("a.example", "b.example")


@pytest.fixture(scope="module")
def signer() -> pem.Authority:
    return pem.authority()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for each in (CERTIFICATES, CHALLENGES):
        (tmp_path / each).mkdir()
    return tmp_path


class Client:
    """OpenSSL as the client of a gateway's TLS address, in memory."""

    def __init__(self, tls: Any, name: str | None, offered: list[bytes], piece: int = 1 << 16) -> None:
        reactor: Any = MemoryReactorClock()
        make_endpoint(reactor, "tcp:443", tls).endpoint.listen(Factory.forProtocol(Protocol))
        factory: Any = reactor.tcpServers[0][1]
        self.server: Any = factory.buildProtocol(None)
        self.transport = StringTransport()
        self.server.makeConnection(self.transport)
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        if offered:
            context.set_alpn_protos(offered)
        self.ssl = SSL.Connection(context, None)
        self.ssl.set_connect_state()
        if name is not None:
            self.ssl.set_tlsext_host_name(name.encode())
        for _ in range(3):
            try:
                self.ssl.do_handshake()
            except SSL.WantReadError:
                pass
            try:
                data = self.ssl.bio_read(1 << 16)
            except SSL.WantReadError:
                data = b""
            for at in range(0, len(data), piece):
                self.server.dataReceived(data[at : at + piece])
            if self.transport.value():
                self.ssl.bio_write(self.transport.value())
                self.transport.clear()
        self.ssl.do_handshake()

    @property
    def certificate(self) -> x509.Certificate:
        found = self.ssl.get_peer_certificate(as_cryptography=True)
        assert found is not None
        return found


def test_without_a_certificate_handshakes_fail(tmp_path: Path) -> None:
    tls = AcmeDirectory(tmp_path / "missing", NAMES)
    verifyObject(IOpenSSLServerConnectionCreator, tls)
    assert tls.validities == []
    assert tls.warnings() == []
    assert not tls.reload_if_changed()
    with pytest.raises(SSL.Error) as raised:
        Client(tls, "a.example", [])
    assert "handshake failure" in str(raised.value)


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_the_log_says_that_there_is_no_certificate_yet(tmp_path: Path, version: int) -> None:
    server = AcmeDirectory(tmp_path / "missing", NAMES).serverConnectionForTLS(None)
    server.set_accept_state()
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(version)
    client = SSL.Connection(context, None)
    client.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    server.bio_write(client.bio_read(1 << 16))
    with pytest.raises(SSL.Error) as raised:
        server.do_handshake()
    assert "there is no certificate yet" in why_tls_failed(raised.value)


def test_certificates_come_and_are_chosen_by_name(directory: Path, signer: pem.Authority) -> None:
    tls = AcmeDirectory(directory, NAMES)
    put(directory / CERTIFICATES, "b.example", pem.server(signer, "b.example"))
    assert tls.reload_if_changed()
    assert served(tls, "a.example") == served(tls, None) == "b.example"
    put(directory / CERTIFICATES, "a.example", pem.server(signer, "a.example"))
    assert tls.reload_if_changed()
    assert [served(tls, name) for name in ("a.example", "b.example", None)] == ["a.example", "b.example", "a.example"]


def test_certificates_of_former_names_are_not_used(directory: Path, signer: pem.Authority) -> None:
    put(directory / CERTIFICATES, "a.example", pem.server(signer, "a.example"))
    put(directory / CERTIFICATES, "former.example", pem.server(signer, "former.example", days=-5))
    tls = AcmeDirectory(directory, NAMES)
    assert len(tls) == 1
    assert served(tls, "former.example") == "a.example"


@pytest.mark.parametrize("has_certificate", [False, True])
@pytest.mark.parametrize("piece", [1, 1 << 16])
def test_a_validation_gets_its_answer_and_others_do_not(
    directory: Path, signer: pem.Authority, has_certificate: bool, piece: int
) -> None:
    if has_certificate:
        put(directory / CERTIFICATES, "a.example", pem.server(signer, "a.example"))
    tls = AcmeDirectory(directory, NAMES)
    (directory / CHALLENGES / "a.example.pem").write_bytes(challenge_pem("a.example", "token.thumbprint", 1.9e9))
    for offered in ([b"acme-tls/1"], [b"h2", b"acme-tls/1"]):
        client = Client(tls, "a.example", offered, piece)
        assert client.ssl.get_alpn_proto_negotiated() == b"acme-tls/1"
        assert client.certificate.subject.rfc4514_string() == "CN=ACME challenge"
    if has_certificate:
        for name, protocols in (
            ("a.example", []),
            ("a.example", [b"h2"]),
            ("b.example", [b"acme-tls/1"]),
            (None, [b"acme-tls/1"]),
        ):
            client = Client(tls, name, protocols, piece)
            assert client.certificate.subject.rfc4514_string() == "CN=a.example", (name, protocols)
            assert client.ssl.get_alpn_proto_negotiated() == b""
    (directory / CHALLENGES / "a.example.pem").write_bytes(b"half")
    if has_certificate:
        assert Client(tls, "a.example", [b"acme-tls/1"]).certificate.subject.rfc4514_string() == "CN=a.example"


def test_names_of_clients_lead_to_no_other_file(directory: Path, signer: pem.Authority) -> None:
    put(directory / CERTIFICATES, "a.example", pem.server(signer, "a.example"))
    tls = AcmeDirectory(directory, NAMES)
    (directory / "outside.pem").write_bytes(challenge_pem("a.example", "token.thumbprint", 1.9e9))
    client = Client(tls, "../outside", [b"acme-tls/1"])
    assert client.certificate.subject.rfc4514_string() == "CN=a.example"


def test_after_the_hello_nothing_is_looked_at(directory: Path, signer: pem.Authority, tmp_path: Path) -> None:
    put(directory / CERTIFICATES, "a.example", pem.server(signer, "a.example"))
    looking = Client(AcmeDirectory(directory, NAMES), "a.example", [])
    plain = Client(ServerTls(PemFiles(*pem.server(signer).write(tmp_path))), "a.example", [])
    assert type(looking.server) is type(plain.server)
    assert "_seen" not in vars(looking.server)


def test_openssl_reads_the_answer(tmp_path: Path) -> None:
    """The extension, as another program shows it: critical, and an OCTET STRING of the hash (RFC 8737, section 3)."""
    (tmp_path / "answer.pem").write_bytes(challenge_pem("a.example", "token.thumbprint", 1.9e9))
    words = ["openssl", "x509", "-in", str(tmp_path / "answer.pem"), "-noout", "-text"]
    text = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert "1.3.6.1.5.5.7.1.31: critical" in text
    assert "DNS:a.example" in text
    parsed = subprocess.run(
        ["openssl", "asn1parse", "-in", str(tmp_path / "answer.pem")], check=True, capture_output=True, text=True
    ).stdout
    digest = subprocess.run(
        ["openssl", "dgst", "-sha256", "-hex"], input=b"token.thumbprint", check=True, capture_output=True
    ).stdout
    assert f"0420{digest.decode().split()[-1].upper()}" in parsed
