"""Ed25519 identities of the gateway, and their key file, which is compatible with the Rust gateway's.

The key file is a PKCS#8 private key in DER. The gateway reads three forms of it:

* version 2 (RFC 5958) in 85 bytes, as the Rust gateway writes it with the library ring. Its field ``[1]``, the public
  key, holds a whole BIT STRING. This is also the form that this module writes;
* version 2 in 83 bytes, as RFC 8410 requires (``[1] IMPLICIT BIT STRING``);
* version 1 (RFC 5208) in 48 bytes, without the public key, as OpenSSL writes it.

All further identities are derived from the first, so that one key file is enough:
``seed_i = HKDF-SHA256(ikm=seed_0, salt="icwsgw", info="identity" . i as 4 bytes, big-endian)``, 32 bytes, RFC 5869.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

from icwsgw.errors import FormatError
from icwsgw.ic.principal import Principal

ED25519_DER_PREFIX: Final = bytes.fromhex("302a300506032b6570032100")
"""The DER of an Ed25519 SubjectPublicKeyInfo before the 32 bytes of the key (RFC 8410)."""

_RING_V2: Final = bytes.fromhex("3053020101300506032b657004220420")
_RING_V2_PUBLIC: Final = bytes.fromhex("a123032100")
_PUBLIC_PREFIXES: Final = {
    _RING_V2: _RING_V2_PUBLIC,
    bytes.fromhex("3051020101300506032b657004220420"): bytes.fromhex("812100"),
    bytes.fromhex("302e020100300506032b657004220420"): None,
}
"""The bytes before the 32 secret bytes, each with the bytes before the 32 public bytes (None: no public key)."""
_DERIVE_SALT: Final = b"icwsgw"
_DERIVE_INFO: Final = b"identity"


class Ed25519Identity:
    """An Ed25519 key pair and its principal.

    :ivar seed: the 32 secret bytes (never log them)
    :ivar public_key_der: SubjectPublicKeyInfo, 44 bytes
    :ivar principal: the self-authenticating principal of that key
    """

    __slots__ = ("_secret", "principal", "public_key_der", "seed")

    def __init__(self, seed: bytes) -> None:
        """Make the identity of a seed.

        :param seed: 32 bytes
        :raises FormatError: another length
        """
        if len(seed) != 32:
            raise FormatError(f"an Ed25519 seed has 32 bytes, not {len(seed)}")
        public, secret = crypto_sign_seed_keypair(bytes(seed))
        self.seed = bytes(seed)
        self._secret = secret
        self.public_key_der: bytes = ED25519_DER_PREFIX + public
        self.principal = Principal.self_authenticating(self.public_key_der)

    @classmethod
    def generate(cls, random_bytes: Callable[[int], bytes]) -> Ed25519Identity:
        """Make a new identity.

        :param random_bytes: returns a number of secure random bytes, as ``os.urandom`` does
        """
        return cls(random_bytes(32))

    @classmethod
    def from_pkcs8_der(cls, data: bytes) -> Ed25519Identity:
        """Read a PKCS#8 private key in DER, version 1 or 2.

        :raises FormatError: not an Ed25519 key in one of these forms, or its public key does not match its private key
        """
        prefix = data[:16]
        if prefix not in _PUBLIC_PREFIXES:
            raise FormatError("not an Ed25519 private key in PKCS#8 DER")
        public_prefix = _PUBLIC_PREFIXES[prefix]
        size = 48 if public_prefix is None else 80 + len(public_prefix)
        if len(data) != size:
            raise FormatError(f"this PKCS#8 key has {len(data)} bytes where it should have {size}")
        identity = cls(data[16:48])
        if public_prefix is not None and data[48:] != public_prefix + identity.public_key_der[12:]:
            raise FormatError("the public key in this PKCS#8 key does not belong to its private key")
        return identity

    @classmethod
    def from_pem(cls, text: str) -> Ed25519Identity:
        """Read a PKCS#8 private key in PEM (``BEGIN PRIVATE KEY``).

        :raises FormatError: not PEM, or see :meth:`from_pkcs8_der`
        """
        lines = [line.strip() for line in text.strip().splitlines()]
        if len(lines) < 3 or lines[0] != "-----BEGIN PRIVATE KEY-----" or lines[-1] != "-----END PRIVATE KEY-----":
            raise FormatError("not a PEM private key (BEGIN PRIVATE KEY)")
        try:
            data = base64.b64decode("".join(lines[1:-1]), validate=True)
        except (binascii.Error, ValueError):
            raise FormatError("not base64 in the PEM private key") from None
        return cls.from_pkcs8_der(data)

    @property
    def delegations(self) -> tuple[()]:
        """No delegations: the key signs for itself."""
        return ()

    def to_pkcs8_der(self) -> bytes:
        """Return the key as PKCS#8 version 2, in the 85 bytes that the Rust gateway reads."""
        return _RING_V2 + self.seed + _RING_V2_PUBLIC + self.public_key_der[12:]

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of a message."""
        return crypto_sign(message, self._secret)[:64]

    def derive(self, index: int) -> Ed25519Identity:
        """Return the identity with number ``index`` that is derived from this one; number 0 is this identity.

        :param index: 0 to 2**32 - 1
        :raises ValueError: the index is out of this range
        """
        if not 0 <= index < 1 << 32:
            raise ValueError(f"an identity's index is 0 to 2**32 - 1, not {index}")
        if index == 0:
            return self
        pseudo_random_key = hmac.new(_DERIVE_SALT, self.seed, sha256).digest()
        info = _DERIVE_INFO + index.to_bytes(4, "big")
        return Ed25519Identity(hmac.new(pseudo_random_key, info + b"\x01", sha256).digest())

    def __repr__(self) -> str:
        return f"Ed25519Identity({self.principal})"
