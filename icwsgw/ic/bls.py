"""BLS12-381 signatures of the IC: signatures in G1, public keys in G2 (interface spec, "Certification").

A signature is sk * H(m), where H is the hash to G1 (suite below). It is valid if e(sig, g2) = e(H(m), pk). One
verification takes about 1.5 ms. blst checks encoding, curve and subgroup when it decodes a point. This module also
refuses the point at infinity: it is in the subgroup, but as a signature it is valid for any message under the key at
infinity.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from pyblst import BlstP1Element, BlstP2Element, final_verify, miller_loop

from icwsgw.errors import FormatError

#: Domain separation tag of the IETF suite with the minimal signature size and no message augmentation.
DST = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_"
#: The order of both groups. A secret key is in 1..ORDER-1.
ORDER = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001

SIGNATURE_SIZE = 48
PUBLIC_KEY_SIZE = 96

_INFINITY_FLAG = 0x40
_DER_PREFIX = bytes.fromhex("308182301d060d2b0601040182dc7c0503010201060c2b0601040182dc7c05030201036100")
_GENERATOR = BlstP2Element.uncompress(
    bytes.fromhex(
        "93e02b6052719f607dacd3a088274f65596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e"
        "024aa2b2f08f0a91260805272dc51051c6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb8"
    )
)

#: The root key of the IC mainnet, 133 bytes of DER.
MAINNET_ROOT_KEY_DER = _DER_PREFIX + bytes.fromhex(
    "814c0e6ec71fab583b08bd81373c255c3c371b2e84863c98a4f1e08b74235d14fb5d9c0cd546d9685f913a0c0b2cc534"
    "1583bf4b4392e467db96d65b9bb4cb717112f8472e0d5a4d14505ffd7484b01291091c5f87b98883463f98091a0baaae"
)


def der_wrap(public_key: bytes) -> bytes:
    """Return the 133-byte DER of a 96-byte public key.

    :raises FormatError: the key does not have 96 bytes
    """
    if len(public_key) != PUBLIC_KEY_SIZE:
        raise FormatError(f"BLS public key: {len(public_key)} bytes instead of {PUBLIC_KEY_SIZE}")
    return _DER_PREFIX + public_key


def der_unwrap(der: bytes) -> bytes:
    """Return the 96-byte public key in a 133-byte DER.

    :raises FormatError: the DER has another length or another algorithm
    """
    if len(der) != len(_DER_PREFIX) + PUBLIC_KEY_SIZE or not der.startswith(_DER_PREFIX):
        raise FormatError("not the DER of a BLS12-381 public key")
    return der[len(_DER_PREFIX) :]


def check_public_key(public_key: bytes) -> None:
    """Check that the bytes are a valid public key.

    :param public_key: 96 bytes
    :raises ValueError: not a public key
    """
    _key_point(public_key)


@lru_cache(maxsize=64)
def _key_point(public_key: bytes) -> Any:
    """Return the point of a key. The cache saves decoding it again (0.1 ms), because a gateway uses few keys.

    :raises ValueError: not a point of the group, or the point at infinity
    """
    if len(public_key) != PUBLIC_KEY_SIZE or public_key[0] & _INFINITY_FLAG:
        raise ValueError("not a key")
    return BlstP2Element.uncompress(public_key)


def verify(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Return whether `signature` (48 bytes) is valid for `message` under `public_key` (96 bytes).

    Malformed keys and signatures give False.
    """
    if len(signature) != SIGNATURE_SIZE or signature[0] & _INFINITY_FLAG:
        return False
    try:
        key = _key_point(public_key)
        point = BlstP1Element.uncompress(signature)
    except ValueError:
        return False
    hashed = BlstP1Element.hash_to_group(message, DST)
    return bool(final_verify(miller_loop(point, _GENERATOR), miller_loop(hashed, key)))


def sign(secret_key: int, message: bytes) -> bytes:
    """Return the 48-byte signature of `message`. Not constant-time: only for local networks and tests.

    :raises ValueError: the key is not in 1..ORDER-1
    """
    _check_secret(secret_key)
    return bytes(BlstP1Element.hash_to_group(message, DST).scalar_mul(secret_key).compress())


def public_key(secret_key: int) -> bytes:
    """Return the 96-byte public key of a secret key.

    :raises ValueError: the key is not in 1..ORDER-1
    """
    _check_secret(secret_key)
    return bytes(_GENERATOR.scalar_mul(secret_key).compress())


def secret_key(seed: bytes) -> int:
    """Return the secret key that a seed gives: the seed as a number, reduced to 1..ORDER-1.

    :param seed: at least 32 bytes
    :raises ValueError: fewer than 32 bytes
    """
    if len(seed) < 32:
        raise ValueError("a seed has at least 32 bytes")
    return int.from_bytes(seed, "big") % (ORDER - 1) + 1


def _check_secret(secret_key: int) -> None:
    if not 0 < secret_key < ORDER:
        raise ValueError("not a secret key")
