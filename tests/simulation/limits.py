"""The limits of a simulated gateway, most of them so small that they are reached all the time.

They correspond to an operator's options. In a third of the worlds, all limits have their defaults, so that other
effects are visible.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields
from random import Random
from typing import Any

from icwsgw.config.schema import GatewayConfig
from tests.simulation.drawing import chance, drawn

#: More than unauthenticated clients may send at a time.
MAX_MESSAGE_BYTES = 1 << 17
_DEFAULTS = {each.name: each.default for each in fields(GatewayConfig)}


def _narrow(name: str, share: float, *values: Any) -> Any:
    """A bound that is small in a share of the worlds with narrow bounds, and as by default in all others."""
    wide = _DEFAULTS[name]

    def draw(random: Random, plan: Any) -> Any:
        value = random.choice(values)
        return value if plan.narrow and random.random() < share else wide

    return drawn(draw, wide)


@dataclass(frozen=True)
class Bounds:
    """What the gateway may be asked for, and may ask for; the names are those of its options. 0 or None: no bound.

    :ivar narrow: some of them are small
    :ivar addresses: from how many addresses clients come
    """

    narrow: bool = drawn(chance(0.65), False)
    addresses: int = drawn(lambda r, p: r.choice((1, 3, 5)), 1)
    max_connections: int = _narrow("max_connections", 0.2, 4, 8, 12)
    max_pending: int = _narrow("max_pending", 0.2, 2, 4)
    max_connections_per_ip: int = _narrow("max_connections_per_ip", 0.2, 2, 5)
    max_connections_per_canister: int = _narrow("max_connections_per_canister", 0.2, 1, 3, 6)
    max_connections_per_principal: int = _narrow("max_connections_per_principal", 0.2, 1, 2)
    accept_rate: int = _narrow("accept_rate", 0.15, 1, 3, 10)
    accept_rate_per_ip: int = _narrow("accept_rate_per_ip", 0.15, 1, 2)
    query_budget: int | None = _narrow("query_budget", 0.4, 20, 40, 120)
    open_rate: int | None = _narrow("open_rate", 0.3, 3, 5, 20)
    client_message_rate: int = _narrow("client_message_rate", 0.2, 5, 20)
    client_byte_rate: int = _narrow("client_byte_rate", 0.15, 20_000, 100_000)
    outbox_bytes: int = _narrow("outbox_bytes", 0.2, 1 << 16, 1 << 18)
    max_waiting_bytes: int = _narrow("max_waiting_bytes", 0.15, 20_000, 200_000)
    relay_queue_time: float = _narrow("relay_queue_time", 0.3, 0.5, 3.0)
    relay_queue_bytes: int = _narrow("relay_queue_bytes", 0.2, 1 << 16)
    message_timeout: float = _narrow("message_timeout", 0.5, 3.0, 8.0)
    network_grace: float = _narrow("network_grace", 0.4, 20.0, 40.0)

    @property
    def bounds(self) -> dict[str, Any]:
        """The gateway's options."""
        return {each.name: getattr(self, each.name) for each in fields(Bounds) if each.name in _DEFAULTS}

    @property
    def longest_message(self) -> int:
        """Bytes of the longest message that a client may send, once its session is open."""
        return min(MAX_MESSAGE_BYTES, self.relay_queue_bytes, self.outbox_bytes)

    @property
    def opens_per_second(self) -> float | None:
        """How many ws_open may leave, by the description of the options."""
        if self.open_rate is not None:
            return self.open_rate or None
        return None if self.query_budget is None else self.query_budget / 2

    @property
    def crowded(self) -> bool:
        """Whether what waits for all clients together is bounded so that it is met."""
        return self.max_waiting_bytes < 1 << 20

    @property
    def refuses(self) -> bool:
        """Whether clients may be refused, or put out, because there are too many."""
        return self.refused_by(self)

    @staticmethod
    def refused_by(bounds: Any) -> bool:
        """The same of bounds that are being drawn."""
        return bool(
            bounds.max_connections < 1000
            or bounds.max_pending < 1000
            or bounds.max_connections_per_ip
            or bounds.accept_rate
            or bounds.accept_rate_per_ip
        )


class _Tokens:
    """A token bucket, by its description: so many a second, and a burst."""

    def __init__(self, per_second: float, burst: float, now: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._level = burst
        self._stamp = now

    def take(self, now: float) -> bool:
        self._level = min(self._burst, self._level + (now - self._stamp) * self._per_second)
        self._stamp = now
        if self._level < 1:
            return False
        self._level -= 1
        return True


class Taken:
    """What has been read of one client, against the rates that it may send at.

    The gateway looks at the clock when a burst has been used up, so a burst more than the rate allows may come at once;
    and a read that goes beyond it is counted, though it has been read.

    :ivar frames: bytes of the messages that have been sent, those that have not been read first
    """

    def __init__(self, bounds: Bounds) -> None:
        self.frames: deque[int] = deque()
        self._part = 0
        self._octets = _Debt("bytes", bounds.client_byte_rate, max(4 * bounds.client_byte_rate, bounds.longest_message))
        self._messages = _Debt("messages", bounds.client_message_rate, 2 * bounds.client_message_rate)

    def read(self, now: float, octets: int) -> str:
        """So many bytes are read; why they must not be, empty where they may."""
        why = self._octets.over(now) or self._messages.over(now)
        self._octets.take(octets)
        self._part += octets
        while self.frames and self._part >= self.frames[0]:
            self._part -= self.frames.popleft()
            self._messages.take(1)
        if not self.frames:
            self._part = 0
        return why


class _Debt:
    """What has been taken beyond a rate: at most two bursts when more is taken."""

    def __init__(self, what: str, per_second: float, burst: float) -> None:
        self._what = what
        self._per_second = per_second
        self._burst = burst
        self._level = self._stamp = 0.0

    def over(self, now: float) -> str:
        self._level = max(0.0, self._level - (now - self._stamp) * self._per_second)
        self._stamp = now
        if not self._per_second or self._level <= 2 * self._burst + 2:
            return ""
        return f"{self._level:.0f} {self._what} are beyond its {self._per_second} a second"

    def take(self, number: int) -> None:
        self._level += number


class AdmissionModel:
    """Who may come in, by the description of the options (docs/options.md, decision 0016): a model, not the code.

    :ivar inside: connections that count, with the groups of their addresses
    :ivar unauthenticated: those of them to which no canister has spoken, the oldest first
    :ivar crowded_out: those that had to make room
    """

    def __init__(self, bounds: Bounds, now: float) -> None:
        self._bounds = bounds
        self.inside: dict[Any, str] = {}
        self.unauthenticated: dict[Any, str] = {}
        self.crowded_out: set[Any] = set()
        self._resized: dict[str, int] = {}
        self._changes = 0
        self._tokens = _Tokens(bounds.accept_rate, 2 * bounds.accept_rate, now)
        self._tokens_of: dict[str, _Tokens] = {}

    def arrives(self, link: Any, group: str, now: float) -> int:
        """A connection comes; the status that its request is to be answered with."""
        bounds = self._bounds
        full = len(self.inside) >= bounds.max_connections
        if full and self._largest()[0] <= self._count(group) + 1:
            return 503
        if bounds.accept_rate and not self._tokens.take(now):
            return 503
        rate = bounds.accept_rate_per_ip
        if rate:
            tokens = self._tokens_of.setdefault(group, _Tokens(rate, 5 * rate, now))
            if not tokens.take(now):
                return 429
        most = bounds.max_connections_per_ip
        if most and sum(other == group for other in self.inside.values()) >= most:
            return 429
        self.inside[link] = group
        self.unauthenticated[link] = group
        self._resize(group)
        if full or (bounds.max_pending and len(self.unauthenticated) > bounds.max_pending):
            oldest = next(each for each, of in self.unauthenticated.items() if of == self._largest()[1])
            self.crowded_out.add(oldest)
            self.left(oldest)
        return 101

    def opened(self, link: Any) -> None:
        """Its canister has spoken."""
        group = self.unauthenticated.pop(link, None)
        if group is not None:
            self._resize(group)

    def left(self, link: Any) -> None:
        """It has gone."""
        self.inside.pop(link, None)
        self.opened(link)

    def _resize(self, group: str) -> None:
        self._changes += 1
        self._resized[group] = self._changes

    def _count(self, group: str) -> int:
        return sum(other == group for other in self.unauthenticated.values())

    def _largest(self) -> tuple[int, str]:
        """The group with most unauthenticated connections; of those as large the one that has been so for longest."""
        counts = {group: self._count(group) for group in set(self.unauthenticated.values())}
        if not counts:
            return 0, ""
        most = max(counts.values())
        return most, min((group for group in counts if counts[group] == most), key=lambda group: self._resized[group])
