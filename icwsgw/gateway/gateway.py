"""The gateway itself: connects clients with canisters, and lets them go again.

It hands out sessions to connections, admits or refuses ws_open, and ends everything in order when it drains. What a
session does is in :mod:`icwsgw.gateway.session`; what a canister says comes through :mod:`icwsgw.gateway.poller`.
"""

from __future__ import annotations

from secrets import token_hex
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from icwsgw.clock import Timer
from icwsgw.core.closing import CloseCode
from icwsgw.core.session import State
from icwsgw.gateway.farewells import Farewells
from icwsgw.gateway.interfaces import Client, Context
from icwsgw.gateway.registry import Registry
from icwsgw.gateway.session import ClientSession
from icwsgw.gateway.wheel import Wheel
from icwsgw.ic.principal import Principal
from icwsgw.observe.logs import get_logger

if TYPE_CHECKING:
    from icwsgw.gateway.poller import Poller

_log = get_logger("gateway")

#: While draining, so many sessions are ended each second at least, however long the window is.
MIN_DRAIN_RATE = 200.0
DRAIN_PERIOD = 0.05


class Gateway:
    """One gateway process's clients and canisters.

    :ivar registry: who is connected and what is polled
    :ivar wheel: looks after connections once in a while
    :ivar draining: no new session is opened any more
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.registry = Registry(context)
        self.wheel = Wheel(context.clock)
        self.farewells = Farewells(context)
        self.draining = False
        self._prefix = token_hex(2)
        self._serial = 0
        self._idle: Deferred[None] | None = None
        self._drained: list[Deferred[None]] = []
        self._drain_call: Timer | None = None
        self._drain_rate = MIN_DRAIN_RATE
        config = context.config
        self._allowed = frozenset(Principal.from_text(text).raw for text in config.allowed_canisters)
        self._denied = frozenset(Principal.from_text(text).raw for text in config.denied_canisters)
        self._watch_gauges()

    def start(self) -> None:
        """Begin to look after connections."""
        self.wheel.start()

    def stop(self) -> None:
        """Stop at once; :meth:`drain` comes before."""
        self.registry.stop()
        self.farewells.abandon()
        self.wheel.stop()

    # clients

    def connect(self, client: Client) -> ClientSession:
        """A client's WebSocket is open: give it a session and greet it."""
        self._serial += 1
        index = self._serial % len(self.context.identities)
        session = ClientSession(self, client, f"{self._prefix}-{self._serial:x}", index)
        self.registry.sessions.add(session)
        session.greet()
        if self.draining:
            session.end(CloseCode.DRAINING, "the gateway is shutting down, please reconnect")
        return session

    def admit(self, canister: Principal, key: tuple[bytes, int], identity_index: int) -> tuple[CloseCode, str] | None:
        """Whether a client may open a session with a canister; the close code and the reason if not."""
        if canister.raw in self._denied or (self._allowed and canister.raw not in self._allowed):
            return CloseCode.CANISTER_NOT_ALLOWED, f"canister {canister.text} is not served by this gateway"
        limit = self.context.config.max_connections_per_canister
        if limit and self.registry.count(canister) >= limit:
            return CloseCode.OVERLOADED, f"canister {canister.text} has {limit} clients here, no more are allowed"
        if self.registry.find(canister, identity_index, key) is not None:
            return CloseCode.OPEN_REFUSED, "ws_open refused: this client key has an open session"
        return None

    # called by sessions

    def register(self, session: ClientSession, canister: Principal) -> Poller:
        """Enter the session's client key, so that the canister's messages find it."""
        assert session.client_key is not None
        return self.registry.add(session, canister, session.client_key)

    def unregister(self, session: ClientSession) -> None:
        """Forget the session's client key."""
        self.registry.remove(session)
        self.registry.sessions.discard(session)
        self.registry.ending.add(session)

    def accepted(self, session: ClientSession) -> None:
        """The canister has accepted the client: an older session of the same principal there is over."""
        if session.poller is None or session.client_key is None or session.state is State.CLOSED:
            return
        for index in range(len(self.context.identities)):
            poller = self.registry.pollers.get((session.poller.canister.raw, index))
            if poller is None:
                continue
            if poller is session.poller:
                older = poller.accepted(session, session.client_key)
            else:
                older = poller.senders.get(session.client_key[0])
            if older is not None:
                older.end(CloseCode.REPLACED, "replaced by a newer connection of the same client")

    def tell(self, session: ClientSession) -> None:
        """Tell the canister that the client has left."""
        assert session.poller is not None
        assert session.client_key is not None
        self.farewells.say(
            session.poller.canister, session.identity_index, session.client_key, lambda: self.finished(session)
        )

    def finished(self, session: ClientSession) -> None:
        """Nothing of the session is left to do."""
        self.registry.sessions.discard(session)
        self.registry.ending.discard(session)
        if self._idle is not None and not self.registry.sessions and not self.registry.ending:
            idle, self._idle = self._idle, None
            idle.callback(None)

    # the end

    def drain(self, window: float) -> Deferred[None]:
        """End all sessions, spread over ``window`` seconds, and tell their canisters.

        :return: fires when every canister has been told, or when that has taken another ``window`` seconds (at
            least five), after which those not told are given up
        """
        done: Deferred[None] = Deferred()
        self._drained.append(done)
        if self.draining:
            return done
        self.draining = True
        registry = self.registry
        _log.info("draining", clients=len(registry.sessions), canisters=len(registry.pollers))
        self._drain_rate = max(MIN_DRAIN_RATE, len(registry.sessions) / max(window, 0.001))
        deadline = self.context.clock.callLater(window + max(window, 5.0), self._give_up_drain)
        self._idle = Deferred()
        self._idle.addCallback(self._end_drain, deadline)
        if not registry.sessions and not registry.ending:
            self._idle.callback(None)
        else:
            self._drain_some()
        return done

    def _drain_some(self) -> None:
        self._drain_call = None
        sessions = self.registry.sessions
        for session in list(sessions)[: max(1, int(self._drain_rate * DRAIN_PERIOD))]:
            session.end(CloseCode.DRAINING, "the gateway is shutting down, please reconnect")
        if sessions and self._idle is not None:
            self._drain_call = self.context.clock.callLater(DRAIN_PERIOD, self._drain_some)

    def _give_up_drain(self) -> None:
        for session in list(self.registry.sessions):
            session.end(CloseCode.DRAINING, "the gateway is shutting down, please reconnect")
        for session in list(self.registry.ending):
            if session.relay is not None:
                session.relay.drop()
        self.farewells.abandon()
        for session in list(self.registry.ending):
            self.finished(session)

    def _end_drain(self, _: None, deadline: Timer) -> None:
        if deadline.active():
            deadline.cancel()
        if self._drain_call is not None:
            self._drain_call.cancel()
            self._drain_call = None
        waiting, self._drained = self._drained, []
        for done in waiting:
            done.callback(None)

    # what the metrics ask for

    def _watch_gauges(self) -> None:
        metrics, registry = self.context.metrics, self.registry
        metrics.pollers.set_function(lambda: len(registry.pollers))
        metrics.active_pollers.set_function(lambda: len(registry.pollers))
        metrics.queries_in_flight.set_function(lambda: sum(p.in_flight for p in registry.pollers.values()))
        metrics.clients_connected.set_function(lambda: sum(len(p.sessions) for p in registry.pollers.values()))
        metrics.draining.set_function(lambda: int(self.draining))
        metrics.sessions.set_function(self._states)

    def _states(self) -> dict[str, int]:
        setup = sum(len(poller.waiting) for poller in self.registry.pollers.values())
        registered = sum(len(poller.sessions) for poller in self.registry.pollers.values())
        return {
            "init": len(self.registry.sessions) - registered,
            "setup": setup,
            "open": registered - setup,
            "closed": len(self.registry.ending),
        }
