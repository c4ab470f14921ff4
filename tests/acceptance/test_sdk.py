"""The real JavaScript SDK (npm ic-websocket-js) in Node against ``twistd -n icws --devnet``.

The SDK verifies each message it receives: certificate, certified data, witness, content hash and sequence number. An
error anywhere closes its socket with 4000, so a scenario that comes to its end has verified everything it received.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from icwsgw.core.close_reasons import CloseCode
from tests.acceptance.conftest import ROUNDS_BY_CLOCK, ROUNDS_BY_CLOCK_SDK, Devnet, Stack
from tests.acceptance.processes import NodeFailed, http_get, run_node
from tests.support import pem

pytestmark = [pytest.mark.acceptance, pytest.mark.sdk]

NORMAL = {"code": 1000, "wasClean": True}


def scenario(name: str, stack: Stack, **options: object) -> dict[str, object]:
    """Run one of sdk.mjs's scenarios and return its result.

    :raises NodeFailed: with the gateway's log
    """
    try:
        return run_node("sdk.mjs", {"scenario": name, **stack.places, **options})[-1]
    except NodeFailed as failed:
        raise NodeFailed(f"{failed}\nthe gateway:\n{stack.server.output}") from None


def without_reason(close: object) -> object:
    assert isinstance(close, dict)
    return {name: close[name] for name in ("code", "wasClean")}


def abnormal(closes: object, clients: int) -> list[object]:
    """Return the closes that are not normal, with their reasons.

    :param clients: how many must have closed
    """
    assert isinstance(closes, list)
    assert len(closes) == clients
    return [close for close in closes if without_reason(close) != NORMAL]


@pytest.mark.parametrize("key", ["ed25519", "secp256k1", "delegation"])
def test_a_message_is_echoed(stack: Stack, key: str) -> None:
    result = scenario("echo", stack, key=key)
    assert str(result["answer"]).endswith("hello from JavaScript")
    assert without_reason(result["close"]) == NORMAL
    assert result["errors"] == []


@pytest.fixture
def patient(devnets: Callable[..., Devnet], stacks: Callable[..., Stack]) -> Stack:
    """A gateway and canisters that wait for clients in a busy Node."""
    return stacks(network=devnets(*ROUNDS_BY_CLOCK).network)


def test_100_messages_each_way_in_bursts_of_30_arrive_verified_and_in_order(patient: Stack) -> None:
    result = scenario("bursts", patient, count=100, burst=30, **ROUNDS_BY_CLOCK_SDK)
    answers = result["answers"]
    assert isinstance(answers, list)
    assert [answer.rsplit(" ", 1)[1] for answer in answers] == [str(number) for number in range(100)]
    assert without_reason(result["close"]) == NORMAL
    assert result["errors"] == []


def test_a_connection_stays_open_over_acknowledgement_rounds(
    devnets: Callable[..., Devnet], stacks: Callable[..., Stack]
) -> None:
    stack = stacks(network=devnets(*ROUNDS_BY_CLOCK).network)
    result = scenario("acknowledgements", stack, rounds=3, **ROUNDS_BY_CLOCK_SDK)
    assert result["keepAlives"] >= 3  # type: ignore[operator]
    assert str(result["answers"][-1]).endswith("still here")  # type: ignore[index]
    assert without_reason(result["close"]) == NORMAL
    assert result["errors"] == []


def test_a_close_by_the_canister_reaches_the_client_as_4001(stack: Stack) -> None:
    result = scenario("closedByCanister", stack)
    assert result["close"] == {"code": 4001, "reason": "ClosedByApplication", "wasClean": True}
    assert result["errors"] == []


def test_20_clients_at_once(patient: Stack) -> None:
    result = scenario("many", patient, clients=20, messages=3, **ROUNDS_BY_CLOCK_SDK)
    assert result["ordered"] == [True] * 20
    assert abnormal(result["closes"], 20) == []
    assert result["errors"] == []


def test_20_clients_live_through_bursts_where_calls_are_ordered_as_on_the_public_network(
    devnets: Callable[..., Devnet], stacks: Callable[..., Stack]
) -> None:
    """Blocks of changing makers take calls in the order of arrival there; nodes lag. Relaying waits for execution."""
    network = devnets("--nodes=13", "--block-interval=300", "--gossip=150", "--lag=5", *ROUNDS_BY_CLOCK).network
    result = scenario("many", stacks(network=network), clients=20, messages=10, **ROUNDS_BY_CLOCK_SDK)
    assert result["ordered"] == [True] * 20
    assert abnormal(result["closes"], 20) == []
    assert result["errors"] == []


def test_12_clients_in_the_chat_room_receive_all_messages_in_one_order(patient: Stack) -> None:
    result = scenario("chat", patient, canister=patient.chat, clients=12, **ROUNDS_BY_CLOCK_SDK)
    received = result["received"]
    assert isinstance(received, list)
    assert received == [received[0]] * 12
    assert sorted(int(text.rsplit(" ", 1)[1]) for text in received[0]) == list(range(12))
    assert abnormal(result["closes"], 12) == []
    assert result["errors"] == []


def test_sigterm_sends_clients_elsewhere_and_notifies_the_canister(
    devnets: Callable[..., Devnet], stacks: Callable[..., Stack]
) -> None:
    devnet = devnets()
    stack = stacks("--drain-window=1", network=devnet.network)

    def echo_clients() -> int:
        stats = json.loads(http_get(f"{devnet.network}/_/stats")[1])
        clients: int = stats["canisters"][devnet.echo]["clients"]
        return clients

    before: list[int] = []

    def stop(event: dict[str, object]) -> None:
        if event["event"] == "open":
            before.append(echo_clients())
            stack.server.process.send_signal(signal.SIGTERM)

    options = {"scenario": "untilEnded", "clients": 10, **stack.places}
    result = run_node("sdk.mjs", options, on_event=stop)[-1]
    assert [(close["code"], close["wasClean"]) for close in result["closes"]] == [(CloseCode.DRAINING, True)] * 10
    assert stack.server.wait() == 0, stack.server.output
    assert (before, echo_clients()) == ([10], 0)


def test_over_tls(stacks: Callable[..., Stack], tmp_path: Path) -> None:
    authority = pem.authority()
    certificate, key = pem.server(authority).write(tmp_path)
    (tmp_path / "authority.pem").write_bytes(authority.pem)
    stack = stacks(f"--tls-certificate-pem-path={certificate}", f"--tls-certificate-key-pem-path={key}")
    options = {"scenario": "bursts", "count": 30, "burst": 30, **stack.places}
    options["gateway"] = stack.gateway.replace("ws://127.0.0.1", "wss://localhost")
    trust = {"NODE_EXTRA_CA_CERTS": str(tmp_path / "authority.pem")}
    result = run_node("sdk.mjs", options, environment=trust)[-1]
    assert len(result["answers"]) == 30
    assert without_reason(result["close"]) == NORMAL
    # Without the authority's certificate the connection is refused: it was TLS, and checked.
    with pytest.raises(NodeFailed, match="1006"):
        run_node("sdk.mjs", options)


def test_bursts_on_a_network_that_has_no_v2_queries_and_reads_any_more(
    devnets: Callable[..., Devnet], stacks: Callable[..., Stack]
) -> None:
    """What v3 gives has a delegation that the SDK's agent cannot read: the gateway puts another in its place."""
    stack = stacks("--verify-batches", network=devnets("--v2-gone").network)
    result = scenario("bursts", stack, count=60, burst=30)
    answers = result["answers"]
    assert isinstance(answers, list)
    assert [answer.rsplit(" ", 1)[1] for answer in answers] == [str(number) for number in range(60)]
    assert without_reason(result["close"]) == NORMAL
    assert result["errors"] == []
    metrics = http_get(f"{stack.admin}/metrics")[1].decode()
    assert "icws_unverifiable_canisters 0.0" in metrics
    assert "icws_certificates_replaced_total 0.0" not in metrics


@pytest.mark.parametrize("network", [(), ("--v2-gone",)])
def test_20_clients_with_all_checks_on(
    devnets: Callable[..., Devnet], stacks: Callable[..., Stack], network: tuple[str, ...]
) -> None:
    stack = stacks("--verify-queries=on", "--verify-batches", network=devnets(*network, *ROUNDS_BY_CLOCK).network)
    result = scenario("many", stack, clients=20, messages=3, **ROUNDS_BY_CLOCK_SDK)
    assert result["ordered"] == [True] * 20
    assert abnormal(result["closes"], 20) == []
    assert result["errors"] == []
