"""Observers that make spans of a relay's calls and of a poller's polls.

A relay and a poller have an observer or None. It is None if no collector is configured, and for a session that is not
sampled: a message then costs a few comparisons. :mod:`icwsgw.observe.tracing` lists the spans.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from icwsgw.errors import IcwsError
from icwsgw.reactor.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from icwsgw.core.messages import ClientEnvelope
    from icwsgw.gateway.polling.poll_requests import InFlightPoll
    from icwsgw.ic.ws import Message
    from icwsgw.observe.tracing import MessageTrace, PollTrace, SessionTrace, Tracing

#: Maximum number of characters of a message's key in a span; the CDK's keys have 84.
MAX_KEY = 128


class RelaySpans:
    """The spans of one client's messages: from their arrival until the network has taken the call or refused it.

    :param session: the client's session, which is sampled
    :param canister: text of the canister's principal
    """

    __slots__ = ("_session", "_spans")

    def __init__(self, session: SessionTrace, canister: str) -> None:
        self._session = session
        self._spans: dict[ClientEnvelope, MessageTrace] = {}
        session.canister(canister)

    def queued(self, envelope: ClientEnvelope) -> None:
        """Begin the span of a message that has arrived."""
        self._spans[envelope] = self._session.client_message(envelope.method_name, envelope.body)

    def attempt(self, envelope: ClientEnvelope, number: int) -> None:
        """Note that a message's call is sent for the ``number``-th time."""
        span = self._spans.get(envelope)
        if span is not None:
            span.attempt(number)

    def ended(self, envelope: ClientEnvelope, outcome: str, failed: bool) -> None:
        """End a message's span.

        :param outcome: a label of the metric of relays
        """
        span = self._spans.pop(envelope, None)
        if span is not None:
            span.ended(outcome, failed=failed)

    def opening_given_up(self, abandoned: bool) -> None:
        """End the span of ws_open, whose outcome stays unknown.

        :param abandoned: whether the messages behind it are dropped too
        """
        opening = next((envelope for envelope in self._spans if envelope.method_name == "ws_open"), None)
        if opening is not None:
            self.ended(opening, "given up", abandoned)
        if abandoned:
            self.dropped()

    def left(self) -> None:
        """End the spans of all messages, with which another process continues."""
        for span in self._spans.values():
            span.ended("handed over")
        self._spans.clear()

    def dropped(self) -> None:
        """End the spans of all messages, which are dropped."""
        for span in self._spans.values():
            span.ended("dropped", failed=True)
        self._spans.clear()


class TracedSession(Protocol):
    """A session, as spans know it: :class:`icwsgw.gateway.session.ClientSession`."""

    @property
    def trace(self) -> SessionTrace | None:
        """Its spans, if it is sampled."""


class PollSpans:
    """The spans of one poller's polls that bring messages or fail, and of the messages.

    A poll becomes a span when it is known to be worth one: the others would be ten a second for each canister.

    :param canister: text of the canister's principal
    :param now_ns: nanoseconds since 1970
    """

    __slots__ = ("_canister", "_clock", "_now_ns", "_traces")

    def __init__(self, tracing: Tracing, canister: str, clock: Clock, now_ns: Callable[[], int]) -> None:
        self._canister = canister
        self._clock = clock
        self._now_ns = now_ns
        self._traces = tracing.polls(canister)

    def answered(self) -> None:
        """Count a poll that has been answered or has failed."""
        self._traces.answered()

    def failed(self, poll: InFlightPoll, error: BaseException | None) -> None:
        """Make a failed span of a poll."""
        self._keep(poll).failed(error.cause if isinstance(error, IcwsError) else "internal")
        self.done(poll)

    def relaying(
        self, poll: InFlightPoll, messages: list[Message], sessions: Mapping[tuple[bytes, int], TracedSession]
    ) -> list[MessageTrace]:
        """Begin the spans of messages that a poll has brought; the caller ends them when they are delivered."""
        trace = self._keep(poll)
        relaying, spans = trace.relaying(len(messages)), []
        for principal, client_nonce, key, content in messages:
            session = sessions.get((principal, client_nonce))
            if session is not None and session.trace is not None:
                name = key.decode("utf-8", "replace")[:MAX_KEY]
                spans.append(session.trace.canister_message(name, self._canister, len(content), trace.context))
        return [*spans, relaying]

    def done(self, poll: InFlightPoll) -> None:
        """End the span of a poll, if there is one. A poll without messages gets one here if those are traced."""
        trace = self._keep(poll) if self._traces.idle_polls else poll.trace
        if trace is not None:
            trace.ended()
            poll.trace = None

    def _keep(self, poll: InFlightPoll) -> PollTrace:
        if poll.trace is None:
            ago = self._clock.seconds() - poll.sent
            poll.trace = self._traces.iteration(self._now_ns() - int(ago * 1e9))
        return poll.trace
