"""The gateway of the testing kit keeps its address and key through restarts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from icwsgw.testing import gateway_process
from icwsgw.testing.gateway_process import GatewayProcess
from icwsgw.testing.program_process import StartFailed


class FakeProgram:
    """A fake process that records what is done to it."""

    made: list[FakeProgram] = []

    def __init__(self, arguments: list[str]) -> None:
        self.arguments = arguments
        self.lines = ["a line"]
        self.is_running = True
        self.killed = False
        self.ready = ""
        FakeProgram.made.append(self)

    def wait_until_ready(self, url: str) -> None:
        self.ready = url

    def end(self, *, kill: bool = False) -> int:
        self.is_running, self.killed = False, kill
        return -9 if kill else 0


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> list[FakeProgram]:
    def start(count: int, command: Any) -> Any:
        ports = [7, 8][:count]
        arguments, _ = command(ports)
        return FakeProgram(arguments), ports

    FakeProgram.made = []
    monkeypatch.setattr(gateway_process, "started", start)
    monkeypatch.setattr(gateway_process, "ProgramProcess", FakeProgram)
    return FakeProgram.made


def test_it_keeps_its_address_and_its_key(programs: list[FakeProgram]) -> None:
    with GatewayProcess("http://network", ["--polling-interval=50"]) as gateway:
        assert (gateway.url, gateway.status_url) == ("ws://127.0.0.1:7", "http://127.0.0.1:8")
        assert (gateway.lines, gateway.is_running) == (["a line"], True)
        assert gateway.stop() == 0
        gateway.start()
        gateway.restart()
        gateway.kill()
        assert not gateway.is_running
        (data,) = {option for program in programs for option in program.arguments if "--data-dir" in option}
        assert len(programs) == 3
        assert all(program.arguments == programs[0].arguments for program in programs)
        assert "--polling-interval=50" in programs[0].arguments
        assert programs[1].ready == "http://127.0.0.1:8/health/ready"
        assert [program.killed for program in programs] == [False, False, True]
        assert Path(data.partition("=")[2]).is_dir()
    assert not Path(data.partition("=")[2]).exists()


def test_a_running_gateway_is_not_started_again(programs: list[FakeProgram]) -> None:
    with GatewayProcess("http://network") as gateway:
        with pytest.raises(StartFailed, match="runs already"):
            gateway.start()
        assert len(programs) == 1
    assert not programs[0].is_running


def test_a_failed_start_leaves_no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def start(count: int, command: Any) -> Any:
        raise StartFailed("no")

    monkeypatch.setattr(gateway_process, "started", start)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(StartFailed):
        GatewayProcess("http://network")
    assert list(tmp_path.iterdir()) == []
