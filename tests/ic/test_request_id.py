from __future__ import annotations

import random
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from icp_agent.agent import to_request_id

from icwsgw.errors import FormatError
from icwsgw.ic.cbor import UNDEFINED
from icwsgw.ic.principal import ANONYMOUS, Principal
from icwsgw.ic.request_id import hash_value, leb128, request_id, sleb128
from tests.support.strategies import BLOBS, TEXTS, contents, hashable_values

CANISTER = bytes.fromhex("00000000000004D2")
SPEC_EXAMPLE: dict[str, Any] = {
    "request_type": "call",
    "sender": b"\x04",
    "ingress_expiry": 1685570400000000000,
    "canister_id": CANISTER,
    "method_name": "hello",
    "arg": b"DIDL\x00\xfd*",
}

# dfinity/agent-rs (Apache-2.0), ic-transport-types/src/request_id.rs at
# a53a273ae7b821b592efa75534a2e35825687b37; the first two are the interface specification's, now and formerly.
AGENT_RS: list[tuple[dict[str, Any], str]] = [
    (SPEC_EXAMPLE, "1d1091364d6bb8a6c16b203ee75467d59ead468f523eb058880ae8ec80e2b101"),
    (
        {"request_type": "call", "canister_id": CANISTER, "method_name": "hello", "arg": b"DIDL\x00\xfd*"},
        "8781291c347db32a9d8c10eb62b710fce5a93be676474c42babc74c51858f94b",
    ),
    (
        {"sender": CANISTER, "paths": [[], [b""], [b"hello", b"world"]]},
        "97d6f297aea699aec85d3377c7643ea66db810aba5c4372fbc2082c999f452dc",
    ),
    ({"paths": []}, "99daa8c80a61e87ac1fdf9dd49e39963bfe4dafb2a45095ebf4cad72d916d5be"),
    ({"paths": [[]]}, "ea01a9c3d3830db108e0a87995ea0d4183dc9c6e51324e9818fced5c57aa64f5"),
    (
        {"foo": {"baz": "hello", "quux": 3}, "bar": b"world"},
        "3d447339cc0c2b894ee215c8141770bf4b86c72b6c37d9873213a786ec7f9f31",
    ),
    ({"x": 3, "y": "hello"}, "f9532efd31fe55f5013d84fa4e1585b9a52e6cf82842adabe22fd3ac359c4143"),
    ({"x": 7_000_000, "y": None}, "fe4c9222ee2bffbc3ff7f25510d5b258adfa38a16740050a112ccc98eb886de5"),
    ({"newtype": 673}, "87371cb37e4a28512e898a691ccbd8cd33efb902a5ac9ecf3a73e5e97f9c23f8"),
    ({"tuple": ("four", [5, 6])}, "729d2b57c442203f83b347ec644c8b38277076b5a9ebb3c2873ac64ddd793304"),
    ({"struct": {"field": b"\x0aic-request"}}, "c2b325a8f7633df8054e9bd538ac8d26dc85cba4ad542cdbfca7109e1a60cf0c"),
]


@pytest.mark.parametrize(("content", "expected"), AGENT_RS)
def test_vectors_of_the_specification_and_agent_rs(content: dict[str, Any], expected: str) -> None:
    assert request_id(content).hex() == expected


def test_a_list_of_numbers() -> None:
    assert hash_value([1, 2, 3]).hex() == "2628a7cbda257cd0dc45779e43080e0a93037468fe270faae515f7c7941069e3"


def test_negative_numbers_are_signed_leb128() -> None:
    # RFC-like examples of LEB128: DWARF 4, section 7.6, table 7.8.
    known = {2: "02", 127: "ff00", 128: "8001", -2: "7e", -127: "817f", -128: "807f", -129: "ff7e"}
    assert {number: sleb128(number).hex() for number in known} == known
    assert {n: leb128(n).hex() for n in (2, 127, 128, 129, 12857)} == {
        2: "02", 127: "7f", 128: "8001", 129: "8101", 12857: "b964",
    }  # fmt: skip
    assert hash_value(-129) == sha256(b"\xff\x7e").digest()


def test_absent_fields_do_not_count() -> None:
    assert request_id({**SPEC_EXAMPLE, "nonce": None, "sender_info": UNDEFINED}) == request_id(SPEC_EXAMPLE)


def test_principals_hash_as_their_bytes() -> None:
    content = {**SPEC_EXAMPLE, "sender": ANONYMOUS, "canister_id": Principal(CANISTER)}
    assert request_id(content) == request_id(SPEC_EXAMPLE)
    assert hash_value([ANONYMOUS]) == hash_value([memoryview(b"\x04")]) == hash_value([bytearray(b"\x04")])


@pytest.mark.parametrize(
    "value", [1.5, True, None, [None], {"a": False}, {1: b""}, {"a": {2, 3}}, object(), "\ud800", {"\ud800": 1}]
)
def test_other_values_have_no_hash(value: Any) -> None:
    with pytest.raises(FormatError):
        hash_value(value)


def test_nesting_is_bounded() -> None:
    deep_list: Any = []
    deep_map: Any = {}
    for _ in range(10_000):
        deep_list, deep_map = [deep_list], {"a": deep_map}
    for value in (deep_list, deep_map, {"a": deep_list}):
        with pytest.raises(FormatError, match="deep"):
            request_id({"x": value})


# icp-py-core hashes a map inside a list in a way of its own.
_LISTS = st.recursive(
    st.integers(0, 2**64) | st.integers(-(2**64), 2**64) | BLOBS | TEXTS,
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)
_ORACLE_VALUES = st.recursive(_LISTS, lambda inner: st.dictionaries(TEXTS, inner, max_size=4), max_leaves=12)


@given(st.dictionaries(TEXTS, _ORACLE_VALUES, max_size=6))
def test_oracle(content: dict[str, Any]) -> None:
    assert request_id(content) == to_request_id(content)


@given(st.dictionaries(TEXTS, hashable_values(), max_size=6), st.randoms(use_true_random=False))
def test_order_of_fields_does_not_count(content: dict[str, Any], chance: random.Random) -> None:
    shuffled = list(content.items())
    chance.shuffle(shuffled)
    assert request_id(dict(shuffled)) == request_id(content)


@given(contents(ANONYMOUS), st.data())
def test_every_field_counts(content: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(content)))
    assert request_id({key: value for key, value in content.items() if key != name}) != request_id(content)
