"""What the gateway writes into the log: ids that lead on, values made only when they are read, bounds."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from twisted.logger import globalLogPublisher

from icwsgw.core.session_machine import Opened, State
from icwsgw.errors import HttpError
from icwsgw.gateway.calls.close_notices import CloseNotices
from icwsgw.gateway.calls.relay import Relay, RelayOwner, request_of
from icwsgw.gateway.gateway import Gateway
from icwsgw.gateway.interfaces import Context
from icwsgw.gateway.polling.poller import Poller
from icwsgw.ic.envelope import call_content, expiry_after, sign_request
from icwsgw.ic.principal import Principal
from icwsgw.ic.request_id import request_id
from icwsgw.ic.ws import encode_batch
from icwsgw.observe.levels import DEBUG, INFO, Levels
from icwsgw.observe.logs import set_levels
from tests.support.fake_network import CANISTER, IDENTITY, NOW_NS, REPLIED_OK, envelope, make_context, rejected
from tests.support.sdk_client import SdkClient

KEY = (b"\x02" * 29, 77)


class UnauthenticatedClient:
    """A client whose ws_open no canister will execute."""

    peer = "192.0.2.1:5"
    origin = ""
    waiting_bytes = 0

    def deliver(self, frames: list[bytes], more: bool = False) -> None:
        pass

    def close(self, code: int, reason: str) -> None:
        pass

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass


class Lines:
    """The lines of our components, as (message, fields)."""

    def __init__(self) -> None:
        self.recorded: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, event: dict[str, Any]) -> None:
        if "icws_message" in event:
            self.recorded.append((event["icws_message"], dict(event["icws_fields"])))

    def of(self, message: str) -> list[dict[str, Any]]:
        return [fields for text, fields in self.recorded if text == message]


@pytest.fixture
def lines() -> Iterator[Lines]:
    set_levels(Levels())
    observer = Lines()
    globalLogPublisher.addObserver(observer)  # type: ignore[arg-type]
    yield observer
    globalLogPublisher.removeObserver(observer)  # type: ignore[arg-type]
    set_levels(Levels())


class Owner(RelayOwner):
    __slots__ = ("id",)

    def __init__(self) -> None:
        self.id = "ab-1"

    def relayed(self, envelope: Any, outcome: Any) -> None:
        pass


def test_a_call_is_named_by_its_session_and_its_request_id(lines: Lines) -> None:
    content = call_content(IDENTITY.principal, CANISTER, "ws_open", b"", expiry_after(NOW_NS, 240), b"n")
    body = sign_request(IDENTITY, content).body
    for level in (INFO, DEBUG):
        set_levels(Levels(level))
        context, network, _ = make_context()
        relay = Relay(context, CANISTER, Owner())
        opening = envelope(0, "ws_open")
        opening.body = body
        relay.open(opening)
        network.calls[0].answer(REPLIED_OK)
    # nothing at info, one of each at debug
    (call,), (ended,) = lines.of("call"), lines.of("call ended")
    assert call["session"] == ended["session"] == "ab-1"
    assert call["request"] == ended["request"] == request_id(content).hex()[:16]
    assert (call["method"], call["attempt"], ended["outcome"]) == ("ws_open", 1, "replied")


def test_what_has_no_request_id_is_logged_too() -> None:
    for body in (b"", b"1", b"\xa0", b"\xa1\x67content\x01", b"\xa1\x67content\xa1\x61a\xf6"):
        assert isinstance(request_of(body), str)


def test_a_ws_close_is_named_by_its_session(lines: Lines) -> None:
    set_levels(Levels(DEBUG))
    context, network, _ = make_context()
    CloseNotices(context).enqueue(CANISTER, 0, KEY, lambda: None, "ab-1")
    (call,) = lines.of("call")
    assert (call["session"], call["method"]) == ("ab-1", "ws_close")
    assert len(call["request"]) == 16
    network.calls[0].answer(REPLIED_OK)


@pytest.mark.parametrize("end", [HttpError(403, "no", None, "edge-7"), rejected(5, "trapped")])
def test_a_canister_that_is_gone_costs_few_lines_however_many_clients_it_had(lines: Lines, end: Any) -> None:
    context, network, _ = make_context()
    close_notices = CloseNotices(context)
    for _ in range(100):
        close_notices.enqueue(CANISTER, 0, KEY, lambda: None)
        network.calls[-1].answer(end)
    assert len(close_notices) == 0
    assert len(lines.recorded) == 10
    message, fields = lines.recorded[0]
    assert message.startswith(("ws_close not delivered", "ws_close refused"))
    assert str(fields["error"]) in ("HTTP 403: no (x-request-id edge-7)", "reject 5: trapped")


def test_a_canister_that_comes_and_goes_costs_few_lines(lines: Lines) -> None:
    context, network, clock = make_context()
    poller = Poller(context, CANISTER, 0, None)
    poller.start()
    clock.advance(0)
    good = True
    for _ in range(200):
        good = not good
        network.queries[-1].answer(encode_batch([], b"", b"", True) if good else HttpError(500))
        before = len(network.queries)
        while len(network.queries) == before:
            clock.advance(0.1)
    failures, recoveries = lines.of("poll failed"), lines.of("canister answers again")
    assert 10 <= len(failures) <= 10 * (clock.seconds() / 60 + 1)
    assert 10 <= len(recoveries) <= 10 * (clock.seconds() / 60 + 1)
    assert len(failures) < 100
    poller.stop()


def test_forged_opens_cost_few_lines(lines: Lines) -> None:
    context, network, _ = make_context()
    gateway = Gateway(context)
    for number in range(100):
        session = gateway.connect(UnauthenticatedClient())
        sdk = SdkClient(Principal(b"%02d" % number + b"\x01"))
        sdk.gateway = IDENTITY.principal
        session.received(sdk.open_payload(NOW_NS), True)
        network.calls[-1].answer(HttpError(400, "invalid signature"))
        assert session.state is State.CLOSED
    assert len(lines.of("session ended")) == 10
    assert context.log_limiter.left_out == 90


def test_unauthenticated_clients_that_leave_cost_few_lines_whatever_codes_they_choose(lines: Lines) -> None:
    context, _, _ = make_context()
    gateway = Gateway(context)
    for code in range(3000, 3100):
        gateway.connect(UnauthenticatedClient()).left(code)
    assert len(lines.of("session ended")) == 10
    assert len(context.log_limiter) == 1


def test_what_the_client_says_is_in_its_line(lines: Lines) -> None:
    context, _, _ = make_context()
    gateway = Gateway(context)
    gateway.connect(UnauthenticatedClient()).left(4000, "certificate-invalid")
    gateway.connect(UnauthenticatedClient()).left(1000)
    assert [(line["cause"], line["reason"]) for line in lines.of("session ended")] == [
        (4000, "certificate-invalid"),
        (1000, None),
    ]


def test_a_subscriber_of_many_addresses_counts_as_one_address(lines: Lines) -> None:
    context, _, _ = make_context()
    gateway = Gateway(context)
    for number in range(50):
        for peer in (f"[2001:db8::{number:x}]:5", f"2001:db8::{number:x}"):
            client = UnauthenticatedClient()
            client.peer = peer
            gateway.connect(client).left(1006)
    assert len(lines.of("session ended")) == 10
    assert len(context.log_limiter) == 1


def test_each_client_that_a_canister_has_taken_has_its_line(lines: Lines) -> None:
    context, network, _ = make_context()
    gateway = Gateway(context)
    for _ in range(100):
        session = gateway.connect(UnauthenticatedClient())
        sdk = SdkClient(CANISTER)
        sdk.gateway = IDENTITY.principal
        session.received(sdk.open_payload(NOW_NS), True)
        network.calls[-1].answer(REPLIED_OK)
        session.left(1000)
    assert len(lines.of("session ended")) == 100


def hostile(answer: Any, seconds: float) -> Context:
    """A canister that answers each question so, with a client that it has taken."""
    context, network, clock = make_context()
    poller = Poller(context, CANISTER, 0, None)
    session = Gateway(context).connect(UnauthenticatedClient())
    session.state, session.opened = State.OPEN, Opened.SPOKE
    poller.add(session, KEY)
    poller.start()
    while clock.seconds() < seconds:
        for query in [query for query in network.queries if not query.deferred.called]:
            query.answer(answer(query.nonce))
        clock.advance(0.1)
    poller.stop()
    return context


def test_a_canister_that_seems_to_be_reset_all_the_time_costs_few_lines(lines: Lines) -> None:
    lives = count()

    def answer(nonce: int) -> bytes:
        return encode_batch([(*KEY, b"g_%020d" % max(0, nonce - 1), b"%d" % next(lives))], b"", b"", True)

    context = hostile(answer, 50)
    assert context.metrics.resets.value > 20
    assert len(lines.of("canister was reset")) == 10


def test_a_canister_whose_messages_are_always_gone_costs_few_lines(lines: Lines) -> None:
    context = hostile(lambda nonce: encode_batch([(*KEY, b"g_%020d" % (nonce + 5), b"")], b"", b"", True), 50)
    assert context.metrics.gaps.value > 100
    assert len(lines.of("messages are gone from the canister's queue")) == 10
