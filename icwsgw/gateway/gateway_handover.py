"""Hands the state of a gateway process over to another process, and takes it over (decision 0069).

The state is a document of plain values. :func:`gateway_document` writes it and changes nothing, so a handover that
fails costs nothing. The other process reads it with :func:`take_over_gateway`, adds the sessions with
:func:`take_over_session` when it has their connections, and ends with :func:`complete`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.session_machine import Opened, State
from icwsgw.core.written_state import Document, Fields, read_as, read_fields, write_fields
from icwsgw.errors import FormatError
from icwsgw.gateway.session import ClientSession
from icwsgw.gateway.session_handover import detach, resume, session_document, take_over
from icwsgw.observe.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterable

    from icwsgw.gateway.gateway import Gateway
    from icwsgw.gateway.interfaces import Client

_log = get_logger("handover")

#: The fields of a gateway that are handed over as they are. Session ids go on from them.
GATEWAY: Fields = {"prefix": str, "serial": int}


class DepartedClient:
    """The client of a session that has ended: it has no connection any more.

    :ivar peer, origin: its address and its web origin, for logs
    """

    waiting_bytes = 0

    def __init__(self, peer: str, origin: str = "") -> None:
        self.peer = peer
        self.origin = origin

    def deliver(self, frames: list[bytes], more: bool = False) -> None:
        """Do nothing."""

    def close(self, code: int, reason: str) -> None:
        """Do nothing."""

    def pause(self) -> None:
        """Do nothing."""

    def resume(self) -> None:
        """Do nothing."""


def client_document(client: Client) -> Document:
    """The address and the web origin of a client."""
    return {"peer": client.peer, "origin": client.origin}


def departed(document: Mapping[str, Any]) -> DepartedClient:
    """The client of a document, which has left."""
    return DepartedClient(str(document.get("peer", "")), str(document.get("origin", "")))


def gateway_document(gateway: Gateway) -> Document:
    """The state of a gateway, without its sessions, which are written with their connections."""
    return {
        **write_fields(gateway, GATEWAY),
        "registry": gateway.registry.written(),
        "replays": gateway.replays.written(),
        "ended": [
            {**session_document(session), **client_document(session.client)} for session in gateway.registry.ending
        ],
    }


def take_over_gateway(gateway: Gateway, document: Mapping[str, Any]) -> None:
    """Give a gateway without clients the state of a document.

    :raises FormatError: a value is of the wrong kind
    """
    read_fields(gateway, GATEWAY, document)
    gateway.registry.read(document.get("registry", {}))
    gateway.replays.read(document.get("replays", {}))


def take_over_session(gateway: Gateway, client: Client, document: Mapping[str, Any]) -> ClientSession:
    """Make a session as a document describes it; :func:`complete` lets it go on.

    :raises FormatError: a value is of the wrong kind
    """
    index = read_as(int, document.get("identity"), "identity")
    if not 0 <= index < len(gateway.context.identities):
        raise FormatError(f"there is no identity {index}")
    session = ClientSession(gateway, client, read_as(str, document.get("id"), "id"), index)
    take_over(session, gateway, document)
    gateway.identity_assignment.loads[index] += 1
    ended = session.state is State.CLOSED
    if ended:
        # There are no more of them than the other process had, so nobody is given up.
        gateway.registry.left(session)
    else:
        gateway.registry.sessions.add(session)
    if not ended and session.opened >= Opened.SPOKE and session.client_key is not None:
        gateway.principals.add(session.client_key[0], session)
    return session


def complete(gateway: Gateway, document: Mapping[str, Any], sessions: Iterable[ClientSession]) -> None:
    """Let the sessions go on, after those with a connection were taken over. A fault costs the session that has it.

    :param sessions: those with a connection
    """
    resuming = list(sessions)
    for ended in document.get("ended", ()):
        try:
            resuming.append(take_over_session(gateway, departed(ended), ended))
        except Exception:
            _log.failure("an ended session is not taken over")
    by_id = {session.id: session for session in resuming}
    for canister, index, state in document.get("registry", {}).get("pollers", ()):
        poller = gateway.registry.pollers.get((canister, index))
        if poller is None:
            continue
        found = ((sender, by_id.get(name)) for sender, name in state.get("senders", {}).items())
        poller.senders.update((sender, session) for sender, session in found if session is not None)
        poller.suspects.update(by_id[name] for name in state.get("suspects", ()) if name in by_id)
    for session in resuming:
        try:
            resume(session, gateway)
        except Exception:
            _log.failure("a session does not go on after the handover", session=session.id)
            session.end(CloseCode.INTERNAL, "internal error")


def detach_sessions(gateway: Gateway, sessions: Iterable[ClientSession]) -> None:
    """Forget sessions without a word to anybody, since another process goes on with them."""
    gone = [*sessions, *gateway.registry.ending]
    for session in gone:
        detach(session)
        gateway.registry.remove(session)
        gateway.registry.forget(session)
        gateway.identity_assignment.leave(session.identity_index)
        if session.client_key is not None:
            gateway.principals.remove(session.client_key[0], session)
        session.relay = session.stream = None
    gateway.close_notices.forget()
