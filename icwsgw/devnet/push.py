"""Sends unsolicited messages from canisters to clients, to generate load."""

from __future__ import annotations

from collections.abc import Iterator

from icwsgw.devnet.canisters import app_message
from icwsgw.devnet.cdk_types import WsError
from icwsgw.devnet.hosting import Host
from icwsgw.ic.principal import Principal
from icwsgw.reactor.clock import Clock, Timer

_TICK_S = 0.01


class Push:
    """Messages to some clients of some canisters, in rounds of one message to each client.

    :ivar left: number of messages still to be sent
    :ivar sent: number of messages sent
    """

    def __init__(self, targets: list[tuple[Host, Principal]], count: int, size: int, text: str) -> None:
        self.left = count * len(targets)
        self.sent = 0
        self._size = size
        self._text = text
        self._targets = targets
        self._turn = self._turns()

    def _turns(self) -> Iterator[tuple[Host, Principal, int]]:
        number = 0
        while True:
            for host, client in self._targets:
                yield host, client, number
            number += 1

    def send(self, count: int) -> None:
        """Send the given number of messages, or all that are left; skip clients that have left."""
        for _ in range(min(count, self.left)):
            host, client, number = next(self._turn)
            self.left -= 1
            text = f"{self._text}{number}"
            try:
                host.ws.send(client, app_message(text.ljust(self._size, ".")))
            except WsError:
                continue
            self.sent += 1


class Pushes:
    """The pushes in progress."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._timers: set[Timer] = set()

    def start(
        self,
        hosts: list[Host],
        *,
        clients: int | None = None,
        count: int = 1,
        size: int = 0,
        text: str = "",
        rate: float | None = None,
    ) -> Push:
        """Send ``record { text }`` messages: the given text, the number of the round, and dots up to the size.

        :param clients: the number of clients at each canister, longest connected first; None: all
        :param count: the number of messages for each client
        :param size: the minimum length of the text in bytes
        :param rate: messages per second, for all clients together; None: all at once
        """
        targets = [(host, Principal(key.principal)) for host in hosts for key in host.ws.clients[:clients]]
        push = Push(targets, count, size, text)
        if rate is None:
            push.send(push.left)
        else:
            self._run(push, rate, self._clock.seconds(), 0)
        return push

    def _run(self, push: Push, rate: float, started: float, done: int) -> None:
        due = int((self._clock.seconds() - started) * rate + 1e-6)
        push.send(due - done)
        if push.left:
            timer: Timer

            def tick() -> None:
                self._timers.discard(timer)
                self._run(push, rate, started, due)

            timer = self._clock.callLater(_TICK_S, tick)
            self._timers.add(timer)

    def stop(self) -> None:
        for timer in self._timers:
            if timer.active():
                timer.cancel()
        self._timers.clear()
