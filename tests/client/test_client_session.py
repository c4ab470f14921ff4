from __future__ import annotations

from typing import Any

import pytest

from icwsgw.client.client_errors import MessageInvalid
from icwsgw.client.client_session import (
    Acknowledged,
    CanisterSession,
    ClosedByCanister,
    Greeted,
    MessageReceived,
    SessionOpened,
    SessionPhase,
)
from icwsgw.client.message_verifier import MessageVerifier, parse_content
from icwsgw.core.messages import handshake, parse_client_frame
from icwsgw.devnet.cdk_types import ClientKey, message_content
from icwsgw.ic import cbor, ws
from icwsgw.ic.candid import Opt, Text
from icwsgw.ic.envelope import verify_envelope
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from tests.client.test_message_verifier import CANISTER, ROOT_KEY, real, time_of

NOW = 1_700_000_000 * 10**9
GATEWAY = Ed25519Identity(b"\1" * 32).principal
CLIENT = Ed25519Identity(b"\2" * 32)
NONCE = 77


class Trusting(MessageVerifier):
    """Takes all for certified, so that a test can write its own messages."""

    def verify(self, message: Any, now_ns: int) -> None:
        assert now_ns == NOW


def new(**changes: Any) -> CanisterSession:
    return CanisterSession(CANISTER, CLIENT, NONCE, Trusting(CANISTER, ROOT_KEY), **changes)


def greeted(**changes: Any) -> CanisterSession:
    session = new(**changes)
    assert session.receive(handshake(GATEWAY.raw), NOW) == Greeted(GATEWAY)
    return session


def payload(number: int, content: Any, principal: bytes = CLIENT.principal.raw, nonce: int = NONCE) -> bytes:
    service = not isinstance(content, bytes)
    data = content if isinstance(content, bytes) else ws.encode_service_message(content)
    inner = message_content(ClientKey(principal, nonce), number, 5, service, data)
    return cbor.dumps({"key": "k", "content": inner, "cert": b"", "tree": b""})


def opened(**changes: Any) -> CanisterSession:
    session = greeted(**changes)
    assert session.receive(payload(1, ws.OpenMessage(CLIENT.principal.raw, NONCE)), NOW) == SessionOpened()
    return session


def sent(data: bytes) -> tuple[str, Any]:
    """What a gateway reads in a payload, whose signature a replica accepts."""
    envelope = parse_client_frame(data)
    assert verify_envelope(envelope.body, NOW).sender == CLIENT.principal
    assert envelope.canister_id == CANISTER.raw
    decode: Any = {"ws_open": ws.decode_open_args, "ws_message": ws.decode_message_args}[envelope.method_name]
    return envelope.method_name, decode(envelope.arg)


def test_opening() -> None:
    session = new()
    assert session.phase is SessionPhase.HANDSHAKE
    with pytest.raises(LookupError):
        session.open_payload(NOW, b"n")
    session = greeted()
    assert (session.phase, session.gateway) == (SessionPhase.OPENING, GATEWAY)
    assert sent(session.open_payload(NOW, b"n")) == ("ws_open", (NONCE, GATEWAY.raw))
    assert opened().phase is SessionPhase.OPEN


def test_a_message_of_a_real_canister_opens_no_session_of_another_client() -> None:
    """The bytes are those of a real CDK; the session is not the one for which they were made."""
    message = real("VALID_OPEN_MESSAGE")
    data = cbor.dumps(message._asdict())
    session = CanisterSession(CANISTER, CLIENT, NONCE, MessageVerifier(CANISTER, ROOT_KEY))
    session.receive(handshake(GATEWAY.raw), time_of(message))
    with pytest.raises(MessageInvalid, match="another client"):
        session.receive(data, time_of(message))


def test_a_session_of_a_real_canister() -> None:
    """The same, by the client for which they were made, whose secret key is not needed to read."""
    messages = [real(name) for name in ("VALID_OPEN_MESSAGE", "VALID_ACK_MESSAGE")]
    first = parse_content(messages[0].content)

    class Known:
        principal = Principal(first.client_principal)
        public_key_der = b""
        delegations = ()

        def sign(self, message: bytes) -> bytes:
            return bytes(64)

    session = CanisterSession(CANISTER, Known(), first.client_nonce, MessageVerifier(CANISTER, ROOT_KEY))
    session.receive(handshake(GATEWAY.raw), 0)
    assert session.receive(cbor.dumps(messages[0]._asdict()), time_of(messages[0])) == SessionOpened()
    second = parse_content(messages[1].content)
    assert second.sequence_num == 2
    service = ws.decode_service_message(second.content)
    assert isinstance(service, ws.AckMessage)
    for number in range(service.last_incoming_sequence_num):
        session.message(number, b"m", 0, b"")
    answer = session.receive(cbor.dumps(messages[1]._asdict()), time_of(messages[1]))
    assert answer in (None, Acknowledged(tuple(range(service.last_incoming_sequence_num))))
    assert session.keep_alive_due


def test_messages_are_numbered_when_they_are_made() -> None:
    session = opened()
    assert session.receive(payload(2, b"hi"), NOW) == MessageReceived(b"hi", 2, 5)
    _, first = sent(session.message(11, b"one", NOW, b"n"))
    assert first == (CLIENT.principal.raw, NONCE, 1, NOW, False, b"one")
    _, keep_alive = sent(session.keep_alive(NOW, b"n"))
    assert keep_alive[2:5] == (2, NOW, True)
    assert ws.decode_service_message(keep_alive.content) == ws.KeepAliveMessage(2)
    _, third = sent(session.message(12, b"two", NOW, b"n"))
    assert third.sequence_num == 3


def test_acknowledgements_name_the_messages() -> None:
    session = opened()
    for handle in (11, 12, 13):
        session.message(handle, b"m", NOW, b"")
    assert session.receive(payload(2, ws.AckMessage(2)), NOW) == Acknowledged((11, 12))
    assert session.keep_alive_due
    session.keep_alive(NOW, b"")
    assert not session.keep_alive_due
    assert session.uncertain() == (13,)
    # the keep-alive is nobody's message
    assert session.receive(payload(3, ws.AckMessage(4)), NOW) == Acknowledged((13,))
    assert session.receive(payload(4, ws.AckMessage(4)), NOW) is None
    assert session.uncertain() == ()


def test_the_canister_closes() -> None:
    session = opened()
    assert session.receive(payload(2, ws.CloseMessage("KeepAliveTimeout")), NOW) == ClosedByCanister("KeepAliveTimeout")
    assert session.phase is SessionPhase.CLOSED
    with pytest.raises(MessageInvalid):
        session.receive(payload(3, b"late"), NOW)


WRONG: list[tuple[bytes, str]] = [
    (payload(3, b"gap"), "sequence number 3 came instead of 2"),
    (payload(1, b"again"), "sequence number 1 came instead of 2"),
    (payload(2, b"m", principal=b"\x01"), "another client"),
    (payload(2, b"m", nonce=NONCE + 1), "another client"),
    (payload(2, ws.AckMessage(1)), "acknowledges message 1 of 0"),
    (payload(2, ws.KeepAliveMessage(0)), "KeepAliveMessage"),
    (payload(2, ws.OpenMessage(CLIENT.principal.raw, NONCE)), "not for this session"),
    (b"\xff", "not CBOR"),
]


@pytest.mark.parametrize(("data", "words"), WRONG, ids=[words for _, words in WRONG])
def test_what_is_wrong_in_an_open_session(data: bytes, words: str) -> None:
    with pytest.raises(MessageInvalid, match=words):
        opened().receive(data, NOW)


def test_an_acknowledgement_does_not_go_back() -> None:
    session = opened()
    session.message(1, b"", NOW, b"")
    session.receive(payload(2, ws.AckMessage(1)), NOW)
    with pytest.raises(MessageInvalid, match="acknowledges message 0"):
        session.receive(payload(3, ws.AckMessage(0)), NOW)


def test_what_is_wrong_before() -> None:
    for first in (b"", b"hello", cbor.dumps({}), cbor.dumps({"gateway_principal": "a"}), cbor.dumps([1])):
        with pytest.raises(MessageInvalid, match="names no gateway principal") as wrong:
            new().receive(first, NOW)
        assert "URL" in wrong.value.hint
    with pytest.raises(MessageInvalid, match="waited for the canister's OpenMessage"):
        greeted().receive(payload(1, b"early"), NOW)
    with pytest.raises(MessageInvalid, match="not for this session"):
        greeted().receive(payload(1, ws.OpenMessage(CLIENT.principal.raw, NONCE + 1)), NOW)


def test_an_unknown_service_message_is_refused() -> None:
    inner = message_content(ClientKey(CLIENT.principal.raw, NONCE), 2, 5, True, b"DIDL\0\0")
    data = cbor.dumps({"key": "k", "content": inner, "cert": b"", "tree": b""})
    with pytest.raises(MessageInvalid, match="service message is malformed"):
        opened().receive(data, NOW)


def test_the_message_type_goes_with_each_message() -> None:
    session = opened(type_argument=((Opt(Text), None),))
    plain = opened()
    assert sent(session.message(1, b"m", NOW, b"")) == sent(plain.message(1, b"m", NOW, b""))
    assert session.message(1, b"m", NOW, b"") != plain.message(1, b"m", NOW, b"")
