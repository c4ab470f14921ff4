"""Whether an open connection is still alive, and what is due at it, as a state machine.

    state   event       next    effects
    ------  ----------  ------  ---------------------
    QUIET   NOT_OPENED  ENDED   CLOSE_NOT_OPENED
    QUIET   INCOMPLETE  ENDED   CLOSE_INCOMPLETE
    QUIET   RECEIVED    QUIET   WAIT_SILENCE
    QUIET   NOT_READ    QUIET   WAIT_INTERVAL
    QUIET   NO_PINGS    QUIET   WAIT_INTERVAL
    QUIET   OPENS_SOON  QUIET   WAIT_INTERVAL
    QUIET   SILENT      PINGED  PING, WAIT_PONG
    PINGED  NOT_OPENED  ENDED   CLOSE_NOT_OPENED
    PINGED  INCOMPLETE  ENDED   CLOSE_INCOMPLETE
    PINGED  RECEIVED    QUIET   WAIT_REST
    PINGED  NOT_READ    QUIET   WAIT_REST
    PINGED  NO_PINGS    ENDED   REPORT_NO_PONG, ABORT
    PINGED  OPENS_SOON  ENDED   REPORT_NO_PONG, ABORT
    PINGED  SILENT      ENDED   REPORT_NO_PONG, ABORT

The connection is visited at intervals. At each visit :meth:`LivenessDeadlines.event` selects the first event of the
table that applies. Proxies that cut idle connections count from the last byte, so no client is silent for longer than
the interval without a ping: WAIT_SILENCE counts from the last bytes of a client that has sent something, and WAIT_REST
counts the time for the pong as a part of the interval, so that a client that only answers pings gets one each interval.
No ping is sent whose pong would be due after the session has to be open: the visit at that time would be missed.

The state is one value and :func:`step` a function, so that an idle connection holds nothing for it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from icwsgw.core.transitions import transition

#: Seconds between two visits where pings are off.
VISIT_SECONDS = 60.0


class LivenessState(IntEnum):
    """Whether the other end has shown that it is alive."""

    QUIET = 0
    """No ping is unanswered."""
    PINGED = 1
    """A ping has been sent, and nothing has come since."""
    ENDED = 2
    """The connection is being ended."""


class LivenessEvent(IntEnum):
    """What a visit finds."""

    NOT_OPENED = 0
    """The session has not been opened in time."""
    INCOMPLETE = 1
    """A part of a message came too long ago, and the message is still not whole."""
    RECEIVED = 2
    """Something has come since the last visit."""
    NOT_READ = 3
    """The gateway does not read the socket, so that nothing can arrive."""
    NO_PINGS = 4
    """Nothing has come, and pings are off."""
    OPENS_SOON = 5
    """Nothing has come, and the session has to be open before a pong would be due."""
    SILENT = 6
    """Nothing has come."""


class LivenessEffect(IntEnum):
    """What the connection has to do."""

    WAIT_INTERVAL = 0
    """Plan a visit after the ping interval."""
    WAIT_SILENCE = 1
    """Plan a visit when the client will have sent nothing for the ping interval."""
    WAIT_REST = 2
    """Plan a visit after the rest of the ping interval, of which the time for the pong is over."""
    PING = 3
    """Send a ping."""
    WAIT_PONG = 4
    """Plan a visit when the pong is due."""
    CLOSE_NOT_OPENED = 5
    """Close the session with 4107."""
    CLOSE_INCOMPLETE = 6
    """Close the session with 1008."""
    REPORT_NO_PONG = 7
    """End the session, with this reason in the log."""
    ABORT = 8
    """Abort the connection."""


LivenessEffects = tuple[LivenessEffect, ...]
S, E, F = LivenessState, LivenessEvent, LivenessEffect

TABLE: dict[tuple[LivenessState, LivenessEvent], tuple[LivenessState, LivenessEffects]] = {
    (S.QUIET, E.NOT_OPENED): (S.ENDED, (F.CLOSE_NOT_OPENED,)),
    (S.QUIET, E.INCOMPLETE): (S.ENDED, (F.CLOSE_INCOMPLETE,)),
    (S.QUIET, E.RECEIVED): (S.QUIET, (F.WAIT_SILENCE,)),
    (S.QUIET, E.NOT_READ): (S.QUIET, (F.WAIT_INTERVAL,)),
    (S.QUIET, E.NO_PINGS): (S.QUIET, (F.WAIT_INTERVAL,)),
    (S.QUIET, E.OPENS_SOON): (S.QUIET, (F.WAIT_INTERVAL,)),
    (S.QUIET, E.SILENT): (S.PINGED, (F.PING, F.WAIT_PONG)),
    (S.PINGED, E.NOT_OPENED): (S.ENDED, (F.CLOSE_NOT_OPENED,)),
    (S.PINGED, E.INCOMPLETE): (S.ENDED, (F.CLOSE_INCOMPLETE,)),
    (S.PINGED, E.RECEIVED): (S.QUIET, (F.WAIT_REST,)),
    (S.PINGED, E.NOT_READ): (S.QUIET, (F.WAIT_REST,)),
    # pings were turned off after this one was sent: the time for its pong is over
    (S.PINGED, E.NO_PINGS): (S.ENDED, (F.REPORT_NO_PONG, F.ABORT)),
    (S.PINGED, E.OPENS_SOON): (S.ENDED, (F.REPORT_NO_PONG, F.ABORT)),
    (S.PINGED, E.SILENT): (S.ENDED, (F.REPORT_NO_PONG, F.ABORT)),
}
del S, E, F


def step(state: LivenessState, event: LivenessEvent) -> tuple[LivenessState, LivenessEffects]:
    """The next state and the effects of an event.

    :raises LookupError: the event cannot happen in this state
    """
    return transition(TABLE, state, event)


class PartialMessage(NamedTuple):
    """A message of which a part has come.

    :ivar messages: how many whole messages came before it
    :ivar since: when a visit saw it first, seconds of the reactor's clock
    """

    messages: int
    since: float

    @classmethod
    def seen(cls, before: PartialMessage | None, messages: int, now: float) -> PartialMessage:
        """The partial message that a visit finds: that of the visit before, unless a whole message came in between.

        :param before: what the visit before has found; None: nothing
        :param messages: whole messages of the connection so far
        :param now: seconds of the reactor's clock
        """
        return before if before is not None and before.messages == messages else cls(messages, now)


class LivenessDeadlines(NamedTuple):
    """The deadlines of all open connections, in seconds.

    :ivar ping_interval: between two pings of a silent client; 0: no pings
    :ivar pong_timeout: from a ping to any answer
    :ivar message_timeout: from a message's first part to its end
    """

    ping_interval: float
    pong_timeout: float
    message_timeout: float

    def event(
        self, now: float, opens_by: float, partial: PartialMessage | None, received: bool, is_read: bool
    ) -> LivenessEvent:
        """What a visit finds.

        :param now: seconds of the reactor's clock
        :param opens_by: when the session has to be open; infinite: it is
        :param partial: the message of which a part has come; None: there is none, or the gateway does not read on
        :param received: something has come since the last visit
        :param is_read: the gateway reads the socket
        """
        if now >= opens_by:
            return LivenessEvent.NOT_OPENED
        if partial is not None and now - partial.since > self.message_timeout:
            return LivenessEvent.INCOMPLETE
        if received:
            return LivenessEvent.RECEIVED
        if not is_read:
            return LivenessEvent.NOT_READ
        if not self.ping_interval:
            return LivenessEvent.NO_PINGS
        return LivenessEvent.OPENS_SOON if now + self.pong_timeout > opens_by else LivenessEvent.SILENT

    def wait(self, effect: LivenessEffect, now: float, opens_by: float, silent: float = 0.0) -> float:
        """How long to wait for the next visit.

        :param effect: WAIT_INTERVAL, WAIT_SILENCE, WAIT_REST or WAIT_PONG
        :param now: seconds of the reactor's clock
        :param opens_by: when the session has to be open; infinite: it is
        :param silent: seconds since the client's last bytes, for WAIT_SILENCE
        :return: seconds
        """
        if effect is LivenessEffect.WAIT_PONG:
            return self.pong_timeout
        spent = 0.0
        if effect is LivenessEffect.WAIT_REST:
            spent = self.pong_timeout
        elif effect is LivenessEffect.WAIT_SILENCE and self.ping_interval:
            spent = silent
        delay = max(1.0, (self.ping_interval or VISIT_SECONDS) - spent)
        return min(delay, opens_by - now) if opens_by > now else delay
