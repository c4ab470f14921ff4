"""What one poller may send within the request budget: ticks, wakes, further queries; and its queries in flight.

A *newcomer* is a canister that has not spoken to any client lately; an unauthenticated client may have made it up. All
newcomers together get a small part of ticks and of queries in flight, shared by the addresses of their clients
(decision 0034).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icwsgw.core.call_slots import SlotQueue
from icwsgw.core.poll_quota import PollQuota
from icwsgw.core.poll_schedule import PollSchedule
from icwsgw.core.request_kind import RequestKind
from icwsgw.core.work_limit import WorkLimit
from icwsgw.core.written_state import Document, read_as
from icwsgw.gateway.interfaces import Context
from icwsgw.ic.principal import Principal
from icwsgw.observe.logs import get_logger

_log = get_logger("poller")

#: After an executed call, a newcomer that sends nothing gets so many extra polls, each after twice the pause of the one
#: before.
NEWCOMER_LOOKS = 5
#: Queries from the same nonce in flight at once, of a canister and of a newcomer.
MAX_OVERLAP, NEWCOMER_OVERLAP = 10, 2


class PollBudget:
    """The budget of one poller.

    :param canister: the canister's raw principal
    :param newcomer_slot: the slot queue of a newcomer among those of its address, in which a slot is taken already
    :param group: the group of the client's address
    :ivar slot_queue: the queries in flight: the poller's, or those of the address
    :ivar looks: how many more extra polls a newcomer is worth; :data:`NEWCOMER_LOOKS` after each executed call
    :ivar poll_schedule: the schedule of ticks and wakes
    :ivar quota: the poller's part of its canister's quota; None: there is none
    :ivar useless: the last answer in order had messages, and none reached a client
    """

    __slots__ = (
        *("_canister", "_context", "_down", "_lost", "_newcomer_slot", "_waste"),
        *("looks", "poll_schedule", "quota", "slot_queue", "useless"),
    )

    def __init__(
        self, context: Context, canister: bytes, newcomer_slot: SlotQueue | None = None, group: str = ""
    ) -> None:
        self._context = context
        self._canister = canister
        self._newcomer_slot = newcomer_slot
        self.looks = 0
        self.quota: PollQuota | None = None
        self.useless = False
        self._waste = WorkLimit()
        self._down = self._lost = 0
        self.slot_queue = (
            context.queries.slot_queue(canister)
            if newcomer_slot is None
            else context.newcomers_queries.slot_queue(group)
        )
        self.poll_schedule: PollSchedule = context.budget.join(context.clock.seconds(), newcomer_slot is not None)

    def written(self) -> Document:
        """The next scheduled poll and the limit of useless work, as plain values."""
        return {
            "due": self.poll_schedule.due,
            "looks": self.looks,
            "waste": self._waste.written(),
            "quota": None if self.quota is None else self.quota.written(),
        }

    def read(self, document: Mapping[str, Any]) -> None:
        """Take the state of a document; :meth:`read_quota` follows.

        :raises FormatError: a value is of the wrong kind
        """
        self.poll_schedule.due = read_as(float, document.get("due", self.poll_schedule.due), "due")
        self.looks = read_as(int, document.get("looks", self.looks), "looks")
        self._waste.read(document.get("waste", {}))

    def read_quota(self, document: Mapping[str, Any]) -> None:
        """Take what is used of the quota from a document, once the limits are those of the new process.

        :raises FormatError: a value is of the wrong kind
        """
        if self.quota is not None:
            self.quota.read(document.get("quota") or {})

    @property
    def newcomer(self) -> bool:
        """Whether the canister has not spoken to any client yet."""
        return self._newcomer_slot is not None

    @property
    def may_overlap(self) -> int:
        """How many queries from one nonce may be in flight; beyond that the oldest is given up if it is late."""
        return MAX_OVERLAP if self._newcomer_slot is None else NEWCOMER_OVERLAP

    @property
    def room(self) -> bool:
        """Whether one more query may be in flight; if not, that is counted."""
        slot_queue = self.slot_queue
        if slot_queue.busy < slot_queue.call_slots.least or slot_queue.has_room:
            return True
        self._context.metrics.queries_crowded.inc()
        return False

    @property
    def interval(self) -> float:
        """Average seconds between two polls, by the request budget and the canister's quota."""
        interval = self.poll_schedule.interval
        return interval if self.quota is None else max(interval, self.quota.interval)

    def held(self, now: float) -> str:
        """Which limit of the canister's quota allows no poll now, or ""; that is counted, and a later tick polls."""
        limit = "" if self.quota is None else self.quota.exceeded(now)
        if limit:
            self._context.metrics.polls_over_quota.inc(limit)
        return limit

    def delivered(self, messages: int, octets: float) -> None:
        """Count messages that were delivered. Only if there is a :attr:`quota`."""
        if self.quota is not None:
            self.quota.delivered(messages, octets, self._context.clock.seconds())

    def report_wait(self, now: float, what: str = "the query budget") -> None:
        """Log that polls wait for the request budget, or for something else."""
        canister = Principal(self._canister).text
        if self._context.log_limiter.allows(what, canister, now):
            _log.info(f"polls wait for {what}", canister=canister)

    def canister_has_spoken(self) -> None:
        """The canister has spoken to a client: from now on it is polled as all others."""
        if self._newcomer_slot is not None:
            self._release_newcomer_slot()
            self.slot_queue = self._context.queries.slot_queue(self._canister)
            self._context.budget.accept(self.poll_schedule, self._context.clock.seconds())

    def end(self) -> None:
        """The poller has stopped."""
        self._context.budget.leave(self.poll_schedule)
        self._release_newcomer_slot()

    def _release_newcomer_slot(self) -> None:
        slot_queue, self._newcomer_slot = self._newcomer_slot, None
        if slot_queue is not None:
            slot_queue.leave()

    def look_again(self) -> float | None:
        """Seconds until an extra poll of a newcomer that has sent nothing; None if the ticks suffice."""
        if self._newcomer_slot is None or not self.looks:
            return None
        self.looks -= 1
        return float(self._context.config.polling_interval * 2 ** (NEWCOMER_LOOKS - self.looks - 1))

    def answered(self, down: int, lost: int, now: float, seconds: float) -> None:
        """Note the work that an answer has caused. It is useless if messages reach no client, and none reaches one.

        :param down: messages delivered so far
        :param lost: messages so far that are for no connected client
        :param seconds: time that the answer took
        """
        if lost > self._lost and down == self._down:
            self._waste.spent(now, seconds)
        self._down, self._lost = down, lost

    def rest(self, now: float) -> float:
        """Seconds until the poller may read on, if messages have reached no client; otherwise 0."""
        return self._waste.pause(now) if self.useless else 0.0

    def extra(self, now: float) -> bool:
        """Take a token for one query beside those that ticks and wakes pay for; False if there is none."""
        if self._context.budget.take(RequestKind.EXTRA, now):
            return True
        self.report_wait(now)
        return False

    def affordable(self, nonces: list[int], paid: bool, now: float) -> list[int]:
        """The nonces from which the poller may poll now; a newcomer polls from one at a time.

        What they wait for, if not all of them are given, is logged.

        :param paid: a tick or a wake has paid for the first one
        """
        budget = self._context.budget
        most = 1 if self._newcomer_slot is not None else len(nonces)
        if self.quota is not None and (queries := self.quota.queries(self.slot_queue.busy)) < most:
            self.report_wait(now, "their canister's quota")
            most = queries
        wanted = most - paid
        if wanted <= 0:
            return nonces[:most]
        extras = budget.extras(now, wanted)
        if extras < wanted:
            self.report_wait(now)
        return nonces[: paid + extras]
