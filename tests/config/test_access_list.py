"""Lists of who may connect, and who may not."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.config.access_list import EVERYBODY, AccessList, AccessRules, Networks, parse_access_list
from icwsgw.config.access_options import LIST_URL
from icwsgw.errors import ConfigError
from icwsgw.ic.principal import Principal

LIST = """
# a crowd
203.0.113.7
198.51.100.0/24   # of one provider
2001:db8::/32

https://*.bad.example
null
2vxsx-fae
bkyz2-fmaaa-aaaaa-qaaaq-cai
"""


def test_entries_are_recognised_by_their_form() -> None:
    found = parse_access_list(LIST)
    assert len(found.networks) == 3
    assert found.origins == ("https://*.bad.example", "null")
    assert found.principals == {Principal.from_text(text).raw for text in ("2vxsx-fae", "bkyz2-fmaaa-aaaaa-qaaaq-cai")}
    nobody = parse_access_list("# nobody\n\n")
    assert (len(nobody.networks), nobody.principals, nobody.origins) == (0, frozenset(), ())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("203.0.113.7/24", "has host bits set"),
        ("203.0.113.777", "line 2: '203.0.113.777' is no address, network, principal or origin"),
        ("10.0.0.1 10.0.0.2", "line 2"),
        ("2vxsx-faf", "line 2"),
        ("https://", "line 2"),
        ("2001:db8::g", "line 2"),
    ],
)
def test_an_invalid_entry_is_reported_with_its_line(line: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_access_list(f"10.0.0.1\n{line}\n")
    assert words in str(caught.value)


NETWORKS = st.lists(st.one_of(st.ip_addresses(v=4, network="10.0.0.0/28"), st.ip_addresses(v=6, network="fd00::/124")))


ADDRESS = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


@given(NETWORKS, st.lists(st.integers(0, 32), min_size=1), ADDRESS, NETWORKS)
def test_they_hold_what_the_standard_library_says(
    bases: list[ipaddress.IPv4Address | ipaddress.IPv6Address],
    lengths: list[int],
    one: ipaddress.IPv4Address | ipaddress.IPv6Address,
    others: list[ipaddress.IPv4Address | ipaddress.IPv6Address],
) -> None:
    networks = [
        ipaddress.ip_network(f"{base}/{base.max_prefixlen - lengths[number % len(lengths)]}", strict=False)
        for number, base in enumerate(bases)
    ]
    held = Networks(networks)
    for address in (one, *others):
        mapped = getattr(address, "ipv4_mapped", None) or address
        assert held.hold(str(address)) is any(mapped in network for network in networks)


@pytest.mark.parametrize(
    ("denied", "allowed", "host", "admitted"),
    [
        ("", "", "203.0.113.7", True),
        ("203.0.113.7", "", "203.0.113.7", False),
        ("203.0.113.7", "", "::ffff:203.0.113.7", False),
        ("::ffff:203.0.113.7", "", "203.0.113.7", False),
        ("::ffff:203.0.113.7", "", "::ffff:203.0.113.7", False),
        ("::ffff:203.0.113.0/120", "", "203.0.113.8", False),
        ("", "::ffff:203.0.113.0/120", "203.0.113.8", True),
        ("", "::ffff:203.0.113.0/120", "::ffff:203.0.114.8", False),
        ("::/0", "", "203.0.113.7", True),
        ("203.0.113.7", "", "203.0.113.8", True),
        ("", "203.0.113.0/24", "203.0.113.8", True),
        ("", "203.0.113.0/24", "203.0.114.8", False),
        ("203.0.113.8", "203.0.113.0/24", "203.0.113.8", False),
        ("", "203.0.113.0/24", "", True),
        ("fe80::/10", "", "fe80::1%eth0", False),
        # of another kind: it does not concern addresses
        ("", "2vxsx-fae", "203.0.114.8", True),
    ],
)
def test_addresses(denied: str, allowed: str, host: str, admitted: bool) -> None:
    rules = AccessRules(parse_access_list(denied), parse_access_list(allowed))
    assert rules.admits_address(host) is admitted


def test_principals() -> None:
    anonymous, other = Principal.from_text("2vxsx-fae").raw, Principal.from_text("aaaaa-aa").raw
    denies = AccessRules(denied=parse_access_list("2vxsx-fae"))
    allows = AccessRules(allowed=parse_access_list("2vxsx-fae"))
    assert [rules.admits_principal(anonymous) for rules in (EVERYBODY, denies, allows)] == [True, False, True]
    assert [rules.admits_principal(other) for rules in (EVERYBODY, denies, allows)] == [True, True, False]


def test_lists_together() -> None:
    one, two = parse_access_list(LIST), parse_access_list("198.51.100.0/24\n192.0.2.0/28\naaaaa-aa\n")
    both = AccessList.joined([one, two])
    assert both.size == one.size + two.size
    for host in ("203.0.113.7", "198.51.100.9", "192.0.2.9", "2001:db8::1"):
        assert both.networks.hold(host)
    assert not both.networks.hold("192.0.2.99")
    assert both.principals == one.principals | two.principals
    assert (len(one.networks), one.networks.hold("192.0.2.9")) == (3, False), "the parts stay what they were"
    assert AccessList.joined([one]) is one


def test_no_client_is_admitted_while_it_is_unknown_which_ones_may() -> None:
    rules = AccessRules(unknown=True)
    for host in ("192.0.2.1", "::1", "unix"):
        assert not rules.admits_address(host)
    assert not rules.admits_principal(b"\x04")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        (" https://lists.example/deny.list?team=a ", "https://lists.example/deny.list?team=a"),
        ("http://127.0.0.1:8000/deny", "http://127.0.0.1:8000/deny"),
        ("http://localhost/deny", "http://localhost/deny"),
        ("none", None),
        ("", None),
    ],
)
def test_urls_of_lists(text: str, url: str | None) -> None:
    assert LIST_URL.parse(text) == url
    assert LIST_URL.parse(LIST_URL.show(url)) == url


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/etc/icws/deny.list", "is not a URL such as https://"),
        ("ftp://lists.example/deny", "is not a URL such as https://"),
        ("https://", "is not a URL such as https://"),
        ("https://lists.example/deny#part", "is not a URL such as https://"),
        ("https://lists.example/d\u00e9ny", "is not a URL such as https://"),
        ("https://lists.example:port/", "is not a URL: "),
        ("https://user:word@lists.example/", "has no user and no password"),
        ("http://lists.example/deny", "fetched by https, or by http from this machine"),
    ],
)
def test_what_is_no_url_of_a_list(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        LIST_URL.parse(text)
