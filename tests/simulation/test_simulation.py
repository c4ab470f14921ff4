"""Runs thousands of short scenarios, each from its seed; a failure reports the seed, so that it can be repeated.

``ICWS_SIM_RUNS`` is the number of scenarios, ``ICWS_SIM_SEED`` the first seed, ``ICWS_SIM_STEPS`` the number of steps
of each. The first failure is shrunk for ``ICWS_SIM_SHRINK`` seconds of processor time and printed as a program. Each
version of Python uses different seeds, so that a run on all four versions covers four times as many. What only these
scenarios reach does not count as covered: each line has a test that aims at it.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import pytest

from icwsgw.devnet.consensus import BlockTiming
from tests.simulation.oracle import Violation
from tests.simulation.plan import Plan
from tests.simulation.scenario import draw, run_scenario, run_script
from tests.simulation.script import Script, Step
from tests.simulation.shrink import Shrinker, failure_of

pytestmark = pytest.mark.no_cover

RUNS = int(os.environ.get("ICWS_SIM_RUNS", "150"))
FIRST = int(os.environ.get("ICWS_SIM_SEED", str(sys.version_info.minor * 10_000)))
STEPS = int(os.environ.get("ICWS_SIM_STEPS", "25"))
SHRINK = float(os.environ.get("ICWS_SIM_SHRINK", "30"))
BLOCK = 25

#: The seed that was shrunk; others only have their seeds named.
_shrunk: list[int] = []


@pytest.mark.long
@pytest.mark.parametrize("first", range(FIRST, FIRST + RUNS, BLOCK))
def test_scenarios(first: int) -> None:
    for seed in range(first, min(first + BLOCK, FIRST + RUNS)):
        try:
            run_scenario(seed, STEPS, leaks=seed % 25 == 0)
        except Exception as error:
            words = f"{error if isinstance(error, Violation) else repr(error)}"
            again = f"run again: python -m tests.simulation --seed {seed} --steps {STEPS} --shrink"
            pytest.fail(f"{words}\n{again}\n{_shrink(seed)}", pytrace=False)


def _shrink(seed: int) -> str:
    if _shrunk:
        return ""
    _shrunk.append(seed)
    script = draw(seed, STEPS)
    failure = failure_of(script)
    return "" if failure is None else Shrinker(script, failure, SHRINK).shrink().as_python()


#: Scenarios that have found something, shrunk; what it was has its own tests in tests/memory or tests/core.
FOUND = [
    # a client waits for its first message while another one of its principal takes its place and leaves
    Script(
        76,
        replace(Plan.simplest(), identities=3),
        (
            Step(11, "client.connect", 864571980, 0.0),
            Step(12, "client.connect", 959747069, 0.0),
            Step(13, "client.connect", 3389151614, 0.0),
            Step(14, "client.reconnect", 1076116961, 0.075),
            Step(15, "client.misbehave", 2686913821, 0.0),
        ),
    ),
    # the message of which a client sends half ends within the header of its frame
    Script(
        3151,
        replace(Plan.simplest(), message_timeout=3.0, wire=True, strangers=True),
        (
            Step(14, "client.connect", 1090173768, 0.801),
            Step(52, "stranger.half_message", 2342707768, 0.0),
        ),
    ),
    # slow ws_open calls use all connections to the network; none is left for polls
    Script(
        90022,
        replace(Plan.simplest(), blocks=BlockTiming(interval=1.0, gossip=0.3, lag=2), upstream=6, strangers=True),
        (
            Step(31, "client.connect", 2109344870, 1.021),
            Step(38, "stranger.forge", 3177089162, 0.0),
        ),
    ),
    # nodes that lag behind a reset show messages that the canister had deleted before it
    Script(
        7100048,
        replace(
            Plan.simplest(),
            calm=False,
            polling_interval=1.0,
            ack_interval=40.0,
            blocks=BlockTiming(interval=0.4, gossip=0.2, lag=3),
        ),
        (
            Step(0, "client.connect", 4102702394, 0.0),
            Step(5, "network.time_passes", 3025608676, 0.0),
            Step(26, "hard.reset_seen_late", 3626734072, 0.0),
        ),
    ),
    # an error of the oracle: a visit comes between two parts of a pong, so the next ping comes an interval later
    Script(
        45,
        replace(Plan.simplest(), wire=True),
        (
            Step(11, "client.connect", 864571980, 8.0),
            Step(12, "client.stop_reading", 959747069, 7.87),
            Step(13, "client.read_again", 1, 12.0),
        ),
    ),
    # an error of the oracle: a message hangs until it has expired, since another process has a free slot for it
    Script(
        7100076,
        replace(Plan.simplest(), calm=False, calls=20, processes=2),
        (Step(28, "hard_contention.expires_in_line", 3322002794, 0.0),),
    ),
    # queries that are sent again at another version take the tokens of ws_open calls that wait
    Script(
        7100065,
        replace(
            Plan.simplest(),
            query_budget=20,
            identities=2,
            canisters=3,
            query_latency=0.4,
            call_latency=0.02,
            network_jitter=0.2,
            v2_gone=True,
        ),
        (
            Step(1, "client.connect", 287661096, 0.195),
            Step(2, "client.connect", 3965832548, 0.304),
            Step(25, "contention.talk_over", 2093807370, 0.0),
        ),
    ),
    # an error of the accounts: the answer of a proxy is lost, and awaited longer than the request that needs it lasts
    Script(
        7300137,
        replace(Plan.simplest(), wire=True, network_jitter=0.2, upstream=30, ending="busy", tunnel=True),
        (Step(3, "client.connect", 4012315892, 0.167),),
    ),
    # an error of the oracle: a canister whose calls hang keeps its slots, and another one uses those that are left
    Script(
        7300094,
        replace(Plan.simplest(), query_budget=40, calm=False, canisters=2, calls=20),
        (
            Step(25, "hard.crowd_out", 3237966426, 0.0),
            Step(27, "hard_contention.expires_in_line", 512262481, 0.0),
        ),
    ),
    # an error of the oracle: a call hangs until it has expired, and its client waits for nothing more
    Script(
        101,
        replace(Plan.simplest(), calm=False),
        (
            Step(1, "client.connect", 6, 3.0),
            Step(2, "network.calls_hang", 7, 0.0),
            Step(3, "client.hasty", 1001, 14.0),
        ),
    ),
]


@pytest.mark.parametrize("script", FOUND, ids=lambda script: script.seed)
def test_found_before(script: Script) -> None:
    run_script(script)


def test_a_seed_gives_the_same_run_each_time() -> None:
    def trace(seed: int) -> list[tuple[float, str]]:
        oracle = run_scenario(seed, 40).world.oracle
        # session ids begin with some random digits
        return [(at, text.partition("-")[2] or text) for at, text in oracle.trace]

    for seed in (3, 4, 5, 6):
        assert trace(seed) == trace(seed)


@pytest.mark.once
def test_the_layout_of_memory_changes_no_run() -> None:
    """A set of objects is ordered by their addresses, so the simulation replaces each such set of the gateway."""

    def run(count: int) -> list[str]:
        # each size class of the allocator begins at another offset
        allocated = [bytearray(size) for size in range(16, 512, 16) for _ in range(count)]
        scenario = run_script(draw(14, 25))
        del allocated
        return [f"{at:.6f} {text.partition('-')[2] or text}" for at, text in scenario.world.oracle.trace]

    runs = [run(count) for count in (0, 1, 7)]
    assert len(runs[0]) > 50
    assert runs == [runs[0]] * 3
