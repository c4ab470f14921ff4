"""The demo canisters, and the base class of the devnet's canisters.

A canister is an application on the CDK: it has three handlers and optionally further methods. The demo canisters use
the message type of ``echo.did`` and ``chat.did``: ``record { text : text }``.

==========  ===========================  ==========================================================================
canister    id                           what it does
==========  ===========================  ==========================================================================
``echo``    bkyz2-fmaaa-aaaaa-qaaaq-cai  sends every message back unchanged, whatever its type
``chat``    bd3sg-teaaa-aaaaa-qaaba-cai  sends every message to all its clients, preceded by the sender's short
                                         principal, and announces who joins, who leaves and how many are present
``ping``    bnz7o-iuaaa-aaaaa-qaaaa-cai  greets with ``ping`` and answers ``TEXT ping``, as the integration tests of the
                                         Rust gateway expect
==========  ===========================  ==========================================================================

``echo`` and ``chat`` are in different subnets. With ``--echo-any``, the first request to any other id creates an echo
canister there, so that load tests can use many canisters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from icwsgw.devnet.cdk import WebSocketCdk
from icwsgw.devnet.cdk_types import Trap, WsError
from icwsgw.errors import FormatError
from icwsgw.ic import candid
from icwsgw.ic.principal import Principal

ECHO_ID = Principal.from_text("bkyz2-fmaaa-aaaaa-qaaaq-cai")
CHAT_ID = Principal.from_text("bd3sg-teaaa-aaaaa-qaaba-cai")
PING_ID = Principal.from_text("bnz7o-iuaaa-aaaaa-qaaaa-cai")

_APP_MESSAGE = candid.Record({"text": candid.Text})


class MethodNotFound(Exception):
    """The canister has no method of this name and kind."""


def app_message(text: str) -> bytes:
    """Return the Candid of ``record { text }``."""
    return candid.encode([_APP_MESSAGE], [{"text": text}])


def app_text(message: bytes) -> str:
    """Return the text in a ``record { text }``.

    :raises FormatError: the message has another type
    """
    (value,) = candid.decode_as(message, [_APP_MESSAGE])
    text: str = value["text"]
    return text


class Canister:
    """An application on the CDK. A subclass overrides the handlers and methods that it needs.

    If a handler or method raises :class:`~icwsgw.devnet.cdk_types.Trap`, the CDK's state is restored, but the
    subclass's attributes are not.

    :ivar ws: the CDK, for :meth:`~WebSocketCdk.send` and :meth:`~WebSocketCdk.close`
    :ivar candid: the description of its interface, public metadata ``candid:service``; None: there is none
    """

    candid: str | None = None

    def __init__(self, ws: WebSocketCdk) -> None:
        self.ws = ws

    def debug_print(self, text: str) -> None:
        """Write to the canister's log."""
        self.ws.debug_print(text)

    def set_timer(self, delay: float, act: Callable[[], object]) -> int:
        """Call ``act`` in ``delay`` seconds, see :meth:`CanisterTimers.set_timer`. Timers end with an upgrade."""
        return self.ws.timers.set_timer(delay, act)

    def set_timer_interval(self, interval: float, act: Callable[[], object]) -> int:
        """Call ``act`` every ``interval`` seconds, see :meth:`CanisterTimers.set_timer_interval`."""
        return self.ws.timers.set_timer_interval(interval, act)

    def clear_timer(self, number: int) -> None:
        """End the timer that :meth:`set_timer` or :meth:`set_timer_interval` has returned."""
        self.ws.timers.clear_timer(number)

    def on_open(self, client: Principal) -> None:
        """Handle a new client."""

    def on_message(self, client: Principal, message: bytes) -> None:
        """Handle a client's message (Candid bytes)."""

    def on_close(self, client: Principal) -> None:
        """Handle the removal of a client."""

    def update(self, method: str, caller: Principal, arg: bytes) -> bytes:
        """Run an update method other than the CDK's. Argument and result are Candid.

        :raises MethodNotFound: no such method
        :raises Trap: the application traps
        """
        raise MethodNotFound(method)

    def query(self, method: str, caller: Principal, arg: bytes) -> bytes:
        """Run a query method other than the CDK's. Argument and result are Candid.

        :raises MethodNotFound: no such method
        :raises Trap: the application traps
        """
        raise MethodNotFound(method)


CanisterFactory = Callable[[WebSocketCdk], Canister]


def _interface(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


class EchoCanister(Canister):
    """Sends every message back to its sender."""

    candid = _interface("echo.did")

    def on_message(self, client: Principal, message: bytes) -> None:
        self.ws.send(client, message)


def short(client: Principal) -> str:
    """Return the first two groups of a principal's text, which suffice to distinguish the clients of a chat."""
    return client.text[:11]


class ChatCanister(Canister):
    """A chat with one room, whose members are the connected clients."""

    candid = _interface("chat.did")

    def on_open(self, client: Principal) -> None:
        self._say(f"* {short(client)} joined, {self._count()} here")

    def on_message(self, client: Principal, message: bytes) -> None:
        """Send the message to all members; a message of another type traps."""
        self._say(f"{short(client)}: {_text_of(message)}")

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


class PingCanister(Canister):
    """Greets with ``ping``, and answers each text with itself and ``ping``."""

    def on_open(self, client: Principal) -> None:
        self.ws.send(client, app_message("ping"))

    def on_message(self, client: Principal, message: bytes) -> None:
        """Answer the client; a message of another type traps."""
        self.ws.send(client, app_message(f"{_text_of(message)} ping"))


def _text_of(message: bytes) -> str:
    """Return the text in a ``record { text }``.

    :raises Trap: the message has another type
    """
    try:
        return app_text(message)
    except FormatError as error:
        raise Trap(f"not an AppMessage: {error}") from error


#: The canisters of a network that names no others: id and application by name.
DEFAULT_CANISTERS: dict[str, tuple[Principal, CanisterFactory]] = {
    "echo": (ECHO_ID, EchoCanister),
    "chat": (CHAT_ID, ChatCanister),
}
#: The canisters of the devnet's programs.
DEMO_CANISTERS: dict[str, tuple[Principal, CanisterFactory]] = {**DEFAULT_CANISTERS, "ping": (PING_ID, PingCanister)}


def module_hash(factory: CanisterFactory) -> bytes:
    """Return a stand-in for the SHA-256 of a canister's wasm module: that of its source, if it is known."""
    known: bytes | None = getattr(factory, "module_hash", None)
    return known or hashlib.sha256(getattr(factory, "__qualname__", repr(factory)).encode()).digest()
