"""The demo canisters, and what a canister is to the devnet.

A canister is an application on the CDK: three handlers, and methods of its own if it likes. The demo ones speak the
message type of ``echo.did`` and ``chat.did``: ``record { text : text }``.

==========  ===========================  ==========================================================================
canister    id                           what it does
==========  ===========================  ==========================================================================
``echo``    bkyz2-fmaaa-aaaaa-qaaaq-cai  sends every message back, byte for byte, whatever its type
``chat``    bd3sg-teaaa-aaaaa-qaaba-cai  sends every message to all its clients, the sender's short principal before
                                         it, and tells who joins, who leaves and how many there are
==========  ===========================  ==========================================================================

The two are in different subnets. With ``--echo-any`` any other id that is asked for becomes an echo canister at that
moment, so that load tests can use many.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from icwsgw.devnet.cdk import WebSocketCdk
from icwsgw.devnet.cdk_types import Trap, WsError
from icwsgw.errors import FormatError
from icwsgw.ic import candid
from icwsgw.ic.principal import Principal

ECHO_ID = Principal.from_text("bkyz2-fmaaa-aaaaa-qaaaq-cai")
CHAT_ID = Principal.from_text("bd3sg-teaaa-aaaaa-qaaba-cai")

_APP_MESSAGE = candid.Record({"text": candid.Text})


class MethodNotFound(Exception):
    """The canister has no method of this name and kind."""


def app_message(text: str) -> bytes:
    """Return the Candid of ``record { text }``."""
    return candid.encode([_APP_MESSAGE], [{"text": text}])


def app_text(message: bytes) -> str:
    """Return the text in a ``record { text }``.

    :raises FormatError: another message
    """
    (value,) = candid.decode_as(message, [_APP_MESSAGE])
    text: str = value["text"]
    return text


class Canister:
    """An application; a subclass overrides what it needs.

    A handler or method that raises :class:`~icwsgw.devnet.cdk_types.Trap` leaves the CDK's state as it was;
    attributes of its own are its own affair.

    :ivar ws: the CDK, for :meth:`~WebSocketCdk.send` and :meth:`~WebSocketCdk.close`
    """

    def __init__(self, ws: WebSocketCdk) -> None:
        self.ws = ws

    def on_open(self, client: Principal) -> None:
        """Act on a new client."""

    def on_message(self, client: Principal, message: bytes) -> None:
        """Act on a client's message, Candid bytes."""

    def on_close(self, client: Principal) -> None:
        """Act on a client that is gone."""

    def update(self, method: str, caller: Principal, arg: bytes) -> bytes:
        """Answer an update method other than the CDK's; Candid in, Candid out.

        :raises MethodNotFound: no such method
        :raises Trap: as the application likes
        """
        raise MethodNotFound(method)

    def query(self, method: str, caller: Principal, arg: bytes) -> bytes:
        """Answer a query method other than the CDK's; Candid in, Candid out.

        :raises MethodNotFound: no such method
        :raises Trap: as the application likes
        """
        raise MethodNotFound(method)


CanisterFactory = Callable[[WebSocketCdk], Canister]


class EchoCanister(Canister):
    """Sends back what it gets."""

    def on_message(self, client: Principal, message: bytes) -> None:
        self.ws.send(client, message)


def short(client: Principal) -> str:
    """Return the first two groups of a principal's text, enough to tell people in a room apart."""
    return client.text[:11]


class ChatCanister(Canister):
    """One room; who is in it is who is connected."""

    def on_open(self, client: Principal) -> None:
        self._say(f"* {short(client)} joined, {self._count()} here")

    def on_message(self, client: Principal, message: bytes) -> None:
        """Tell the room; a message of another type traps."""
        try:
            text = app_text(message)
        except FormatError as error:
            raise Trap(f"not an AppMessage: {error}") from error
        self._say(f"{short(client)}: {text}")

    def on_close(self, client: Principal) -> None:
        self._say(f"* {short(client)} left, {self._count()} here")

    def query(self, method: str, caller: Principal, arg: bytes) -> bytes:
        """Answer ``members : () -> (nat64) query``."""
        if method != "members":
            raise MethodNotFound(method)
        return candid.encode([candid.Nat64], [len(self.ws.clients)])

    def _count(self) -> int:
        return len(self.ws.clients)

    def _say(self, text: str) -> None:
        message = app_message(text)
        for member in self.ws.clients:
            try:
                self.ws.send(Principal(member.principal), message)
            except WsError:
                continue


#: What runs under the fixed ids.
DEMO_CANISTERS: dict[str, tuple[Principal, CanisterFactory]] = {
    "echo": (ECHO_ID, EchoCanister),
    "chat": (CHAT_ID, ChatCanister),
}


def module_hash(factory: CanisterFactory) -> bytes:
    """Return a stand-in for the SHA-256 of a canister's wasm module."""
    return hashlib.sha256(getattr(factory, "__qualname__", repr(factory)).encode()).digest()
