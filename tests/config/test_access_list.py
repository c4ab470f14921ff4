"""Lists of who may connect, and who may not."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.config.access_list import EVERYBODY, AccessRules, Networks, parse_access_list
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
def test_what_is_none_is_told_with_its_line(line: str, words: str) -> None:
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
