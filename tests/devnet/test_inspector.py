"""The last exchanges of a network, as the demo page shows them: a whole gateway in memory feeds them."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from icwsgw.devnet.canisters import CHAT_ID, app_message
from icwsgw.devnet.faults import InjectedFault
from icwsgw.devnet.inspected_traffic import InspectedTraffic
from icwsgw.devnet.inspector import KEEP_EXCHANGES, MAX_KEPT_CONTENT, MAX_SHOWN, Inspector
from icwsgw.errors import ConnectFailed
from icwsgw.ic import cbor, ws
from tests.memory.world import ECHO_ID, MemoryClient, World

CHECKED = "certificate, witness, content"


class Inspected(World):
    """A world whose gateway and replica feed an inspector."""

    def __init__(self, **options: Any) -> None:
        super().__init__(echo_any=False, **options)
        self.inspector = self.replica.inspector = Inspector()
        self.traffic = InspectedTraffic(self.inspector, self.now_ns)
        object.__setattr__(self.context, "tracing", self.traffic)

    def connected(self) -> MemoryClient:
        client = self.client()
        assert client.session is not None
        client.session.trace = self.traffic.connection("memory").opened(client.session.id, "memory")  # type: ignore[assignment]
        self.run(1)
        return client

    def rows(self) -> list[dict[str, Any]]:
        """The rows, as the page gets them."""
        answer = self.replica.handle("GET", "/_/exchanges", b"", "")
        results: list[Any] = []
        answer.addCallback(results.append)
        rows: list[dict[str, Any]] = json.loads(results[0][2])
        return rows


def stages(row: dict[str, Any]) -> list[str]:
    times = [ms for _, ms in row["stages"]]
    assert times == sorted(times)
    assert not times or times[0] == 0
    return [name for name, _ in row["stages"]]


def test_a_session_from_its_opening_to_its_end() -> None:
    world = Inspected(call_latency=0.1)
    client = world.connected()
    client.echoes(app_message("hello"))
    client.leave()
    world.run(2)
    opened, first, up, down, closed = world.rows()
    assert client.session is not None
    for row in (opened, first, up, down):
        assert (row["client"], row["session"]) == (client.identity.principal.text, client.session.id)
        assert row["canister"] == ECHO_ID.text
    assert (opened["direction"], opened["what"], opened["outcome"]) == ("up", "ws_open", "Ok")
    assert stages(opened) == ["gateway", "relayed", "executed"]
    assert opened["stages"][-1][1] >= 100
    assert (first["direction"], first["what"], first["value"]) == ("down", "message", "OpenMessage")
    assert (first["sequence"], first["verified"]) == (1, CHECKED)
    assert set(stages(first)) == {"canister", "polled", "delivered"}
    assert (up["what"], up["sequence"], up["value"]) == ("ws_message", 1, '{"text": "hello"}')
    assert (up["outcome"], up["verified"]) == ("Ok", "signature")
    assert set(stages(up)) == {"client", "gateway", "relayed", "executed"}
    assert (down["sequence"], down["value"], down["verified"]) == (2, '{"text": "hello"}', CHECKED)
    assert (closed["what"], closed["outcome"]) == ("ws_close", "Ok")
    assert closed["client"] == client.identity.principal.text, "of the client that has left"
    assert [row["number"] for row in world.rows()] == [1, 2, 3, 4, 5]


def test_what_a_canister_refuses() -> None:
    world = Inspected()
    client = world.connected()
    world.replica.faults.add(InjectedFault("trap", on="call", method="ws_message", message="no\x1b"))
    client.send(b"DIDL\0\0")
    world.run(2)
    row = world.rows()[-2]
    assert (row["what"], row["outcome"].partition(":")[0]) == ("ws_message", "reject 5 IC0503")
    assert "\x1b" not in row["outcome"]
    assert row["value"].startswith("not of the canister's type"), "an empty argument list is no record"


def test_what_is_refused_before_it_is_accepted() -> None:
    world = Inspected()
    world.replica.stop(ECHO_ID)
    world.connected()
    (row,) = world.rows()
    assert (row["what"], row["outcome"].partition(":")[0]) == ("ws_open", "reject 5 IC0508")


def test_messages_after_a_reset_have_rows_of_their_own() -> None:
    world = Inspected()
    client = world.connected()
    client.echoes(app_message("before"))
    world.replica.reset(ECHO_ID)
    world.run(400)
    again = world.connected()
    again.echoes(app_message("after"))
    rows = [row for row in world.rows() if row["direction"] == "down"]
    assert client.session is not None
    assert again.session is not None
    expected = [
        (session.id, value, CHECKED)
        for session, text in ((client.session, "before"), (again.session, "after"))
        for value in ("OpenMessage", json.dumps({"text": text}))
    ]
    assert [(row["session"], row["value"], row["verified"]) for row in rows if "Ack" not in row["value"]] == expected


def test_a_message_that_was_changed_on_its_way_is_wrong() -> None:
    world = Inspected()
    client = world.connected()
    for exchange in world.inspector:
        if exchange.proof is not None:
            key, content, cert, tree = exchange.proof
            exchange.proof = key, content + b"x", cert, tree
    assert client.session is not None
    assert [row["verified"][:6] for row in world.rows()] == ["signat", "WRONG:"]


def test_a_crowd_does_not_displace_a_quiet_client() -> None:
    inspector = Inspector(most=20)
    envelope = {"canister_id": ECHO_ID.raw, "method_name": "ws_open", "arg": b""}
    for number in range(4):
        inspector.relayed(b"quiet %d" % number, envelope | {"sender": b"quiet"}, number)
    for number in range(1000):
        inspector.relayed(b"%d" % number, envelope | {"sender": b"client %d" % (number % 4)}, number)
    kept = Counter(exchange.client.raw for exchange in inspector)
    assert kept == {b"quiet": 4} | {b"client %d" % number: 4 for number in range(4)}
    assert {exchange.number for exchange in inspector} == {1, 2, 3, 4, *range(989, 1005)}, "the last ones of each"


def test_old_ones_make_room_and_long_ones_are_not_kept() -> None:
    inspector = Inspector(most=3)
    content = {"sender": b"\x04", "canister_id": ECHO_ID.raw, "method_name": "ws_open", "arg": b"?"}
    for number in range(5):
        inspector.relayed(b"%d" % number, content, number)
    rows = inspector.rows(lambda canister: None, b"")
    assert [row["number"] for row in rows] == [3, 4, 5]
    message = ws.MessageArgs(b"\x04", 7, 1, 9, False, b"x" * (MAX_KEPT_CONTENT + 1))
    content |= {"method_name": "ws_message", "arg": ws.encode_message_args(message)}
    inspector.relayed(b"long", content, 10)
    content |= {"arg": ws.encode_message_args(message._replace(content=b"x" * MAX_KEPT_CONTENT))}
    inspector.relayed(b"short", content, 11)
    content |= {"arg": b"nonsense"}
    inspector.relayed(b"none", content, 12)
    long, short, none = inspector.rows(lambda canister: None, b"")
    assert (long["value"], long["bytes"] > MAX_KEPT_CONTENT) == ("", True)
    assert len(short["value"]) == MAX_SHOWN
    assert none["outcome"].startswith("its argument does not decode")
    assert Inspector()._table.most == KEEP_EXCHANGES


def test_what_is_no_answer_or_another_method_is_passed_over() -> None:
    inspector = Inspector()
    inspector.polled(ECHO_ID, b"nonsense", 1)
    inspector.relayed(b"x", {"sender": b"", "canister_id": b"", "method_name": "greet", "arg": b""}, 1)
    inspector.ended(b"x", b"", 1)
    inspector.delivered(ECHO_ID.text, b"x", "s", 1)
    inspector.given_up(b"x", "no")
    assert inspector.arrived(b"\xa0", "s", 1) == b""
    assert list(inspector) == []


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"sender": b"", "canister_id": b"", "method_name": "greet", "arg": b""},
        {"sender": b"", "canister_id": b"", "method_name": "ws_open", "arg": 5},
        {"sender": b"", "canister_id": b"", "arg": b""},
    ],
    ids=["no request", "another method", "no argument", "no method"],
)
def test_an_envelope_of_something_else_has_no_exchange(content: Any) -> None:
    inspector = Inspector()
    assert inspector.arrived(cbor.dumps({"content": content}), "s", 1) == b""
    assert list(inspector) == []


def test_the_end_of_a_call_is_reported_as_it_was() -> None:
    inspector = Inspector()
    content = {"sender": b"\x04", "canister_id": ECHO_ID.raw, "method_name": "ws_open", "arg": b""}
    outcomes: list[tuple[bytes | BaseException, str]] = [
        (ws.encode_result_ok(), "Ok"),
        (ws.encode_result_err("no\x1b room"), "Err: "),
        (b"nonsense", "a reply that does not decode: "),
        (ConnectFailed("nobody is there"), "nobody is there"),
    ]
    for number, (outcome, _) in enumerate(outcomes):
        inspector.relayed(b"%d" % number, content, 1)
        inspector.ended(b"%d" % number, outcome, 2)
        # too late: it has an end already
        inspector.given_up(b"%d" % number, "given up")
    texts = [exchange.outcome for exchange in inspector]
    assert [text.startswith(words) for text, (_, words) in zip(texts, outcomes, strict=True)] == [True] * 4
    assert "room" in texts[1]
    assert "\x1b" not in texts[1]


def polled(*contents: bytes) -> Inspector:
    """An inspector of one poll, which brings messages with these contents."""
    inspector = Inspector()
    messages = [(b"\x04", 7, b"key %d" % number, content) for number, content in enumerate(contents)]
    inspector.polled(ECHO_ID, ws.encode_batch(messages, b"cert", b"tree", True), 20)
    return inspector


MESSAGE = {"sequence_num": 3, "content": b"hi", "timestamp": 10, "is_service_message": False}


def test_a_message_that_is_polled_again_is_the_same() -> None:
    inspector = polled(cbor.dumps(MESSAGE))
    again = ws.encode_batch([(b"\x04", 7, b"key 0", cbor.dumps(MESSAGE))], b"cert", b"tree", True)
    inspector.polled(ECHO_ID, again, 30)
    (row,) = inspector.rows(lambda canister: None, b"")
    assert (row["number"], row["sequence"], row["value"], row["verified"][:6]) == (1, 3, "6869", "WRONG:")
    assert stages(row) == ["canister", "polled"]
    assert row["stages"][-1] == ["polled", 0.0], "10 ns later, not 20"


def test_the_proof_is_that_of_the_poll_before_the_delivery() -> None:
    inspector = polled(cbor.dumps(MESSAGE))
    assert inspector.rows(lambda canister: None, b"")[0]["verified"].startswith("WRONG:")
    for cert in (b"delivered", b"later"):
        batch = ws.encode_batch([(b"\x04", 7, b"key 0", cbor.dumps(MESSAGE))], cert, b"tree", True)
        inspector.polled(ECHO_ID, batch, 30)
        inspector.delivered(ECHO_ID.text, b"key 0", "s", 31)
    (exchange,) = inspector
    assert exchange.proof is not None
    assert exchange.proof[2] == b"delivered"


def test_messages_of_two_canisters_and_of_two_lives_with_one_key_are_all_kept() -> None:
    inspector = Inspector(most=3)
    steps = [(ECHO_ID, b"first"), (CHAT_ID, b"first"), (ECHO_ID, b"after a reset"), (CHAT_ID, b"after a reset")]
    for number, (canister, content) in enumerate(steps):
        message = cbor.dumps(MESSAGE | {"content": content})
        inspector.polled(canister, ws.encode_batch([(b"\x04", 7, b"key", message)], b"cert", b"tree", True), number)
        inspector.delivered(canister.text, b"key", f"session {number}", number)
    assert [(each.canister, each.content, each.session) for each in inspector] == [
        (CHAT_ID, b"first", "session 1"),
        (ECHO_ID, b"after a reset", "session 2"),
        (CHAT_ID, b"after a reset", "session 3"),
    ]
    # What was dropped is not found any more.
    assert len(inspector._newest) == 2
    for number in range(3):
        inspector.relayed(
            b"%d" % number, {"sender": b"\x04", "canister_id": b"", "method_name": "ws_open", "arg": b""}, 9
        )
    assert inspector._newest == {}
    inspector.delivered(ECHO_ID.text, b"key", "session 9", 9)


def test_of_a_long_message_only_its_size_is_kept() -> None:
    size = MAX_KEPT_CONTENT + 1
    (row,) = polled(bytes(size)).rows(lambda canister: None, b"")
    assert (row["bytes"], row["value"], row["verified"]) == (size, "", "too long to be kept")


@pytest.mark.parametrize(
    "content",
    [
        b"nonsense",
        cbor.dumps([1]),
        cbor.dumps({"sequence_num": 1}),
        cbor.dumps(MESSAGE | {"content": "text"}),
        cbor.dumps(MESSAGE | {"timestamp": "noon"}),
        cbor.dumps(MESSAGE | {"sequence_num": b"1"}),
    ],
    ids=["no CBOR", "a list", "fields are missing", "content", "timestamp", "number"],
)
def test_a_message_that_is_none_of_the_cdk_costs_itself_alone(content: bytes) -> None:
    rows = polled(content, cbor.dumps(MESSAGE)).rows(lambda canister: None, b"")
    json.dumps(rows)
    assert [(row["outcome"], row["sequence"], row["value"]) for row in rows] == [
        ("not a message of the CDK", None, ""),
        ("", 3, "6869"),
    ]


def test_a_content_without_a_known_type_is_shown_as_it_is() -> None:
    for interface in (None, "no interface", "service : {}"):
        (row,) = polled(cbor.dumps(MESSAGE)).rows(lambda canister, text=interface: text, b"")
        assert row["value"] == "6869"


def test_a_call_that_the_gateway_gives_up_says_so() -> None:
    world = Inspected()
    client = world.connected()
    world.replica.faults.add(InjectedFault("http", on="call", status=413, message="too long"))
    client.send(app_message("x"))
    world.run(2)
    row = [row for row in world.rows() if row["what"] == "ws_message"][-1]
    assert (row["outcome"], stages(row)) == ("http", ["client", "gateway"])


def test_a_replica_of_its_own_keeps_nothing() -> None:
    world = World()
    world.open()
    answer = world.replica.handle("GET", "/_/exchanges", b"", "")
    results: list[Any] = []
    answer.addCallback(results.append)
    assert json.loads(results[0][2]) == []
    assert world.replica.inspector is None
