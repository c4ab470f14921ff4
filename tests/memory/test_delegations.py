"""Clients receive certificates that every agent can verify, whichever API versions the network's nodes serve.

The devnet's delegations have mainnet's forms: flat ranges in v2, a shard in v3 (dfinity/ic,
``rs/http_endpoints/public/src/query.rs`` and ``read_state/canister.rs``).
"""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from twisted.internet.defer import Deferred, succeed

from icwsgw.agent.versions import SPAN
from icwsgw.core.network_time import WITNESSES, Evidence
from icwsgw.ic.certificate import decode_certificate, verify_certificate
from icwsgw.ic.delegations import read_delegation
from tests.memory.world import ECHO_ID, World


class Network(World):
    """A world whose network can stop serving API versions.

    :ivar gone: ends of paths that answer 404
    :ivar requested: ends of the paths of requests
    """

    def __init__(self, *gone: str, **options: Any) -> None:
        self.gone = gone
        self.requested: list[str] = []
        super().__init__(start=False, verify=True, verify_batches=True, **options)
        answer = self.transport.handler

        def handle(method: str, path: str, body: bytes) -> Deferred[Any]:
            kind = "/".join([path.split("/")[2], path.split("/")[-1]])
            self.requested.append(kind)
            return succeed((404, {}, b"")) if kind in self.gone else answer(method, path, body)  # type: ignore[return-value]

        self.transport.handler = handle
        self.agent.start()
        self.gateway.start()
        self.run(0.1)

    def exchange(self, messages: int = 30) -> bool:
        """Open a client, send messages to it and get them echoed.

        :returns: whether agents that know only the flat form can verify all that it received
        """
        client = self.client()
        certificates: list[bytes] = []
        handle = client.handle

        def look(payload: bytes, now_ns: int) -> Any:
            fields = cbor2.loads(payload)
            if "cert" in fields:
                certificates.append(fields["cert"])
            return handle(payload, now_ns)

        client.handle = look
        self.until(lambda: client.opened)
        wanted = [b"%d" % number for number in range(messages)]
        for content in wanted:
            client.send(content)
        self.until(lambda: client.received == wanted, 60)
        assert client.close_code is None
        assert len(certificates) > messages
        forms = [self.flat(data) for data in set(certificates)]
        return all(forms)

    def flat(self, data: bytes) -> bool:
        root_key = self.replica.root_key_der
        verify_certificate(data, root_key_der=root_key, canister_id=ECHO_ID, now_ns=self.now_ns())
        delegation = decode_certificate(data).delegation
        assert delegation is not None
        return read_delegation(delegation).flat


def test_with_v2_certificates_reach_clients_unchanged() -> None:
    world = Network()
    assert world.exchange()
    assert world.agent.readable.replaced == 0
    assert {kind for kind in world.requested if kind.endswith("query")} == {"v2/query"}
    assert "v2/read_state" not in world.requested


def test_a_network_stops_serving_v2_queries() -> None:
    world = Network()
    assert world.exchange()
    world.gone = ("v2/query",)
    for _ in range(3):
        assert world.exchange()
        world.run(SPAN / 2, 0.1)
    assert world.agent.readable.replaced > 0
    assert "v2/read_state" not in world.requested, "what was kept is enough"
    assert world.agent.api_versions["query"] == 3


def test_a_network_without_v2_sends_the_delegation_in_the_answer_to_ws_open() -> None:
    world = Network("v2/query", "v2/read_state")
    assert world.exchange()
    assert world.agent.readable.concern() is None


def test_a_network_that_has_read_state_v2_alone_is_asked_for_a_delegation() -> None:
    world = Network("v2/query", "v3/call")
    assert world.exchange()
    assert world.agent.readable.fetches == {"ok": 1, "failed": 0}
    assert world.requested.count("v2/read_state") == 1
    assert world.agent.readable.concern() is None


def test_without_the_flat_form_clients_that_read_shards_are_served() -> None:
    world = Network("v2/query", "v2/read_state", "v3/call")
    assert not world.exchange()
    assert "1 canister" in str(world.agent.readable.concern())
    world.gone = ("v2/query", "v3/call")
    world.run(60, 0.1)
    assert world.exchange()
    # a cached delegation is used as long as it verifies
    world.gone = ("v2/query", "v2/read_state", "v3/call")
    world.run(900, 1.0)
    assert world.exchange()
    assert world.agent.readable.concern() is None


@pytest.mark.parametrize("delegation", ["none", "legacy"])
def test_delegations_of_other_networks_stay_unchanged(delegation: str) -> None:
    world = World(delegation=delegation, verify=True)
    (client,) = world.open()
    client.echoes(b"there and back")
    assert world.agent.readable.replaced == 0
    assert world.agent.readable.concern() is None


def test_a_slow_clock_does_not_put_a_delegation_in_the_future() -> None:
    world = Network()
    behind, now_ns = 600 * 10**9, world.now_ns
    world.agent.now_ns = lambda: now_ns() - behind
    object.__setattr__(world.context, "now_ns", world.agent.now_ns)
    # replicas have reported the time
    for _ in range(WITNESSES):
        world.agent.time.take(Evidence.REFUSED, now_ns(), world.clock.seconds(), world.agent.now_ns())
    assert world.exchange(1)
    assert abs(world.agent.time.skew_ns - behind) < 5e9
    assert len(world.agent.readable.flat) == 1
