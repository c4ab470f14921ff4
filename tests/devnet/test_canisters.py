from __future__ import annotations

import pytest

from icwsgw.devnet.canisters import (
    CHAT_ID,
    DEMO_CANISTERS,
    ECHO_ID,
    PING_ID,
    Canister,
    MethodNotFound,
    app_message,
    app_text,
    short,
)
from icwsgw.devnet.cdk import WebSocketCdk
from icwsgw.errors import FormatError, Rejected
from icwsgw.ic import candid, ws
from icwsgw.ic.principal import Principal
from tests.support.devnet import Net, content_of, identity

ALICE, BOB = identity(1), identity(2)


def texts(net: Net, nonce: int = 0) -> list[tuple[bytes, str]]:
    """The texts of the chat room, each with its receiver."""
    messages = [(message[0], content_of(message)) for message in net.poll(nonce, canister=CHAT_ID).messages]
    return [(client, app_text(content)) for client, content in messages if isinstance(content, bytes)]


def test_the_ids_are_those_that_are_documented() -> None:
    assert (ECHO_ID.text, CHAT_ID.text) == ("bkyz2-fmaaa-aaaaa-qaaaq-cai", "bd3sg-teaaa-aaaaa-qaaba-cai")


def test_an_app_message_is_a_record_with_a_text() -> None:
    assert candid.decode(app_message("grüße"))[0] == {candid.hash_name("text"): "grüße"}
    assert app_text(app_message("grüße")) == "grüße"
    with pytest.raises(FormatError):
        app_text(candid.encode([candid.Text], ["bare"]))


def test_echo_returns_any_bytes() -> None:
    net = Net()
    net.open(ALICE)
    net.send_message(ALICE, 1, b"\0 no Candid at all")
    net.send_message(ALICE, 2, "text")
    assert net.received(1) == [b"\0 no Candid at all", app_message("text")]


def test_the_room_shows_who_comes_who_writes_and_who_goes() -> None:
    net = Net()
    a, b = short(ALICE.principal), short(BOB.principal)
    net.open(ALICE, canister=CHAT_ID)
    net.open(BOB, canister=CHAT_ID)
    net.send_message(ALICE, 1, "hello", canister=CHAT_ID)
    net.leave(BOB, canister=CHAT_ID)
    to_alice, to_bob = ALICE.principal.raw, BOB.principal.raw
    assert texts(net) == [
        (to_alice, f"* {a} joined, 1 here"),
        (to_alice, f"* {b} joined, 2 here"),
        (to_bob, f"* {b} joined, 2 here"),
        (to_alice, f"{a}: hello"),
        (to_bob, f"{a}: hello"),
        (to_alice, f"* {b} left, 1 here"),
    ]


def test_the_room_counts_its_members() -> None:
    net = Net()
    net.open(ALICE, canister=CHAT_ID)
    net.open(BOB, canister=CHAT_ID)
    assert candid.decode(net.query(None, "members", candid.encode([], []), CHAT_ID)) == [2]
    with pytest.raises(Rejected):
        net.query(None, "others", b"", CHAT_ID)


def test_the_room_traps_on_what_is_no_message_and_nothing_has_happened() -> None:
    net = Net()
    net.open(ALICE, canister=CHAT_ID)
    with pytest.raises(Rejected, match="not an AppMessage") as caught:
        net.send_message(ALICE, 1, b"nonsense", canister=CHAT_ID)
    assert (caught.value.code, caught.value.error_code) == (5, "IC0503")
    net.send_message(ALICE, 1, "sense", canister=CHAT_ID)


def test_who_times_out_has_left() -> None:
    net = Net()
    net.open(ALICE, canister=CHAT_ID)
    net.open(BOB, canister=CHAT_ID)
    net.advance(300)
    keep_alive = ws.encode_service_message(ws.KeepAliveMessage(0))
    net.send_message(ALICE, 1, keep_alive, service=True, canister=CHAT_ID)
    net.advance(60)
    assert texts(net)[-1] == (ALICE.principal.raw, f"* {short(BOB.principal)} left, 1 here")


def test_ping_as_the_rust_gateways_integration_client_plays_it() -> None:
    # tests/src/integration/client.test.ts of omnia-network/ic-websocket-gateway: 20 rounds, each appends "-pong"
    net = Net(canisters=DEMO_CANISTERS)
    net.open(ALICE, canister=PING_ID)
    expected = "ping"
    for number in range(1, 21):
        *_, last = net.received(canister=PING_ID)
        assert app_text(last) == expected
        net.send_message(ALICE, number, f"{expected}-pong", canister=PING_ID)
        expected += "-pong ping"
    with pytest.raises(Rejected, match="not an AppMessage"):
        net.send_message(ALICE, 21, b"nonsense", canister=PING_ID)


def test_a_plain_canister_has_no_methods_and_minds_nothing() -> None:
    net = Net()
    cdk = WebSocketCdk(net.clock, net.now_ns)
    canister = Canister(cdk)
    canister.on_open(ALICE.principal)
    canister.on_message(ALICE.principal, b"")
    canister.on_close(ALICE.principal)
    for ask in (canister.update, canister.query):
        with pytest.raises(MethodNotFound):
            ask("any", Principal(b"\x04"), b"")
