from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport

from icwsgw.observe.peers import parse_ip
from icwsgw.server.endpoints import make_endpoint
from icwsgw.server.proxies import TrustedProxies, host_of, socket_host, split_outside_quotes


def test_hosts_of_addresses() -> None:
    assert host_of(IPv4Address("TCP", "192.0.2.1", 1)) == "192.0.2.1"
    assert host_of(UNIXAddress(b"/run/x")) == "unix"


TRUSTED = ("10.0.0.0/8", "2001:db8:ffff::/48", "unix")

XFF: list[tuple[str, str | None, str]] = [
    # peer, header, client
    ("192.0.2.1", "198.51.100.7", "192.0.2.1"),  # not from a proxy: ignored
    ("unixx", "198.51.100.7", "unixx"),
    ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
    ("::ffff:10.0.0.1", "198.51.100.7", "198.51.100.7"),
    ("unix", "198.51.100.7", "198.51.100.7"),
    ("10.0.0.1", "1.2.3.4, 198.51.100.7", "198.51.100.7"),  # the client's own invention on the left
    ("10.0.0.1", "1.2.3.4, 198.51.100.7, 10.9.9.9", "198.51.100.7"),  # two proxies
    ("10.0.0.1", "1.2.3.4,198.51.100.7:5555,[2001:db8:ffff::1]:80", "198.51.100.7"),
    ("10.0.0.1", "10.1.1.1, 10.2.2.2", "10.1.1.1"),  # nobody but proxies
    ("10.0.0.1", "2001:db8::9", "2001:db8::9"),
    ("10.0.0.1", "[2001:db8::9]:1234", "2001:db8::9"),
    ("10.0.0.1", "::ffff:198.51.100.7", "198.51.100.7"),
    ("10.0.0.1", None, "10.0.0.1"),
    ("10.0.0.1", "", "10.0.0.1"),
    ("10.0.0.1", "198.51.100.7, unknown", "10.0.0.1"),  # the chain breaks off
    ("10.0.0.1", "198.51.100.7, rubbish!, 10.2.2.2", "10.2.2.2"),
    ("10.0.0.1", "198.51.100.7,", "10.0.0.1"),
]


@pytest.mark.parametrize(("peer", "header", "client"), XFF)
def test_x_forwarded_for(peer: str, header: str | None, client: str) -> None:
    proxies = TrustedProxies(TRUSTED, "x-forwarded-for")
    headers = {"forwarded": "for=203.0.113.1"}
    if header is not None:
        headers["x-forwarded-for"] = header
    assert proxies.client(peer, headers) == client


FORWARDED = [
    ("for=198.51.100.7", "198.51.100.7"),
    ("For = 198.51.100.7;proto=https;by=10.0.0.1", "198.51.100.7"),
    ('proto=https;for="198.51.100.7:4711"', "198.51.100.7"),
    ('for="[2001:db8::9]:4711"', "2001:db8::9"),
    ('for="[2001:db8::9]"', "2001:db8::9"),
    ("for=1.2.3.4, for=198.51.100.7, for=10.9.9.9", "198.51.100.7"),
    ('for="1.2.3.4, for=5.6.7.8", for=198.51.100.7', "198.51.100.7"),  # a comma inside quotes
    ('for="1\\98.51.100.7"', "198.51.100.7"),
    ("for=198.51.100.7, for=_hidden", "10.0.0.1"),
    ("for=198.51.100.7, for=unknown", "10.0.0.1"),
    ("for=198.51.100.7, proto=https", "10.0.0.1"),
    ("for=198.51.100.7;for=1.2.3.4", "10.0.0.1"),
    ('for="198.51.100.7', "10.0.0.1"),
]


@pytest.mark.parametrize(("header", "client"), FORWARDED)
def test_forwarded(header: str, client: str) -> None:
    proxies = TrustedProxies(TRUSTED, "forwarded")
    assert proxies.client("10.0.0.1", {"forwarded": header, "x-forwarded-for": "203.0.113.1"}) == client


@given(st.sampled_from(["x-forwarded-for", "forwarded"]), st.text(max_size=60), st.ip_addresses(v=4))
def test_whatever_stands_on_the_left_does_not_matter(header: str, left: str, client: Any) -> None:
    proxies = TrustedProxies(("192.168.0.0/24",), header)
    right = f"for={client}" if header == "forwarded" else str(client)
    found = proxies.client("192.168.0.1", {header: left.replace('"', "") + "," + right})
    if not proxies.trusts(str(client)):
        assert found == str(client)


@given(st.sampled_from(["x-forwarded-for", "forwarded"]), st.text(max_size=200))
def test_rubbish_names_an_address_or_none(header: str, value: str) -> None:
    assert parse_ip(TrustedProxies(("10.0.0.0/8",), header).client("10.0.0.1", {header: value})) is not None


@pytest.mark.parametrize("header", ['for={}"x"y', "for={}(", "{}for={}x", 'for="{}"', "for={}203.0.113.1{}"])
def test_blanks_are_read_once(header: str) -> None:
    """A pattern that tries them in pairs takes minutes."""
    value = header.replace("{}", " " * 100_000)
    client = TrustedProxies(TRUSTED, "forwarded").client("10.0.0.1", {"forwarded": value})
    assert client == ("203.0.113.1" if "203" in header else "10.0.0.1")


def test_nobody_is_trusted_unless_told() -> None:
    proxies = TrustedProxies((), "x-forwarded-for")
    assert not proxies
    assert not proxies.trusts("127.0.0.1")
    assert not proxies.trusts("unix")
    assert proxies.client("127.0.0.1", {"x-forwarded-for": "198.51.100.7"}) == "127.0.0.1"
    assert not TrustedProxies(("10.0.0.0/8",), "forwarded").trusts("unix")


def test_the_socket_below_the_proxys_header() -> None:
    reactor = MemoryReactorClock()
    make_endpoint(reactor, "haproxy:tcp:8080").endpoint.listen(Factory.forProtocol(Protocol))
    outer: Any = reactor.tcpServers[0][1].buildProtocol(IPv4Address("TCP", "10.0.0.1", 1))  # type: ignore[call-arg]
    outer.makeConnection(StringTransport(peerAddress=IPv4Address("TCP", "10.0.0.1", 1)))
    outer.dataReceived(b"PROXY TCP4 192.0.2.7 127.0.0.1 5555 8080\r\n")
    transport = outer.wrappedProtocol.transport
    assert host_of(transport.getPeer()) == "192.0.2.7"
    assert socket_host(transport) == ("10.0.0.1", True)
    plain = SimpleNamespace(getPeer=lambda: UNIXAddress(None))
    assert socket_host(plain) == ("unix", False)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a,b", ["a", "b"]),
        ('a="1,2",b', ['a="1,2"', "b"]),
        (r'a="1\",2",b', [r'a="1\",2"', "b"]),
        ('a="1,2', ['a="1,2']),
        ("a\\,b", ["a\\", "b"]),
    ],
)
def test_separators_in_quotes_do_not_separate(text: str, parts: list[str]) -> None:
    assert split_outside_quotes(text, ",") == parts
