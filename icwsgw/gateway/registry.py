"""The index of sessions and pollers, and the positions at which polling stopped.

    (canister, identity) -> poller -> client key -> session

A poller starts with the first client of its canister and stops after the last one. Its position in the canister's queue
is kept for a while, so that the next client does not have to wait for pages of old messages.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from icwsgw.core.call_slots import SlotQueue
from icwsgw.core.cursor import Cursor
from icwsgw.core.session_machine import Opened
from icwsgw.core.written_state import Document, read_as
from icwsgw.gateway.canister_quotas import CanisterQuotas
from icwsgw.gateway.interfaces import Context
from icwsgw.gateway.polling.poll_budget import PollBudget
from icwsgw.gateway.polling.poller import Poller
from icwsgw.gateway.spans import PollSpans
from icwsgw.ic.principal import Principal
from icwsgw.observe.logs import get_logger

if TYPE_CHECKING:
    from icwsgw.gateway.session import ClientSession

_log = get_logger("gateway")

#: The CDK forgets a gateway without clients after an acknowledgement interval (300 s) and then numbers messages from 0.
KEEP_SECONDS = 300.0
#: Maximum number of sessions whose client left before its ws_open was answered. Then the oldest is given up.
MAX_UNANSWERED = 1_000
#: Number of positions that are kept, about 300 bytes each; then the oldest is dropped.
KEEP_POSITIONS = 10_000


class Registry:
    """Sessions and pollers.

    :ivar sessions: all sessions whose client is connected
    :ivar ending: sessions whose client has left and whose close notice has not ended yet
    :ivar unanswered: those of them whose ws_open has not been answered, the oldest first
    :ivar pollers: by raw principal of the canister and number of the identity
    :ivar quotas: the quotas of canisters
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self.sessions: set[ClientSession] = set()
        self.ending: set[ClientSession] = set()
        self.unanswered: OrderedDict[ClientSession, None] = OrderedDict()
        self.pollers: dict[tuple[bytes, int], Poller] = {}
        self.quotas = CanisterQuotas(context)
        self._stretched = False
        self._spoken: OrderedDict[bytes, float] = OrderedDict()
        self._positions: OrderedDict[tuple[bytes, int], tuple[float, Cursor]] = OrderedDict()
        # states that another process has handed over
        self._pollers_to_come: dict[tuple[bytes, int], Mapping[str, Any]] = {}

    def find(self, canister: Principal, identity_index: int, key: tuple[bytes, int]) -> ClientSession | None:
        """The session of a client, or None.

        :param identity_index: the gateway's identity under which the client has opened its session
        :param key: its client key: principal and nonce
        """
        poller = self.pollers.get((canister.raw, identity_index))
        return poller.sessions.get(key) if poller is not None else None

    def count(self, canister: Principal) -> int:
        """Number of clients of a canister, under all identities."""
        pollers = (self.pollers.get((canister.raw, index)) for index in range(len(self._context.identities)))
        return sum(len(poller.sessions) for poller in pollers if poller is not None)

    def add(self, session: ClientSession, canister: Principal, key: tuple[bytes, int]) -> Poller:
        """Add a session under its client key, and start its poller if it is the first."""
        place = (canister.raw, session.identity_index)
        poller = self.pollers.get(place)
        if poller is None:
            poller = self.pollers[place] = self._make_poller(canister, session)
            if self.quotas.exist:
                self.quotas.join(poller)
            poller.start()
            self._watch_budget()
        poller.add(session, key)
        return poller

    # the handover to another process

    def taken_over(self) -> None:
        """All sessions have been taken over."""
        self._pollers_to_come = {}

    def written(self) -> Document:
        """Positions, canisters that have spoken, and pollers, as plain values."""
        return {
            "spoken": [[canister, at] for canister, at in self._spoken.items()],
            "positions": [[*place, at, cursor.written()] for place, (at, cursor) in self._positions.items()],
            "pollers": [[*place, poller.written()] for place, poller in self.pollers.items()],
        }

    def read(self, document: Mapping[str, Any]) -> None:
        """Take the state of a document, also of a newer one. Its pollers are made with their first sessions.

        :raises FormatError: a value is of the wrong kind
        """
        for canister, at in document.get("spoken", ()):
            self._spoken[read_as(bytes, canister, "canister")] = read_as(float, at, "spoken")
        for canister, index, at, position in document.get("positions", ()):
            cursor = Cursor()
            cursor.read(position)
            self._positions[canister, index] = read_as(float, at, "position"), cursor
        now = self._context.clock.seconds()
        for canister, index, state in document.get("pollers", ()):
            self._pollers_to_come[canister, index] = state
            if state.get("senders"):
                # it has clients, whenever it has accepted the last of them
                self._spoken[read_as(bytes, canister, "canister")] = now
        for place, state in self._pollers_to_come.items():
            poller = self.pollers.get(place)
            if poller is None:
                continue
            if not self.is_newcomer(poller.canister):
                poller.poll_budget.canister_has_spoken()
                self._context.call_scheduler.canister_has_spoken(place[0])
            poller.read(state)

    def continues_from(self, canister: bytes, index: int, state: Mapping[str, Any]) -> bool:
        """Whether the poller of a state continues from the position of the state, and not from another process's."""
        kept = self._pollers_to_come.get((canister, index), state)
        here, there = (each.get("cursor", {}) for each in (kept, state))
        return all(here.get(name) == there.get(name) for name in ("next", "fresh", "last"))

    def take_over(self, session: ClientSession, canister: Principal) -> Poller:
        """Add a session that another process has served, and start its poller if it is the first.

        :raises FormatError: the state of the poller is invalid
        """
        assert session.client_key is not None
        place = (canister.raw, session.identity_index)
        poller = self.add(session, canister, session.client_key)
        state = self._pollers_to_come.get(place)
        if state is not None and len(poller.sessions) == 1:
            poller.read(state)
        if session.opened >= Opened.SPOKE:
            del poller.waiting[session.client_key]
        return poller

    def is_newcomer(self, canister: Principal) -> bool:
        """Whether a canister has not spoken to any client lately.

        An unauthenticated client may have made up such a canister.
        """
        spoken = self._spoken.get(canister.raw)
        if spoken is None:
            return True
        if self._context.clock.seconds() - spoken < KEEP_SECONDS:
            return False
        pollers = (self.pollers.get((canister.raw, index)) for index in range(len(self._context.identities)))
        return all(poller is None or poller.poll_budget.newcomer or not poller.senders for poller in pollers)

    def has_room(self, canister: Principal, identity_index: int, group: str) -> bool:
        """Whether a client may cause polls of a canister. The number of newcomers is limited by address.

        :param group: the group of the client's address
        """
        if (canister.raw, identity_index) in self.pollers or not self.is_newcomer(canister):
            return True
        return self._context.newcomers.slot_queue(group).has_room

    def spoke(self, canister: Principal) -> None:
        """A canister has accepted a client: it is no newcomer, under no identity."""
        spoken = self._spoken
        spoken[canister.raw] = self._context.clock.seconds()
        spoken.move_to_end(canister.raw)
        while len(spoken) > KEEP_POSITIONS:
            spoken.popitem(last=False)
        for index in range(len(self._context.identities)):
            poller = self.pollers.get((canister.raw, index))
            if poller is not None:
                poller.poll_budget.canister_has_spoken()
                poller.poll_timer.hasten()
        self._context.call_scheduler.canister_has_spoken(canister.raw)

    def _newcomer_slot(self, canister: Principal, group: str) -> SlotQueue | None:
        """Take a slot for a newcomer's poller among those of its address; None if the canister is no newcomer."""
        if not self.is_newcomer(canister):
            return None
        slot_queue = self._context.newcomers.slot_queue(group)
        slot_queue.take()
        return slot_queue

    def _make_poller(self, canister: Principal, session: ClientSession) -> Poller:
        index, group = session.identity_index, session.group
        cursor = self._position((canister.raw, index))
        poll_budget = PollBudget(self._context, canister.raw, self._newcomer_slot(canister, group), group)
        context, tracing, spans = self._context, self._context.tracing, None
        if tracing is not None and tracing.detailed:
            spans = PollSpans(tracing, canister.text, context.clock, context.now_ns)
        return Poller(context, canister, index, cursor, poll_budget, spans)

    def _watch_budget(self) -> None:
        """Log when the request budget becomes too small for all pollers, and when it suffices again."""
        budget = self._context.budget
        if budget.stretched is self._stretched:
            return
        self._stretched = budget.stretched
        if self._context.log_limiter.allows("query budget", "", self._context.clock.seconds()):
            _log.info(
                "canisters are polled less often than --polling-interval, see --query-budget"
                if budget.stretched
                else "canisters are polled at --polling-interval again",
                pollers=budget.pollers,
                queries_per_second=budget.per_second,
            )

    def remove(self, session: ClientSession) -> None:
        """Remove a session's client key, and stop its poller if it was the last."""
        poller, key = session.poller, session.client_key
        if poller is None or key is None:
            return
        if poller.held_clients is not None:
            poller.held_clients.forget(session)
        poller.remove(session, key)
        place = (poller.canister.raw, poller.identity_index)
        registered = self.pollers.get(place)
        if registered is poller and not registered.sessions:
            del self.pollers[place]
            cursor = registered.stop()
            self.quotas.leave(registered)
            self._watch_budget()
            if cursor is not None:
                self._keep(place, cursor)

    def left(self, session: ClientSession) -> ClientSession | None:
        """A session's client has left.

        :return: a session that is to be given up: too many wait for the answer to their ws_open
        """
        self.sessions.discard(session)
        self.ending.add(session)
        if session.opened is Opened.UNKNOWN and session.relay is not None:
            self.unanswered[session] = None
            if len(self.unanswered) > MAX_UNANSWERED:
                return self.unanswered.popitem(last=False)[0]
        return None

    def answered(self, session: ClientSession) -> None:
        """The canister has answered a session's ``ws_open``."""
        self.unanswered.pop(session, None)

    def forget(self, session: ClientSession) -> None:
        """Nothing of a session is left to do."""
        self.sessions.discard(session)
        self.ending.discard(session)
        self.unanswered.pop(session, None)

    def stop(self) -> None:
        """Stop all pollers."""
        self.quotas.stop()
        for poller in list(self.pollers.values()):
            poller.stop()
        self.pollers.clear()

    def _keep(self, place: tuple[bytes, int], cursor: Cursor) -> None:
        positions = self._positions
        positions[place] = (self._context.clock.seconds(), cursor)
        positions.move_to_end(place)
        while len(positions) > KEEP_POSITIONS:
            positions.popitem(last=False)

    def _position(self, place: tuple[bytes, int]) -> Cursor | None:
        kept = self._positions.pop(place, None)
        if kept is None or self._context.clock.seconds() - kept[0] >= KEEP_SECONDS:
            return None
        return kept[1]
