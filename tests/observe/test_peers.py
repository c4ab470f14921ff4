from __future__ import annotations

from ipaddress import IPv4Address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.observe.peers import address_group, bracketed, parse_ip, parse_network, peer_group


@pytest.mark.parametrize(
    ("host", "group"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix", None),
        ("", None),
    ],
)
def test_address_groups(host: str, group: str | None) -> None:
    assert address_group(host) == group


@given(st.ip_addresses())
def test_every_address_has_a_group_that_is_one_with_its_own(address: Any) -> None:
    group = address_group(str(address))
    assert group is not None
    assert address_group(group.removesuffix("/64")) == group


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_an_ipv4_mapped_network_is_the_ipv4_network(base: IPv4Address, length: int) -> None:
    network = ip_network(f"{base}/{length}", strict=False)
    assert parse_network(str(network)) == network
    assert parse_network(f"::ffff:{base}/{96 + length}", strict=False) == network
    assert parse_network(f"::ffff:{network.network_address}/{96 + length}") == network


@pytest.mark.parametrize("text", ["2001:db8::/32", "::/0", "::fffe:0:0/95", "::ffff:0:0:0/96", "fe80::/10"])
def test_other_networks_stay(text: str) -> None:
    assert str(parse_network(text)) == text


@pytest.mark.parametrize("text", ["10.0.0.1/8", "::ffff:10.0.0.1/104", "somewhere", "10.0.0.0/33", ""])
def test_what_is_no_network(text: str) -> None:
    with pytest.raises(ValueError, match=r"host bits|does not appear"):
        parse_network(text)


def test_what_is_no_address() -> None:
    for text in ("not one", "", "[::1]", "1.2.3", "%"):
        assert parse_ip(text) is None


@pytest.mark.parametrize(
    ("host", "written"), [("::1", "[::1]"), ("192.0.2.1", "192.0.2.1"), ("a.example", "a.example")]
)
def test_addresses_with_colons_are_bracketed(host: str, written: str) -> None:
    assert bracketed(host) == written


@pytest.mark.parametrize(
    ("peer", "group"),
    [
        ("192.0.2.1:4000", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.1"),
        ("[2001:db8::1]:4000", "2001:db8::/64"),
        ("2001:db8::1", "2001:db8::/64"),
        ("[::ffff:192.0.2.1]:4000", "192.0.2.1"),
        ("unix", "unix"),
    ],
)
def test_the_group_of_a_peer(peer: str, group: str) -> None:
    assert peer_group(peer) == group
