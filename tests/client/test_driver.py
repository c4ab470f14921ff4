from __future__ import annotations

import random
from typing import Any

import pytest

from icwsgw.client.client_errors import QueueFull
from icwsgw.client.client_events import Disconnected, Ended, ForApplication, Output, RoomAgain
from icwsgw.client.client_machine import ClientMachine, ClientState
from icwsgw.client.driver import MAX_UNREAD, MAX_UNREAD_BYTES, ClientDriver, LinkEvents
from icwsgw.core.messages import handshake
from icwsgw.ic.bls import MAINNET_ROOT_KEY_DER
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal


class Recorder:
    """A link that records its calls."""

    driver: LinkEvents

    def another(self) -> Recorder:
        self.calls.append(("another",))
        self.second = Recorder()
        return self.second

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def open(self, url: str) -> None:
        self.calls.append(("open", url))

    def write(self, payload: bytes) -> None:
        self.calls.append(("write",))

    def ping(self) -> None:
        self.calls.append(("ping",))

    def close(self, code: int, reason: str) -> None:
        self.calls.append(("close", code))

    def abort(self) -> None:
        self.calls.append(("abort",))

    def wake_at(self, when: float | None) -> None:
        self.calls.append(("wake", when))


class Rig:
    def __init__(self, kind: type[ClientMachine] = ClientMachine) -> None:
        self.now = 0.0
        self.link = Recorder()
        self.events: list[ForApplication] = []
        chance = random.Random(1)
        machine = kind(
            ["ws://a"],
            Principal.from_text("bkyz2-fmaaa-aaaaa-qaaaq-cai"),
            Ed25519Identity(b"\1" * 32),
            MAINNET_ROOT_KEY_DER,
            chance.randbytes,
        )
        self.driver = ClientDriver(machine, self.link, lambda: self.now, lambda: 10**18, self.emit)

    def emit(self, event: ForApplication) -> None:
        self.events.append(event)


def test_a_connection_up_to_its_first_message() -> None:
    rig = Rig()
    rig.driver.start()
    rig.driver.start()
    assert rig.link.calls == [("open", "ws://a"), ("wake", 30.0)]
    rig.driver.connected()
    rig.driver.received(handshake(b"\1" * 29), binary=True)
    assert rig.link.calls[2:] == [("write",), ("ping",), ("wake", 60.0)]


class Endless(ClientMachine):
    """Always has something to send."""

    size = 1

    def payload(self, now_ns: int) -> tuple[bytes | None, list[Output]]:
        return bytes(self.size), []


def test_few_messages_are_on_the_way_that_the_gateway_has_not_read() -> None:
    rig = Rig(Endless)
    rig.driver.connected()
    count = rig.link.calls.count
    assert (count(("write",)), count(("ping",))) == (MAX_UNREAD, 1)
    # the pong is for the one message before the ping; the next ping is for the others
    rig.driver.ponged()
    assert (count(("write",)), count(("ping",))) == (MAX_UNREAD + 1, 2)
    rig.driver.ponged()
    assert (count(("write",)), count(("ping",))) == (2 * MAX_UNREAD, 3)


def test_long_messages_are_alone_on_the_way() -> None:
    rig = Rig(Endless)
    Endless.size = MAX_UNREAD_BYTES
    try:
        rig.driver.connected()
        rig.driver.ponged()
    finally:
        Endless.size = 1
    assert rig.link.calls == [("write",), ("ping",), ("write",), ("ping",)]


def test_a_timer_is_set_again_only_where_it_changes() -> None:
    rig = Rig()
    rig.driver.start()
    rig.driver.lost(1006, "")
    (disconnected,) = rig.events
    assert isinstance(disconnected, Disconnected)
    assert rig.link.calls[-1] == ("wake", disconnected.pause)
    rig.driver.send(b"m")
    assert len([call for call in rig.link.calls if call[0] == "wake"]) == 2
    # a timer that comes too early is set again
    rig.driver.tick()
    assert rig.link.calls[-1] == ("wake", disconnected.pause)
    rig.now = disconnected.pause
    rig.driver.tick()
    assert ("open", "ws://a") in rig.link.calls[-2:]


def test_what_a_callback_does_comes_after_its_cause() -> None:
    rig = Rig()

    def stop(event: ForApplication) -> None:
        rig.events.append(event)
        if isinstance(event, Disconnected):
            rig.driver.stop()

    rig.driver._emit = stop
    rig.driver.start()
    rig.driver.lost(1006, "")
    assert [type(event) for event in rig.events] == [Disconnected, Ended]
    assert rig.driver.machine.state is ClientState.CLOSED
    assert rig.link.calls[-1] == ("wake", None)


def test_room_that_a_withdrawn_message_leaves_is_reported() -> None:
    rig = Rig()
    handles = [rig.driver.send(b"m") for _ in range(1000)]
    with pytest.raises(QueueFull):
        rig.driver.send(b"too much")
    for handle in handles[:500]:
        assert rig.driver.waits(handle)
        rig.driver.withdraw(handle)
        assert not rig.driver.waits(handle)
    assert rig.events == [RoomAgain()]


def test_an_exception_of_what_it_calls_costs_no_timer() -> None:
    rig = Rig()

    def broken(event: ForApplication) -> None:
        rig.events.append(event)
        raise KeyError("a mistake")

    rig.driver._emit = broken
    rig.driver.start()
    with pytest.raises(KeyError, match="a mistake"):
        rig.driver.lost(1006, "")
    (disconnected,) = rig.events
    assert isinstance(disconnected, Disconnected)
    assert rig.link.calls[-1] == ("wake", disconnected.pause)


def test_http_refusals_and_aborts() -> None:
    rig = Rig()
    rig.driver.start()
    rig.driver.refused(403, "Forbidden")
    assert isinstance(rig.events[-1], Ended)
    rig = Rig()
    rig.driver.start()
    rig.driver.stop()
    assert ("abort",) in rig.link.calls
    rig.driver.lost(1006, "")
    assert isinstance(rig.events[-1], Ended)
