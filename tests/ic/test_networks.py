"""Which networks are mainnet, and what keys look like."""

from __future__ import annotations

import base64

import pytest

from icwsgw.errors import FormatError
from icwsgw.ic.bls import MAINNET_ROOT_KEY_DER
from icwsgw.ic.networks import Network, is_loopback, is_mainnet_host, is_public, key_of, network_of
from tests.support.certificates import ROOT_KEY_DER

#: As agents have it: dfinity/icp-js-core, ``IC_ROOT_KEY``.
HEX = (
    "308182301d060d2b0601040182dc7c0503010201060c2b0601040182dc7c05030201036100814c0e6ec71fab583b08bd81373c255c3c371b2e"
    "84863c98a4f1e08b74235d14fb5d9c0cd546d9685f913a0c0b2cc5341583bf4b4392e467db96d65b9bb4cb717112f8472e0d5a4d14505ffd74"
    "84b01291091c5f87b98883463f98091a0baaae"
)


@pytest.mark.parametrize(
    ("host", "mainnet"),
    [
        ("icp0.io", True), ("icp-api.io", True), ("ic0.app", True), ("icp.net", True), ("IC0.app.", True),
        ("bkyz2-fmaaa-aaaaa-qaaaq-cai.icp0.io", True), ("raw.ic0.app", True),
        ("icp0.io.example", False), ("noticp0.io", False), ("127.0.0.1", False), ("localhost", False), ("", False),
    ],
)  # fmt: skip
def test_names_of_mainnet(host: str, mainnet: bool) -> None:
    assert is_mainnet_host(host) is mainnet


@pytest.mark.parametrize(
    ("url", "word", "key"),
    [
        ("https://icp-api.io", "auto", MAINNET_ROOT_KEY_DER),
        ("http://ic0.app", "auto", MAINNET_ROOT_KEY_DER),
        ("https://icp-api.io", "fetch", None),
        ("https://bn.example", "auto", None),
        ("https://bn.example", "mainnet", MAINNET_ROOT_KEY_DER),
        ("https://bn.example", HEX, MAINNET_ROOT_KEY_DER),
        ("https://icp0.io", ROOT_KEY_DER.hex(), ROOT_KEY_DER),
        ("http://127.0.0.1:4943", "auto", None),
    ],
)
def test_the_key_goes_by_the_name_unless_an_option_says_it(url: str, word: str, key: bytes | None) -> None:
    network = network_of(url, word)
    assert network == Network(url, key)
    assert network.mainnet is (key == MAINNET_ROOT_KEY_DER)


@pytest.mark.parametrize(
    ("url", "key", "concerned", "may_be"),
    [
        ("https://bn.example", None, True, True),
        ("https://icp-api.io", None, True, True),
        ("http://203.0.112.1:4943", None, True, True),
        ("https://bn.example", ROOT_KEY_DER, False, False),
        ("https://bn.example", MAINNET_ROOT_KEY_DER, False, True),
        ("http://127.0.0.1:4943", None, False, False),
        ("http://[::1]:4943", None, False, False),
        ("http://10.1.2.3:4943", None, False, False),
        ("http://replica:4943", None, False, False),
        ("http://ic.localhost:4943", None, False, False),
        ("http://host.docker.internal:4943", None, False, False),
    ],
)
def test_a_public_network_whose_key_comes_off_the_wire_is_a_concern(
    url: str, key: bytes | None, concerned: bool, may_be: bool
) -> None:
    network = Network(url, key)
    assert (network.concern is not None) is concerned
    assert network.may_be_mainnet is may_be
    if concerned:
        assert url in str(network.concern)


def test_hosts() -> None:
    assert [is_public(host) for host in ("8.8.8.8", "fd00::1", "fe80::1%eth0", "a.example", "a.local", "box")] == [
        True, False, False, True, False, False,
    ]  # fmt: skip
    assert [is_loopback(host) for host in ("127.0.0.2", "::1", "localhost", "10.0.0.1", "a.example")] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_forms_of_a_key() -> None:
    pem = b"-----BEGIN PUBLIC KEY-----\r\n%b-----END PUBLIC KEY-----\n" % base64.encodebytes(MAINNET_ROOT_KEY_DER)
    for data in (MAINNET_ROOT_KEY_DER, pem, HEX.encode(), b" 0x%b\n" % HEX.upper().replace("0X", "").encode()):
        assert key_of(data) == MAINNET_ROOT_KEY_DER


@pytest.mark.parametrize(
    "data",
    [
        b"", b"key", HEX[:-2].encode(), MAINNET_ROOT_KEY_DER[:-1], MAINNET_ROOT_KEY_DER + b"\0",
        MAINNET_ROOT_KEY_DER[:37] + b"\xff" * 96, MAINNET_ROOT_KEY_DER[:37] + b"\xc0" + bytes(95),
        b"-----BEGIN PUBLIC KEY-----\nAA=A\n-----END PUBLIC KEY-----",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
    ],
)  # fmt: skip
def test_what_is_no_key(data: bytes) -> None:
    with pytest.raises(FormatError, match="root key"):
        key_of(data)
