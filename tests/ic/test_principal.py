from __future__ import annotations

import icp_principal
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.errors import FormatError
from icwsgw.ic.principal import ANONYMOUS, Principal
from tests.support.strategies import principals

# Known to everybody on the IC: ledger, NNS registry, the spec's example, the root subnet.
KNOWN = {
    "aaaaa-aa": "",
    "2vxsx-fae": "04",
    "em77e-bvlzu-aq": "abcd01",
    "rrkah-fqaaa-aaaaa-aaaaq-cai": "00000000000000010101",
    "ryjl3-tyaaa-aaaaa-aaaba-cai": "00000000000000020101",
    "2chl6-4hpzw-vqaaa-aaaaa-c": "efcdab000000000001",
}


@pytest.mark.parametrize(("text", "raw"), KNOWN.items())
def test_known_principals(text: str, raw: str) -> None:
    assert Principal.from_text(text).raw.hex() == raw
    assert Principal(bytes.fromhex(raw)).text == text
    assert str(Principal(bytes.fromhex(raw))) == text


def test_the_anonymous_one() -> None:
    assert ANONYMOUS.text == "2vxsx-fae"
    assert ANONYMOUS.is_anonymous
    assert not Principal(b"").is_anonymous


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "aaaaa",
        "aaaaa-a",
        "aaaaa-ab",
        "aaaaaaa",
        "AAAAA-AA",
        "aaaaa--aa",
        "-aaaaa-aa",
        "aaaaa-aa-",
        " aaaaa-aa",
        "aaaaa-aa\n",
        "aaaaa_aa",
        "2vxsx-faf",
        "2vxsx-fa",
        "rrkah-fqaaa-aaaaa-aaaaq-caj",
        "rrkahf-qaaa-aaaaa-aaaaq-cai",
        "rrkah-fqaaa-aaaaa-aaaaq-ca1",
        "rrkah-fqaaa-aaaaa-aaaaq-caı",
        "em77e-bvlzu-aq======",
        "a" * 1000,
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(FormatError):
        Principal.from_text(text)


def test_only_up_to_29_bytes_are_a_principal() -> None:
    assert len(Principal(bytes(29)).text) == 63
    with pytest.raises(FormatError):
        Principal(bytes(30))
    with pytest.raises(FormatError):
        Principal("2vxsx-fae")  # type: ignore[arg-type]


@given(principals())
def test_round_trip_and_oracle(principal: Principal) -> None:
    assert Principal.from_text(principal.text) == principal
    assert icp_principal.Principal(principal.raw).to_str() == principal.text
    assert icp_principal.Principal.from_str(principal.text).bytes == principal.raw


@given(st.text(max_size=70) | st.from_regex(r"[a-z2-7-]{0,70}", fullmatch=True))
def test_any_text_reads_or_is_refused(text: str) -> None:
    try:
        principal = Principal.from_text(text)
    except FormatError:
        return
    assert principal.text == text


@given(principals(), st.integers(0, 62), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567-"))
def test_one_changed_letter_is_refused(principal: Principal, at: int, letter: str) -> None:
    text = principal.text
    at %= len(text)
    changed = text[:at] + letter + text[at + 1 :]
    if changed != text:
        with pytest.raises(FormatError):
            Principal.from_text(changed)


@given(st.binary(min_size=39, max_size=100).map(b"\x30".__add__))
def test_self_authenticating_oracle(key: bytes) -> None:
    assert Principal.self_authenticating(key).raw == icp_principal.Principal.self_authenticating(key).bytes


@given(principals(), principals())
def test_equality_order_and_hash_are_those_of_the_bytes(one: Principal, other: Principal) -> None:
    assert (one == other) == (one.raw == other.raw)
    assert (one < other) == (one.raw < other.raw)
    assert (one >= other) == (one.raw >= other.raw)
    assert hash(one) == hash(Principal(one.raw))
    assert bytes(one) == one.raw


def test_other_types_are_never_equal_and_have_no_order() -> None:
    assert ANONYMOUS != "2vxsx-fae"
    assert ANONYMOUS != b"\x04"
    with pytest.raises(TypeError):
        assert ANONYMOUS < b"\x05"


def test_repr_shows_the_text() -> None:
    assert repr(ANONYMOUS) == "Principal(2vxsx-fae)"


def test_every_letter_may_end_a_text() -> None:
    ends = set()
    for number in range(256):
        for raw in (bytes([number]), bytes([number, 0, 0, 0])):
            text = Principal(raw).text
            assert text == icp_principal.Principal(raw).to_str()
            assert Principal.from_text(text).raw == raw
            ends.add(text[-1])
    assert ends >= set("xae")
