"""Decides which of several connections of one principal to one canister stays open (decision 0015).

The CDK keeps one connection for each principal, the one whose ``ws_open`` the canister executed last. Under one
identity of the gateway, the canister's queue shows which one that is: first messages arrive in the order of execution.
Other identities have other queues, and other processes have other identities; there the canister's timestamps on the
first messages decide. All calls of one block have the same time. If two first messages have the same timestamp, both
connections stay *undecided* until the canister shows which one it knows:

- it sends one of them another message, at the latest with the next acknowledgement,
- it executes a message of one of them,
- it refuses a message of one of them because it does not know the client,
- it answers ``ws_close`` when one of them leaves.

No connection misses a message before that: the canister's first message to the principal decides.

A connection may leave before its first message. Then only the answer to its ``ws_close`` shows whether it was the
newest: if the canister knew it, connections that were opened before it are over, even if their own first messages are
still to come.

:mod:`icwsgw.core.replacement` decides; this module finds the connections and performs the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from icwsgw.core.messages import message_place
from icwsgw.core.replacement import Key, Others, Replacement, ReplacementEffect, Step
from icwsgw.core.session_machine import Opened
from icwsgw.core.written_state import Document
from icwsgw.gateway.reasons import REPLACED

if TYPE_CHECKING:
    from icwsgw.gateway.registry import Registry
    from icwsgw.gateway.session import ClientSession

#: Notifies other processes: canister, principal, time in ns or 0, whether the connection has left.
Announce = Callable[[bytes, bytes, int, bool], None]


def announce_to_none(canister: bytes, principal: bytes, at_ns: int, left: bool) -> None:
    """There is no other process to notify."""


class Replacements:
    """Finds the connections of a principal and performs what is decided about them.

    :param registry: the index of sessions
    :param identities: number of the gateway's identities
    :param announce: notifies other processes, see :attr:`icwsgw.gateway.gateway.Gateway.announce`
    :ivar machine: the decisions, and what is undecided
    """

    def __init__(self, registry: Registry, identities: int, announce: Announce) -> None:
        self._registry = registry
        self._identities = identities
        self._announce = announce
        self.machine: Replacement[ClientSession] = Replacement()

    def __len__(self) -> int:
        return len(self.machine.undecided) + len(self.machine.outlived)

    def written(self) -> Document:
        """What is undecided as plain values, with sessions by their ids."""
        return self.machine.written(lambda session: session.id)

    def read(self, document: Mapping[str, Any], find: Callable[[str], ClientSession | None]) -> None:
        """Take what is undecided from a document, when its sessions are there.

        :param find: gives the session with an id
        :raises FormatError: a value is of the wrong kind
        """
        for effect, session, _ in self.machine.read(document, find):
            assert effect is ReplacementEffect.WATCH
            assert session is not None
            self._perform(_key(session), [(effect, session, 0)])

    def accepted(self, session: ClientSession) -> None:
        """A canister has accepted a connection; of those under other identities only the newest lives."""
        key = _key(session)
        self._perform(key, self.machine.accepted(key, session, self._senders(key)))

    def accepted_elsewhere(self, canister: bytes, sender: bytes, at_ns: int, later: bool) -> None:
        """A canister has accepted a connection of another process; see :meth:`Replacement.accepted_elsewhere`."""
        key = canister, sender
        self._perform(key, self.machine.accepted_elsewhere(key, at_ns, later, self._senders(key)))

    def left_elsewhere(self, canister: bytes, sender: bytes, at_ns: int, later: bool) -> None:
        """A connection of another process has left before its first message; see :meth:`Replacement.left_elsewhere`."""
        key = canister, sender
        living, waiting = self._senders(key), self._waiting(key)
        self._perform(key, self.machine.left_elsewhere(at_ns, later, living, waiting))

    # what the canister shows

    def received(self, session: ClientSession, content: bytes) -> None:
        """The canister has sent another message to an undecided connection.

        :param content: the message, in the CDK's CBOR
        """
        key = _key(session)
        _, time_ns = message_place(content)
        self._perform(key, self.machine.received(key, session, time_ns, self._senders(key)))

    def known(self, session: ClientSession) -> None:
        """A later block has shown that the canister knows this connection."""
        key = _key(session)
        self._perform(key, self.machine.known(key, session, self._senders(key)))

    def others(self, session: ClientSession, network_ns: int) -> Others[ClientSession]:
        """The connections of a session's principal under other identities, when its ``ws_close`` is sent.

        :param network_ns: the network's time, ns since 1970
        """
        key = _key(session)
        opened = [other for other in self._senders(key) if other.identity_index != session.identity_index]
        opening: list[ClientSession] = []
        if session.opened < Opened.SPOKE:
            for other in self._waiting(key, session.identity_index):
                (opened if other.opened else opening).append(other)
        return Others(opened, opening, network_ns)

    def depend_on(self, session: ClientSession, others: Others[ClientSession], announced: bool) -> bool:
        """Whether the answer to a session's ``ws_close`` may end other connections, or keep them open.

        :param others: the principal's other connections (:meth:`others`)
        :param announced: other processes are notified of the answer
        """
        if session in self.machine.undecided.get(_key(session), ()):
            return True
        return session.opened < Opened.SPOKE and bool(announced or others.opened or others.opening)

    def answered(self, session: ClientSession, known: bool | None, others: Others[ClientSession]) -> None:
        """A ``ws_close`` has ended; see :meth:`Replacement.answered`."""
        if known is not False and session.opened >= Opened.SPOKE:
            return  # it has removed the connection that it knew, which proves nothing about others
        key = _key(session)
        self._perform(key, self.machine.answered(key, session, known, others))

    def left(self, session: ClientSession) -> None:
        """The close notice of a connection has ended; if the canister knew it, undecided others are over."""
        if not self.machine.undecided or session.client_key is None or session.poller is None:
            return
        key = _key(session)
        self._perform(key, self.machine.left(key, session))

    def forget(self, session: ClientSession) -> None:
        """A session is over."""
        machine = self.machine
        if machine.undecided or machine.outlived:
            known = session.client_key is not None and session.poller is not None
            machine.forget(_key(session) if known else None, session)

    # helpers

    def _perform(self, key: Key, steps: list[Step[ClientSession]]) -> None:
        for effect, session, at_ns in steps:
            if effect is ReplacementEffect.ANNOUNCE or effect is ReplacementEffect.ANNOUNCE_LEFT:
                self._announce(*key, at_ns, effect is ReplacementEffect.ANNOUNCE_LEFT)
                continue
            assert session is not None
            poller = session.poller
            if effect is ReplacementEffect.REPLACE:
                session.end(*REPLACED)
            elif poller is None:
                continue
            elif effect is ReplacementEffect.WATCH:
                poller.undecided[session] = self.received
            else:
                poller.undecided.pop(session, None)

    def _senders(self, key: Key) -> list[ClientSession]:
        """The sessions of a principal that a canister has accepted, under all identities."""
        canister, sender = key
        pollers = (self._registry.pollers.get((canister, index)) for index in range(self._identities))
        found = (poller.senders.get(sender) for poller in pollers if poller is not None)
        return [session for session in found if session is not None]

    def _waiting(self, key: Key, but: int = -1) -> list[ClientSession]:
        """The sessions of a principal that wait for the canister's first message.

        :param but: leave out those under this identity
        """
        canister, sender = key
        indices = [index for index in range(self._identities) if index != but]
        pollers = (self._registry.pollers.get((canister, index)) for index in indices)
        waiting = (poller.waiting.items() for poller in pollers if poller is not None)
        return [session for each in waiting for (principal, _), session in each if principal == sender]


def _key(session: ClientSession) -> Key:
    assert session.poller is not None
    assert session.client_key is not None
    return session.poller.canister.raw, session.client_key[0]
