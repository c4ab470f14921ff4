import os
import subprocess
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import PrivateFormat
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface.verify import verifyObject

from icwsgw.errors import ConfigError
from icwsgw.server.tls import PemFiles, ServerTls, Tls, load, why_tls_failed
from tests.support import pem


@pytest.fixture(scope="module")
def signer() -> pem.Authority:
    return pem.authority()


def handshake(
    tls: Tls, method: int = SSL.TLS_CLIENT_METHOD, highest: int | None = None, name: str | None = None
) -> SSL.Connection:
    """Shake hands in memory; the client's end. ``name`` is the server name that it asks for."""
    context = SSL.Context(method)
    if highest is not None:
        context.set_min_proto_version(0)
        context.set_max_proto_version(highest)
    client = SSL.Connection(context, None)
    client.set_connect_state()
    if name is not None:
        client.set_tlsext_host_name(name.encode())
    server = tls.serverConnectionForTLS(None)
    server.set_accept_state()
    # Each flight needs the other's; four rounds are more than TLS 1.2 has.
    for _ in range(4):
        for one, other in ((client, server), (server, client)):
            try:
                one.do_handshake()
            except SSL.WantReadError:
                pass
            try:
                other.bio_write(one.bio_read(1 << 16))
            except SSL.WantReadError:
                pass
    client.do_handshake()
    return client


def serial(connection: SSL.Connection) -> int:
    certificate = connection.get_peer_certificate(as_cryptography=True)
    assert certificate is not None
    return certificate.serial_number


def test_a_handshake_is_timed_once(tmp_path: Path, signer: pem.Authority) -> None:
    files = PemFiles(*pem.server(signer).write(tmp_path))
    seconds = iter((10.0, 10.5))
    took: list[float] = []
    tls = ServerTls(files, clock=lambda: next(seconds), observe_handshake=took.append)
    verifyObject(IOpenSSLServerConnectionCreator, tls)
    client = handshake(tls)
    assert client.get_protocol_version_name() == "TLSv1.3"
    assert took == [0.5]


def test_without_an_observer_nothing_is_timed(tmp_path: Path, signer: pem.Authority) -> None:
    tls = ServerTls(PemFiles(*pem.server(signer).write(tmp_path)))
    assert handshake(tls, highest=SSL.TLS1_2_VERSION).get_protocol_version_name() == "TLSv1.2"


def test_tls_below_1_2_is_refused(tmp_path: Path, signer: pem.Authority) -> None:
    tls = ServerTls(PemFiles(*pem.server(signer).write(tmp_path)))
    with pytest.raises(SSL.Error):
        handshake(tls, highest=SSL.TLS1_1_VERSION)


@pytest.mark.parametrize(
    ("sent", "words"),
    [(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "use wss://, not ws://"), (b"nonsense" * 9, "wrong version")],
)
def test_the_log_says_why_a_handshake_failed(tmp_path: Path, signer: pem.Authority, sent: bytes, words: str) -> None:
    connection = ServerTls(PemFiles(*pem.server(signer).write(tmp_path))).serverConnectionForTLS(None)
    connection.set_accept_state()
    connection.bio_write(sent)
    with pytest.raises(SSL.Error) as raised:
        connection.do_handshake()
    # OpenSSL before 3.5 names the length of the record
    assert words in why_tls_failed(raised.value).replace("packet length too long", "wrong version")
    assert why_tls_failed(SSL.Error()) == "the TLS handshake failed"


def test_the_chain_is_sent(tmp_path: Path, signer: pem.Authority) -> None:
    own = pem.server(signer)
    for name, files in {
        "one": PemFiles(*pem.ServerPem(own.certificate + signer.pem, own.key).write(tmp_path, "one")),
        "two": PemFiles(*own.write(tmp_path, "two"), tmp_path / "chain.pem"),
    }.items():
        (tmp_path / "chain.pem").write_bytes(signer.pem)
        chain = handshake(ServerTls(files)).get_peer_cert_chain(as_cryptography=True)
        assert chain is not None
        assert chain[-1] == signer.certificate, name


def test_expiry(tmp_path: Path, signer: pem.Authority) -> None:
    tls = ServerTls(PemFiles(*pem.server(signer, days=10).write(tmp_path)))
    assert abs(tls.not_after - time.time() - 10 * 86400) < 60
    assert ServerTls(PemFiles(*pem.server(signer, days=-1).write(tmp_path))).not_after < time.time()


@pytest.mark.parametrize(
    ("certificate", "key", "words"),
    [
        (None, b"", "cannot read .*server.pem: No such file"),
        (b"nonsense", b"", "server.pem is not a certificate in PEM"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"", "server.pem is not a certificate"),
        ("good", None, "cannot read .*server.key: No such file"),
        ("good", b"nonsense", "server.key is not a private key in PEM"),
        (
            "good",
            # an X448 key has 56 bytes; OpenSSL fails to set one of 32 up
            b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VvBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\n"
            b"-----END PRIVATE KEY-----\n",
            "server.key is not a private key in PEM",
        ),
        ("good", "other", "server.key does not belong to the first certificate of .*server.pem"),
        ("good", "encrypted", "server.key is encrypted"),
    ],
)
def test_files_of_no_use(
    tmp_path: Path, signer: pem.Authority, certificate: bytes | str | None, key: bytes | str | None, words: str
) -> None:
    good = pem.server(signer)
    made = {
        "good": good.certificate,
        "other": pem.server(signer).key,
        "encrypted": pem.server(signer, password=b"x").key,
    }
    paths = tmp_path / "server.pem", tmp_path / "server.key"
    for path, content in zip(paths, (certificate, key), strict=True):
        if content is not None:
            path.write_bytes(made[content] if isinstance(content, str) else content)
    with pytest.raises(ConfigError, match=words) as caught:
        load(PemFiles(*paths))
    assert "\n" not in str(caught.value)


DAMAGES = [
    pytest.param(b"localhost", b"\xe1ocalhost", "server.pem is refused by OpenSSL: [a-z]", id="no UTF-8"),
    pytest.param(b"\x0c\x09localhost", b"\x8c\x09localhost", "server.pem is refused by OpenSSL: [a-z]", id="no string"),
    pytest.param(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x01", "is not a certificate", id="version 2"),
    pytest.param(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x03", "is not a certificate", id="version 4"),
]


@pytest.mark.parametrize(("old", "new", "words"), DAMAGES)
def test_a_damaged_certificate_is_refused_and_the_repaired_one_taken(
    tmp_path: Path, signer: pem.Authority, old: bytes, new: bytes, words: str
) -> None:
    first, second = pem.server(signer), pem.server(signer)
    certificate, key = first.write(tmp_path)
    tls = ServerTls(PemFiles(certificate, key))
    before = serial(handshake(tls))
    replace(certificate, pem.damaged(second.certificate, old, new))
    replace(key, second.key)
    with pytest.raises(ConfigError, match=words) as caught:
        load(tls.files)
    assert "\n" not in str(caught.value)
    assert not tls.reload_if_changed()
    assert serial(handshake(tls)) == before
    replace(certificate, second.certificate)
    assert tls.reload_if_changed()
    assert tls.reloads == {"ok": 1, "failed": 1}


def test_a_damaged_certificate_of_the_chain(tmp_path: Path, signer: pem.Authority) -> None:
    own = pem.server(signer)
    for old, new in ((b"test auth", b"\xe1est auth"), (b"\x0c\x0etest auth", b"\x8c\x0etest auth")):
        chain = own.certificate + pem.damaged(signer.pem, old, new)
        with pytest.raises(ConfigError, match=r"server\.pem"):
            load(PemFiles(*pem.ServerPem(chain, own.key).write(tmp_path)))


def test_a_name_that_only_openssl_can_decode_does_not_matter(tmp_path: Path, signer: pem.Authority) -> None:
    own = pem.server(signer)
    leaf = pem.damaged(own.certificate, b"\x0c\x0etest authority", b"\x0b\x0etest authority")
    alone = ServerTls(PemFiles(*pem.ServerPem(leaf, own.key).write(tmp_path)))
    assert [row["issuer"] for row in alone.rows()] == ["a name that cannot be decoded"]
    assert any("its issuer (a name that cannot be decoded)" in text for text in alone.warnings())
    chained = ServerTls(PemFiles(*pem.ServerPem(leaf + signer.pem, own.key).write(tmp_path)))
    assert any("did not issue the one before it" in text for text in chained.warnings())


def test_a_directory_is_no_certificate(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load(PemFiles(tmp_path, tmp_path))


def replace(path: Path, content: bytes) -> None:
    """Put a new file in the place of an old one, as certbot does."""
    fresh = path.with_suffix(".fresh")
    fresh.write_bytes(content)
    os.replace(fresh, path)


def test_renewal(tmp_path: Path, signer: pem.Authority) -> None:
    first, second = pem.server(signer), pem.server(signer)
    certificate, key = first.write(tmp_path)
    tls = ServerTls(PemFiles(certificate, key))
    before = serial(handshake(tls))
    assert not tls.reload_if_changed()

    # Half of the renewal: the certificate is there, its key not yet.
    replace(certificate, second.certificate)
    assert not tls.reload_if_changed()
    assert serial(handshake(tls)) == before

    replace(key, second.key)
    assert tls.reload_if_changed()
    after = serial(handshake(tls))
    assert after != before

    certificate.unlink()
    assert not tls.reload_if_changed()
    replace(certificate, b"nonsense")
    assert not tls.reload_if_changed()
    assert serial(handshake(tls)) == after
    assert tls.reloads == {"ok": 1, "failed": 3}


def test_files_of_no_use_are_reported_once_however_often_they_are_looked_at(
    tmp_path: Path, signer: pem.Authority
) -> None:
    first, second = pem.server(signer), pem.server(signer)
    certificate, key = first.write(tmp_path)
    tls = ServerTls(PemFiles(certificate, key))
    for number, content in enumerate((b"nonsense", b"other nonsense"), 1):
        replace(certificate, content)
        for _ in range(3):
            assert not tls.reload_if_changed()
            assert tls.reloads == {"ok": 0, "failed": number}
    assert serial(handshake(tls)) == serial(handshake(tls))
    # and what is of use again is taken, though it was refused before
    replace(certificate, second.certificate)
    replace(key, second.key)
    assert tls.reload_if_changed()
    for _ in range(3):
        assert not tls.reload_if_changed()
    assert tls.reloads == {"ok": 1, "failed": 2}


def test_a_certificate_that_clients_refuse_does_not_replace_a_valid_one(tmp_path: Path, signer: pem.Authority) -> None:
    now = [time.time()]
    first = pem.server(signer)
    certificate, key = first.write(tmp_path)
    tls = ServerTls(PemFiles(certificate, key), now=lambda: now[0])
    before = serial(handshake(tls))
    for days, begins in ((-2, -3), (20, 5)):
        pem.server(signer, days=days, begins=begins).write(tmp_path)
        assert not tls.reload_if_changed()
        assert serial(handshake(tls)) == before
    assert tls.reloads == {"ok": 0, "failed": 2}
    assert not tls.reload_if_changed()
    assert tls.reloads == {"ok": 0, "failed": 2}, "one error for one file"
    now[0] += 6 * 86400
    assert tls.reload_if_changed(), "its time has come, and the files have not changed since"
    assert serial(handshake(tls)) != before
    assert tls.reloads == {"ok": 1, "failed": 2}
    assert not tls.reload_if_changed()


def test_an_expired_certificate_is_replaced_by_a_later_one_only(tmp_path: Path, signer: pem.Authority) -> None:
    tls = ServerTls(PemFiles(*pem.server(signer, days=-5).write(tmp_path)))
    before = serial(handshake(tls))
    pem.server(signer, days=-6).write(tmp_path)
    assert not tls.reload_if_changed()
    assert serial(handshake(tls)) == before
    pem.server(signer, days=-4).write(tmp_path)
    assert tls.reload_if_changed()
    pem.server(signer).write(tmp_path)
    assert tls.reload_if_changed()


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_an_encrypted_key_needs_its_passphrase(tmp_path: Path, signer: pem.Authority, form: PrivateFormat) -> None:
    own = pem.server(signer, password=b"two words", key_format=form)
    certificate, key = own.write(tmp_path)
    passphrase = tmp_path / "passphrase"
    files = PemFiles(certificate, key, passphrase=passphrase)
    for content, words in (
        (None, "cannot read .*passphrase: No such file"),
        (b"", "there is no passphrase in the first line of .*passphrase"),
        (b"\ntwo words\n", "there is no passphrase in the first line"),
        (b"wrong\n", "server.key cannot be decrypted by the passphrase in .*passphrase"),
        (b"two words \n", "cannot be decrypted"),
    ):
        if content is not None:
            passphrase.write_bytes(content)
        with pytest.raises(ConfigError, match=words) as caught:
            load(files)
        assert "two words" not in str(caught.value), "no secret in a log"
    for content in (b"two words", b"two words\n", b"two words\r\nand a remark\n"):
        passphrase.write_bytes(content)
        assert handshake(ServerTls(files)).get_protocol_version_name() == "TLSv1.3"
    passphrase.chmod(0o644)
    key.chmod(0o600)
    assert ServerTls(files).warnings()[-1] == (
        f"TLS passphrase {passphrase} is open to others (mode 0644); chmod 640 or 600 it"
    )


def test_keys_that_openssl_has_encrypted(tmp_path: Path, signer: pem.Authority) -> None:
    own = pem.server(signer)
    certificate, key = own.write(tmp_path)
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("secret\n")
    for words in (
        ["pkcs8", "-topk8"],
        ["pkcs8", "-topk8", "-v2", "aes-256-cbc", "-scrypt"],
        ["ec", "-aes128"],
        ["ec", "-des3"],
    ):
        encrypted = tmp_path / "encrypted.pem"
        openssl = ["openssl", *words, "-in", str(key), "-out", str(encrypted), "-passout", f"file:{passphrase}"]
        subprocess.run(openssl, check=True, capture_output=True)
        assert b"ENCRYPTED" in encrypted.read_bytes()
        tls = ServerTls(PemFiles(certificate, encrypted, passphrase=passphrase))
        assert handshake(tls).get_protocol_version_name() == "TLSv1.3", words


def test_a_wrong_passphrase_at_a_renewal_changes_nothing(tmp_path: Path, signer: pem.Authority) -> None:
    first, second = (pem.server(signer, password=password) for password in (b"one", b"two"))
    certificate, key = first.write(tmp_path)
    passphrase = tmp_path / "passphrase"
    passphrase.write_bytes(b"one\n")
    tls = ServerTls(PemFiles(certificate, key, passphrase=passphrase))
    before = serial(handshake(tls))
    replace(certificate, second.certificate)
    replace(key, second.key)
    assert not tls.reload_if_changed()
    assert serial(handshake(tls)) == before
    assert tls.reloads == {"ok": 0, "failed": 1}
    replace(passphrase, b"two\n")
    assert tls.reload_if_changed(), "a change of the passphrase's file counts too"
    assert serial(handshake(tls)) != before


def test_a_key_that_is_not_encrypted_needs_no_passphrase(tmp_path: Path, signer: pem.Authority) -> None:
    files = PemFiles(*pem.server(signer).write(tmp_path), passphrase=tmp_path / "missing")
    assert handshake(ServerTls(files)).get_protocol_version_name() == "TLSv1.3"


def test_warnings_name_the_files(tmp_path: Path, signer: pem.Authority) -> None:
    certificate, key = pem.server(signer, days=-5).write(tmp_path)
    key.chmod(0o644)
    dates, issuer, mode = ServerTls(PemFiles(certificate, key)).warnings()
    assert dates.startswith(f"TLS certificate {certificate} expired on 20")
    assert issuer.startswith(f"TLS certificate {certificate} has no certificate of its issuer")
    assert mode == f"TLS key {key} is open to others (mode 0644); chmod 640 or 600 it"
    certificate.write_bytes(pem.server(signer, days=20).certificate)
    own = pem.server(signer, days=20)
    certificate.write_bytes(own.certificate + signer.pem)
    key.write_bytes(own.key)
    key.chmod(0o600)
    assert ServerTls(PemFiles(certificate, key)).warnings() == []
