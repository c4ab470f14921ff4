"""The relay and the poller of a gateway that traces: what the plain ones do, with a span for it.

They are classes of their own, chosen where a session or a poller begins, so that a gateway that does not trace, and a
session that is not sampled, pays nothing for a message. What spans there are is told in
:mod:`icwsgw.observe.tracing`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.python.failure import Failure

from icwsgw.core.call_table import CallEffect
from icwsgw.core.cursor import Cursor, Taken
from icwsgw.errors import IcwsError
from icwsgw.gateway.allowance import Allowance
from icwsgw.gateway.departures import Exit
from icwsgw.gateway.interfaces import Context
from icwsgw.gateway.poller import Poller
from icwsgw.gateway.queries import Ask
from icwsgw.gateway.relay import Relay, RelayOwner
from icwsgw.ic.principal import Principal
from icwsgw.ic.ws import Batch

if TYPE_CHECKING:
    from icwsgw.agent.outcome import CallOutcome
    from icwsgw.core.messages import ClientEnvelope
    from icwsgw.observe.tracing import MessageTrace, PollTrace, PollTraces, SessionTrace, Tracing

#: Characters of a message's key in a span; the CDK's have 84.
MAX_KEY = 128


class TracedRelay(Relay):
    """A relay whose messages are spans of their session."""

    __slots__ = ("_session", "_spans")

    def __init__(
        self,
        context: Context,
        canister: Principal,
        owner: RelayOwner,
        session: SessionTrace,
        opening: Exit | None = None,
    ) -> None:
        super().__init__(context, canister, _TracedOwner(owner, self), opening)
        self._session = session
        self._spans: dict[ClientEnvelope, MessageTrace] = {}
        session.canister(canister.text)

    def open(self, envelope: ClientEnvelope) -> None:
        """Send ws_open."""
        self._begin(envelope)
        super().open(envelope)

    def send(self, envelope: ClientEnvelope) -> None:
        """Send an envelope when its turn comes."""
        self._begin(envelope)
        super().send(envelope)

    def drop(self) -> None:
        """Forget what is queued and under way."""
        self._forget()
        super().drop()

    def ended(self, envelope: ClientEnvelope, outcome: str, failed: bool) -> None:
        """One of them is done with."""
        span = self._spans.pop(envelope, None)
        if span is not None:
            span.ended(outcome, failed=failed)

    def _begin(self, envelope: ClientEnvelope) -> None:
        self._spans[envelope] = self._session.client_message(envelope.method_name, len(envelope.body))

    def _forget(self) -> None:
        for span in self._spans.values():
            span.ended("dropped", failed=True)
        self._spans.clear()

    def _count(self, effect: CallEffect) -> None:
        super()._count(effect)
        abandoned = effect is CallEffect.COUNT_ABANDONED
        opening = next((envelope for envelope in self._spans if envelope.method_name == "ws_open"), None)
        if opening is not None:
            self.ended(opening, "given up", abandoned)
        if abandoned:
            self._forget()

    def _submit(self) -> None:
        calls = self._calls
        span = self._spans.get(calls.current) if calls.current is not None else None
        if span is not None:
            span.attempt(calls.attempts + 1)
        super()._submit()


class _TracedOwner(RelayOwner):
    """Hears of the relay's calls before their session does."""

    __slots__ = ("_owner", "_relay", "id")

    def __init__(self, owner: RelayOwner, relay: TracedRelay) -> None:
        self.id = owner.id
        self._owner = owner
        self._relay = relay

    def relayed(self, envelope: ClientEnvelope, outcome: CallOutcome) -> None:
        self._relay.ended(envelope, outcome.label, outcome.reject is not None)
        self._owner.relayed(envelope, outcome)

    def relay_failed(self, envelope: ClientEnvelope, error: IcwsError) -> None:
        self._relay.ended(envelope, error.cause, True)
        self._owner.relay_failed(envelope, error)

    def relay_unknown(self, envelope: ClientEnvelope, error: IcwsError) -> None:
        self._relay.ended(envelope, "unknown", True)
        self._owner.relay_unknown(envelope, error)

    def relay_full(self) -> None:
        self._owner.relay_full()

    def relay_drained(self) -> None:
        self._owner.relay_drained()


class TracedPoller(Poller):
    """A poller whose queries are polling iterations, where they bring something or fail."""

    def __init__(
        self,
        context: Context,
        canister: Principal,
        identity_index: int,
        cursor: Cursor | None,
        tracing: Tracing,
        allowance: Allowance | None = None,
    ) -> None:
        super().__init__(context, canister, identity_index, cursor, allowance)
        self._traces: PollTraces = tracing.polls(canister.text)
        # the query whose end is being dealt with, and its iteration if it is kept
        self._ended: Ask | None = None
        self._kept: PollTrace | None = None

    def answered(self, reply: bytes, ask: Ask) -> None:
        """Deal with an answer."""
        outer = self._begin(ask)
        try:
            super().answered(reply, ask)
        finally:
            self._end(outer)

    def _failed(self, failure: Failure, ask: Ask) -> None:
        outer = self._begin(ask)
        try:
            super()._failed(failure, ask)
        finally:
            self._end(outer)

    def _begin(self, ask: Ask) -> tuple[Ask | None, PollTrace | None]:
        outer = self._ended, self._kept
        self._ended, self._kept = ask, None
        if ask in self._asks:
            self._traces.answered()
            if self._traces.idle_polls:
                self._keep_iteration()
        return outer

    def _end(self, outer: tuple[Ask | None, PollTrace | None]) -> None:
        if self._kept is not None:
            self._kept.ended()
        self._ended, self._kept = outer

    def _keep_iteration(self) -> PollTrace | None:
        if self._kept is None and self._ended is not None:
            ago = self._clock.seconds() - self._ended.sent
            self._kept = self._traces.iteration(self._context.now_ns() - int(ago * 1e9))
        return self._kept

    def _bad(self, error: BaseException | None) -> None:
        kept = self._keep_iteration()
        if kept is not None:
            kept.failed(error.cause if isinstance(error, IcwsError) else "internal")
        super()._bad(error)

    def _deliver(self, batch: Batch, taken: Taken) -> None:
        kept = self._keep_iteration() if taken.deliver else None
        if kept is None:
            super()._deliver(batch, taken)
            return
        relaying = kept.relaying(len(taken.deliver))
        spans: list[MessageTrace] = []
        canister = self.canister.text
        for principal, client_nonce, key, content in taken.deliver:
            session = self.sessions.get((principal, client_nonce))
            if session is not None and session.trace is not None:
                name = key.decode("utf-8", "replace")[:MAX_KEY]
                spans.append(session.trace.canister_message(name, canister, len(content), kept.context))
        try:
            super()._deliver(batch, taken)
        finally:
            for span in spans:
                span.ended()
            relaying.ended()
