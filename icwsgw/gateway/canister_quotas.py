"""The quotas of canisters (decision 0076): who has which, and the clients that are held because of one.

The clients of a canister share its quota for messages, under all identities of the process. Its pollers, one for each
identity, have equal parts of the quotas for polls and deliveries. A canister without a quota has nothing here, and its
pollers have None where others have a quota.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from icwsgw.config.quotas import CanisterQuota, Quota
from icwsgw.core.message_quota import MessageQuota
from icwsgw.core.poll_quota import PollQuota
from icwsgw.core.rate_limit import Rate
from icwsgw.core.session_machine import State
from icwsgw.core.written_state import Document
from icwsgw.ic.principal import Principal
from icwsgw.observe.logs import get_logger
from icwsgw.reactor.clock import Timer

if TYPE_CHECKING:
    from icwsgw.config.schema import GatewayConfig
    from icwsgw.gateway.interfaces import Context
    from icwsgw.gateway.polling.poller import Poller
    from icwsgw.gateway.session import ClientSession

_log = get_logger("gateway")

#: The burst of a quota, in seconds of its rate.
BURST_SECONDS = 2.0


def default_quota(config: GatewayConfig) -> Quota:
    """Return the quota of a canister without an exception."""
    return Quota(
        config.max_connections_per_canister,
        config.message_rate_per_canister,
        config.byte_rate_per_canister,
        config.delivery_rate_per_canister,
        config.delivery_byte_rate_per_canister,
        config.poll_rate_per_canister,
    )


class HeldClients:
    """The quota of one canister for messages of its clients, and the timer that lets held clients go.

    :ivar message_quota: counts, and holds the line
    """

    __slots__ = ("_canister", "_context", "_timer", "message_quota")

    def __init__(self, context: Context, canister: Principal) -> None:
        self._context = context
        self._canister = canister
        self._timer: Timer | None = None
        self.message_quota: MessageQuota[ClientSession] = MessageQuota(None, None, context.clock.seconds())

    def came(self, session: ClientSession, size: int) -> None:
        """A client has sent a message of ``size`` bytes: hold the client if the quota is exceeded."""
        context = self._context
        now = context.clock.seconds()
        limit = self.message_quota.came(size, now)
        if not limit or not self.message_quota.hold(session):
            return
        context.metrics.pushbacks.inc(f"canister_{limit}")
        if context.log_limiter.allows("canister quota", self._canister.text, now):
            _log.info("clients wait for their canister's quota", canister=self._canister.text, limit=limit)
        if session.stream is not None:
            session.stream.hold()
        if not _is_full(session):
            session.client.pause()
        self._plan(now)

    def written(self) -> Document:
        """What is owed, as plain values."""
        return self.message_quota.written()

    def read(self, document: Mapping[str, Any]) -> None:
        """Take what is owed from a document.

        :raises FormatError: a value is of the wrong kind
        """
        self.message_quota.read(document)

    def holds(self, session: ClientSession) -> bool:
        """Whether a client is held."""
        return session in self.message_quota.held

    def forget(self, session: ClientSession) -> None:
        """A client has left."""
        self.message_quota.forget(session)

    def change(self, quota: Quota) -> None:
        """Apply other limits."""
        now = self._context.clock.seconds()
        self.message_quota.change(_rate(quota.message_rate), _rate(quota.byte_rate), now)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._plan(now)

    def stop(self) -> None:
        """Hold no client any more: the quota has ended, or all clients have left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        held = self.message_quota.held
        while held:
            _read_on(held.popitem(last=False)[0])

    def _plan(self, now: float) -> None:
        pause = self.message_quota.pause(now)
        if self._timer is None and pause is not None:
            self._timer = self._context.clock.callLater(pause, self._release)

    def _release(self) -> None:
        self._timer = None
        now = self._context.clock.seconds()
        for session in self.message_quota.release(now):
            _read_on(session)
        self._plan(now)


def _read_on(session: ClientSession) -> None:
    """End the hold of a client: read its socket again, unless its relay queue is full."""
    if session.stream is not None:
        session.stream.hold_ended()
    if session.state is not State.CLOSED and not _is_full(session):
        session.client.resume()


def _is_full(session: ClientSession) -> bool:
    """Whether a client is not read because its relay queue is full."""
    return session.relay is not None and session.relay.relay_queue.full


class _CanisterUse:
    """One canister that has a quota.

    :ivar quota: its limits
    :ivar held_clients: None without a limit on its clients' messages
    :ivar pollers: its pollers
    """

    __slots__ = ("held_clients", "pollers", "quota")

    def __init__(self, quota: Quota) -> None:
        self.quota = quota
        self.held_clients: HeldClients | None = None
        self.pollers: list[Poller] = []


class CanisterQuotas:
    """The quotas of all canisters that have clients here.

    :ivar default: the quota of canisters that are none of :attr:`exceptions`, which are by raw principal
    :ivar exist: some canister has a quota for messages or polls
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self.exist = False
        self.default = Quota()
        self.exceptions: dict[bytes, Quota] = {}
        self._configured: tuple[Quota, tuple[CanisterQuota, ...]] = Quota(), ()
        self._uses: dict[bytes, _CanisterUse] = {}

    def of(self, canister: Principal) -> Quota:
        """The quota of a canister."""
        return self.exceptions.get(canister.raw, self.default)

    def change(self, config: GatewayConfig, pollers: list[Poller]) -> None:
        """Apply a configuration.

        :param pollers: all pollers
        """
        configured = default_quota(config), config.canister_quotas
        if configured == self._configured:
            return
        self._configured = configured
        self.default = configured[0]
        self.exceptions = {
            Principal.from_text(entry.canister).raw: self.default._replace(**dict(entry.limits))
            for entry in config.canister_quotas
        }
        self.exist = any(quota.any_rate for quota in (self.default, *self.exceptions.values()))
        for poller in pollers:
            use = self._uses.get(poller.canister.raw)
            if use is None or poller not in use.pollers:
                self._enter(poller)
        for raw, use in list(self._uses.items()):
            use.quota = self.of(Principal(raw))
            self._apply(raw, use)

    def join(self, poller: Poller) -> None:
        """A poller starts. Only if quotas :attr:`exist`."""
        use = self._enter(poller)
        if use is not None:
            self._apply(poller.canister.raw, use)

    def leave(self, poller: Poller) -> None:
        """A poller has stopped."""
        raw = poller.canister.raw
        use = self._uses.get(raw)
        if use is None or poller not in use.pollers:
            return
        use.pollers.remove(poller)
        self._apply(raw, use)

    def stop(self) -> None:
        """Stop all timers."""
        for use in self._uses.values():
            if use.held_clients is not None:
                use.held_clients.stop()
        self._uses.clear()

    @property
    def held(self) -> int:
        """Number of clients that are held."""
        return sum(
            len(use.held_clients.message_quota.held) for use in self._uses.values() if use.held_clients is not None
        )

    @property
    def exceeded(self) -> int:
        """Number of canisters that have used up a part of their quota."""
        return sum(bool(self._reached(use)) for use in self._uses.values())

    def held_of(self, canister: Principal) -> int:
        """Number of clients of a canister that are held."""
        use = self._uses.get(canister.raw)
        return 0 if use is None or use.held_clients is None else len(use.held_clients.message_quota.held)

    def reached(self, canister: Principal) -> list[str]:
        """Which limits of a canister's quota are used up now: ``messages up``, ``polls`` and so on."""
        use = self._uses.get(canister.raw)
        return [] if use is None else self._reached(use)

    def _reached(self, use: _CanisterUse) -> list[str]:
        now = self._context.clock.seconds()
        reached = ["messages up"] if use.held_clients is not None and use.held_clients.message_quota.held else []
        quotas = (poller.poll_budget.quota for poller in use.pollers)
        down = {quota.exceeded(now) for quota in quotas if quota is not None}
        return reached + [text for limit, text in _DOWN.items() if limit in down]

    def _enter(self, poller: Poller) -> _CanisterUse | None:
        raw = poller.canister.raw
        quota = self.of(poller.canister)
        if not quota.any_rate:
            return None
        use = self._uses.get(raw)
        if use is None:
            use = self._uses[raw] = _CanisterUse(quota)
        use.pollers.append(poller)
        return use

    def _apply(self, raw: bytes, use: _CanisterUse) -> None:
        """Give a canister's pollers their parts of its quota."""
        quota, pollers, now = use.quota, use.pollers, self._context.clock.seconds()
        if quota.message_rate or quota.byte_rate:
            if use.held_clients is None:
                use.held_clients = HeldClients(self._context, Principal(raw))
            use.held_clients.change(quota)
        elif use.held_clients is not None:
            use.held_clients.stop()
            use.held_clients = None
        slows_polls = quota.poll_rate or quota.delivery_rate or quota.delivery_byte_rate
        for poller in pollers:
            poller.held_clients = use.held_clients
            poll_budget = poller.poll_budget
            if not slows_polls:
                poll_budget.quota = poller.poll_timer.held = None
                poller.backoff.quota_waits(now, False)
                continue
            poll_quota = poll_budget.quota or PollQuota()
            poll_quota.change(
                _rate(quota.poll_rate, len(pollers), burst=1.0),
                _rate(quota.delivery_rate, len(pollers)),
                _rate(quota.delivery_byte_rate, len(pollers)),
                now,
            )
            poll_budget.quota, poller.poll_timer.held = poll_quota, poller.held
        if not pollers or not quota.any_rate:
            if use.held_clients is not None:
                use.held_clients.stop()
            del self._uses[raw]


#: What a poller's quota says is exceeded, as text.
_DOWN = {"messages": "messages down", "bytes": "bytes down", "polls": "polls"}


def _rate(per_second: int, parts: int = 1, burst: float = BURST_SECONDS) -> Rate | None:
    """One of equal parts of a rate; None for no limit."""
    share = per_second / parts
    return Rate(share, max(1.0, share * burst)) if per_second else None
