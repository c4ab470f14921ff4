"""Identities with ECDSA keys on secp256k1 and P-256, and key files in PEM of any kind that developer tools write.

A signature is the 64 bytes ``r . s`` over SHA-256 (IC interface specification, section "Signatures"). ``icp-cli`` and
dfx write secp256k1 keys, Keysmith and older tools Ed25519 keys.
"""

from __future__ import annotations

from typing import Final, Literal

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from icwsgw.errors import FormatError
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal

_SHA256: Final = ec.ECDSA(SHA256())
_CURVES: Final[dict[str, ec.EllipticCurve]] = {"secp256k1": ec.SECP256K1(), "p256": ec.SECP256R1()}


class EcdsaIdentity:
    """An ECDSA key pair and its principal.

    :ivar public_key_der: SubjectPublicKeyInfo with an uncompressed point, 88 bytes (secp256k1) or 91 bytes (P-256)
    :ivar principal: the self-authenticating principal of that key
    """

    __slots__ = ("_key", "principal", "public_key_der")

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        """Make the identity of a key.

        :raises FormatError: the key is on another curve than secp256k1 or P-256
        """
        if not isinstance(key.curve, (ec.SECP256K1, ec.SECP256R1)):
            raise FormatError(f"the Internet Computer knows no keys on the curve {key.curve.name}")
        self._key = key
        self.public_key_der: bytes = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.principal = Principal.self_authenticating(self.public_key_der)

    @classmethod
    def of_secret(cls, curve: Literal["secp256k1", "p256"], secret: bytes) -> EcdsaIdentity:
        """Make the identity of a secret number.

        :param secret: 32 bytes, big-endian
        :raises FormatError: another length, or the number is not below the order of the curve, or zero
        """
        if len(secret) != 32:
            raise FormatError(f"a secret key has 32 bytes, not {len(secret)}")
        try:
            return cls(ec.derive_private_key(int.from_bytes(secret, "big"), _CURVES[curve]))
        except ValueError:
            raise FormatError("not a secret key of this curve") from None

    @classmethod
    def generate(cls, curve: Literal["secp256k1", "p256"]) -> EcdsaIdentity:
        """Make a new identity, with the randomness of the library cryptography."""
        return cls(ec.generate_private_key(_CURVES[curve]))

    @property
    def delegations(self) -> tuple[()]:
        """No delegations: the key signs for itself."""
        return ()

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of a message."""
        r, s = decode_dss_signature(self._key.sign(message, _SHA256))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def to_pem(self) -> str:
        """Return the private key as PKCS#8 in PEM."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    def __repr__(self) -> str:
        return f"EcdsaIdentity({self.principal})"


def identity_of_pem(pem: str | bytes) -> Ed25519Identity | EcdsaIdentity:
    """Read a private key: Ed25519, secp256k1 or P-256, in PKCS#8 or SEC1 (``BEGIN EC PRIVATE KEY``).

    :param pem: PEM, not encrypted. What stands before the key, such as EC PARAMETERS, is skipped
    :raises FormatError: not such a key, or encrypted
    """
    data = pem.encode() if isinstance(pem, str) else pem
    # OpenSSL writes the curve in a block of its own before a SEC1 key, which libraries refuse
    start = max(data.find(b"-----BEGIN EC PRIVATE KEY"), data.find(b"-----BEGIN PRIVATE KEY"))
    try:
        key = load_pem_private_key(data[max(start, 0) :], password=None)
    except TypeError:
        raise FormatError("the private key is encrypted; export it without a password") from None
    except (ValueError, UnsupportedAlgorithm, InternalError):
        # the last one: a key of the wrong length for its algorithm, such as 32 bytes for X448
        try:
            # the forms of the Rust gateway's library, which others refuse
            return Ed25519Identity.from_pem(data.decode("ascii", "replace"))
        except FormatError:
            raise FormatError("not a private key in PEM (Ed25519, secp256k1 or P-256)") from None
    if isinstance(key, Ed25519PrivateKey):
        return Ed25519Identity(key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return EcdsaIdentity(key)
    raise FormatError("a private key of another kind than Ed25519, secp256k1 and P-256")
