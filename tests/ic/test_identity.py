from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from icp_identity import Identity

from icwsgw.errors import FormatError
from icwsgw.ic.identity import Ed25519Identity
from tests.support.strategies import damaged, identities

KEY_PAIR = (Path(__file__).parent.parent / "vectors" / "identity" / "test_key_pair").read_bytes()
KEY_PAIR_PRINCIPAL = "7cio4-7j2lx-6f3tp-mkfw7-t4amd-tjphs-hkits-6qa7x-hmnmx-yvwxk-nqe"


def _strange(seed: bytes) -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.from_private_bytes(seed)


def test_the_key_file_of_the_original() -> None:
    identity = Ed25519Identity.from_pkcs8_der(KEY_PAIR)
    assert identity.principal.text == KEY_PAIR_PRINCIPAL
    assert identity.to_pkcs8_der() == KEY_PAIR
    assert len(KEY_PAIR) == 85


# RFC 8032, section 7.1.
@pytest.mark.parametrize(
    ("seed", "public", "message", "signature"),
    [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
            "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
    ],
)
def test_rfc_8032(seed: str, public: str, message: str, signature: str) -> None:
    identity = Ed25519Identity(bytes.fromhex(seed))
    assert identity.public_key_der[12:].hex() == public
    assert identity.sign(bytes.fromhex(message)).hex() == signature


@given(identities(), st.binary(max_size=200))
def test_oracles(identity: Ed25519Identity, message: bytes) -> None:
    key = _strange(identity.seed)
    assert identity.sign(message) == key.sign(message)
    assert identity.public_key_der == key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("seed", [bytes(range(32)), b"\xff" * 32])
def test_icp_py_core(seed: bytes) -> None:
    identity, theirs = Ed25519Identity(seed), Identity(privkey=seed.hex())
    assert theirs.sign(b"message") == (identity.public_key_der, identity.sign(b"message"))
    assert theirs.sender().to_str() == identity.principal.text


@given(identities())
def test_pkcs8_forms(identity: Ed25519Identity) -> None:
    key = _strange(identity.seed)
    version_1 = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    rfc_8410 = bytes.fromhex("3051020101300506032b657004220420") + identity.seed + b"\x81\x21\x00"
    rfc_8410 += identity.public_key_der[12:]
    for read in (
        Ed25519Identity.from_pkcs8_der(version_1),
        Ed25519Identity.from_pkcs8_der(rfc_8410),
        Ed25519Identity.from_pkcs8_der(identity.to_pkcs8_der()),
        Ed25519Identity.from_pem(pem),
        Ed25519Identity.from_pem("\n" + pem.replace("\n", "\r\n")),
    ):
        assert read.seed == identity.seed
        assert read.principal == identity.principal


def test_the_example_of_rfc_8410() -> None:
    # RFC 8410, section 10.3, first example: version 1.
    identity = Ed25519Identity.from_pem(
        "-----BEGIN PRIVATE KEY-----\n"
        "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n"
        "-----END PRIVATE KEY-----\n"
    )
    assert identity.public_key_der[12:].hex() == "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(85),
        KEY_PAIR[:48],
        KEY_PAIR[:84],
        KEY_PAIR + b"\x00",
        KEY_PAIR[:-1] + bytes([KEY_PAIR[-1] ^ 1]),
        KEY_PAIR[:16] + bytes(32) + KEY_PAIR[48:],
        KEY_PAIR[:48] + b"\x81" + KEY_PAIR[49:],
        bytes.fromhex("302e020100300506032b65700422042000"),
        bytes.fromhex("302e020100300506032b656e04220420") + bytes(32),
        b"-----BEGIN PRIVATE KEY-----",
    ],
)
def test_other_key_files_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        Ed25519Identity.from_pkcs8_der(data)


@given(damaged(KEY_PAIR))
def test_damaged_key_files(data: bytes) -> None:
    try:
        identity = Ed25519Identity.from_pkcs8_der(data)
    except FormatError:
        return
    assert len(data) in (48, 83, 85)
    assert data[16:48] == identity.seed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\n!!!!\n-----END PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nä\n-----END PRIVATE KEY-----",
        "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----",
        KEY_PAIR_PRINCIPAL,
    ],
)
def test_other_pem_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        Ed25519Identity.from_pem(text)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_seed_has_32_bytes(size: int) -> None:
    with pytest.raises(FormatError):
        Ed25519Identity(bytes(size))


@given(identities(), st.integers(1, 2**32 - 1))
def test_derived_identities_are_hkdf(identity: Ed25519Identity, index: int) -> None:
    hkdf = HKDF(algorithm=SHA256(), length=32, salt=b"icwsgw", info=b"identity" + index.to_bytes(4, "big"))
    assert identity.derive(index).seed == hkdf.derive(identity.seed)


def test_derived_identities_stay_what_they_are() -> None:
    identity = Ed25519Identity.from_pkcs8_der(KEY_PAIR)
    assert identity.derive(0) is identity
    principals = [identity.derive(index).principal.text for index in range(4)]
    assert principals == [
        KEY_PAIR_PRINCIPAL,
        "fyblh-vbpfy-tpu7e-cmw7w-agcpj-p63cu-jf3l4-33oy5-36pv5-tkd7t-rqe",
        "fxjvf-zayqn-zkno7-jziuz-zjhg5-chpnf-3puwz-m3mpq-rgjcl-ygcmv-aqe",
        "clpbu-qcl2h-4tkrv-cypja-lpjyu-5rdkd-ogloa-sratp-przdr-i6a6w-fae",
    ]
    for index in (-1, 2**32):
        with pytest.raises(ValueError, match="index"):
            identity.derive(index)


def test_generate_takes_its_chance_as_an_argument() -> None:
    assert Ed25519Identity.generate(lambda size: b"\x07" * size).seed == b"\x07" * 32
    assert Ed25519Identity.generate(os.urandom).principal != Ed25519Identity.generate(os.urandom).principal


def test_repr_shows_the_principal_and_no_secret() -> None:
    assert repr(Ed25519Identity.from_pkcs8_der(KEY_PAIR)) == f"Ed25519Identity({KEY_PAIR_PRINCIPAL})"
