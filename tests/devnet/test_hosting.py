from __future__ import annotations

import pytest

from icwsgw.devnet.canisters import ECHO_ID, Canister
from icwsgw.devnet.cdk_types import Trap
from icwsgw.devnet.hosting import CdkSettings
from icwsgw.errors import CanisterRefused, Rejected
from icwsgw.ic import ws
from icwsgw.ic.principal import Principal
from tests.support.devnet import GATEWAY, Net, identity

ALICE = identity(1)


class Odd(Canister):
    """Methods of its own, and a temper."""

    def on_message(self, client: Principal, message: bytes) -> None:
        self.ws.send(client, b"before the trap")
        raise Trap("no")

    def update(self, method: str, caller: Principal, arg: bytes) -> bytes:
        if method == "large":
            return bytes(int(arg))
        if method == "twice":
            return arg * 2
        return super().update(method, caller, arg)

    def query(self, method: str, caller: Principal, arg: bytes) -> bytes:
        if method == "trap":
            raise Trap("in a query")
        if method == "large":
            return bytes(int(arg))
        return caller.raw


@pytest.fixture
def net() -> Net:
    return Net(canisters={"odd": (ECHO_ID, Odd)})


def rejected(act: object, *arguments: object) -> tuple[int, str | None]:
    with pytest.raises(Rejected) as caught:
        act(*arguments)  # type: ignore[operator]
    return caught.value.code, caught.value.error_code


def test_methods_of_the_applications_own(net: Net) -> None:
    assert net.call(ALICE, "twice", b"ab") == b"abab"
    assert net.query(ALICE, "whoami", b"") == ALICE.principal.raw
    assert net.query(None, "whoami", b"") == b"\x04"


def test_what_is_rejected_and_how(net: Net) -> None:
    assert rejected(net.call, ALICE, "absent", b"") == (5, "IC0536")
    for attempt, most in ((net.call, 2 << 20), (net.query, 3 << 20)):
        assert len(attempt(ALICE, "large", b"%d" % most)) == most
        assert rejected(attempt, ALICE, "large", b"%d" % (most + 1)) == (5, "IC0504")
    assert rejected(net.query, ALICE, "trap", b"") == (5, "IC0503")
    # An update method is no query method.
    assert rejected(Net().query, ALICE, "ws_open", b"") == (5, "IC0536")


@pytest.mark.parametrize("method", ["ws_open", "ws_close", "ws_message"])
def test_arguments_that_do_not_decode_trap(net: Net, method: str) -> None:
    assert rejected(net.call, ALICE, method, b"DIDL\0\0") == (5, "IC0503")


def test_a_poll_that_does_not_decode_traps(net: Net) -> None:
    assert rejected(net.query, GATEWAY, "ws_get_messages", b"nonsense") == (5, "IC0503")


def test_a_trap_leaves_no_trace(net: Net) -> None:
    net.open(ALICE)
    for _ in range(2):
        assert rejected(net.send_message, ALICE, 1, b"x") == (5, "IC0503")
    assert net.received() == [ws.OpenMessage(ALICE.principal.raw, 0)]


def test_the_cdks_refusals_are_replies(net: Net) -> None:
    with pytest.raises(CanisterRefused, match="is not registered"):
        net.leave(ALICE)


def test_a_poll_as_an_update_has_no_certificate() -> None:
    net = Net()
    arg = ws.encode_get_messages(0)
    assert ws.parse_get_messages(net.call(GATEWAY, "ws_get_messages", arg)).end_of_queue is True
    net.open(ALICE)
    assert rejected(net.call, GATEWAY, "ws_get_messages", arg) == (5, "IC0503")


def test_an_answer_larger_than_the_ic_allows_is_refused() -> None:
    net = Net()
    net.open(ALICE)
    for number in range(1, 5):
        net.send_message(ALICE, number, bytes(1_000_000))
    assert rejected(net.poll) == (5, "IC0504")
    assert len(net.poll(3).messages) == 2


def test_an_error_of_the_cdk_in_a_method_of_the_application_is_a_trap() -> None:
    class Sender(Canister):
        def update(self, method: str, caller: Principal, arg: bytes) -> bytes:
            self.ws.send(ALICE.principal, b"kept only if the next one works")
            self.ws.send(identity(7).principal, b"x")
            return b""

        query = update

    net = Net(canisters={"sender": (ECHO_ID, Sender)})
    net.open(ALICE)
    assert rejected(net.call, ALICE, "any", b"") == (5, "IC0503")
    assert rejected(net.query, ALICE, "any", b"") == (5, "IC0503")
    assert len(net.received()) == 1


def test_a_reset_forgets_clients_queues_and_nonces() -> None:
    net = Net()
    net.open(ALICE)
    net.send_message(ALICE, 1, "before")
    net.replica.reset(ECHO_ID)
    assert net.poll().messages == []
    with pytest.raises(CanisterRefused, match="doesn't have an open connection"):
        net.send_message(ALICE, 2, "after")
    net.open(ALICE, 1)
    batch = net.poll()
    assert [ws.nonce_of_key(message[2]) for message in batch.messages] == [0]


def test_a_stopped_canister_makes_no_rounds() -> None:
    net = Net(settings=CdkSettings(ack_interval_ms=10_000, keep_alive_timeout_ms=5_000))
    net.open(ALICE)
    net.replica.stop(ECHO_ID)
    net.advance(100, step=5)
    net.replica.start(ECHO_ID)
    assert [type(each) for each in net.received()] == [ws.OpenMessage]
    net.advance(0)
    # A send removes what is older than an interval.
    assert [type(each) for each in net.received()] == [ws.AckMessage]
    # The client has time for its answer.
    net.advance(4.9)
    assert [type(each) for each in net.received()] == [ws.AckMessage]
    net.advance(0.1)
    assert [type(each) for each in net.received()] == [ws.AckMessage, ws.CloseMessage]


def test_a_reset_restarts_the_rounds() -> None:
    net = Net()
    net.advance(200)
    net.replica.reset(ECHO_ID)
    net.open(ALICE)
    net.advance(299)
    assert len(net.poll().messages) == 1
    net.advance(1)
    assert net.received(1) == [ws.AckMessage(0)]


def test_a_stopped_canister_rejects_until_it_is_started() -> None:
    net = Net()
    net.open(ALICE)
    net.replica.stop(ECHO_ID)
    assert rejected(net.send_message, ALICE, 1, "x") == (5, "IC0508")
    assert rejected(net.poll) == (5, "IC0508")
    net.replica.start(ECHO_ID)
    net.send_message(ALICE, 1, "x")


def test_settings() -> None:
    settings = CdkSettings()
    assert (settings.ack_interval_ms, settings.keep_alive_timeout_ms, settings.max_messages) == (300_000, 60_000, 50)
    assert CdkSettings(ack_interval_ms=2000).keep_alive_timeout_ms == 1000
    for wrong in ({"ack_interval_ms": 10, "keep_alive_timeout_ms": 10}, {"max_messages": 0}, {"ack_interval_ms": 1}):
        with pytest.raises(ValueError, match=r"longer|at least"):
            CdkSettings(**wrong)


def test_settings_reach_the_canisters() -> None:
    net = Net(settings=CdkSettings(ack_interval_ms=2000, max_messages=1))
    net.open(ALICE)
    net.advance(2)
    assert net.received(1) == [ws.AckMessage(0)]
    assert net.poll().end_of_queue is False
    net.advance(1.001)
    assert net.received(2) == [ws.CloseMessage("KeepAliveTimeout")]
