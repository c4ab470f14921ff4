"""Clients that send at a steady rate, with acknowledgement rounds, on blocks of 0.4 s.

As in a browser, data that TCP does not accept waits in the client, and keep-alives wait behind it.
"""

from __future__ import annotations

from icwsgw.core.close_reasons import CloseCode
from icwsgw.devnet.canisters import app_message
from icwsgw.devnet.consensus import BlockTiming
from icwsgw.devnet.hosting import CdkSettings
from tests.memory.world import MemoryClient, World

STEP = 0.05


class SteadyClient:
    """A client that sends at a steady rate, whatever it receives.

    :ivar count: messages sent
    :ivar longest_wait: the longest expected wait of the gateway's relay queue, in seconds
    """

    def __init__(self, world: World, rate: float) -> None:
        self.world = world
        self.client: MemoryClient = world.client()
        world.until(lambda: self.client.opened, seconds=60, step=0.02)
        self.count = 0
        self.longest_wait = 0.0
        self._rate = rate
        self._next = world.clock.seconds()
        self._stream: list[bytes] = []
        self._take = self.client.send_payload
        self.client.send_payload = lambda payload, is_binary=True: self._stream.append(payload)

    @property
    def lives(self) -> bool:
        return self.client.close_code is None and self.client.closed_by_canister is None

    def run(self, seconds: float) -> None:
        clock, end = self.world.clock, self.world.clock.seconds() + seconds
        while self.lives and clock.seconds() < end:
            while self._next <= clock.seconds():
                self.client.send(app_message(str(self.count)))
                self.count += 1
                self._next += 1 / self._rate
            while self._stream and not self.client.paused and self.lives:
                self._take(self._stream.pop(0))
            clock.advance(STEP)
            assert self.client.session is not None
            relay = self.client.session.relay
            if relay is not None:
                self.longest_wait = max(self.longest_wait, relay.queued * relay.relay_queue.took)


def steady(rate: float, seconds: float) -> SteadyClient:
    settings = CdkSettings(120_000, 60_000)
    client = SteadyClient(World(pace=BlockTiming(0.4, 0.2), nodes=13, query_latency=0.1, settings=settings), rate)
    client.run(seconds)
    return client


def test_a_client_no_faster_than_its_calls_survives_acknowledgement_rounds() -> None:
    client = steady(1.0, 300.0)
    assert client.lives
    assert client.count - len(client.client.received) <= 3
    assert client.longest_wait < 3.0


def test_a_client_that_is_too_fast_is_closed_before_its_canister_drops_it() -> None:
    client = steady(3.0, 300.0)
    assert client.client.closed_by_canister is None
    assert client.client.close_code == CloseCode.TOO_FAST
    assert "the keep-alive comes too late" in client.client.close_reason
    # at most one call's duration above the limit
    assert client.longest_wait < 10.0 + 2.0
    assert client.client.received == [app_message(str(number)) for number in range(len(client.client.received))]
