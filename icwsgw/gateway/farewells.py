"""Tells canisters with ws_close that a client has left, and sees to it that they hear it.

A canister that is not told keeps the client until its own keep-alive check, and counts it in every acknowledgement
round. So a ws_close that met a failing network, or was signed for a wrong time, is signed anew and sent again, until
the patience given here ends. The canister's ``Err`` (it does not know the client any more) is as good as its ``Ok``.

Canisters share the calls that may be under way (:mod:`icwsgw.core.shares`), so that one whose calls hang does not hold
up what others are to hear. A farewell that waits for its next attempt takes no place. One that has waited for its
place until the canister must have found out by itself is not sent any more. There are as many as there may be clients,
so that all can leave at once; of more, the oldest is given up, which is most likely that of a canister that hangs.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from icwsgw.agent.outcome import CallOutcome
from icwsgw.clock import Timer
from icwsgw.core.calls import SYS_TRANSIENT
from icwsgw.core.network_time import refuses_expiry
from icwsgw.core.pacing import retry_pause
from icwsgw.core.shares import Shares
from icwsgw.errors import CanisterRefused, FormatError, HttpError, IcwsError, NotReady, TransportError
from icwsgw.gateway.departures import Exit
from icwsgw.gateway.interfaces import Context
from icwsgw.ic.envelope import call_content, expiry_after, sign_request
from icwsgw.ic.principal import Principal
from icwsgw.ic.ws import decode_unit_result, encode_close
from icwsgw.observe.levels import DEBUG
from icwsgw.observe.logs import get_logger

_log = get_logger("farewell")

#: Calls in flight at once, of which one canister may have half. Where a call takes two seconds, 128 tell 64 canisters'
#: clients a second; beside the relays of living clients it is little.
MAX_IN_FLIGHT = 256
#: A canister that has not taken the call after this long will have to find out by itself.
PATIENCE_SECONDS = 120.0
#: The CDK's own check finds a client that is gone within five minutes and one more (facts 3): later there is no need.
FOUND_OUT_SECONDS = 360.0
TTL_SECONDS = 240.0


class _Farewell:
    """One ws_close.

    :ivar sent: none has left before (:class:`icwsgw.gateway.departures.Caller`)
    """

    __slots__ = (
        "_owner",
        "answered",
        "attempt",
        "call",
        "canister",
        "done",
        "identity_index",
        "key",
        "lane",
        "retry",
        "sent",
        "session",
        "since",
    )

    def __init__(
        self,
        owner: Farewells,
        canister: Principal,
        identity_index: int,
        key: tuple[bytes, int],
        since: float,
        done: Callable[[], None],
        session: str,
        answered: Callable[[bool], None] | None,
    ) -> None:
        self._owner = owner
        self.session = session
        self.canister = canister
        self.lane = owner.exit_for(canister)
        self.identity_index = identity_index
        self.key = key
        self.since = since
        self.sent = 0.0
        self.done = done
        self.answered = answered
        self.attempt = 0
        self.call: Deferred[CallOutcome] | None = None
        self.retry: Timer | None = None

    def granted(self) -> None:
        """There is a place for its call (:class:`icwsgw.core.shares.Waiter`)."""
        self._owner.granted(self)


class Farewells:
    """The ws_close calls under way.

    :ivar shares: how many of them, by canister
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self.shares = Shares(MAX_IN_FLIGHT)
        self._all: dict[_Farewell, None] = {}
        self._abandoned = False

    def __len__(self) -> int:
        return len(self._all)

    def exit_for(self, canister: Principal) -> Exit:
        """Where those for a canister leave."""
        return self._context.departures.closing(canister.raw, self.shares)

    def say(
        self,
        canister: Principal,
        identity_index: int,
        key: tuple[bytes, int],
        done: Callable[[], None],
        session: str = "",
        answered: Callable[[bool], None] | None = None,
    ) -> None:
        """Tell ``canister`` that the client ``key`` has left; ``done`` is called once, however it ends.

        :param session: the client's, for logs
        :param answered: told, before ``done``, whether the canister still knew the client; nothing is told where an
            earlier attempt may have been what removed it
        """
        context = self._context
        now = context.clock.seconds()
        if len(self._all) >= context.config.max_connections:
            self._give_up(next(iter(self._all)))
        farewell = _Farewell(self, canister, identity_index, key, now, done, session, answered)
        self._all[farewell] = None
        if self._abandoned:
            self._end(farewell, "abandoned")
        else:
            self._try(farewell)

    def abandon(self) -> None:
        """Stop telling, now and from now on; those not told are counted, and logged as far as they are known."""
        self._abandoned = True
        left = list(self._all)
        if left:
            _log.warn("ws_close calls abandoned", count=len(left))
        # before a call is cancelled, which would make room for the next that waits
        for farewell in left:
            farewell.lane.forget(farewell)
        for farewell in left:
            self._drop(farewell)

    def _give_up(self, farewell: _Farewell) -> None:
        if self._worth_a_line("ws_close given up", farewell):
            _log.warn(
                "ws_close dropped: queue full or expired",
                canister=farewell.canister.text,
                session=farewell.session,
            )
        self._drop(farewell)

    def _drop(self, farewell: _Farewell) -> None:
        if farewell.retry is not None:
            farewell.retry.cancel()
            farewell.retry = None
        farewell.lane.forget(farewell)
        call = farewell.call
        self._end(farewell, "abandoned")
        if call is not None:
            call.cancel()

    def granted(self, farewell: _Farewell) -> None:
        """One that has waited has its place."""
        if self._context.clock.seconds() - farewell.since < FOUND_OUT_SECONDS:
            self.send(farewell)
        else:
            farewell.lane.leave()
            self._give_up(farewell)

    def _try(self, farewell: _Farewell) -> None:
        farewell.retry = None
        if farewell.lane.enter(farewell):
            self.send(farewell)

    def send(self, farewell: _Farewell) -> None:
        """Start the call of one that has its place."""
        context = self._context
        identity = context.identities[farewell.identity_index]
        farewell.attempt += 1
        request = sign_request(
            identity,
            call_content(
                identity.principal,
                farewell.canister,
                "ws_close",
                encode_close(*farewell.key),
                expiry_after(context.network_ns(), TTL_SECONDS),
                # makes each call its own, as the network does not execute one that it has seen
                farewell.key[1].to_bytes(8, "big") + context.now_ns().to_bytes(8, "big"),
            ),
        )
        if _log.level <= DEBUG:
            _log.debug(
                "call",
                session=farewell.session,
                request=request.request_id.hex()[:16],
                method="ws_close",
                attempt=farewell.attempt,
            )
        call = context.network.call(farewell.canister, request.body, wait=True, timeout=context.config.call_timeout)
        # remembered first: it may have fired already
        farewell.call = call
        call.addCallbacks(self._answered, self._failed, callbackArgs=(farewell,), errbackArgs=(farewell,))

    def _answered(self, outcome: CallOutcome, farewell: _Farewell) -> None:
        farewell.call = None
        farewell.lane.leave()
        if farewell not in self._all:
            return
        result = "done"
        try:
            if outcome.reject is not None:
                if outcome.reject.code == SYS_TRANSIENT and self._again(farewell, None):
                    return
                result = "refused"
                if self._worth_a_line("ws_close refused", farewell):
                    _log.info(
                        "ws_close refused",
                        error=outcome.reject,
                        canister=farewell.canister.text,
                        session=farewell.session,
                    )
            elif outcome.reply is not None:
                decode_unit_result(outcome.reply)
                if farewell.answered is not None:
                    farewell.answered(True)
        except CanisterRefused as error:
            # it has removed the client already, by itself or with its newer connection
            _log.debug(
                "ws_close was not needed", error=error, canister=farewell.canister.text, session=farewell.session
            )
            if farewell.attempt == 1 and farewell.answered is not None:
                farewell.answered(False)
        except FormatError:
            result = "format"
        self._end(farewell, result)

    def _failed(self, failure: Failure, farewell: _Farewell) -> None:
        farewell.call = None
        farewell.lane.leave()
        if farewell not in self._all:
            return
        error = failure.value
        if _passing(error) and self._again(farewell, error.retry_after if isinstance(error, HttpError) else None):
            return
        if not isinstance(error, IcwsError):
            _log.failure("ws_close failed", failure=failure)
        if self._worth_a_line("ws_close failed", farewell):
            _log.warn(
                "ws_close not delivered",
                error=error,
                canister=farewell.canister.text,
                session=farewell.session,
            )
        self._end(farewell, error.cause if isinstance(error, IcwsError) else "internal")

    def _worth_a_line(self, what: str, farewell: _Farewell) -> bool:
        """A canister that is gone may have had thousands of clients."""
        return self._context.repeats.allows(what, farewell.canister.text, self._context.clock.seconds())

    def _again(self, farewell: _Farewell, retry_after: float | None) -> bool:
        """Try again after a pause; False when patience has ended."""
        context = self._context
        if context.clock.seconds() - farewell.since >= PATIENCE_SECONDS:
            return False
        context.metrics.ws_close_retries.inc()
        pause = retry_pause(farewell.attempt, context.jitter, retry_after)
        farewell.retry = context.clock.callLater(pause, self._try, farewell)
        return True

    def _end(self, farewell: _Farewell, result: str) -> None:
        if farewell in self._all:
            del self._all[farewell]
            self._context.metrics.ws_closes.inc(result)
            farewell.done()


def _passing(error: BaseException | None) -> bool:
    """Whether a call that failed so may be taken later."""
    if isinstance(error, HttpError):
        # a replica that refuses an expiry says what time it has, so the next one is signed for a better time
        return error.retryable or refuses_expiry(error.detail)
    return isinstance(error, NotReady) or (isinstance(error, TransportError) and error.retryable)
