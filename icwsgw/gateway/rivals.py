"""Which of several connections of one principal to one canister lives (decision 0015).

The canister's CDK keeps one for each principal, the one whose ``ws_open`` it executed last. Under one identity the
canister's queue tells which that is: its first messages come in that order. Other identities have other queues, and
other processes have other identities; there the canister's own time on its first messages tells. All calls of one
block are executed at one time. Where two first messages have the same one, nothing that is certified by then tells
which connection the canister knows, so both stay, *undecided*, until something does:

- a later message of the canister to one of them, an acknowledgement round at the latest,
- a message of one of them that the canister takes,
- a message of one of them that it refuses, as it does not know the client,
- its answer to ``ws_close``, when one of them leaves.

Until then neither misses anything: the first message of the canister to their principal is a sign already.

A connection that leaves before its first message is heard of by its answer to ``ws_close`` alone: if the canister knew
it, those that it had opened before are deaf. They may wait for their own first messages still.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from icwsgw.core.closing import CloseCode
from icwsgw.core.messages import message_place
from icwsgw.core.session import Opened, State

if TYPE_CHECKING:
    from icwsgw.gateway.registry import Registry
    from icwsgw.gateway.session import ClientSession

#: How the older connection ends: close code and words.
REPLACED = (CloseCode.REPLACED, "replaced by a newer connection of the same client")

_Key = tuple[bytes, bytes]


class Others(NamedTuple):
    """The other connections of a principal when the ``ws_close`` of one is sent.

    :ivar opened: those whose ``ws_open`` had been executed
    :ivar opening: those of which that was not known
    :ivar at_ns: the network's time as it was reckoned
    """

    opened: list[ClientSession]
    opening: list[ClientSession]
    at_ns: int


class Rivals:
    """Decides between connections of a principal that a canister has accepted.

    :param registry: where sessions are found
    :param identities: how many there are
    :param announce: tells other processes: (canister, principal, the canister's time in ns or 0)
    """

    def __init__(self, registry: Registry, identities: int, announce: Callable[[bytes, bytes, int], None]) -> None:
        self._registry = registry
        self._identities = identities
        self._announce = announce
        self._undecided: dict[_Key, dict[ClientSession, None]] = {}
        # connections without their first message, and until when they must have been opened to be deaf by now
        self._outlived: dict[ClientSession, int] = {}

    def __len__(self) -> int:
        return len(self._undecided) + len(self._outlived)

    # openings

    def accepted(self, session: ClientSession) -> None:
        """A canister has accepted a connection: of those of its principal under other identities the newest lives."""
        key = _key(session)
        mine = session.opened_at_ns
        if self._outlived and mine <= self._outlived.pop(session, -1):
            session.end(*REPLACED)
            return
        for other in self._senders(key):
            theirs = other.opened_at_ns
            if other is session:
                continue
            if theirs > mine:
                # by another queue the canister has told of its opening later than of this one
                session.end(*REPLACED)
            elif theirs < mine or not mine or other.dismissed:
                other.end(*REPLACED)
            else:
                self._leave_open(key, other)
                self._leave_open(key, session)
        for rival in list(self._undecided.get(key, ())):
            if rival.confirmed and rival.opened_at_ns == mine:
                self.known(rival)

    def accepted_elsewhere(self, canister: bytes, sender: bytes, at_ns: int, later: bool) -> None:
        """A canister has accepted a connection in another process.

        :param at_ns: the canister's time of it, ns since 1970; 0 if it told none
        :param later: whether it is the later one for whoever orders what processes announce; where no times are told
        """
        key = canister, sender
        for ours in self._senders(key):
            mine = ours.opened_at_ns
            told = bool(mine and at_ns)
            if told and mine == at_ns:
                if ours.dismissed:
                    ours.end(*REPLACED)
                elif ours.confirmed:
                    self.known(ours)
                elif self._leave_open(key, ours):
                    # there they may have heard of ours when theirs was not accepted yet
                    self._announce(canister, sender, mine)
            elif (at_ns > mine) if told else later:
                ours.end(*REPLACED)
            elif told:
                # there they have heard of ours too early, when theirs was not accepted yet
                self._announce(canister, sender, mine)

    def opened_too_late(self, session: ClientSession) -> None:
        """A client has left whose ws_open was executed: it may have cost another connection of its principal its place.

        Under the session's own identity the queue tells which came first. Under others nothing does, and nobody reads
        this one's OpenMessage: the other connection is ended, rather than left open and deaf.
        """
        if session.poller is None or session.client_key is None:
            return
        key = _key(session)
        for other in self._senders(key):
            if other.identity_index != session.identity_index:
                other.end(*REPLACED)
        self._announce(*key, 0)

    # signs

    def heard(self, session: ClientSession, content: bytes) -> None:
        """The canister has sent another message to a connection of which nothing was decided yet."""
        _, time_ns = message_place(content)
        if time_ns is not None and time_ns > session.opened_at_ns:
            self.known(session)

    def known(self, session: ClientSession) -> None:
        """The canister has shown in a later block that this is the connection it knows."""
        key = _key(session)
        self._forget(key)
        # that block's time is later by something: whoever compares with the old time finds this one the newer
        session.opened_at_ns += 1
        for other in self._senders(key):
            if other is not session and other.opened_at_ns < session.opened_at_ns:
                other.end(*REPLACED)
        self._announce(*key, session.opened_at_ns)

    def others(self, session: ClientSession, network_ns: int) -> Others:
        """The living connections of a session's principal, under other identities, as its ``ws_close`` is sent.

        :param network_ns: the network's time
        """
        key = _key(session)
        opened = [other for other in self._senders(key) if other.identity_index != session.identity_index]
        opening: list[ClientSession] = []
        if session.opened is not Opened.SPOKE:
            for other in self._waiting(key, session.identity_index):
                (opened if other.opened else opening).append(other)
        return Others(opened, opening, network_ns)

    def answered(self, session: ClientSession, known: bool, others: Others) -> None:
        """The canister has answered the ws_close of a connection.

        :param known: whether it knew the connection until then; if not, it may be another one that lives
        :param others: those that there were when the ws_close was sent
        """
        if not known:
            self.forget(session)
        elif session.opened is not Opened.SPOKE:
            # it left before anybody had heard of its opening, by which the canister has dropped these
            for other in others.opened:
                other.end(*REPLACED)
            for other in others.opening:
                if other.state is State.SETUP:
                    self._outlived[other] = others.at_ns
                elif other.opened_at_ns <= others.at_ns:
                    other.end(*REPLACED)

    def gone(self, session: ClientSession) -> None:
        """The canister has forgotten a connection that has left; if that is the one it knew, the others are deaf."""
        if not self._undecided or session.client_key is None or session.poller is None:
            return
        key = _key(session)
        if session not in self._undecided.get(key, ()):
            return
        opened_at_ns = session.opened_at_ns
        for other in self._forget(key):
            if other is not session:
                other.end(*REPLACED)
        self._announce(*key, opened_at_ns + 1)

    def forget(self, session: ClientSession) -> None:
        """A session is over."""
        self._outlived.pop(session, None)
        if not self._undecided or session.client_key is None or session.poller is None:
            return
        key = _key(session)
        rivals = self._undecided.get(key)
        if rivals is not None:
            rivals.pop(session, None)
            if not rivals:
                del self._undecided[key]

    # inside

    def _senders(self, key: _Key) -> list[ClientSession]:
        """The sessions of a principal that a canister has accepted, under whatever identities."""
        canister, sender = key
        pollers = (self._registry.pollers.get((canister, index)) for index in range(self._identities))
        found = (poller.senders.get(sender) for poller in pollers if poller is not None)
        return [session for session in found if session is not None]

    def _waiting(self, key: _Key, but: int) -> list[ClientSession]:
        """The sessions of a principal that wait for the canister's first message, under other identities than one."""
        canister, sender = key
        indices = [index for index in range(self._identities) if index != but]
        pollers = (self._registry.pollers.get((canister, index)) for index in indices)
        waiting = (poller.waiting.items() for poller in pollers if poller is not None)
        return [session for each in waiting for (principal, _), session in each if principal == sender]

    def _leave_open(self, key: _Key, session: ClientSession) -> bool:
        """Wait for a sign; False where that is done already."""
        rivals = self._undecided.setdefault(key, {})
        if session in rivals:
            return False
        rivals[session] = None
        if session.poller is not None:
            session.poller.undecided[session] = self.heard
        return True

    def _forget(self, key: _Key) -> list[ClientSession]:
        rivals = list(self._undecided.pop(key, ()))
        for rival in rivals:
            if rival.poller is not None:
                rival.poller.undecided.pop(rival, None)
        return rivals


def _key(session: ClientSession) -> _Key:
    assert session.poller is not None
    assert session.client_key is not None
    return session.poller.canister.raw, session.client_key[0]
