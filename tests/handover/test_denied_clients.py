"""Clients that the new process does not admit: they are closed once it has taken over, and their streams stay whole."""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from icwsgw.admin.control import Control, Overrides
from icwsgw.config.access_list import AccessRules, parse_access_list
from icwsgw.core.close_reasons import CloseCode
from icwsgw.devnet.canisters import CHAT_ID, ECHO_ID
from icwsgw.handover.channel import Channel
from icwsgw.handover.receiving import Receiving, Source
from icwsgw.handover.service_state import Handed
from icwsgw.ic.principal import Principal
from tests.gateway.test_gateway_handover import successor
from tests.memory.world import World
from tests.support.handover_state import PlainTransport, WireClient, plain_sockets, service_around
from tests.support.ws_wire import handshake, read_frames

#: The frame of which the client has got the beginning, and one that waits behind it.
BEGUN, WHOLE = b"\x82\x0aThe begun ", b"\x82\x05whole"
LEFT = 6


@pytest.fixture(autouse=True)
def unfrozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other tests of this process shall not keep what these have made."""
    monkeypatch.setattr(gc, "freeze", lambda: None)


def sent_by(service: Any) -> tuple[Channel, Channel]:
    """Both ends of a channel through which a service has handed over, its own one last."""
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    other, handed = Channel(theirs), Handed(service)
    for document, sockets in handed.documents():
        other.send(document, sockets)
    other.send({"go": True})
    handed.detach()
    service.gateway.stop()
    return Channel(ours), other


class Upgrade:
    """A gateway with clients, and the one that takes over from it."""

    def __init__(self) -> None:
        self.world = World()
        self.old = service_around(self.world, self.world.gateway)
        self.gateway = successor(self.world)
        self.new = service_around(self.world, self.gateway)
        # as GatewayService does
        self.new.override = Control(self.gateway).override
        # as Successor and Passage do
        self.gateway.served_elsewhere = True

    def open(self, canister: Principal = ECHO_ID, origin: str = "") -> WireClient:
        """A client of a web page."""
        client = WireClient(self.old, canister).open(*([f"Origin: {origin}"] if origin else []))
        client.send_message(b"before")
        self.world.until(lambda: client.read() and client.received)
        return client

    def slow(self, client: WireClient) -> None:
        """The client has read the beginning of a frame, and reads no more."""
        client.transport.dataBuffer = BEGUN[LEFT:]
        client.protocol._outbox.pauseProducing()
        client.protocol.deliver([WHOLE])

    def restrict(self, rules: AccessRules) -> None:
        """The new process has read access lists at its start."""
        self.gateway.restrict(rules)
        self.new.factory.restrict(rules)

    def run(self, *others: Any) -> None:
        """Hand over.

        :param others: services that hand over too, before this one
        """
        with plain_sockets():
            channels = [sent_by(service) for service in (*others, self.old)]
            Receiving(self.new, [Source(channel) for channel, _ in channels]).run()
        for channel, other in channels:
            channel.close()
            other.close()
        self.world.gateway, self.world.context = self.gateway, self.gateway.context

    def transports(self) -> list[PlainTransport]:
        return [connection.transport for connection in self.new.factory.connections]

    def codes(self) -> list[int | None]:
        """The close codes that the clients have got."""
        found: list[int | None] = []
        for transport in self.transports():
            closes = [payload for opcode, payload in read_frames(transport.value()) if opcode == 8]
            assert len(closes) <= 1
            found.append(int.from_bytes(closes[0][:2], "big") if closes else None)
        return found


def behind_unsent(transport: PlainTransport) -> list[tuple[int, int]]:
    """The frames behind what the former process had not sent: each opcode, and the close code."""
    sent, unsent = transport.value(), BEGUN[LEFT:] + WHOLE
    assert sent.startswith(unsent), "what the former process had not sent comes first"
    return [(opcode, int.from_bytes(payload[:2], "big")) for opcode, payload in read_frames(sent[len(unsent) :])]


def deny_by_configuration(upgrade: Upgrade) -> None:
    config = replace(upgrade.gateway.context.config, denied_canisters=(ECHO_ID.text,))
    upgrade.gateway.serve(config)


def deny_at_run_time(upgrade: Upgrade) -> None:
    upgrade.old.overrides = Overrides(denied=(ECHO_ID.text,))


def deny_by_list(upgrade: Upgrade) -> None:
    upgrade.restrict(AccessRules(parse_access_list(ECHO_ID.text)))


@pytest.mark.parametrize("deny", [deny_by_configuration, deny_at_run_time, deny_by_list])
def test_a_client_of_a_canister_that_is_denied_gets_whole_frames_and_one_close(
    deny: Callable[[Upgrade], None],
) -> None:
    upgrade = Upgrade()
    upgrade.slow(upgrade.open())
    deny(upgrade)
    upgrade.run()
    (transport,) = upgrade.transports()
    assert behind_unsent(transport) == [(8, CloseCode.CANISTER_NOT_ALLOWED)]
    upgrade.world.run(5)
    assert sum(upgrade.gateway.context.metrics.ws_closes.values.values()) == 1, "the canister is notified once"
    upgrade.world.check_idle()


def test_a_client_that_ends_as_it_continues_gets_whole_frames() -> None:
    """Its keep-alive is overdue by then."""
    upgrade = Upgrade()
    client = upgrade.open()
    upgrade.slow(client)
    session = client.protocol.session
    session.stream.keep_alive_late()
    session.stream.watch.acknowledged(upgrade.world.clock.seconds())
    assert session.stream.watch.due is not None
    session.stream.watch.due = upgrade.world.clock.seconds() - 1
    upgrade.run()
    (transport,) = upgrade.transports()
    assert behind_unsent(transport) == [(8, CloseCode.TOO_FAST)]


PAGE = "https://app.example"


def principal_of(client: WireClient) -> str:
    return client.identity.principal.text


def address_of(client: WireClient) -> str:
    return "192.0.2.0/28"


def origin_of(client: WireClient) -> str:
    return PAGE


@pytest.mark.parametrize("kind", [principal_of, address_of, origin_of])
@pytest.mark.parametrize("allow", [False, True], ids=["denied", "not allowed"])
def test_a_client_whom_the_lists_of_the_new_process_do_not_admit_is_closed(
    kind: Callable[[WireClient], str], allow: bool
) -> None:
    """They are read at its start, when it has no clients, and do not change afterwards."""
    upgrade = Upgrade()
    client = upgrade.open(origin=PAGE)
    if allow:
        others: dict[Any, str] = {
            principal_of: "2vxsx-fae",
            address_of: "198.51.100.1",
            origin_of: "https://other.example",
        }
        rules = AccessRules(allowed=parse_access_list(others[kind]))
    else:
        rules = AccessRules(denied=parse_access_list(kind(client)))
    upgrade.restrict(rules)
    upgrade.run()
    assert upgrade.codes() == [CloseCode.POLICY]
    upgrade.world.run(5)
    assert sum(upgrade.gateway.context.metrics.ws_closes.values.values()) == 1
    upgrade.world.check_idle()


def test_clients_whom_the_lists_of_the_new_process_admit_stay() -> None:
    upgrade = Upgrade()
    clients = [upgrade.open(origin=PAGE), upgrade.open(CHAT_ID, origin=PAGE)]
    allowed = parse_access_list("\n".join([PAGE, address_of(clients[0]), *map(principal_of, clients)]))
    upgrade.restrict(AccessRules(denied=parse_access_list("198.51.100.1\nhttps://other.example"), allowed=allowed))
    upgrade.run()
    assert upgrade.codes() == [None, None]


def test_clients_of_an_origin_that_only_the_options_do_not_allow_stay() -> None:
    """As at a reload."""
    upgrade = Upgrade()
    upgrade.open(origin=PAGE)
    factory = upgrade.new.factory
    factory.change(replace(upgrade.gateway.context.config, allowed_origins=("https://other.example",)))
    assert not factory.origins.admits(PAGE)
    upgrade.restrict(AccessRules(denied=parse_access_list("https://third.example")))
    upgrade.run()
    assert upgrade.codes() == [None]


def test_clients_stay_until_it_is_known_who_is_allowed() -> None:
    """The new process has an allow list from a URL, which is not fetched yet."""
    upgrade = Upgrade()
    client, other = upgrade.open(), upgrade.open(CHAT_ID)
    upgrade.restrict(AccessRules(denied=parse_access_list(CHAT_ID.text), unknown=True))
    upgrade.run()
    assert sorted(upgrade.codes(), key=str) == [CloseCode.CANISTER_NOT_ALLOWED, None], "who is denied is known"
    upgrade.restrict(AccessRules(allowed=parse_access_list(principal_of(other))))
    assert principal_of(client) != principal_of(other)
    assert set(upgrade.codes()) == {CloseCode.CANISTER_NOT_ALLOWED, CloseCode.POLICY}


def test_a_request_that_has_come_in_part_is_judged_too() -> None:
    upgrade = Upgrade()
    late = WireClient(upgrade.old)
    late.protocol.dataReceived(handshake()[:30])
    upgrade.restrict(AccessRules(denied=parse_access_list("192.0.2.1")))
    upgrade.run()
    assert [transport.aborted for transport in upgrade.transports()] == [True]


def test_clients_of_several_processes_are_judged_when_all_have_continued() -> None:
    """Otherwise what the first process has set at run time would end sessions of the second one too early."""
    upgrade = Upgrade()
    upgrade.slow(upgrade.open())
    upgrade.old.overrides = Overrides(denied=(ECHO_ID.text,))
    first = service_around(upgrade.world, successor(upgrade.world))
    first.overrides = upgrade.old.overrides
    upgrade.run(first)
    (transport,) = upgrade.transports()
    assert behind_unsent(transport) == [(8, CloseCode.CANISTER_NOT_ALLOWED)]
