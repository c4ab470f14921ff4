"""What one poller may send: its beats and further queries within the budget, its queries in flight beside others'.

A *newcomer* is a canister that has not spoken to any client lately, so that strangers may have made it up. All
newcomers together have a small part of beats and of queries in flight, shared by the addresses that named them
(decision 0034).
"""

from __future__ import annotations

from icwsgw.core.call_slots import SlotQueue
from icwsgw.core.request_budget import PollSchedule, RequestKind
from icwsgw.core.work_limit import WorkLimit
from icwsgw.gateway.interfaces import Context

#: After a ws_open was taken, a newcomer that says nothing is looked at so often, each time after twice the pause.
NEWCOMER_LOOKS = 5
#: Queries of a canister for the same number in flight at once, and of a newcomer.
MAX_OVERLAP, NEWCOMER_OVERLAP = 10, 2


class PollBudget:
    """One poller's.

    :param canister: raw principal
    :param place: of a newcomer among those of its address, taken already; given back when the canister has spoken
    :param group: whose address that is
    :ivar slot_queue: its queries in flight, or those of its address
    :ivar looks: how many more a newcomer is worth; :data:`NEWCOMER_LOOKS` when a ws_open, or a message, has been taken
    :ivar poll_schedule: its beats and wakes
    """

    __slots__ = ("_canister", "_context", "_down", "_lost", "_place", "_waste", "looks", "poll_schedule", "slot_queue")

    def __init__(self, context: Context, canister: bytes, place: SlotQueue | None = None, group: str = "") -> None:
        self._context = context
        self._canister = canister
        self._place = place
        self.looks = 0
        self._waste = WorkLimit()
        self._down = self._lost = 0
        self.slot_queue = (
            context.queries.slot_queue(canister) if place is None else context.newcomers_queries.slot_queue(group)
        )
        self.poll_schedule: PollSchedule = context.budget.join(context.clock.seconds(), place is not None)

    @property
    def newcomer(self) -> bool:
        """Whether the canister has not spoken to any client yet."""
        return self._place is not None

    @property
    def may_overlap(self) -> int:
        """Queries for one and the same number in flight at once; beyond, the oldest is given up if it is late."""
        return MAX_OVERLAP if self._place is None else NEWCOMER_OVERLAP

    @property
    def room(self) -> bool:
        """Whether one more query may be in flight; if not, that is counted."""
        slot_queue = self.slot_queue
        if slot_queue.busy < slot_queue.call_slots.least or slot_queue.has_room:
            return True
        self._context.metrics.queries_crowded.inc()
        return False

    def canister_has_spoken(self) -> None:
        """The canister has spoken to a client: it is polled like all others from now on."""
        if self._place is not None:
            self._leave_place()
            self.slot_queue = self._context.queries.slot_queue(self._canister)
            self._context.budget.accept(self.poll_schedule, self._context.clock.seconds())

    def end(self) -> None:
        """It is polled no more."""
        self._context.budget.leave(self.poll_schedule)
        self._leave_place()

    def _leave_place(self) -> None:
        place, self._place = self._place, None
        if place is not None:
            place.leave()

    def look_again(self) -> float | None:
        """Seconds until a newcomer that has said nothing is worth another look; None: its beats will do."""
        if self._place is None or not self.looks:
            return None
        self.looks -= 1
        return float(self._context.config.polling_interval * 2 ** (NEWCOMER_LOOKS - self.looks - 1))

    def answered(self, down: int, lost: int, now: float, seconds: float) -> None:
        """Note what an answer has taken.

        :param down: messages passed on so far; ``lost``: messages for nobody
        :param seconds: of work
        """
        new = lost - self._lost
        if new:
            self._waste.spent(now, seconds * new / (new + down - self._down))
            self._lost = lost
        self._down = down

    def rest(self, now: float) -> float:
        """Seconds until it may go on with a queue whose messages are for nobody."""
        return self._waste.pause(now)

    def charge(self, now: float) -> None:
        """Count a probe."""
        self._context.budget.charge(RequestKind.EXTRA, now)

    def affordable(self, asks: list[int], paid: bool, now: float) -> list[int]:
        """Those of the asks that may leave now, a newcomer's one by one.

        :param paid: a beat or a wake has paid for the first
        """
        budget = self._context.budget
        most = 1 if self._place is not None else len(asks)
        wanted = most - paid
        return asks[: paid + budget.extras(now, wanted)] if wanted > 0 else asks[:most]
