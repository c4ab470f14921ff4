"""Generates certificates and keys as PEM for tests of TLS."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

_MAY_SIGN = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True)
class Authority:
    """A certificate authority made for one test."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


@dataclass(frozen=True)
class ServerPem:
    """A server's certificate (with its chain, if any) and private key."""

    certificate: bytes
    key: bytes

    def write(self, directory: Path, name: str = "server") -> tuple[Path, Path]:
        """Write both files; returns the paths of the certificate and the key."""
        certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
        certificate.write_bytes(self.certificate)
        key.write_bytes(self.key)
        return certificate, key


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)


def authority(name: str = "test authority", *, signer: Authority | None = None) -> Authority:
    """Make an authority: a root, or an intermediate one that ``signer`` has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(name) if signer is None else signer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - datetime.timedelta(days=1))
        .not_valid_after(_now() + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        # Python 3.13 requires these two, and the authority's identifier below (VERIFY_X509_STRICT).
        .add_extension(_MAY_SIGN, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key if signer is None else signer.key, hashes.SHA256())
    )
    return Authority(key, certificate)


def server(
    signer: Authority,
    name: str = "localhost",
    *,
    days: float = 10,
    begins: float = -1,
    named: bool = True,
    password: bytes | None = None,
    key_format: PrivateFormat = PrivateFormat.PKCS8,
) -> ServerPem:
    """Make a certificate for ``name`` and 127.0.0.1 that is valid from ``begins`` to ``days``, both from now.

    :param named: whether it has the names as subjectAltName
    :param password: encrypts the key
    :param key_format: PKCS#8, or the older form of OpenSSL (TraditionalOpenSSL)
    """
    key = ec.generate_private_key(ec.SECP256R1())
    end = _now() + datetime.timedelta(days=days)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(signer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(_now() + datetime.timedelta(days=begins), end - datetime.timedelta(days=1)))
        .not_valid_after(end)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()),
            critical=False,
        )
    )
    if named:
        names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(signer.key, hashes.SHA256())
    encryption: KeySerializationEncryption = BestAvailableEncryption(password) if password else NoEncryption()
    return ServerPem(
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, key_format, encryption),
    )


def damaged(certificate: bytes, old: bytes, new: bytes) -> bytes:
    """Return a certificate in PEM with other bytes in the first place where ``old`` is."""
    der = ssl.PEM_cert_to_DER_cert(certificate.decode())
    assert old in der
    return ssl.DER_cert_to_PEM_cert(der.replace(old, new, 1)).encode()
