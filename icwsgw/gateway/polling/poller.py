"""Polls one canister with ``ws_get_messages`` and delivers its messages to its clients.

Each tick of the poll timer starts to read the queue: polls are sent from the cursor's nonce, several at once while the
queue is long, until an answer shows that the queue ends. Ticks overlap if a query takes longer than the interval, so a
slow or hanging query does not delay the next one, which is in flight already. Between ticks, :meth:`Poller.wake` polls
at once: after a call of a client was executed, and shortly after messages were found.

An error costs one poll: transport errors, rejects, traps, answers that do not decode. The poller closes its clients
only if the canister has given no valid answer for its grace period, or the network has not reached the canister for the
network's grace period (decision 0038). The cursor finds duplicates and gaps, the reset detector finds resets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.python.failure import Failure

from icwsgw.core.backoff import PollBackoff
from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.cursor import Cursor, CursorUpdate, LastMessage, Message
from icwsgw.core.oversize_search import too_large
from icwsgw.core.poll_machine import FOLLOW, Follow, Judged, Polling
from icwsgw.core.session_machine import State
from icwsgw.core.written_state import Document, Fields, read_fields, write_fields
from icwsgw.errors import CanisterRefused, CertificateInvalid, FormatError, IcwsError
from icwsgw.gateway.batches import in_batches
from icwsgw.gateway.interfaces import Context
from icwsgw.gateway.polling.batch_acceptor import BatchAcceptor
from icwsgw.gateway.polling.client_group import ClientGroup
from icwsgw.gateway.polling.grace_periods import GracePeriods
from icwsgw.gateway.polling.oversize_pages import OversizePages
from icwsgw.gateway.polling.poll_budget import NEWCOMER_LOOKS, PollBudget
from icwsgw.gateway.polling.poll_requests import InFlightPoll
from icwsgw.gateway.polling.poll_sender import PollSender
from icwsgw.gateway.polling.poll_timer import FOLLOW_UP, PollTimer
from icwsgw.gateway.polling.queue_lag import QueueLag
from icwsgw.gateway.polling.reset_proof import ResetProof
from icwsgw.gateway.spans import PollSpans
from icwsgw.ic.principal import Principal
from icwsgw.ic.ws import Batch, nonce_of_key, parse_get_messages
from icwsgw.observe.logs import get_logger

_log = get_logger("poller")

#: Seconds between two wakes at least, so that calls that are executed together share a poll.
MIN_WAKE_GAP = 0.01
#: Messages, and bytes of their frames, that are taken from one answer; the rest is polled again. Each frame contains
#: the answer's certificate and tree, so an answer of 3 MiB could become gigabytes.
MAX_BATCH_MESSAGES, MAX_BATCH_BYTES = 2_000, 4 << 20

#: Fields that are handed over as they are.
COUNTS: Fields = {"messages_up": int, "messages_down": int, "messages_lost": int}


class Poller(ClientGroup):
    """Polls one canister with one identity of the gateway.

    :param spans: makes spans of the polls; None if no collector is configured
    :ivar canister: the canister's principal
    :ivar cursor: the position in the canister's queue
    :ivar backoff: failures, and the pauses after them
    :ivar poll_budget, poll_timer: the budget, and the timer of ticks and wakes
    :ivar lag: how old the canister's messages are when they arrive
    """

    def __init__(
        self,
        context: Context,
        canister: Principal,
        index: int,
        cursor: Cursor | None,
        budget: PollBudget | None = None,
        spans: PollSpans | None = None,
    ) -> None:
        super().__init__(context.metrics)
        self.canister = canister
        self._spans = spans
        self.identity_index = index
        self._context = context
        self._clock = context.clock
        self.lag = QueueLag(context.metrics.queue_lag)
        now = context.clock.seconds()
        self._polling: Polling[InFlightPoll] = Polling(cursor, context.config.poll_window)
        # These references never change.
        polling = self._polling
        self.cursor, self._reset_detector, self._window = polling.cursor, polling.reset_detector, polling.window
        self._reorder_buffer, self._in_flight = polling.reorder_buffer, polling.in_flight
        self.backoff = PollBackoff(context.config.polling_interval, context.jitter, now)
        self._grace_periods = GracePeriods(context, self.backoff)
        self._oversize_pages = OversizePages(context, canister.text, polling.search)
        self._reset_proof = ResetProof(context, canister)
        self._batch_acceptor = BatchAcceptor(context, canister, self.wake)
        interval = context.config.polling_interval
        self.poll_timer = PollTimer(context.clock, interval, self._tick, self._woken, canister.text)
        self.poll_budget = budget or PollBudget(context, canister.raw)
        self._sender = PollSender(context, self, polling, self.poll_budget)
        self._stopped = False

    # start and stop

    def start(self) -> None:
        """Start the poll timer."""
        self.poll_timer.start(self._context.jitter(), self.poll_budget.poll_schedule)
        _log.debug("polling starts", canister=self.canister.text, nonce=self.cursor.next)

    def stop(self) -> Cursor | None:
        """Stop polling.

        :return: the position, which a later poller may resume; None if there is none
        """
        if self._stopped:
            return None
        self._stopped = True
        self.poll_timer.stop()
        self.poll_budget.end()
        self._sender.drop_all()
        self._reorder_buffer.clear()
        _log.debug("polling ends", canister=self.canister.text, nonce=self.cursor.next)
        return None if self.cursor.fresh else self.cursor

    # the handover to another process

    def written(self) -> Document:
        """The state, with the clients by session id, as plain values; not the queries in flight."""
        return {
            **self._polling.written(),
            **write_fields(self, COUNTS),
            "backoff": self.backoff.written(),
            "budget": self.poll_budget.written(),
            "clients_quota": None if self.held_clients is None else self.held_clients.written(),
            "lag": self.lag.written(),
            "reset_proof": self._reset_proof.written(),
            "senders": {sender: session.id for sender, session in self.senders.items()},
            "suspects": [session.id for session in self.suspects],
        }

    def read(self, document: Mapping[str, Any]) -> None:
        """Take the state of a document before any query is sent, without what is used of a quota.

        :raises FormatError: a value is of the wrong kind
        """
        self._polling.read(document)
        read_fields(self, COUNTS, document)
        self.backoff.read(document.get("backoff", {}))
        self.poll_budget.read(document.get("budget", {}))
        self._reset_proof.read(document.get("reset_proof") or {})
        self.lag.read(document.get("lag"))

    @property
    def in_flight(self) -> int:
        """Number of queries in flight."""
        return len(self._in_flight)

    @property
    def depth(self) -> int:
        """Size of the send window."""
        return self._window.size

    # ticks and wakes

    def wake(self) -> None:
        """Poll soon: the canister has probably queued a message for one of the clients."""
        self.poll_budget.looks = NEWCOMER_LOOKS
        self.poll_timer.wake_in(max(0.0, self._sender.last_sent + MIN_WAKE_GAP - self._clock.seconds()), "call")

    def _woken(self, now: float, cause: str) -> None:
        if now < self.backoff.not_before or (self.poll_budget.useless and self._rests(now)):
            return
        if self._may_overlap(now, 0.0) and self._has_slot(now, cause):
            self._metrics.wakes.inc(cause)
            self._poll(now, overlap=True)

    def _tick(self, now: float) -> None:
        backoff, host = self.backoff, self._context.host_backoff
        if host.until > backoff.host_until:
            backoff.join(now, host.until)
        side = self._grace_periods.ended(now, self.poll_budget.interval) if backoff.failures else None
        if side is not None:
            if not self.closing:
                # No valid answer for a grace period: the clients are closed and may reconnect.
                interval, clients = self.poll_budget.interval, len(self.sessions)
                reason = self._grace_periods.report(side, interval, self.canister.text, clients)
                self.close_all(self._clock, CloseCode.CANISTER_SILENT, reason)
        elif now < backoff.not_before or (self.poll_budget.useless and self._rests(now)):
            return
        elif self._may_overlap(now, 0.5 * self._context.config.polling_interval):
            self._poll(now, overlap=True)

    def _rests(self, now: float) -> bool:
        """Whether messages that reach no client have had their share of the time; if so, a later wake is planned."""
        rest = self.poll_budget.rest(now)
        if rest:
            self.poll_timer.wake_in(rest, FOLLOW_UP)
        return rest > 0

    def _may_overlap(self, now: float, gap: float) -> bool:
        """Whether a query may be sent although one for the same nonce is in flight.

        :param gap: seconds that have to have passed since the last such query. A tick needs no second query right after
            another one, and is not left out because the tick before came late.
        """
        if not self._in_flight:
            return True
        may, given_up = self._polling.overlap(now, gap, self.poll_budget.may_overlap, self.backoff.rtt)
        if given_up is not None:
            self.backoff.gave_up(now - given_up.sent)
            self._sender.abandon(given_up)
        return may

    def held(self, now: float) -> bool:
        """Whether the canister's quota allows no poll now. Only if there is one."""
        limit = self.poll_budget.held(now)
        # Rare polls have a longer grace period instead.
        self.backoff.quota_waits(now, limit in ("messages", "bytes"))
        return limit != ""

    def _poll(self, now: float, overlap: bool) -> None:
        """Send the queries that the send window allows.

        :param overlap: this is a tick or a wake, which has paid for one query: poll from the next nonce even if a query
            from there is in flight
        """
        budget = self.poll_budget
        if now < self.backoff.held_until or not budget.room or (budget.quota is not None and self.held(now)):
            return
        due_look = self._polling.due_look
        if overlap and due_look is not None:
            self._look(now, due_look)
            return
        anchor, nonces = self._polling.choose(now, overlap, bool(self.waiting), self.backoff.rtt)
        paid = overlap
        if anchor is not None:
            if not paid and not budget.extra(now):
                self._reset_detector.probe_now()
                self._continue_later()
                return
            self._sender.send(anchor.nonce, now, anchor)
            # Without a token of its own, the probe takes the place of the ordinary poll.
            paid = paid and self.cursor.next in nonces and budget.extra(now)
        for nonce in self._affordable(nonces, now, paid):
            if not self.poll_budget.room:
                break
            self._sender.send(nonce, now)

    # the request budget

    def _has_slot(self, now: float, cause: str) -> bool:
        """Whether the budget allows a wake to poll now. If not, the wake is put off, or the next tick does its work."""
        pause = self.poll_budget.poll_schedule.wake(now)
        if pause == 0.0:
            return True
        if pause is not None:
            self.poll_timer.wake_in(pause, cause)
        self.poll_budget.report_wait(now)
        return False

    def _affordable(self, nonces: list[int], now: float, paid: bool) -> list[int]:
        """The nonces from which the budget allows to poll now.

        :param paid: a tick or a wake has paid for the first one
        """
        given = self.poll_budget.affordable(nonces, paid, now)
        if nonces and not given:
            self._continue_later()
        return given

    def _continue_later(self) -> None:
        """The budget allows no poll now."""
        if not self._in_flight:
            # Nothing else would continue before the next tick.
            self.poll_timer.wake_in(0.0, FOLLOW_UP)

    def _look(self, now: float, anchor: LastMessage) -> None:
        """Poll from the start of the queue."""
        self._polling.due_look = None
        self._sender.send(0, now, anchor)

    # answers

    def failed(self, failure: Failure, poll: InFlightPoll) -> None:
        """Handle a query that has failed, or was given up before."""
        if not self._sender.ended(poll):
            return
        if self._spans is not None:
            self._spans.answered()
        error = failure.value
        if not isinstance(error, IcwsError):
            _log.failure("polling failed", failure=failure, canister=self.canister.text)
        if poll.anchor is not None and too_large(error):
            # This shows only that there are messages from the anchor on; the newest message is the better
            # anchor.
            self._metrics.queries.inc("rejected")
            self._polling.resumed, self._reset_detector.anchor = False, self.cursor.last
            return
        self._bad(error, poll)
        self._leave_out(self._oversize_pages.failed(error, poll, self.cursor, self._clock.seconds()))

    def _leave_out(self, beyond: int | None) -> None:
        """Continue behind pages that are too large.

        While the end of these pages is searched for, each answer leads to the next query.
        """
        if beyond is not None:
            self._oversize_pages.lost(self.cursor.next, beyond, self.close_skipped(), self._clock.seconds())
            self.cursor.skip(beyond)
            self._reorder_buffer.clear()
        if beyond is not None or self._oversize_pages.search.seeking:
            self.poll_timer.wake_in(MIN_WAKE_GAP, "gap")

    def _bad(self, error: BaseException | None, poll: InFlightPoll) -> None:
        if self._spans is not None:
            self._spans.failed(poll, error)
        self._grace_periods.failed(error, self._clock.seconds(), self.canister)

    def answered(self, reply: bytes, poll: InFlightPoll) -> None:
        """Handle the answer to a query."""
        # As PollSender.ended, inlined: each poll comes by here.
        if not self._polling.ended(poll):
            return
        poll.leave()
        if self._spans is not None:
            self._spans.answered()
        now = self._clock.seconds()
        try:
            batch = parse_get_messages(reply)
            batch.cut(MAX_BATCH_MESSAGES, MAX_BATCH_BYTES)
            if self.poll_budget.quota is not None:
                batch.cut(*self.poll_budget.quota.room(now))
            if batch.messages and not self._batch_acceptor.accept(batch):
                self._metrics.queries.inc("abandoned")
                return
        except (FormatError, CanisterRefused, CertificateInvalid) as error:
            self._bad(error, poll)
            return
        outcome = "ok" if batch.messages else "empty"
        failures = self.backoff.failures
        if failures:
            self._reset_detector.probe_now()
        search = self._oversize_pages.search
        try:
            if poll.anchor is not None:
                self._judge(poll, poll.anchor, batch, now)
            elif search.first is not None and search.seeking and poll.nonce > self.cursor.next:
                self._oversize_pages.fitted(poll, self.cursor)
                self._leave_out(None)
            elif not (self._polling.resumed and batch.messages):
                if search.first is not None:
                    self._oversize_pages.fitted(poll, self.cursor)
                self._take(batch, poll, poll.nonce, now, len(batch.messages))
        except (FormatError, CertificateInvalid) as error:
            # A message's key has no nonce, or the proof of a reset is invalid.
            self._bad(error, poll)
            return
        if failures and self._context.log_limiter.allows("answers again", self.canister.text, now):
            _log.info("canister answers again", canister=self.canister.text, after=failures)
        took = now - poll.sent
        self._metrics.queries.inc(outcome)
        self._metrics.query_seconds.observe(took)
        self.backoff.succeeded(now, took)
        if self._spans is not None:
            self._spans.done(poll)

    def _judge(self, poll: InFlightPoll, anchor: LastMessage, batch: Batch, now: float) -> None:
        """Handle the answer to a probe, or to a look at the start of the queue."""
        reset_detector = self._reset_detector
        judged = self._polling.judge(poll, anchor, batch.messages, self.waiting, now, now >= self.backoff.held_until)
        if judged is Judged.CONTINUE:
            self._reset_proof.contradicted()
            answer = list(batch.messages)
            if count := len(answer):
                del batch.messages[: max(0, self.cursor.next - nonce_of_key(batch.messages[0][2]))]
            if not batch.messages and batch.end_of_queue is False:
                # The anchor alone filled the page: what is behind it comes next, not one more probe.
                reset_detector.sent(now, False)
                self._poll(now, overlap=False)
            else:
                self._take(batch, poll, self.cursor.next, now, count)
            reset_detector.confirmed(answer, self.cursor, batch.end_of_queue)
        elif judged is Judged.RESTART or (judged is Judged.PROVE and self._reset_proof.holds(batch, now, poll.sent)):
            self._restart(now, anchor, batch.messages)
        elif judged is Judged.PROVE:
            reset_detector.probe_now()
        elif judged is Judged.LOOK_AT_START:
            self._polling.due_look = anchor
            if self.poll_budget.extra(now):
                self._look(now, anchor)

    def _restart(self, now: float, anchor: LastMessage, proof: list[Message]) -> None:
        """The canister was reset: its queue starts at 0, and it knows none of its former clients.

        :param anchor, proof: see :meth:`icwsgw.core.poll_machine.Polling.restart`
        """
        self._reset_proof.contradicted()
        certified = bool(self._context.network.root_key)
        resumed = self._polling.restart(now, anchor, proof, certified)
        self._sender.drop_all()
        if not resumed:
            self._metrics.resets.inc()
            forgotten = [session for session in self.sessions.values() if session.state >= State.OPEN]
            if self._context.log_limiter.allows("reset", self.canister.text, now):
                _log.warn("canister was reset", canister=self.canister.text, clients=len(forgotten))
            in_batches(self._clock, forgotten, lambda session: session.canister_reset())
        if not self._stopped:
            self._poll(now, overlap=False)

    def _take(self, batch: Batch, poll: InFlightPoll, start: int, now: float, count: int) -> None:
        """Handle the messages of an ordinary answer.

        :param start: the nonce that was polled from
        :param count: how many messages the canister gave, known ones included
        """
        messages = batch.messages
        cursor = self.cursor
        before = cursor.next
        if messages and start > before and nonce_of_key(messages[0][2]) > before:
            self._reorder_buffer.put(batch, poll.sent, cursor.last)
            return
        found, reached = False, self.messages_down
        if messages:
            taken = cursor.take(messages, now, poll.sent)
            found = bool(taken.deliver)
            if self._reset_detector.anchor is None:
                self._reset_detector.begin(cursor.last, now)
            if taken.former:
                # The next tick polls again.
                _log.debug("answer from before the reset ignored", nonce=start, canister=self.canister.text)
                return
            self._deliver(batch, taken, poll)
            if taken.missing is not None:
                want, got = taken.missing
                _log.debug("answer starts too late, polling again", want=want, got=got, canister=self.canister.text)
                self.poll_timer.wake_in(MIN_WAKE_GAP, "gap")
            if found and self._reorder_buffer.kept:
                self._catch_up(now, poll)
        if not found and start != before:
            # It was about old messages, or beyond the end: it shows nothing about the length of the queue.
            return
        # An answer without new messages must not lead to the next query at once: that might bring the same again.
        useful = self.messages_down > reached
        self.poll_budget.useless = found and not useful
        more = self._window.answered(count if found else 0, batch.end_of_queue, useful)
        if self._stopped:
            return
        follow = FOLLOW[more, useful, found, bool(self._reorder_buffer.kept), bool(self.waiting)]
        if follow is not Follow.NOTHING:
            self._follow_up(follow, now)

    def _follow_up(self, follow: Follow, now: float) -> None:
        """Poll again, soon or later, as the answer suggests."""
        if follow is Follow.REST:
            if not self._rests(now):
                self._poll(now, overlap=False)
        elif follow is Follow.POLL:
            self._poll(now, overlap=False)
        elif follow is Follow.POLL_FOR_GAP:
            self.poll_timer.wake_in(MIN_WAKE_GAP, "gap")
        elif follow is Follow.FOLLOW_UP:
            self.poll_timer.wake_in(self._context.config.polling_interval / 2, FOLLOW_UP)
        elif follow is Follow.LOOK_AGAIN:
            pause = self.poll_budget.look_again()
            if pause is not None:
                self.poll_timer.wake_in(pause, FOLLOW_UP)
            elif any(session.opened for session in self.waiting.values()):
                # A client's ws_open was executed, but the queue holds nothing for it.
                self._reset_detector.probe_now()

    def _catch_up(self, now: float, poll: InFlightPoll) -> None:
        """Deliver what the reorder buffer holds behind the answer to ``poll``."""
        cursor = self.cursor
        while not self._stopped and (kept := self._reorder_buffer.take(cursor.next)) is not None:
            batch, sent = kept
            self._deliver(batch, cursor.take(batch.messages, now, sent), poll)

    def _deliver(self, batch: Batch, taken: CursorUpdate, poll: InFlightPoll) -> None:
        metrics = self._metrics
        if taken.duplicates:
            metrics.duplicates.inc(taken.duplicates)
        if taken.lost is not None:
            self.close_skipped()
            self._oversize_pages.deleted(*taken.lost, self._clock.seconds())
        if not taken.deliver:
            return
        spans = () if self._spans is None else self._spans.relaying(poll, taken.deliver, self.sessions)
        reached, reached_bytes = self.messages_down, metrics.canister_bytes.value
        if not self.deliver(batch, taken.deliver, self._window.deep):
            self._reset_detector.probe_now()
        if self.poll_budget.quota is not None:
            self.poll_budget.delivered(self.messages_down - reached, metrics.canister_bytes.value - reached_bytes)
        for span in spans:
            span.ended()
        self.lag.look(taken.deliver[-1][3], self._context)
