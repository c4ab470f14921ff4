"""The end of a process waits for the answers that operators and scrapers are about to get."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

#: Seconds that answers may take at the end, and seconds between two looks. Before the first look, what has been asked
#: while the process did nothing else (a handover) is read.
ANSWER_SECONDS, LOOK_SECONDS = 2.0, 0.05


class AnsweringSite(Protocol):
    """An HTTP server that knows its connections: twisted.web's channels."""

    @property
    def connections(self) -> Collection[Any]: ...


class LastAnswers(Service):
    """Closes the connections of a site when it stops: idle ones at once, others when they are answered.

    A connection is aborted if that takes longer than :data:`ANSWER_SECONDS`.
    """

    def __init__(self, site: AnsweringSite, clock: Any) -> None:
        self._site = site
        self._clock = clock

    def stopService(self) -> Deferred[None]:  # noqa: N802
        """Let the connections end; fires when there are none."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._end())

    async def _end(self) -> None:
        site, clock = self._site, self._clock
        last, closed = clock.seconds() + ANSWER_SECONDS, set[Any]()
        while site.connections and clock.seconds() < last:
            await deferLater(clock, LOOK_SECONDS)
            for channel in [each for each in site.connections if not each.requests and each not in closed]:
                closed.add(channel)
                # after what has been written has left
                channel.loseConnection()
        for channel in list(site.connections):
            channel.transport.abortConnection()
