"""Each release of the JavaScript SDK that speaks today's protocol, with the agents it was published for.

The releases are the network's real clients: most pages keep the one they were built with. Each runs in the forms of
network that there are: delegations by endpoint version (the public network), flat ones only (an older replica), and
sharded ones only (the day the older endpoints are gone). The SDK verifies every message it receives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.acceptance.conftest import (
    ROUNDS_BY_CLOCK,
    ROUNDS_BY_CLOCK_SDK,
    Devnet,
    Stack,
    start_devnet,
    start_stack,
)
from tests.acceptance.processes import SDK, node_modules, run_node

pytestmark = [pytest.mark.acceptance, pytest.mark.sdk]

VERSIONS = sorted(path.parent.name for path in (SDK / "versions").glob("sdk-*/package.json"))

#: Options of the replica by the form of the network.
NETWORKS = {
    "by-version": ("--delegation=by-version",),
    "flat only": ("--delegation=legacy",),
    "v2 gone": ("--delegation=by-version", "--v2-gone"),
}

#: How many messages go each way by the kind of the client's key, in bursts of 30. The SDK verifies each, which takes
#: most of a run's time: the newest release on the public network's form gets many, the others one burst and the
#: beginning of a second. The kind of the key only changes signatures: any message shows whether they are accepted.
NEWEST = VERSIONS[-1]
MANY = {"ed25519": 100, "webcrypto": 40}
FEW = {"ed25519": 35, "webcrypto": 5}


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, str]]:
    """A gateway that verifies all it can, with a replica of one form behind it, and the form."""
    form = request.param
    devnet: Devnet = start_devnet(tmp_path_factory.mktemp("devnet"), *NETWORKS[form], *ROUNDS_BY_CLOCK)
    try:
        options = ("--verify-queries=on", "--verify-batches")
        stack = start_stack(tmp_path_factory.mktemp("gateway"), *options, network=devnet.network)
        try:
            yield stack, form
        finally:
            stack.server.kill()
    finally:
        devnet.server.kill()


@pytest.mark.parametrize("version", VERSIONS)
def test_it_opens_and_exchanges_messages_each_way(network: tuple[Stack, str], version: str) -> None:
    stack, form = network
    counts = MANY if (form, version) == ("by-version", NEWEST) else FEW
    node_modules(SDK / "versions" / version)
    options = {
        "scenario": "identities",
        "sdk": version,
        "counts": counts,
        "burst": 30,
        **ROUNDS_BY_CLOCK_SDK,
    }
    results = run_node("sdk.mjs", {**options, **stack.places})[-1]["results"]
    assert set(results) == set(counts)
    for key, result in results.items():
        numbers = [int(answer.rsplit(" ", 1)[1]) for answer in result["answers"]]
        assert numbers == list(range(counts[key])), key
        assert (result["close"]["code"], result["close"]["wasClean"], result["errors"]) == (1000, True, []), key


def test_5_clients_live_through_bursts_of_30_where_blocks_decide_the_order(
    devnets: Callable[..., Devnet], stacks: Callable[..., Stack]
) -> None:
    # The SDK refuses certificates that are five minutes old, and one Node verifies all these messages, which arrive at
    # nearly the same time: on a busy machine it is done with those of more clients too late.
    blocks = ("--nodes=13", "--block-interval=1000", "--gossip=300", *ROUNDS_BY_CLOCK)
    stack = stacks("--verify-queries=on", "--verify-batches", network=devnets(*blocks).network)
    options = {"scenario": "many", "clients": 5, "messages": 30, **ROUNDS_BY_CLOCK_SDK, **stack.places}
    result = run_node("sdk.mjs", options, timeout=900)[-1]
    assert result["ordered"] == [True] * 5
    assert [close["code"] for close in result["closes"]] == [1000] * 5
    assert result["errors"] == []
