"""The clients of one canister under one identity, and the delivery of its messages to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.cursor import Message
from icwsgw.core.messages import BatchFramer
from icwsgw.core.session_machine import Opened, State
from icwsgw.gateway.batches import in_batches
from icwsgw.ic.ws import Batch
from icwsgw.observe.logs import get_logger
from icwsgw.reactor.clock import Clock

if TYPE_CHECKING:
    from icwsgw.gateway.session import ClientSession
    from icwsgw.gateway.session_owners import SessionQuota
    from icwsgw.observe.metrics import Metrics

_log = get_logger("poller")

# Looking up members of an enum would cost more than the rest, and each message of a canister comes by here.
_SPOKE = Opened.SPOKE


class ClientGroup:
    """The clients of one canister under one identity.

    :ivar sessions: client key -> session, from ``ws_open`` on
    :ivar waiting: those of them to which the canister has not spoken yet
    :ivar closing: all sessions are being closed
    :ivar held_clients: the quota of the canister for messages of its clients; None: there is none
    :ivar suspects: sessions that may have missed skipped messages; the next message to each shows it
    :ivar undecided: sessions of which it is unknown whether the canister has replaced them, and what to call with its
        next message to them (:mod:`icwsgw.gateway.replacements`)
    :ivar senders: raw principal -> the session that the canister accepted last for it
    :ivar messages_up: messages of clients to the canister so far
    :ivar messages_down: messages of the canister that were delivered so far
    :ivar messages_lost: messages of the canister so far to clients that are not connected
    """

    def __init__(self, metrics: Metrics) -> None:
        self.sessions: dict[tuple[bytes, int], ClientSession] = {}
        self.waiting: dict[tuple[bytes, int], ClientSession] = {}
        self.suspects: set[ClientSession] = set()
        self.undecided: dict[ClientSession, Callable[[ClientSession, bytes], None]] = {}
        self.closing = False
        self.held_clients: SessionQuota[ClientSession] | None = None
        self.senders: dict[bytes, ClientSession] = {}
        self.messages_up = self.messages_down = self.messages_lost = 0
        self._metrics = metrics

    def add(self, session: ClientSession, key: tuple[bytes, int]) -> None:
        """Add a session; its ``ws_open`` is sent next."""
        self.sessions[key] = self.waiting[key] = session

    def remove(self, session: ClientSession, key: tuple[bytes, int]) -> None:
        """Remove a session that has ended."""
        self.sessions.pop(key, None)
        self.waiting.pop(key, None)
        self.suspects.discard(session)
        self.undecided.pop(session, None)
        if self.senders.get(key[0]) is session:
            del self.senders[key[0]]

    def holds(self, session: ClientSession) -> bool:
        """Whether the canister's quota holds a client, so that its socket is not read."""
        return self.held_clients is not None and self.held_clients.holds(session)

    def accepted(self, session: ClientSession, key: tuple[bytes, int]) -> ClientSession | None:
        """The canister has accepted a client.

        Nothing before that ends another session: a forged ``ws_open``, which no canister executes, must not.

        :return: the session that this one replaces, or None
        """
        if session.state is State.OPEN:
            self.waiting.pop(key, None)
        older = self.senders.get(key[0])
        self.senders[key[0]] = session
        return older if older is not session else None

    def deliver(self, batch: Batch, messages: list[Message], more: bool = False) -> bool:
        """Deliver messages of a batch in order, to each client in one piece.

        :param more: others are likely to follow at once
        :return: False if a client's first message was not the canister's first one to it: the canister was reset
        """
        framer = BatchFramer(batch.cert, batch.tree)
        sessions, undecided = self.sessions, self.undecided
        touched: list[ClientSession] = []
        unroutable = 0
        in_place = True
        for principal, client_nonce, key, content in messages:
            session = sessions.get((principal, client_nonce))
            if session is None:
                unroutable += 1
                continue
            if undecided and session in undecided:
                undecided[session](session, content)
            frame = framer.frame(key, content)
            if session.outgoing is None:
                if session in self.suspects and self._has_missed(session, content):
                    unroutable += 1
                    continue
                if session.opened < _SPOKE and not session.first_message(content):
                    in_place = False
                    unroutable += 1
                    continue
                session.outgoing = [frame]
                touched.append(session)
            else:
                session.outgoing.append(frame)
        self.messages_down += len(messages) - unroutable
        self._metrics.canister_messages.inc(len(messages) - unroutable)
        if unroutable:
            self.messages_lost += unroutable
            self._metrics.unroutable_messages.inc(unroutable)
        for session in touched:
            frames, session.outgoing = session.outgoing, None
            assert frames is not None
            try:
                session.deliver(frames, more)
            except Exception:
                _log.failure("delivering to a client failed", session=session.id)
                session.end(CloseCode.INTERNAL, "internal error")
        if unroutable:
            self._find_replaced(messages)
        return in_place

    def close_all(self, clock: Clock, code: CloseCode, reason: str) -> None:
        """Close all sessions of now, in batches."""
        self.closing = True
        in_batches(clock, list(self.sessions.values()), lambda session: session.end(code, reason), self._closed_all)

    def _closed_all(self) -> None:
        self.closing = False

    def close_skipped(self) -> int:
        """Messages of the canister were skipped, and it is unknown for whom they were.

        :return: how many clients may have missed one
        """
        self.suspects.update(self.sessions.values())
        return len(self.suspects)

    def _has_missed(self, session: ClientSession, content: bytes) -> bool:
        """Whether the next message to a suspect shows that it has missed one; then its session is closed."""
        self.suspects.discard(session)
        return session.has_missed(content)

    def _find_replaced(self, messages: Iterable[Message]) -> None:
        """End older connections of principals to whose newer connections the canister speaks.

        A canister speaks only to the newest connection of a principal, which may have left.
        """
        newest = {principal: client_nonce for principal, client_nonce, _, _ in messages}
        for principal, client_nonce in newest.items():
            session = self.senders.get(principal)
            if session is not None and session.client_key != (principal, client_nonce):
                session.end(CloseCode.REPLACED, "replaced by another connection of the same client")
