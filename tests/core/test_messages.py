from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.messages import (
    MAX_CLIENT_SKIPPED,
    MAX_CONTENT_ITEMS,
    BatchFramer,
    frame,
    frame_header,
    handshake,
    is_acknowledgement,
    message_place,
    message_timestamp,
    parse_client_frame,
    payload_of,
)
from icwsgw.errors import FormatError
from icwsgw.ic import cbor
from icwsgw.ic.fields import ENVELOPE, loads_known
from icwsgw.ic.ws import AckMessage, KeepAliveMessage, OpenMessage, encode_service_message
from tests.support.strategies import cbor_values, damaged
from tests.support.ws_wire import read_frames

CONTENT: dict[str, Any] = {
    "request_type": "call",
    "canister_id": b"\x00\x00\x00\x00\x00\x00\x00\x01\x01\x01",
    "method_name": "ws_open",
    "arg": b"DIDL\x00\x00",
    "sender": b"\x01" * 29,
    "ingress_expiry": 1_700_000_000_000_000_000,
    "nonce": b"\x07" * 16,
}


def envelope(**changes: Any) -> dict[str, Any]:
    content = {**CONTENT, **changes}
    content = {key: value for key, value in content.items() if value is not ...}
    return {"content": content, "sender_pubkey": b"key", "sender_sig": b"sig"}


def client_frame(inner: Any, tagged: bool = True) -> bytes:
    return (cbor.SELF_DESCRIBE if tagged else b"") + cbor2.dumps({"envelope": inner})


@pytest.mark.parametrize("tagged", [True, False])
def test_an_envelope_is_read_and_its_bytes_are_untouched(tagged: bool) -> None:
    inner = envelope()
    inner["content"]["sender_info"] = {"info": b"new in some later version", "signer": b"x", "sig": b"y"}
    parsed = parse_client_frame(client_frame(inner, tagged))
    assert parsed.body == cbor.SELF_DESCRIBE + cbor2.dumps(inner)
    assert (parsed.method_name, parsed.arg, parsed.sender) == ("ws_open", b"DIDL\x00\x00", b"\x01" * 29)
    assert parsed.canister_id == CONTENT["canister_id"]
    assert parsed.ingress_expiry == CONTENT["ingress_expiry"]


def test_unusual_but_sound_encodings_are_relayed_as_they_are() -> None:
    inner = cbor2.dumps(envelope())
    # other keys around it, maps of indefinite length, a long form of the key's length
    for head, tail in [
        (b"\xa2\x61x\x01\x68envelope", b""),
        (b"\xbf\x68envelope", b"\xff"),
        (b"\xa1\x78\x08envelope", b""),
        (b"\xa1\x68envelope" + cbor.SELF_DESCRIBE, b""),
    ]:
        assert parse_client_frame(head + inner + tail).body == cbor.SELF_DESCRIBE + inner


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        cbor2.dumps(1),
        cbor2.dumps([]),
        cbor2.dumps({}),
        client_frame(None),
        client_frame({}),
        client_frame({"content": []}),
        client_frame(envelope(request_type="query")),
        client_frame(envelope(request_type=...)),
        client_frame(envelope(sender=...)),
        client_frame(envelope(sender="text")),
        client_frame(envelope(sender=bytes(30))),
        client_frame(envelope(canister_id=None)),
        client_frame(envelope(method_name=b"ws_open")),
        client_frame(envelope(arg="text")),
        client_frame(envelope(ingress_expiry=-1)),
        client_frame(envelope(ingress_expiry=1.5)),
        client_frame(envelope(ingress_expiry=1 << 64)),
        client_frame(envelope(ingress_expiry=True)),
        client_frame(envelope()) + b"\x00",
        client_frame({**envelope(), "sender_delegation": {}} | {"sender_delegation": {"a": 1}}),
        client_frame({**envelope(), "sender_delegation": [1]}),
        client_frame({**envelope(), "sender_delegation": [{"delegation": {"permissions": "queries"}}]}),
        b"\x81" * 100_000,
    ],
)
def test_whatever_is_no_call_is_refused_in_words(payload: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        parse_client_frame(payload)
    assert str(caught.value)


def test_a_key_with_a_tag_is_refused() -> None:
    """CBOR reads it as the same key, but its bytes are not where the envelope's are looked for."""
    odd = client_frame(envelope()).replace(b"\x68envelope", cbor.SELF_DESCRIBE + b"\x68envelope", 1)
    assert cbor2.loads(odd).keys() == {"envelope"}
    with pytest.raises(FormatError, match="the key of the envelope is not plain text"):
        parse_client_frame(odd)


@given(st.binary(max_size=300))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(FormatError):
        parse_client_frame(noise)


@given(st.data())
def test_damage_is_refused_or_harmless(data: st.DataObject) -> None:
    sound = bytearray(client_frame(envelope()))
    for _ in range(data.draw(st.integers(1, 4))):
        sound[data.draw(st.integers(0, len(sound) - 1))] = data.draw(st.integers(0, 255))
    try:
        parsed = parse_client_frame(bytes(sound))
    except FormatError:
        return
    assert parsed.body.startswith(cbor.SELF_DESCRIBE)


def test_delegations_for_calls_pass() -> None:
    inner = {**envelope(), "sender_delegation": [{"delegation": {"pubkey": b"k", "expiration": 1}, "signature": b"s"}]}
    assert parse_client_frame(client_frame(inner)).method_name == "ws_open"


def test_the_handshake_is_what_the_sdk_expects() -> None:
    assert handshake(b"\x01\x02") == cbor.SELF_DESCRIBE + cbor2.dumps({"gateway_principal": b"\x01\x02"})


@given(st.sampled_from([0, 1, 125, 126, 127, 65535, 65536, 70_000]))
def test_frames_of_all_lengths(size: int) -> None:
    payload = bytes(size)
    assert read_frames(frame(payload)) == [(2, payload)]
    assert payload_of(frame(payload)) == payload
    assert frame(payload).startswith(frame_header(size))


def test_a_frames_length_has_its_shortest_form() -> None:
    # a receiver may refuse any other (RFC 6455, section 5.2)
    assert [len(frame_header(size)) for size in (0, 125, 126, 65_535, 65_536)] == [2, 2, 4, 4, 10]


def test_an_expiry_may_be_any_number_of_64_bits() -> None:
    for expiry in (0, 1, (1 << 64) - 1):
        assert parse_client_frame(client_frame(envelope(ingress_expiry=expiry))).ingress_expiry == expiry


@given(st.text(max_size=90), st.binary(max_size=400), st.binary(max_size=2000), st.binary(max_size=70_000))
def test_a_batchs_frames_are_the_maps_that_the_sdk_reads(key: str, content: bytes, cert: bytes, tree: bytes) -> None:
    made = BatchFramer(cert, tree).frame(key.encode(), content)
    ((opcode, payload),) = read_frames(made)
    assert opcode == 2
    assert cbor2.loads(payload) == {"key": key, "content": content, "cert": cert, "tree": tree}
    assert list(cbor2.loads(payload)) == ["key", "content", "cert", "tree"]


def test_the_time_of_a_message() -> None:
    assert message_timestamp(cbor.dumps_tagged({"timestamp": 5, "content": b""})) == 5
    for other in (b"", b"\xff", cbor2.dumps([1]), cbor2.dumps({}), cbor2.dumps({"timestamp": "noon"})):
        assert message_timestamp(other) is None


def encoded_map(draw: st.DrawFn, entries: dict[str, bytes]) -> bytes:
    """A map of values already encoded: in any order, of definite or indefinite length, tagged or not."""
    items = draw(st.permutations(list(entries.items())))
    body = b"".join(cbor.head(3, len(key.encode())) + key.encode() + value for key, value in items)
    tag = draw(st.sampled_from([b"", cbor.SELF_DESCRIBE]))
    return tag + (b"\xbf" + body + b"\xff" if draw(st.booleans()) else cbor.head(5, len(items)) + body)


@st.composite
def client_frames(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A sound frame in any encoding, with fields that nobody knows yet, and the envelope's bytes in it."""
    strange = st.dictionaries(st.text(max_size=8).map("x-{}".format), cbor_values(), max_size=1)
    content = {key: cbor2.dumps(value) for key, value in {**CONTENT, **draw(strange)}.items()}
    around = {key: cbor2.dumps(value) for key, value in {**envelope(), **draw(strange)}.items()}
    inner = encoded_map(draw, {**around, "content": encoded_map(draw, content)})
    outer = {key: cbor2.dumps(value) for key, value in draw(strange).items()}
    return encoded_map(draw, {**outer, "envelope": inner}), inner


@given(client_frames())
def test_an_envelope_in_any_encoding_is_relayed_byte_for_byte(made: tuple[bytes, bytes]) -> None:
    payload, inner = made
    parsed = parse_client_frame(payload)
    assert parsed.body == cbor.SELF_DESCRIBE + inner.removeprefix(cbor.SELF_DESCRIBE)
    assert (parsed.sender, parsed.canister_id, parsed.arg, parsed.method_name, parsed.ingress_expiry) == tuple(
        CONTENT[key] for key in ("sender", "canister_id", "arg", "method_name", "ingress_expiry")
    )


@given(client_frames(), st.data())
def test_a_damaged_frame_is_refused_or_what_it_says_is_what_is_relayed(
    made: tuple[bytes, bytes], data: st.DataObject
) -> None:
    payload = data.draw(damaged(made[0]))
    try:
        parsed = parse_client_frame(payload)
    except FormatError:
        return
    assert parsed.body.removeprefix(cbor.SELF_DESCRIBE) in payload
    content = loads_known(parsed.body, ENVELOPE, max_depth=50)["content"]
    assert (content["sender"], content["canister_id"], content["arg"]) == (
        parsed.sender,
        parsed.canister_id,
        parsed.arg,
    )
    assert (content["method_name"], content["ingress_expiry"]) == (parsed.method_name, parsed.ingress_expiry)
    shape = {"envelope": ENVELOPE}
    again = loads_known(payload, shape, max_depth=50)["envelope"]["content"]
    assert {name: again[name] for name in CONTENT if name in again} == {
        name: content[name] for name in CONTENT if name in content
    }


def test_items_are_counted_before_they_are_made() -> None:
    targets: list[bytes] = [b"canister"] * 1000
    chain = [{"delegation": {"pubkey": b"", "expiration": 1, "targets": targets}, "signature": b""}]
    parse_client_frame(client_frame({**envelope(), "sender_delegation": chain}))
    for count in (MAX_CLIENT_SKIPPED, 60_000, 1_000_000):
        for extra in ({"x": [0] * count}, {"x": {str(number): 0 for number in range(count // 2)}}):
            with pytest.raises(FormatError, match="more than 16384 items in fields that are not known"):
                parse_client_frame(client_frame({**envelope(), **extra}))
        for known in ({"arg": [0] * count}, {"sender": {str(number): 0 for number in range(count // 2)}}):
            with pytest.raises(FormatError, match="more than 2048 items"):
                parse_client_frame(client_frame(envelope(**known)))


UNKNOWN = [
    cbor2.CBORTag(37, b"x" * 16),
    cbor2.CBORTag(1, 1),
    {1: 2, -1: [3]},
    [0] * 10_000,
    b"\x81" * 40 + b"\x80",
]


def with_unknown(value: Any, place: str) -> tuple[bytes, bytes]:
    """A client's frame with a field that nobody knows in one place; and its envelope."""
    field = b"\x61x" + (value if isinstance(value, bytes) else cbor2.dumps(value))
    delegation = {"pubkey": b"k", "expiration": 1}

    def made(name: str, fields: dict[str, Any]) -> bytes:
        body = b"".join(cbor2.dumps(key) + (v if isinstance(v, bytes) else cbor2.dumps(v)) for key, v in fields.items())
        extra = name == place
        return bytes((0xA0 | len(fields) + extra,)) + body + (field if extra else b"")

    content = made("content", {key: cbor2.dumps(each) for key, each in CONTENT.items()})
    link = {key: cbor2.dumps(each) for key, each in delegation.items()}
    entry = made("entry", {"delegation": made("delegation", link), "signature": cbor2.dumps(b"s")})
    inner = made(
        "envelope",
        {"content": content, "sender_pubkey": cbor2.dumps(b"k"), "sender_delegation": b"\x81" + entry},
    )
    return made("frame", {"envelope": inner}), inner


@pytest.mark.parametrize("place", ["frame", "envelope", "content", "entry", "delegation"])
@pytest.mark.parametrize("value", UNKNOWN, ids=["tag", "time", "integer keys", "many items", "nesting"])
def test_an_unknown_field_may_hold_anything_and_is_relayed_as_it_came(value: Any, place: str) -> None:
    payload, inner = with_unknown(value, place)
    parsed = parse_client_frame(payload)
    assert parsed.body == cbor.SELF_DESCRIBE + inner
    assert (parsed.sender, parsed.canister_id, parsed.arg, parsed.method_name, parsed.ingress_expiry) == tuple(
        CONTENT[key] for key in ("sender", "canister_id", "arg", "method_name", "ingress_expiry")
    )


def test_an_integer_key_may_stand_beside_the_envelope() -> None:
    inner = cbor2.dumps(envelope())
    assert parse_client_frame(b"\xa2\x01\x02\x68envelope" + inner).body == cbor.SELF_DESCRIBE + inner


@pytest.mark.parametrize("name", ["sender", "arg", "ingress_expiry"])
def test_a_known_field_is_read_strictly(name: str) -> None:
    for value in (cbor2.CBORTag(37, CONTENT[name]), {1: 2}):
        with pytest.raises(FormatError):
            parse_client_frame(client_frame(envelope(**{name: value})))
    twice = cbor2.dumps(name) + cbor2.dumps(CONTENT[name])
    content = cbor2.dumps({**CONTENT, "x": cbor2.CBORTag(1, 1)})
    doubled = bytes((content[0] + 1,)) + content[1:] + twice
    with pytest.raises(FormatError, match="twice"):
        parse_client_frame(b"\xa1\x68envelope\xa1\x67content" + doubled)


def test_a_content_of_too_many_items_is_not_the_cdks() -> None:
    content = {"sequence_num": 1, "timestamp": 2, "content": bytes(100_000)}
    assert message_place(cbor2.dumps(content)) == (1, 2)
    assert message_place(cbor2.dumps({**content, "content": [0] * MAX_CONTENT_ITEMS})) == (1, 2)
    assert message_place(cbor2.dumps({**content, "content": [0] * MAX_CLIENT_SKIPPED})) == (None, None)
    assert message_place(cbor2.dumps({**content, "timestamp": [0] * MAX_CONTENT_ITEMS})) == (None, None)


def canister_frame(content: bytes) -> bytes:
    return BatchFramer(b"certificate", b"tree").frame(b"key", content)


@pytest.mark.parametrize("tagged", [True, False], ids=["as the CDK for Rust", "as the CDK for Motoko"])
def test_acknowledgements_are_distinguished_from_other_messages(tagged: bool) -> None:
    def content(service: bool, inner: bytes) -> bytes:
        message = {
            "client_key": {"client_principal": b"p", "client_nonce": 1},
            "sequence_num": 1,
            "timestamp": 2,
            "is_service_message": service,
            "content": inner,
        }
        return cbor2.dumps(cbor2.CBORTag(55799, message) if tagged else message)

    ack = encode_service_message(AckMessage(7))
    assert is_acknowledgement(canister_frame(content(True, ack)))
    assert message_place(content(True, ack)) == (1, 2)
    for other in (
        content(False, ack),
        content(True, encode_service_message(OpenMessage(b"p", 1))),
        content(True, encode_service_message(KeepAliveMessage(7))),
        content(True, b"garbage"),
        b"\x72is_service_message\xf5",
        cbor2.dumps({"is_service_message": True}),
    ):
        assert not is_acknowledgement(canister_frame(other))
    assert not is_acknowledgement(b"first frame")
    assert not is_acknowledgement(b"\x72is_service_message\xf5")


@given(st.binary(max_size=200))
def test_any_frame_may_be_looked_at(noise: bytes) -> None:
    is_acknowledgement(frame(noise + b"\x72is_service_message\xf5" + noise))
