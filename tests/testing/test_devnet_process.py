"""The local network of the testing kit: its requests to the control interface, and its real process."""

from __future__ import annotations

from typing import Any

import pytest

from icwsgw.testing import devnet_process
from icwsgw.testing.devnet_process import DEFAULT_TIMES, DevnetProcess
from tests.devnet.test_control_api import done, get
from tests.support.devnet import Net, identity

ALICE = identity(1)


class InMemory:
    """A fake process around a replica in memory."""

    def __init__(self) -> None:
        self.net = Net()
        self.arguments: list[str] = []
        self.ended = False
        self.lines = ["a line"]

    def started(self, count: int, command: Any) -> Any:
        assert count == 1
        self.arguments, url = command([7])
        assert url == "http://127.0.0.1:7/api/v2/status"
        return self, [7]

    def request_json(self, url: str, value: object = None) -> Any:
        what = url.removeprefix("http://127.0.0.1:7/_/")
        return get(self.net, what) if value is None else done(self.net, what, value)

    def end(self) -> None:
        self.ended = True


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> InMemory:
    memory = InMemory()
    monkeypatch.setattr(devnet_process, "started", memory.started)
    monkeypatch.setattr(devnet_process, "request_json", memory.request_json)
    return memory


def test_it_does_to_the_network_what_it_says(memory: InMemory) -> None:
    with DevnetProcess({"own": "own.wasm:own.did"}, ["--nodes=1"]) as devnet:
        assert memory.arguments == [
            "icws-devnet",
            "--listen=tcp:7:interface=127.0.0.1",
            "--devnet-canister=own=own.wasm:own.did",
            "--nodes=1",
        ]
        net = memory.net
        assert (devnet.url, devnet.lines) == ("http://127.0.0.1:7", ["a line"])
        assert devnet.root_key == net.replica.root_key_der
        assert devnet.canisters["echo"] == "bkyz2-fmaaa-aaaaa-qaaaq-cai"
        with devnet.fault("trap", canister="echo", count=2):
            (fault,) = net.replica.faults
            assert (fault.kind, fault.count) == ("trap", 2)
        assert len(net.replica.faults) == 0
        net.open(ALICE)
        assert devnet.advance(300) == 300
        assert len(net.poll().messages) == 2
        devnet.reset("echo")
        assert devnet.stats()["canisters"][devnet.canisters["echo"]]["clients"] == 0
        net.replica.canisters.logs.add(net.replica.names["echo"], b"printed")
        assert devnet.logs("echo") == ["printed"]
    assert memory.ended


def test_it_restores_what_tests_have_changed(memory: InMemory) -> None:
    devnet = DevnetProcess()
    replica = memory.net.replica
    devnet.add_fault("hang")
    devnet.configure(query_latency_ms=100, v2_gone=True, block_interval_ms=1000)
    devnet.stop_canister("echo")
    assert (replica.query_latency, replica.v2_gone, replica.ingress.pace.interval) == (0.1, True, 1.0)
    devnet.restore()
    assert (len(replica.faults), replica.query_latency, replica.v2_gone) == (0, 0, False)
    assert replica.ingress.pace.interval == 0
    assert all(host.running for host in replica.canisters)
    devnet.stop_canister("echo")
    devnet.start_canister("echo")
    assert all(host.running for host in replica.canisters)


def test_every_time_that_can_be_set_is_restored(memory: InMemory) -> None:
    (names,) = (line for line in devnet_control_words() if "query_latency_ms" in line)
    assert set(DEFAULT_TIMES) == set(names.split(", "))


def devnet_control_words() -> list[str]:
    net = Net()
    try:
        done(net, "config", {"nothing": 1})
    except AssertionError as refused:
        return [str(refused).split("there are ")[1].split("'")[0].split('"')[0]]
    raise AssertionError("an unknown time was taken")
