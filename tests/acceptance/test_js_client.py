"""The JavaScript client (clients/js) against ``twistd -n icws`` and the local replica, in processes.

The client verifies each message that it receives and gives a connection up at the first that is wrong. So a scenario
that ends without errors has verified everything.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from icwsgw.core.close_reasons import CloseCode
from tests.acceptance.conftest import ROUNDS_BY_CLOCK, Devnet, Stack
from tests.acceptance.crowd import stats
from tests.acceptance.processes import CLIENT, free_port, run_node
from tests.support import pem
from tests.support.built_canisters import build

pytestmark = [pytest.mark.acceptance, pytest.mark.sdk]


def scenario(name: str, stack: Stack, **options: object) -> dict[str, Any]:
    """Run a scenario of clients/js/acceptance/scenarios.mjs; its result."""
    return run_node("acceptance/scenarios.mjs", {"scenario": name, **stack.places, **options}, folder=CLIENT)[-1]


def assert_undisturbed(result: dict[str, Any]) -> None:
    """One connection, opened and closed normally."""
    assert result["states"] == ["connecting", "opening", "open", "closing", "closed"]
    assert (result["errors"], result["disconnects"], result["code"], result["unsent"]) == ([], [], 1000, [])


@pytest.mark.parametrize("key", ["generated", "secp256k1", "delegation"])
def test_it_sends_before_it_is_open_and_matches_replies(stack: Stack, key: str) -> None:
    result = scenario("echo", stack, key=key)
    assert result["first"].endswith("early")
    assert [reply.rsplit(" ", 1)[-1] for reply in result["replies"]] == ["one", "two"]
    assert_undisturbed(result)


def test_messages_may_be_bytes(stack: Stack) -> None:
    result = scenario("raw", stack)
    assert result["text"].endswith("raw")
    assert_undisturbed(result)


def test_messages_in_bursts_arrive_in_order(stack: Stack) -> None:
    result = scenario("bursts", stack, count=60, burst=30)
    assert [int(answer.rsplit(" ", 1)[1]) for answer in result["answers"]] == list(range(60))
    assert_undisturbed(result)


@pytest.mark.rust
def test_a_canister_with_the_cdk_of_crates_io_answers_it(stacks: Callable[..., Stack], tmp_path: Path) -> None:
    (tmp_path / "echo.wasm").write_bytes(build("echo"))
    stack = stacks(f"--devnet-canister=echo={tmp_path / 'echo.wasm'}")
    result = scenario("bursts", stack, count=30, burst=30)
    assert result["answers"] == [f"message {number}" for number in range(30)]
    assert_undisturbed(result)


def test_it_stays_open_over_acknowledgements(devnets: Callable[..., Devnet], stacks: Callable[..., Stack]) -> None:
    stack = stacks(network=devnets(*ROUNDS_BY_CLOCK).network)
    result = scenario("acknowledgements", stack, rounds=2)
    assert result["keepAlives"] >= 2
    assert_undisturbed(result)


def test_it_continues_after_a_drain_a_killed_gateway_and_a_reset_of_the_canister(
    devnets: Callable[..., Devnet], stacks: Callable[..., Stack]
) -> None:
    devnet = devnets()
    port = free_port()

    def start() -> Stack:
        return stacks(f"--gateway-address=tcp:{port}:interface=127.0.0.1", "--drain-window=0", network=devnet.network)

    running = [start()]

    def disturb(event: dict[str, Any]) -> None:
        if event.get("event") != "ready":
            return
        stopped = running[-1].server
        if event["round"] == 1:
            assert stopped.stop(signal.SIGTERM) == 0, stopped.output
        else:
            stopped.kill()
        running.append(start())

    options = {"scenario": "survives", "times": 2, **devnet_places(devnet), "gateway": f"ws://127.0.0.1:{port}"}
    result = run_node("acceptance/scenarios.mjs", options, folder=CLIENT, on_event=disturb)[-1]
    codes = [disconnect["code"] for disconnect in result["disconnects"]]
    # a gateway that is not there yet is 1006, as is one that was killed
    assert [code for code in codes if code != 1006] in (
        [CloseCode.DRAINING, CloseCode.CANISTER_RESET],
        [CloseCode.DRAINING, CloseCode.MESSAGE_REFUSED],
    )
    assert 1006 in codes
    asked = ["where was I"] * 3
    assert [(hook["text"][-11:], hook["complete"]) for hook in result["hooks"]] == [(text, True) for text in asked]
    assert "into the void" in result["hooks"][-1]["unconfirmed"]
    assert [answer.split(" ")[-2:] for answer in result["answers"]] == [
        ["waited", name] for name in ("1", "2", "reset")
    ]
    assert (result["code"], result["unsent"]) == (1000, [])


def test_its_session_moves_to_another_gateway_before_its_own_stops(
    devnets: Callable[..., Devnet], stacks: Callable[..., Stack]
) -> None:
    devnet = devnets()
    first, second = (stacks("--drain-window=10", network=devnet.network) for _ in range(2))

    def disturb(event: dict[str, Any]) -> None:
        if event.get("event") == "ready":
            first.server.process.send_signal(signal.SIGTERM)

    options = {"scenario": "moves", **devnet_places(devnet), "gateway": [first.gateway, second.gateway]}
    result = run_node("acceptance/scenarios.mjs", options, folder=CLIENT, on_event=disturb)[-1]
    assert result["resumed"]
    assert [int(answer.rsplit(" ", 1)[1]) for answer in result["answers"]] == list(range(5, result["sent"]))
    assert (result["errors"], result["disconnects"], result["code"], result["unsent"]) == ([], [], 1000, [])
    opened = ["connecting", "opening", "open"]
    assert result["states"] == [*opened, "resynchronizing", "open", "closing", "closed"]
    assert first.server.wait() == 0, first.server.output
    assert "Traceback" not in first.server.output
    # it also got ws_close for the old session, which the canister had replaced
    assert stats(devnet)["ws_open"] == 2


def devnet_places(devnet: Devnet) -> dict[str, object]:
    """What a script needs to know to reach the echo canister."""
    return {"network": devnet.network, "canister": devnet.echo}


def test_it_notices_a_line_that_breaks_and_one_that_goes_silent(
    devnets: Callable[..., Devnet], stacks: Callable[..., Stack]
) -> None:
    stack = stacks(network=devnets().network)
    result = scenario("cuts", stack)
    assert result["first"].endswith("after the cut")
    assert result["second"].endswith("after the silence")
    codes = [error["code"] for error in result["errors"]]
    assert codes == ["connection-lost", "connection-silent"]


def test_the_canister_closes_it_for_good(stack: Stack) -> None:
    result = scenario("closedByCanister", stack)
    assert (result["code"], result["reason"]) == (4001, "ClosedByApplication")
    assert [error["code"] for error in result["errors"]] == ["closed-by-canister"]
    assert result["states"][-1] == "closed"


def test_a_socket_that_another_one_replaced_does_not_come_back(stack: Stack) -> None:
    result = scenario("replaced", stack)
    assert result["code"] == 1000
    assert result["text"].endswith("still here")
    assert result["first"]["disconnects"] == [{"code": CloseCode.REPLACED, "again": False}]
    assert result["states"] == ["connecting", "opening", "open", "closing", "closed"]


def test_it_says_what_ends_it(stack: Stack) -> None:
    unknown = scenario("fails", stack, canister="ryjl3-tyaaa-aaaaa-aaaba-cai")
    assert (unknown["why"], unknown["code"]) == ("closed-by-gateway", CloseCode.OPEN_REFUSED)
    assert "IC0301" in unknown["message"]
    assert unknown["hint"]


def test_it_says_what_it_tries_again(stack: Stack) -> None:
    nobody = f"ws://127.0.0.1:{free_port()}"
    for gateway, network in [(nobody, stack.network), (stack.gateway, nobody.replace("ws", "http"))]:
        result = scenario("retries", stack, gateway=gateway, network=network)
        (code,) = {error["code"] for error in result["errors"]}
        assert code == ("gateway-unreachable" if gateway == nobody else "network-unreachable")
        assert all("running" in error["hint"] for error in result["errors"])
        assert all(disconnect["again"] for disconnect in result["disconnects"])
    result = scenario("retries", stack, gateway=stack.gateway.replace("ws://", "wss://"))
    assert all("TLS" in error["hint"] for error in result["errors"])
    stack.server.wait_for_line("the client speaks TLS, and this port does not: use ws://, not wss://")


def test_it_refuses_identities_that_cannot_open_a_session(stack: Stack) -> None:
    codes = scenario("unusable", stack)["codes"]
    assert codes == dict.fromkeys(("expired", "elsewhere", "queries"), "identity-unusable")


@pytest.mark.parametrize("network", [(), ("--v2-gone",)])
def test_it_verifies_both_forms_of_delegations(
    devnets: Callable[..., Devnet], stacks: Callable[..., Stack], network: tuple[str, ...]
) -> None:
    result = scenario("bursts", stacks(network=devnets(*network).network), count=10, burst=10)
    assert len(result["answers"]) == 10
    assert_undisturbed(result)


def test_over_tls(stacks: Callable[..., Stack], tmp_path: Path) -> None:
    authority = pem.authority()
    certificate, key = pem.server(authority).write(tmp_path)
    (tmp_path / "authority.pem").write_bytes(authority.pem)
    stack = stacks(f"--tls-certificate-pem-path={certificate}", f"--tls-certificate-key-pem-path={key}")
    gateway = stack.gateway.replace("ws://127.0.0.1", "wss://localhost")
    options = {"scenario": "bursts", "count": 5, "burst": 5, **stack.places, "gateway": gateway}
    trust = {"NODE_EXTRA_CA_CERTS": str(tmp_path / "authority.pem")}
    assert_undisturbed(run_node("acceptance/scenarios.mjs", options, environment=trust, folder=CLIENT)[-1])
    # Plain to a TLS port: the connection does not come about, and the client says so.
    result = scenario("retries", stack, gateway=stack.gateway)
    assert {error["code"] for error in result["errors"]} == {"gateway-unreachable"}
    assert all("TLS" in error["hint"] for error in result["errors"])
    stack.server.wait_for_line("this port speaks TLS: use wss://, not ws://")


def test_in_a_browser_it_keeps_its_identity_and_reconnects_after_a_restart_over_tls(
    devnets: Callable[..., Devnet], stacks: Callable[..., Stack], tmp_path: Path
) -> None:
    certificate, key = pem.server(pem.authority()).write(tmp_path)
    devnet, port = devnets(), free_port()

    def start() -> Stack:
        return stacks(
            f"--tls-certificate-pem-path={certificate}",
            f"--tls-certificate-key-pem-path={key}",
            f"--gateway-address=tcp:{port}:interface=127.0.0.1",
            "--drain-window=0",
            network=devnet.network,
        )

    running = start()

    def restart(event: dict[str, Any]) -> None:
        if event.get("event") == "ready":
            assert running.server.stop(signal.SIGTERM) == 0, running.server.output
            start()

    options = {**devnet_places(devnet), "gateway": f"wss://localhost:{port}", "executable": shutil.which("chromium")}
    result = run_node("browser_client.mjs", options, on_event=restart)[-1]
    assert {*result["kept"], result["afterReload"], result["connected"]} == {result["connected"]}
    assert result["other"] != result["connected"]
    assert (result["first"][-6:], result["second"][-5:]) == ("before", "after")
    assert result["disconnects"][0] == CloseCode.DRAINING
    assert (result["code"], result["unsent"]) == (1000, [])
