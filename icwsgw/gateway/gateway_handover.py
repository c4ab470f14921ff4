"""Hands the state of a gateway process over to another process, and takes it over (decision 0069).

The state is a document of plain values. :func:`gateway_document` writes it and changes nothing, so a handover that
fails costs nothing. The other process reads it with :func:`take_over_gateway`, adds the sessions with
:func:`take_over_session` when it has their connections, and ends with :func:`complete`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.session_machine import Opened, State
from icwsgw.core.written_state import Document, Fields, read_as, read_fields, write_fields
from icwsgw.errors import FormatError
from icwsgw.gateway.batches import in_batches
from icwsgw.gateway.drain import DRAINING
from icwsgw.gateway.session import ClientSession
from icwsgw.gateway.session_handover import detach, resume, session_document, take_over
from icwsgw.observe.logs import get_logger
from icwsgw.observe.tolerant import tolerate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from icwsgw.gateway.gateway import Gateway
    from icwsgw.gateway.interfaces import Client

_log = get_logger("handover")
_NOT_TAKEN = "a part of the former process's state is not taken over"

#: The fields of a gateway that are handed over as they are. Session ids continue from them.
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
    context, registry, notices = gateway.context, gateway.registry, gateway.notices()
    # the oldest first of those that may be given up
    ended = [*registry.unanswered, *(session for session in registry.ending if session not in registry.unanswered)]
    return {
        **write_fields(gateway, GATEWAY),
        "principals": [identity.principal.raw for identity in context.identities],
        "registry": registry.written(),
        "replays": gateway.replays.written(),
        "replacements": gateway.replacements.written(),
        "budget": context.budget.written(),
        "host_backoff": context.host_backoff.written(),
        "network_time": context.network.time.written(),
        "suspects": context.suspects.written(),
        "ended": [
            {**session_document(session), **client_document(session.client), "notice": notices.get(session.id)}
            for session in ended
        ],
    }


def check_identities(gateway: Gateway, document: Mapping[str, Any], numbers: Sequence[int] | None = None) -> None:
    """Check that a gateway can serve the sessions of another one.

    :param numbers: for each identity of the other one, the number of the same one here; None: they are the same
    :raises FormatError: it has other identities, by which canisters would not know the clients
    """
    ours = [identity.principal.raw for identity in gateway.context.identities]
    theirs = document.get("principals", ())
    if numbers is not None:
        ours = [ours[number] for number in numbers]
    if ours[: len(theirs)] != list(theirs):
        raise FormatError("the key or the number of identities is another one: clients cannot go on with it")


def with_identities(document: Mapping[str, Any], numbers: Sequence[int]) -> Document:
    """A document of a service in which identities have other numbers.

    :param numbers: the new number of each identity
    :raises FormatError: it has an identity that has no number
    """
    found = dict(document)
    try:
        for name in ("connections", "changed"):
            rows = document.get(name)
            if rows is not None:
                found[name] = [_renumbered(row, numbers) for row in rows]
        gateway = dict(document.get("gateway", {}))
        if "registry" in gateway:
            registry = dict(gateway["registry"])
            for name in ("positions", "pollers"):
                rows = registry.get(name, ())
                registry[name] = [[canister, numbers[index], *rest] for canister, index, *rest in rows]
            gateway["registry"] = registry
        if "ended" in gateway:
            gateway["ended"] = [{**ended, "identity": numbers[ended["identity"]]} for ended in gateway["ended"]]
        if gateway:
            found["gateway"] = gateway
    except (LookupError, TypeError, ValueError) as error:
        raise FormatError(f"identities: {error}") from None
    return found


def _renumbered(row: Any, numbers: Sequence[int]) -> Any:
    """A connection, or a number and a connection, whose session has another number of its identity."""
    if isinstance(row, list):
        return [row[0], _renumbered(row[1], numbers)]
    if not row.get("session"):
        return row
    session = row["session"]
    return {**row, "session": {**session, "identity": numbers[session["identity"]]}}


def early_document(gateway: Gateway) -> Document:
    """What sessions need that are made before the state of the gateway is final."""
    return {"registry": gateway.registry.written()}


def take_over_early(gateway: Gateway, document: Mapping[str, Any]) -> None:
    """Prepare a gateway for the sessions that come before its own state; :func:`take_over_gateway` follows.

    :raises FormatError: a value is of the wrong kind
    """
    gateway.registry.read(document.get("registry", {}))


def take_over_gateway(gateway: Gateway, document: Mapping[str, Any]) -> None:
    """Give a gateway without clients the state of a document; :func:`complete` takes what is used of limits.

    :raises FormatError: a value is of the wrong kind
    """
    read_fields(gateway, GATEWAY, document)
    context = gateway.context
    gateway.registry.read(document.get("registry", {}))
    gateway.replays.read(document.get("replays", {}))
    context.host_backoff.read(document.get("host_backoff", {}))
    context.network.time.read(document.get("network_time", {}))
    context.suspects.read(document.get("suspects", {}))


def take_over_session(gateway: Gateway, client: Client, document: Mapping[str, Any]) -> ClientSession:
    """Make a session as a document describes it; :func:`complete` lets it continue.

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
        # There are no more of them than the other process had, so none is given up.
        gateway.registry.left(session)
    else:
        gateway.registry.sessions.add(session)
    if not ended and session.opened >= Opened.SPOKE and session.client_key is not None:
        gateway.principals.count(session.client_key[0], session)
    return session


def complete(gateway: Gateway, document: Mapping[str, Any], sessions: Iterable[ClientSession]) -> None:
    """Let the sessions continue, after those with a connection were taken over. A fault costs the session that has it.

    The limits are those that hold from now on: a limit that would change later would begin with a full burst.

    :param sessions: those with a connection
    """
    resuming = list(sessions)
    notices: dict[str, Mapping[str, Any]] = {}

    def add_ended() -> None:
        for ended in document.get("ended", ()):
            try:
                resuming.append(take_over_session(gateway, departed(ended), ended))
                if ended.get("notice") is not None:
                    notices[resuming[-1].id] = ended["notice"]
            except Exception:
                _log.failure("an ended session is not taken over")

    tolerate(_log, _NOT_TAKEN, add_ended)
    by_id = {session.id: session for session in resuming}
    for read in (
        lambda: _read_senders(gateway, document.get("registry", {}), by_id),
        lambda: gateway.replacements.read(document.get("replacements", {}), by_id.get),
        lambda: gateway.context.budget.read(document.get("budget", {})),
        lambda: gateway.context.budget.read_schedule(document.get("budget", {})),
        lambda: _read_quotas(gateway, document.get("registry", {})),
    ):
        tolerate(_log, _NOT_TAKEN, read)
    for session in resuming:
        try:
            if session.id in notices:
                gateway.resume_close_notice(session, notices[session.id], by_id.get)
            else:
                resume(session, gateway)
        except Exception:
            _log.failure("a session does not continue after the handover", session=session.id)
            session.end(CloseCode.INTERNAL, "internal error")
    tolerate(_log, _NOT_TAKEN, lambda: _end_elsewhere(gateway, document.get("registry", {}), resuming))


def _end_elsewhere(gateway: Gateway, registry: Mapping[str, Any], sessions: Iterable[ClientSession]) -> None:
    """End sessions whose poller continues from another position, which another process has handed over.

    They would miss messages, or get some twice (decision 0070), so their pollers send them nothing any more.
    """
    elsewhere = {
        (canister, index)
        for canister, index, state in registry.get("pollers", ())
        if not gateway.registry.continues_from(canister, index, state)
    }
    if not elsewhere:
        return
    ended = [
        session
        for session in sessions
        if session.state is not State.CLOSED
        and session.poller is not None
        and (session.poller.canister.raw, session.identity_index) in elsewhere
    ]
    _log.warn("clients are closed: two processes have read their queue up to different messages", clients=len(ended))
    for session in ended:
        if session.poller is not None and session.client_key is not None:
            session.poller.remove(session, session.client_key)
    in_batches(gateway.context.clock, ended, lambda session: session.end(*DRAINING))


def _read_senders(gateway: Gateway, registry: Mapping[str, Any], by_id: Mapping[str, ClientSession]) -> None:
    """Let the pollers know which sessions their canisters have accepted."""
    for canister, index, state in registry.get("pollers", ()):
        poller = gateway.registry.pollers.get((canister, index))
        if poller is None:
            continue
        found = ((sender, by_id.get(name)) for sender, name in state.get("senders", {}).items())
        poller.senders.update((sender, session) for sender, session in found if session is not None)
        poller.suspects.update(by_id[name] for name in state.get("suspects", ()) if name in by_id)


def _read_quotas(gateway: Gateway, registry: Mapping[str, Any]) -> None:
    """Let the pollers, and the clients of their canisters, continue with what they have used of quotas."""
    for canister, index, state in registry.get("pollers", ()):
        poller = gateway.registry.pollers.get((canister, index))
        if poller is None:
            continue
        poller.poll_budget.read_quota(state.get("budget", {}))
        if poller.held_clients is not None:
            poller.held_clients.read(state.get("clients_quota") or {})


def detach_sessions(gateway: Gateway, sessions: Iterable[ClientSession]) -> None:
    """Forget sessions without closing them, because another process continues them."""
    # Those that wait for a call slot first, then notices: a call that is cancelled would give its slot to one of them.
    found = [*sessions, *gateway.registry.ending]
    waiting = {session for session in found if session.relay is not None and session.relay.waits_for_slot}
    _forget_all((session for session in found if session in waiting), gateway)
    gateway.forget_notices()
    _forget_all((session for session in found if session not in waiting), gateway)


def _forget_all(sessions: Iterable[ClientSession], gateway: Gateway) -> None:
    for session in sessions:
        try:
            _forget(session, gateway)
        except Exception:
            # What is left of it must not send a close notice.
            session.state, session.relay, session.stream = State.CLOSED, None, None
            _log.failure("letting go of a session failed", session=session.id)


def _forget(session: ClientSession, gateway: Gateway) -> None:
    detach(session)
    gateway.registry.remove(session)
    gateway.registry.forget(session)
    gateway.identity_assignment.leave(session.identity_index)
    if session.client_key is not None:
        gateway.principals.remove(session.client_key[0], session)
    session.relay = session.stream = None
