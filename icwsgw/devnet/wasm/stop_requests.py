"""The calls of ``stop_canister`` that wait until a canister has stopped.

A canister without open calls stops at once. Any other is *stopping* until they are done: it takes no new calls, and the
answers for which it waits run their callbacks (IC interface specification, "IC method stop_canister").
"""

from __future__ import annotations

from typing import Final

from twisted.internet.defer import Deferred

from icwsgw.devnet.wasm.canister import RUNNING, STOPPED, STOPPING, WasmCanister
from icwsgw.errors import Rejected
from icwsgw.reactor.clock import Clock, Timer

#: Seconds after which such a call is rejected; the canister goes on stopping (dfinity/ic,
#: ``STOP_CANISTER_TIMEOUT_DURATION``).
STOP_TIMEOUT_S: Final = 300.0


class StopRequests:
    """Changes the status of one canister.

    :param clock: calls later
    """

    def __init__(self, canister: WasmCanister, clock: Clock) -> None:
        self._canister = canister
        self._clock = clock
        self._waiting: dict[Deferred[None], Timer] = {}

    def stop(self) -> Deferred[None] | None:
        """Stop the canister as soon as it has no open calls.

        :return: None: it is stopped; otherwise fires when it is, or fails with Rejected: that takes longer than
            :data:`STOP_TIMEOUT_S`, or the canister is started
        """
        if self._canister.status == RUNNING:
            self._canister.status = STOPPING
        self.stop_if_idle()
        if self._canister.status == STOPPED:
            return None
        later: Deferred[None] = Deferred()
        self._waiting[later] = self._clock.callLater(STOP_TIMEOUT_S, self._time_out, later)
        return later

    def stop_if_idle(self) -> None:
        """Stop the canister if it is stopping and its last open call is done. To be called after executions."""
        if self._canister.status == STOPPING and not self._canister.open_calls:
            self.stop_now()

    def stop_now(self) -> None:
        """Stop the canister, whatever it waits for."""
        self._canister.status = STOPPED
        for later in self._ended():
            later.callback(None)

    def start(self) -> None:
        """Start the canister; who waits until it has stopped gets a reject."""
        self._canister.status = RUNNING
        for later in self._ended():
            later.errback(Rejected(5, f"Canister {self._canister.id}'s stop request was cancelled.", "IC0511"))

    def close(self) -> None:
        """Cancel all timers; the requests that wait get no answer."""
        self._ended()

    def _ended(self) -> list[Deferred[None]]:
        waiting, self._waiting = self._waiting, {}
        for timer in waiting.values():
            if timer.active():
                timer.cancel()
        return list(waiting)

    def _time_out(self, later: Deferred[None]) -> None:
        del self._waiting[later]
        later.errback(Rejected(2, "Stop canister request timed out", "IC0206"))
