"""Processes many sessions or connections in batches, one in each turn of the event loop, between other work."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from icwsgw.observe.logs import get_logger
from icwsgw.reactor.clock import Clock, Timer

#: Sessions, or connections, in a batch: about ten milliseconds.
BATCH = 100

_log = get_logger("gateway")

T = TypeVar("T")

#: By clock: the timers of batches, and what each will do.
_waiting: WeakKeyDictionary[Any, dict[Timer, Callable[[], None]]] = WeakKeyDictionary()


def for_each_session(sessions: Iterable[T], act: Callable[[T], object]) -> None:
    """Call ``act`` for each session. An exception for one session is logged and does not affect the others."""
    for session in sessions:
        try:
            act(session)
        except Exception:
            _log.failure("handling a session failed", session=getattr(session, "id", None))


def in_batches(
    clock: Clock,
    sessions: list[T],
    act: Callable[[T], object],
    done: Callable[[], object] | None = None,
    size: int = BATCH,
) -> None:
    """Call ``act`` for each session, the first batch at once.

    :param act: has to accept a session that has ended since
    :param done: called after the last one
    :param size: sessions in a batch
    """
    for_each_session(sessions[:size], act)
    if rest := sessions[size:]:
        timers = _waiting.setdefault(clock, {})
        go_on = partial(in_batches, clock, rest, act, done, size)

        def next_batch() -> None:
            del timers[timer]
            go_on()

        timer = clock.callLater(0, next_batch)
        timers[timer] = go_on
    elif done is not None:
        done()


def finish_batches(clock: Clock) -> None:
    """Process what is left of all batches at once, because this process is about to end."""
    timers = _waiting.get(clock, {})
    while timers:
        timer, go_on = timers.popitem()
        timer.cancel()
        go_on()
