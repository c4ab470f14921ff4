"""Sends close notices: ``ws_close`` calls, which report to a canister that a client has left.

A canister without one keeps the client until its own keep-alive check, and addresses it in every acknowledgement
round. So a ``ws_close`` that fails for a reason that may pass, or that was signed with a wrong time, is signed again
and sent again for :data:`icwsgw.core.close_notice.MAX_RETRY_SECONDS`. The canister's ``Err`` (it does not know the
client) is as good as its ``Ok``.

Canisters share the call slots for close notices (:mod:`icwsgw.core.call_slots`), so a canister whose calls hang does
not delay the notices to others. A notice that pauses before its next attempt holds no slot. A notice that gets its slot
so late that the canister has removed the client by itself is dropped. At most ``--max-connections`` notices are kept,
so that all clients can leave at once; beyond that the oldest is dropped, which most likely is for a canister that
hangs.

An answer on which other connections of the principal depend counts only if it is certified (decision 0015); one that
does not verify is like none. All other answers change nothing but a metric, and a pairing for each client that leaves
would be too much.

The state machine :mod:`icwsgw.core.close_notice` decides about each notice; this module performs its effects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from twisted.python.failure import Failure

from icwsgw.agent.outcome import CallOutcome
from icwsgw.core.call_answers import SYS_TRANSIENT
from icwsgw.core.call_slots import CallSlots
from icwsgw.core.close_notice import SEND, CloseNotice, NoticeEffect, NoticeEffects, NoticeEvent, NoticeState
from icwsgw.core.network_time import refuses_expiry
from icwsgw.core.written_state import Document
from icwsgw.errors import (
    CanisterRefused,
    CertificateInvalid,
    FormatError,
    HttpError,
    IcwsError,
    NotReady,
    TransportError,
)
from icwsgw.gateway.batches import in_batches
from icwsgw.gateway.calls.scheduler import CallQueue
from icwsgw.gateway.interfaces import Context
from icwsgw.ic.envelope import call_content, expiry_after, sign_request
from icwsgw.ic.network_limits import REQUEST_TTL_SECONDS
from icwsgw.ic.principal import Principal
from icwsgw.ic.ws import decode_unit_result, encode_close
from icwsgw.observe.levels import DEBUG
from icwsgw.observe.logs import get_logger

_log = get_logger("close_notice")

_KNOWN: dict[NoticeEffect, bool | None] = {
    NoticeEffect.NOTIFY_KNOWN: True,
    NoticeEffect.NOTIFY_NOT_KNOWN: False,
    NoticeEffect.NOTIFY_UNCERTAIN: None,
}


class Cancellable(Protocol):
    """An attempt in flight, or the timer of a pause."""

    def cancel(self) -> None:
        """Cancel it."""


class _CloseNotice(CloseNotice):
    """One close notice: the state machine, and what it is about.

    :ivar under_way: the call of IN_FLIGHT, or the timer of PAUSING
    :ivar sent: always 0, since no call of the client came before (:class:`icwsgw.gateway.calls.scheduler.CallOwner`)
    """

    __slots__ = (
        "answered",
        "canister",
        "done",
        "identity_index",
        "key",
        "owner",
        "sent",
        "session",
        "slot_queue",
        "under_way",
        "verified",
    )

    def __init__(
        self,
        owner: CloseNotices,
        slot_queue: CallQueue,
        canister: Principal,
        identity_index: int,
        key: tuple[bytes, int],
        since: float,
        done: Callable[[], None],
        session: str,
        answered: Callable[[bool | None], None] | None,
        verified: bool,
    ) -> None:
        super().__init__(since)
        self.owner = owner
        self.session = session
        self.canister = canister
        self.slot_queue = slot_queue
        self.identity_index = identity_index
        self.key = key
        self.sent = 0.0
        self.done = done
        self.answered = answered
        self.verified = verified
        self.under_way: Cancellable | None = None

    def granted(self) -> None:
        """The notice has got its call slot (:class:`icwsgw.core.call_slots.SlotWaiter`)."""
        self.owner.granted(self)


class CloseNotices:
    """All close notices of one gateway.

    :ivar call_slots: the calls in flight, by canister
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self.call_slots = CallSlots(context.in_flight_limits.closes)
        self._all: dict[_CloseNotice, None] = {}
        self._abandoned = False

    def __len__(self) -> int:
        return len(self._all)

    def enqueue(
        self,
        canister: Principal,
        identity_index: int,
        key: tuple[bytes, int],
        done: Callable[[], None],
        session: str = "",
        answered: Callable[[bool | None], None] | None = None,
        before: Mapping[str, Any] | None = None,
        verified: bool = False,
    ) -> None:
        """Report to ``canister`` that the client ``key`` has left.

        :param canister: the canister
        :param identity_index: the identity that the client was served by; it signs the call
        :param key: the client key, (raw principal, nonce)
        :param done: called once, however the notice ends
        :param session: the session's id, for logs
        :param answered: called once, before ``done``, with whether the canister still knew the client; None if that
            is unknown
        :param before: the notice's state in the process that has begun it (:meth:`written`), if that is another one
        :param verified: the canister's answer counts only if its certificate is valid
        :raises FormatError: that state is invalid
        """
        context = self._context
        now = context.clock.seconds()
        if len(self._all) >= context.config.max_connections:
            oldest = next(iter(self._all))
            self._report(oldest, NoticeEffect.REPORT_GIVEN_UP, None)
            self._give_up(oldest)
        slot_queue = context.call_scheduler.closing(canister.raw, self.call_slots)
        close_notice = _CloseNotice(
            self, slot_queue, canister, identity_index, key, now, done, session, answered, verified
        )
        if before is not None:
            close_notice.read(before)
        self._all[close_notice] = None
        if self._abandoned:
            self._give_up(close_notice)
        elif before is not None:
            self._perform(close_notice, close_notice.step(NoticeEvent.HANDED_OVER))
        elif close_notice.slot_queue.enter(close_notice):
            self.granted(close_notice)

    def abandon(self) -> None:
        """Drop all notices, and those that are enqueued from now on. They are counted; those of now are logged."""
        for close_notice in self._abandoning():
            self._give_up(close_notice)

    def abandon_in_batches(self, done: Callable[[], object]) -> None:
        """Do the same in batches, a few notices in each turn of the event loop.

        :param done: called after the last one
        """
        in_batches(self._context.clock, self._abandoning(), self._give_up, done)

    def _abandoning(self) -> list[_CloseNotice]:
        """Drop notices that are enqueued from now on; return those of now in the order in which to drop them."""
        self._abandoned = True
        if self._all:
            _log.warn("ws_close calls abandoned", count=len(self._all))
        return self._waiting_first()

    def _waiting_first(self) -> list[_CloseNotice]:
        """All notices, those that wait first: a call that is cancelled gives its slot to the next of them."""
        return sorted(self._all, key=lambda each: each.state is not NoticeState.WAITING)

    def written(self) -> dict[str, Document]:
        """The state of each notice as plain values, by session id."""
        return {close_notice.session: close_notice.written() for close_notice in self._all}

    def forget(self) -> None:
        """Drop all notices without sending them: another process does."""
        for close_notice in self._waiting_first():
            close_notice.done, close_notice.answered = _nothing, None
            self._give_up(close_notice)

    def _give_up(self, close_notice: _CloseNotice) -> None:
        self._perform(close_notice, close_notice.step(NoticeEvent.GIVEN_UP), "abandoned")

    def granted(self, close_notice: _CloseNotice) -> None:
        """Send a notice that has got its call slot, or drop it if it is too late for that."""
        effects = close_notice.slot_granted(self._context.clock.seconds())
        if effects is SEND:
            self._send(close_notice)
        else:
            self._perform(close_notice, effects, "abandoned")

    def _perform(
        self, close_notice: _CloseNotice, effects: NoticeEffects, result: str = "", error: BaseException | None = None
    ) -> None:
        """Perform effects of the state machine.

        :param result: how the notice has ended, for the metric
        :param error: how the notice has ended, for the log
        """
        for effect in effects:
            if effect is NoticeEffect.END:
                del self._all[close_notice]
                self._context.metrics.ws_closes.inc(result)
                close_notice.done()
            elif effect in _KNOWN:
                if close_notice.answered is not None:
                    close_notice.answered(_KNOWN[effect])
            elif effect is NoticeEffect.ENTER:
                if close_notice.slot_queue.enter(close_notice):
                    self.granted(close_notice)
            elif effect is NoticeEffect.RETRY:
                self._context.metrics.ws_close_retries.inc()
                close_notice.under_way = self._context.clock.callLater(
                    close_notice.pause, self._pause_over, close_notice
                )
            elif effect is NoticeEffect.RELEASE_SLOT:
                close_notice.slot_queue.leave()
            elif effect is NoticeEffect.LEAVE_QUEUE:
                close_notice.slot_queue.forget(close_notice)
            elif effect is NoticeEffect.CANCEL:
                under_way, close_notice.under_way = close_notice.under_way, None
                if under_way is not None:
                    # A cancelled call fails, and its errback gives the slot back.
                    under_way.cancel()
            else:
                self._report(close_notice, effect, error)

    def _pause_over(self, close_notice: _CloseNotice) -> None:
        close_notice.under_way = None
        self._perform(close_notice, close_notice.step(NoticeEvent.PAUSE_OVER))

    def _send(self, close_notice: _CloseNotice) -> None:
        context = self._context
        identity = context.identities[close_notice.identity_index]
        request = sign_request(
            identity,
            call_content(
                identity.principal,
                close_notice.canister,
                "ws_close",
                encode_close(*close_notice.key),
                expiry_after(context.network_ns(), REQUEST_TTL_SECONDS),
                # The nonce makes each attempt a different call: the network does not execute a request id twice.
                close_notice.key[1].to_bytes(8, "big") + context.now_ns().to_bytes(8, "big"),
            ),
        )
        if _log.level <= DEBUG:
            _log.debug(
                "call",
                session=close_notice.session,
                request=request.request_id.hex()[:16],
                method="ws_close",
                attempt=close_notice.attempts,
            )
        call = context.network.call(
            close_notice.canister,
            request.body,
            wait=True,
            timeout=context.config.call_timeout,
            request_id=request.request_id if close_notice.verified else None,
        )
        # Store the call first: its callbacks may run at once.
        close_notice.under_way = call
        call.addCallbacks(self._answered, self._failed, callbackArgs=(close_notice,), errbackArgs=(close_notice,))

    def _answered(self, outcome: CallOutcome, close_notice: _CloseNotice) -> None:
        close_notice.under_way = None
        close_notice.slot_queue.leave()
        reject = outcome.reject
        if reject is not None:
            if reject.code == SYS_TRANSIENT:
                effects = self._again(close_notice, NoticeEvent.REJECTED)
            else:
                effects = close_notice.step(NoticeEvent.REJECTED)
            self._perform(close_notice, effects, "refused", reject)
            return
        result, error = "done", None
        try:
            if outcome.reply is not None:
                decode_unit_result(outcome.reply)
                effects = close_notice.step(NoticeEvent.REMOVED)
            else:
                effects = close_notice.step(NoticeEvent.UNREADABLE)
        except CanisterRefused as refusal:
            # The canister has removed the client before: by itself, or because of a newer connection.
            effects, error = close_notice.refused(), refusal
        except FormatError:
            effects, result = close_notice.step(NoticeEvent.UNREADABLE), "format"
        self._perform(close_notice, effects, result, error)

    def _failed(self, failure: Failure, close_notice: _CloseNotice) -> None:
        close_notice.under_way = None
        close_notice.slot_queue.leave()
        error = failure.value
        if _passing(error):
            retry_after = error.retry_after if isinstance(error, HttpError) else None
            effects = self._again(close_notice, NoticeEvent.FAILED, retry_after)
        else:
            effects = close_notice.step(NoticeEvent.FAILED)
        if effects and not isinstance(error, IcwsError):
            _log.failure("ws_close failed", failure=failure)
        self._perform(close_notice, effects, error.cause if isinstance(error, IcwsError) else "internal", error)

    def _again(
        self, close_notice: _CloseNotice, otherwise: NoticeEvent, retry_after: float | None = None
    ) -> NoticeEffects:
        context = self._context
        return close_notice.failed(otherwise, context.clock.seconds(), context.jitter, retry_after)

    def _report(self, close_notice: _CloseNotice, effect: NoticeEffect, error: BaseException | None) -> None:
        about = {"canister": close_notice.canister.text, "session": close_notice.session}
        if effect is NoticeEffect.REPORT_NOT_NEEDED:
            _log.debug("ws_close was not needed", error=error, **about)
        elif effect is NoticeEffect.REPORT_REJECTED and self._worth_a_line("ws_close refused", close_notice):
            _log.info("ws_close refused", error=error, **about)
        elif effect is NoticeEffect.REPORT_FAILED and self._worth_a_line("ws_close failed", close_notice):
            _log.warn("ws_close not delivered", error=error, **about)
        elif effect is NoticeEffect.REPORT_GIVEN_UP and self._worth_a_line("ws_close given up", close_notice):
            _log.warn("ws_close dropped: queue full or expired", **about)

    def _worth_a_line(self, what: str, close_notice: _CloseNotice) -> bool:
        """Whether the log rate limit allows a line: a canister that was deleted may have had thousands of clients."""
        return self._context.log_limiter.allows(what, close_notice.canister.text, self._context.clock.seconds())


def _nothing() -> None:
    pass


def _passing(error: BaseException | None) -> bool:
    """Whether a call that failed with this error may succeed later."""
    if isinstance(error, HttpError):
        # A refused expiry contains the replica's time, so the next attempt is signed with a better one.
        return error.retryable or refuses_expiry(error.detail)
    # Another node, or the same one after a network's key has changed, may answer with a certificate that is valid.
    return isinstance(error, (NotReady, CertificateInvalid)) or (isinstance(error, TransportError) and error.retryable)
