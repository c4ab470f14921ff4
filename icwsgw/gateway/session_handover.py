"""Hands sessions over to another process, and takes them over (decision 0069).

A session is written down as plain values. The other process makes it from them, and continues: it sends the calls that
were in flight again, by the same bytes, and the network executes each only once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from icwsgw.core.backoff import PollBackoff
from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.move_machine import MoveState
from icwsgw.core.session_machine import Opened, State
from icwsgw.core.written_state import Document, Fields, read_as, read_fields, write_fields
from icwsgw.gateway.calls.relay import Relay
from icwsgw.gateway.inbound_messages import InboundMessages
from icwsgw.gateway.session import NEXT_MESSAGE_SECONDS, ClientSession
from icwsgw.gateway.spans import RelaySpans
from icwsgw.ic.principal import Principal

if TYPE_CHECKING:
    from icwsgw.gateway.gateway import Gateway


#: The fields of a session that are handed over as they are.
SESSION: Fields = {
    "state": State,
    "opened": Opened,
    "opened_at_ns": int,
    "messages_up": int,
    "messages_down": int,
    "bytes_up": int,
    "bytes_down": int,
    "cause": int,
    "started": float,
    "deadline": float,
    "move": MoveState,
}


class AbsentPoller:
    """The poller of a session that has ended: it names the canister of the session, and does nothing."""

    def __init__(self, canister: Principal, identity_index: int) -> None:
        self.canister = canister
        self.identity_index = identity_index
        self.messages_up = 0
        self.undecided: dict[ClientSession, Callable[[ClientSession, bytes], None]] = {}
        self.senders: dict[bytes, ClientSession] = {}
        self.held_clients: None = None
        self.backoff = PollBackoff(1.0, lambda: 0.0, 0.0)

    def wake(self) -> None:
        """Do nothing."""

    def holds(self, session: ClientSession) -> bool:
        """Hold no session."""
        return False

    def accepted(self, session: ClientSession, key: tuple[bytes, int]) -> ClientSession | None:
        """Do nothing."""

    def remove(self, session: ClientSession, key: tuple[bytes, int]) -> None:
        """Do nothing."""


def session_document(session: ClientSession) -> Document:
    """A session as plain values."""
    return {
        **write_fields(session, SESSION),
        "id": session.id,
        "identity": session.identity_index,
        "key": session.client_key,
        "canister": session.poller and session.poller.canister.raw,
        "relay": session.relay and session.relay.written(),
        "inbound": session.stream and session.stream.written(),
        "wait": None if session.wait is None or session.after_wait is None else list(session.after_wait),
        "trace": session.trace and session.trace.written(),
    }


def mark(session: ClientSession) -> tuple[object, ...] | None:
    """What changes whenever the document of a session at rest does; None: it is not at rest.

    To compare marks is much faster than to write documents.
    """
    relay, stream = session.relay, session.stream
    if session.state is not State.OPEN or relay is None or stream is None or session.wait is not None:
        return None
    if not relay.idle or not stream.idle:
        return None
    return (
        *(session.messages_up, session.messages_down, session.bytes_up, session.bytes_down),
        *(session.opened, session.cause, session.deadline, session.move, relay.sent),
    )


def take_over(session: ClientSession, gateway: Gateway, document: Mapping[str, Any]) -> None:
    """Give a new session the state of a document; :func:`resume` continues with it.

    :param session: made with the document's ``id`` and ``identity``
    :raises FormatError: a value is of the wrong kind
    """
    read_fields(session, SESSION, document)
    wait, key, trace = document.get("wait"), document.get("key"), document.get("trace")
    tracing = session.context.tracing
    if trace is not None and tracing is not None:
        session.trace = tracing.handed_over(session.id, trace)
    if wait is not None:
        session.after_wait = CloseCode(wait[0]), read_as(str, wait[1], "wait")
    if key is None:
        return
    session.client_key = read_as(bytes, key[0], "key"), read_as(int, key[1], "key")
    canister = session.named_canister = Principal(read_as(bytes, document.get("canister"), "canister"))
    context = session.context
    newcomer = gateway.registry.is_newcomer(canister)
    # Its signatures were checked when it came.
    opening = context.call_scheduler.opening(canister.raw, session.group, newcomer, True)
    spans = None if session.trace is None else RelaySpans(session.trace, canister.text)
    relay = session.relay = Relay(context, canister, session, opening, spans)
    relay.read(document.get("relay") or {})
    session.stream = InboundMessages(context, relay, session)
    session.stream.read(document.get("inbound") or {})
    if session.state is State.CLOSED:
        session.poller = AbsentPoller(canister, session.identity_index)
    else:
        session.poller = gateway.registry.take_over(session, canister)


def update(session: ClientSession, before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Bring a session that was taken over, and has not continued yet, to a later state.

    :param before: the document that it was made from
    :return: whether that was possible; otherwise nothing has changed, and the session has to be made anew
    :raises FormatError: a value is of the wrong kind
    """
    differing = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    known = before.get("opened", Opened.UNKNOWN) >= Opened.SPOKE
    if not differing <= (_UPDATABLE if known else _UPDATABLE - {"opened"}) or not _at_rest(before):
        return False
    if session.relay is None or session.stream is None:
        return False
    read_fields(session, {name: SESSION[name] for name in differing if name in SESSION}, after)
    if "relay" in differing:
        session.relay.read(after["relay"])
    if "inbound" in differing:
        session.stream.read(after["inbound"])
    return True


#: The parts of a session's state that may change later. Its state machine is not among them: others follow it.
_UPDATABLE = frozenset((*(name for name in SESSION if name != "state"), "relay", "inbound"))


def _at_rest(document: Mapping[str, Any]) -> bool:
    """Whether nothing waits that others have counted."""
    relay, inbound = document.get("relay") or {}, document.get("inbound") or {}
    return relay.get("current") is None and not relay.get("queue") and not inbound.get("held")


def resume(session: ClientSession, gateway: Gateway) -> None:
    """Continue with a session that was taken over."""
    ended = session.state is State.CLOSED
    if session.after_wait is not None and not ended:
        session.wait = session.context.clock.callLater(NEXT_MESSAGE_SECONDS, session.wait_over)
    relay = session.relay
    if relay is None:
        return
    if ended and relay.idle:
        # Its close notice was in progress.
        gateway.send_close_notice(session)
    else:
        relay.resume(lambda: gateway.send_close_notice(session))
    if session.stream is not None:
        # After the relay: an overdue keep-alive ends the session, which sends what is left.
        session.stream.resume()


def detach(session: ClientSession) -> None:
    """Stop without notifying the client or its canister: another process continues the session."""
    session.state = State.CLOSED
    session.stop_waiting()
    if session.stream is not None:
        session.stream.stop()
    if session.relay is not None:
        session.relay.detach()
    if session.trace is not None:
        session.trace.left()
        session.trace = None
