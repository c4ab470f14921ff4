"""Oversize pages: fifty messages with more than 3 MiB, which the IC does not return, with the limits of a replica."""

from __future__ import annotations

import pytest

from icwsgw.core.close_reasons import CloseCode
from icwsgw.devnet.canisters import CHAT_ID, ECHO_ID
from icwsgw.devnet.faults import InjectedFault
from icwsgw.devnet.hosting import CdkSettings
from icwsgw.errors import AnswerTooLarge
from icwsgw.ic.principal import Principal
from tests.memory.world import MemoryClient, World

KB64 = 64 << 10


def pile_up(world: World, *senders: tuple[MemoryClient, int, int], canister: Principal = ECHO_ID) -> None:
    """Let the canister queue messages while polls fail: of each client this many of this many bytes."""
    fault = world.replica.faults.add(InjectedFault(kind="http", status=503, on="query", canister=canister))
    world.run(0.5)
    for client, count, size in senders:
        executed = world.replica.stats["calls_executed"]
        for number in range(count):
            client.send(b"%05d" % number + bytes(size))
        world.until(lambda: world.replica.stats["calls_executed"] == executed + count, 60)  # noqa: B023
    world.replica.faults.remove(fault)


def numbers(client: MemoryClient) -> list[int]:
    return [int(content[:5]) for content in client.received]


def test_only_clients_whose_messages_are_in_no_page_are_closed() -> None:
    world = World(call_latency=0.001)
    (early, late, last), (quiet,), (bystander,) = world.open(3), world.open(1), world.open(1, CHAT_ID)
    pile_up(world, (early, 20, KB64), (late, 20, KB64), (last, 20, KB64))
    world.until(lambda: early.close_code is not None, 20)
    assert early.close_code == CloseCode.MESSAGES_MISSED
    assert "could not be read" in early.close_reason
    world.until(lambda: len(last.received) == 20, 20)
    assert numbers(late) == numbers(last) == list(range(20))
    # 47 of 64 kB are less than 3 MiB, 48 are not
    assert world.metrics.gaps.value == 13
    for client in (late, last, quiet):
        client.echoes(b"99999")
    # and nothing is left of that client
    again = world.open(1)[0]
    again.echoes(b"00000")
    world.run(5)
    assert [client.close_code for client in (late, last, quiet, bystander, again)] == [None] * 5


def test_a_search_passes_pages_that_were_read_ahead() -> None:
    """The window has read what is behind the large page, so the search meets the nonce of an answer that waits."""
    world = World(call_latency=0.001, query_latency=0.02, settings=CdkSettings(max_messages=16))
    early, late, bystander = world.open(3)
    pile_up(world, (late, 64, 10), (early, 20, 400_000), (late, 64, 10))
    world.until(lambda: early.close_code is not None, 20, 0.05)
    assert early.close_code == CloseCode.MESSAGES_MISSED
    bystander.echoes(b"99999")
    world.run(5)
    assert bystander.close_code is None


def test_a_single_message_at_the_end_of_the_queue() -> None:
    world = World(call_latency=0.001)
    (client, other) = world.open(2)
    world.transport.handler, handler = _limit(world, 40_000), world.transport.handler
    pile_up(world, (client, 1, 100_000))
    world.run(5)
    assert client.close_code is None, "nobody can know yet whose message it was"
    other.echoes(b"x")
    client.send(b"00001")
    world.until(lambda: client.close_code is not None, 5)
    assert client.close_code == CloseCode.MESSAGES_MISSED
    assert other.close_code is None
    world.transport.handler = handler
    other.echoes(b"y")


def _limit(world: World, most: int):
    """A transport that accepts no answer longer than this many bytes."""
    handler = world.transport.handler

    def limited(*request: object) -> object:
        answer = handler(*request)  # type: ignore[arg-type]

        def look(result: tuple[int, dict[str, str], bytes]) -> object:
            if len(result[2]) > most:
                raise AnswerTooLarge(f"more than {most}")
            return result

        return answer.addCallback(look)

    return limited


def test_an_answer_longer_than_the_gateway_accepts_is_skipped_too() -> None:
    world = World(call_latency=0.001)
    early, late = world.open(2)
    world.transport.handler = _limit(world, 300_000)
    pile_up(world, (early, 20, 20_000), (late, 5, 1000))
    world.until(lambda: early.close_code is not None, 20)
    assert early.close_code == CloseCode.MESSAGES_MISSED
    world.until(lambda: len(late.received) == 5, 20)
    assert late.close_code is None


def test_clients_that_open_meanwhile_are_served() -> None:
    world = World(call_latency=0.001)
    (early,) = world.open()
    pile_up(world, (early, 60, KB64))
    new = [world.client() for _ in range(3)]
    world.until(lambda: all(client.opened for client in new), 20)
    new[0].echoes(b"00000")


def test_a_reset_behind_a_skipped_page_is_found() -> None:
    world = World(call_latency=0.001)
    early, other = world.open(2)
    pile_up(world, (early, 60, KB64))
    world.until(lambda: early.close_code is not None, 20)
    world.run(5)
    world.replica.reset(ECHO_ID)
    world.until(lambda: other.close_code is not None, 10)
    assert other.close_code == CloseCode.CANISTER_RESET
    world.open(1)[0].echoes(b"00000")


@pytest.mark.parametrize("code", ["IC0504"])
def test_other_contract_violations_count_as_silence(code: str) -> None:
    world = World(canister_grace=20.0)
    (client,), (bystander,) = world.open(), world.open(1, CHAT_ID)
    world.replica.faults.add(
        InjectedFault(
            kind="reject", on="query", code=5, error_code=code, message="contract violation", canister=ECHO_ID
        )
    )
    world.run(19)
    assert client.close_code is None
    world.run(10)
    assert client.close_code == CloseCode.CANISTER_SILENT
    assert bystander.close_code is None


def test_refusals_of_all_pages_for_a_while_cost_no_message() -> None:
    world = World(call_latency=0.001)
    (client,) = world.open(1)
    world.replica.faults.add(
        InjectedFault(
            kind="reject", on="query", canister=ECHO_ID, code=5, message="too large", error_code="IC0504", count=14
        )
    )
    world.run(5)
    for number in range(3):
        client.echoes(b"%05d" % number)
    assert world.metrics.gaps.value == 0
    assert client.close_code is None
