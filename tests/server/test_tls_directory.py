import shutil
from pathlib import Path

import pytest
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface.verify import verifyObject

from icwsgw.errors import ConfigError
from icwsgw.server import tls_directory
from icwsgw.server.tls_directory import CertificateDirectory, pem_files
from tests.server.test_tls import handshake
from tests.support import pem


@pytest.fixture(scope="module")
def signer() -> pem.Authority:
    return pem.authority()


def put(directory: Path, name: str, pair: pem.ServerPem, *, split: bool = False) -> None:
    """Write a certificate and its key into the directory, in one file or as certbot does."""
    if split:
        (directory / name).mkdir(exist_ok=True)
        (directory / name / "fullchain.pem").write_bytes(pair.certificate)
        (directory / name / "privkey.pem").write_bytes(pair.key)
    else:
        (directory / f"{name}.pem").write_bytes(pair.certificate + pair.key)


def served(tls: CertificateDirectory, name: str | None, method: int = SSL.TLS1_3_VERSION) -> str:
    """The common name of the certificate that a client gets for a server name."""
    certificate = handshake(tls, highest=method, name=name).get_peer_certificate(as_cryptography=True)
    assert certificate is not None
    return str(certificate.subject.rfc4514_string()).removeprefix("CN=")


def test_each_name_has_its_certificate(tmp_path: Path, signer: pem.Authority) -> None:
    put(tmp_path, "b", pem.server(signer, "b.example"))
    put(tmp_path, "a", pem.server(signer, "a.example"), split=True)
    put(tmp_path, "w", pem.server(signer, "*.wild.example"))
    (tmp_path / "README").write_text("certbot writes one")
    tls = CertificateDirectory(tmp_path)
    verifyObject(IOpenSSLServerConnectionCreator, tls)
    assert len(tls) == 3
    for version in (SSL.TLS1_3_VERSION, SSL.TLS1_2_VERSION):
        asked = ("a.example", "b.example", "B.Example", "x.wild.example", "x.y.wild.example", "c.example", None)
        assert [served(tls, name, version) for name in asked] == [
            *("a.example", "b.example", "b.example", "*.wild.example"),
            *("a.example", "a.example", "a.example"),
        ]
    put(tmp_path, "default", pem.server(signer, "d.example"))
    assert tls.reload_if_changed()
    assert served(tls, None) == served(tls, "c.example") == "d.example"


def test_rows_tell_which_name_gets_which_certificate(tmp_path: Path, signer: pem.Authority) -> None:
    put(tmp_path, "a", pem.server(signer, "a.example", days=20))
    put(tmp_path, "b", pem.server(signer, "a.example", days=40))
    put(tmp_path, "w", pem.server(signer, "*.wild.example"))
    first, second, wild = CertificateDirectory(tmp_path).rows()
    assert first["certificate"] == str(tmp_path / "a.pem")
    # both are of one name, which gets the one that lasts
    assert [(row["names"], row["sni"], row["default"]) for row in (first, second, wild)] == [
        (["a.example"], [], True),
        (["a.example"], ["a.example"], False),
        (["*.wild.example"], ["*.wild.example"], False),
    ]
    assert (first["days_left"], first["issuer"], first["fault"]) == (19, "CN=test authority", None)
    assert first["not_before"] < first["not_after"]


def test_a_handshake_is_timed_with_each_certificate(tmp_path: Path, signer: pem.Authority) -> None:
    put(tmp_path, "a", pem.server(signer, "a.example"))
    put(tmp_path, "b", pem.server(signer, "b.example"))
    took: list[float] = []
    seconds = iter((10.0, 10.5, 20.0, 20.25))
    tls = CertificateDirectory(tmp_path, clock=lambda: next(seconds), observe_handshake=took.append)
    served(tls, "a.example")
    served(tls, "b.example")
    assert took == [0.5, 0.25]


def test_of_two_for_a_name_the_one_that_lasts_counts(tmp_path: Path, signer: pem.Authority) -> None:
    put(tmp_path, "a", pem.server(signer, "other.example"))
    long, short = pem.server(signer, "b.example", days=20), pem.server(signer, "b.example", days=2)
    put(tmp_path, "b", long)
    put(tmp_path, "c", short)
    tls = CertificateDirectory(tmp_path)
    chosen = handshake(tls, name="b.example").get_peer_certificate(as_cryptography=True)
    assert chosen is not None
    first, lasting = tls.validities
    assert first == tls._members["a"].validities[0]
    assert lasting.not_after > tls._members["c"].not_after, "a certificate that no client gets is not counted"
    assert chosen.not_valid_after_utc.timestamp() == lasting.not_after


def test_files_come_change_and_go(tmp_path: Path, signer: pem.Authority) -> None:
    put(tmp_path, "a", pem.server(signer, "a.example"))
    tls = CertificateDirectory(tmp_path)
    assert not tls.reload_if_changed()
    put(tmp_path, "b", pem.server(signer, "b.example"), split=True)
    assert tls.reload_if_changed()
    assert served(tls, "b.example") == "b.example"
    put(tmp_path, "b", pem.server(signer, "c.example"), split=True)
    assert tls.reload_if_changed()
    assert (served(tls, "c.example"), served(tls, "b.example")) == ("c.example", "a.example")
    shutil.rmtree(tmp_path / "b")
    assert tls.reload_if_changed()
    assert served(tls, "c.example") == "a.example"
    assert tls.reloads == {"ok": 2, "failed": 0}, "counts do not go back when files go"
    (tmp_path / "a.pem").unlink()
    assert not tls.reload_if_changed()
    assert served(tls, "a.example") == "a.example", "with none at all, nobody could connect"


def test_what_is_invalid_changes_nothing_and_is_logged_once(tmp_path: Path, signer: pem.Authority) -> None:
    put(tmp_path, "a", pem.server(signer, "a.example"))
    tls = CertificateDirectory(tmp_path)
    (tmp_path / "b.pem").write_bytes(pem.server(signer, "b.example").certificate)
    for _ in range(3):
        assert not tls.reload_if_changed()
        assert tls.reloads == {"ok": 0, "failed": 1}
    (tmp_path / "b.pem").unlink()
    put(tmp_path, "a", pem.server(signer, "a.example", days=-2))
    assert not tls.reload_if_changed()
    assert tls.reloads == {"ok": 0, "failed": 2}, "an expired one does not replace a valid one here either"
    shutil.rmtree(tmp_path)
    for _ in range(3):
        assert not tls.reload_if_changed()
    assert tls.reloads == {"ok": 0, "failed": 3}
    assert served(tls, "a.example") == "a.example"


def test_warnings_are_those_of_all(tmp_path: Path, signer: pem.Authority) -> None:
    put(tmp_path, "a", pem.server(signer, "a.example", days=-2))
    put(tmp_path, "b", pem.server(signer, "b.example", days=20))
    for path in tmp_path.iterdir():
        path.chmod(0o600)
    assert [text.partition(".pem ")[2][:12] for text in CertificateDirectory(tmp_path).warnings()] == [
        "expired on 2",
        "has no certi",
        "has no certi",
    ]


def test_directories_of_no_use(tmp_path: Path, signer: pem.Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="there is no certificate in"):
        CertificateDirectory(tmp_path)
    with pytest.raises(ConfigError, match=r"cannot read .*missing: No such file"):
        CertificateDirectory(tmp_path / "missing")
    put(tmp_path, "a", pem.server(signer, password=b"x"))
    with pytest.raises(ConfigError, match="encrypted"):
        CertificateDirectory(tmp_path)
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "fullchain.pem").write_bytes(pem.server(signer).certificate)
    (tmp_path / "a.pem").unlink()
    with pytest.raises(ConfigError, match=r"privkey\.pem: No such file"):
        CertificateDirectory(tmp_path)
    monkeypatch.setattr(tls_directory, "MAX_CERTIFICATES", 0)
    with pytest.raises(ConfigError, match="has 1 certificates, at most 0"):
        pem_files(tmp_path)
