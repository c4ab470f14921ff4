"""Verifies WebAuthn signatures of requests and delegations (interface spec, section "Web Authentication").

The key is a COSE key (RFC 9053): ES256 on P-256, or RS256. The signature is the CBOR map ``{authenticator_data,
client_data_json, signature}`` after the self-describe tag. The authenticator signs ``authenticator_data`` followed by
the SHA-256 of ``client_data_json``. The field ``challenge`` of the client data is the message in base64url.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from binascii import Error as NotBase64
from functools import lru_cache
from hashlib import sha256
from io import BytesIO
from typing import Any, Final

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from icwsgw.errors import FormatError, SignatureInvalid
from icwsgw.ic import cbor

MAX_KEY: Final = 1024
"""The most bytes of a COSE key. An RSA key of 4096 bits has about 530."""
_ECDSA: Final = ec.ECDSA(SHA256())
_RSA_BITS: Final = range(2048, 4097)

# Labels and values of COSE keys (RFC 9052, 7.1; RFC 9053, 2.1 and 7.1; RFC 8230, 4).
_KTY, _ALG, _CRV, _X, _Y, _N, _E = 1, 3, -1, -2, -3, -1, -2
_EC2, _ES256, _P256 = 2, -7, 1
_RSA, _RS256 = 3, -257


def verify_webauthn(cose_key: bytes, message: bytes, signature: bytes) -> None:
    """Verify a WebAuthn signature.

    :param cose_key: the COSE key, in CBOR
    :param message: the signed bytes
    :param signature: the CBOR map with the self-describe tag
    :raises SignatureInvalid: the signature is malformed, or not valid for this message and key
    """
    try:
        fields = cbor.loads(signature)
    except FormatError as error:
        raise SignatureInvalid(f"a WebAuthn signature that is malformed: {error}") from None
    if not signature.startswith(cbor.SELF_DESCRIBE) or not isinstance(fields, dict):
        raise SignatureInvalid("a WebAuthn signature that is malformed")
    data, client_data, inner = (fields.get(name) for name in ("authenticator_data", "client_data_json", "signature"))
    # Implementations write the client data as text or as bytes.
    raw = client_data.encode() if isinstance(client_data, str) else client_data
    if not isinstance(data, bytes) or not isinstance(raw, bytes) or not isinstance(inner, bytes):
        raise SignatureInvalid("a WebAuthn signature that is malformed")
    if _challenge(raw) != message:
        raise SignatureInvalid("a WebAuthn signature of something else")
    key = _public_key(cose_key)
    signed = data + sha256(raw).digest()
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(inner, signed, padding.PKCS1v15(), SHA256())
        else:
            key.verify(inner, signed, _ECDSA)
    except InvalidSignature:
        raise SignatureInvalid("wrong WebAuthn signature") from None


def _challenge(client_data: bytes) -> bytes:
    try:
        fields = json.loads(client_data)
        challenge = fields["challenge"]
        # Signatures of requests have this type. A signature from the registration of a key has another.
        if fields["type"] != "webauthn.get":
            raise SignatureInvalid("client data of another type than webauthn.get")
        return urlsafe_b64decode(challenge + "=" * (-len(challenge) % 4))
    except (ValueError, KeyError, TypeError, RecursionError, NotBase64):
        raise SignatureInvalid("client data without a challenge") from None


@lru_cache(maxsize=64)
def _public_key(cose_key: bytes) -> ec.EllipticCurvePublicKey | rsa.RSAPublicKey:
    """Read a COSE key.

    :raises SignatureInvalid: not a COSE key, or a kind that the IC does not accept
    """
    fields = _cose(cose_key)
    try:
        if (fields[_KTY], fields[_ALG]) == (_EC2, _ES256) and fields[_CRV] == _P256:
            x, y = int.from_bytes(fields[_X], "big"), int.from_bytes(fields[_Y], "big")
            return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        if (fields[_KTY], fields[_ALG]) == (_RSA, _RS256):
            n, e = int.from_bytes(fields[_N], "big"), int.from_bytes(fields[_E], "big")
            if n.bit_length() in _RSA_BITS and e.bit_length() <= 32:
                return rsa.RSAPublicNumbers(e, n).public_key()
    except (KeyError, TypeError, ValueError):
        pass
    raise SignatureInvalid("a COSE key of a kind that is not known")


def _cose(cose_key: bytes) -> dict[Any, Any]:
    # The keys of this map are integers, which the strict decoder refuses.
    if len(cose_key) > MAX_KEY:
        raise SignatureInvalid(f"a COSE key of {len(cose_key)} bytes")
    stream = BytesIO(cose_key)
    try:
        fields = cbor2.CBORDecoder(stream, max_depth=4).decode()
    except cbor2.CBORError:
        raise SignatureInvalid("a COSE key that is malformed") from None
    if not isinstance(fields, dict) or stream.tell() != len(cose_key):
        raise SignatureInvalid("a COSE key that is malformed")
    return fields
