"""Several processes as one gateway: real twistd, real signals, kill -9 of a worker and of the supervisor."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from icwsgw.core.close_reasons import CloseCode
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from tests.acceptance.conftest import Devnet, Stack
from tests.acceptance.crowd import clients_of, connect, echoes, ends, eventually, leave, sample, stats
from tests.acceptance.processes import http_get
from tests.support import pem
from tests.support.raw_client import RawClient, RawSdkClient

pytestmark = pytest.mark.acceptance

Crowds = dict[Principal, list[RawSdkClient]]


def workers_of(stack: Stack) -> dict[int, int]:
    """Process numbers by worker number, as the last lines of the log have them."""
    found = re.findall(r"worker is ready number=(\d+) pid=(\d+)", stack.server.output)
    return {int(number): int(pid) for number, pid in found}


def principals_of(stack: Stack) -> dict[int, Principal]:
    """The gateway principal of each worker."""
    found = re.findall(r"gateway starts .*principal=(\S+) .*worker=(\d+)", stack.server.output)
    return {int(number): Principal.from_text(text) for text, number in found}


def wait_for_another(stack: Stack, number: int, before: int) -> None:
    """Wait until a worker is another process than before, and all are ready."""
    eventually(lambda: workers_of(stack)[number] != before, "another process")
    eventually(lambda: all_ready(stack), "all workers are ready")


def all_ready(stack: Stack, count: int = 2) -> bool:
    return sample(stack, "icws_workers") == count


def crowds(stack: Stack, each: int, **keywords: Any) -> Crowds:
    """So many clients at least of each of two workers: the kernel decides who gets whom."""
    found: Crowds = {}
    for _ in range(500):
        client = connect(stack, **keywords)
        assert client.gateway is not None
        found.setdefault(client.gateway, []).append(client)
        if len(found) == 2 and min(map(len, found.values())) >= each:
            return found
    raise AssertionError({principal.text: len(clients) for principal, clients in found.items()})


def alive(pid: int) -> bool:
    """Whether a process lives; one that nobody has asked for its status yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


@pytest.fixture
def pair(devnets: Callable[..., Devnet], stacks: Callable[..., Stack]) -> tuple[Devnet, Stack]:
    """A replica, and a gateway of two workers with a client limit that no test reaches."""
    devnet = devnets()
    stack = stacks("--workers=2", "--drain-window=1", network=devnet.network)
    eventually(lambda: all_ready(stack), "both workers are ready")
    # a line is written some time after what it tells
    eventually(lambda: len(workers_of(stack)) == len(principals_of(stack)) == 2, "the log says so")
    return devnet, stack


def test_two_workers_are_one_gateway(pair: tuple[Devnet, Stack]) -> None:
    devnet, stack = pair
    found = crowds(stack, 3)
    count = sum(map(len, found.values()))
    assert set(found) == set(principals_of(stack).values())
    for clients in found.values():
        for client in clients[:3]:
            echoes(client)
    eventually(lambda: sample(stack, 'icws_sessions{state="open"}') == count, "both workers have reported")
    assert sample(stack, 'icws_opens_total{outcome="opened"}') == count
    for process in ("0", "1", "supervisor"):
        assert (sample(stack, f'process_resident_memory_bytes{{worker="{process}"}}') or 0) > 1e6
    page = http_get(f"{stack.admin}/")[1].decode()
    assert "# TYPE icws_worker_restarts_total counter" in page
    status = json.loads(http_get(f"{stack.admin}/status.json")[1])
    assert status["sessions"]["open"] == count
    assert [(row["canister"], row["sessions"]) for row in status["canisters"]] == [(stack.echo, count)]
    assert {row["worker"]: row["pid"] for row in status["workers"]} == workers_of(stack)
    assert {row["worker"]: row["principal"] for row in status["identities"]} == {
        number: principal.text for number, principal in principals_of(stack).items()
    }

    stack.server.process.send_signal(signal.SIGTERM)
    codes = [ends(client) for clients in found.values() for client in clients]
    assert codes == [CloseCode.DRAINING] * count
    assert stack.server.wait() == 0, stack.server.output
    assert "Traceback" not in stack.server.output
    assert stack.server.lines[-1].endswith("gateway stopped")
    assert stats(devnet)["ws_close"] == count
    assert clients_of(devnet, devnet.echo) == 0
    assert not any(map(alive, workers_of(stack).values()))


def test_all_workers_together_serve_as_many_as_the_option_says(stacks: Callable[..., Stack]) -> None:
    """The kernel spreads connections unevenly: a worker that is full leaves the rest to those with room."""
    most = 80
    stack = stacks("--workers=2", f"--max-connections={most}")
    eventually(lambda: all_ready(stack), "both workers are ready")
    port = int(stack.gateway.rpartition(":")[2])
    clients = [RawClient(port) for _ in range(most)]
    for client in clients:
        client.do_handshake()
    assert [client.status for client in clients] == [101] * most
    assert RawClient(port).do_handshake().status == 503, "and no more"
    clients.pop().close()
    eventually(lambda: RawClient(port).do_handshake().status == 101, "there is room for one again")
    for client in clients:
        client.close()


def test_kill_9_of_a_worker_costs_its_own_clients_only(pair: tuple[Devnet, Stack]) -> None:
    _, stack = pair
    found = crowds(stack, 3)
    count = sum(map(len, found.values()))
    before = workers_of(stack)
    eventually(lambda: sample(stack, 'icws_opens_total{outcome="opened"}') == count, "both workers have reported")
    os.kill(before[0], signal.SIGKILL)
    principals = principals_of(stack)
    lost, kept = found[principals[0]], found[principals[1]]
    assert [ends(client) for client in lost] == [None] * len(lost)
    for client in kept[:3]:
        echoes(client)
    # they come again at once, and somebody takes them
    again = [connect(stack, identity=client.identity) for client in lost]
    for client in again:
        echoes(client)
    wait_for_another(stack, 0, before[0])
    assert workers_of(stack)[1] == before[1]
    starts = r"gateway starts .*worker=0$"
    eventually(lambda: len(re.findall(starts, stack.server.output, re.MULTILINE)) == 2, "it says who it is")
    assert principals_of(stack) == principals, "a worker takes its queues up again"
    assert sample(stack, "icws_worker_restarts_total") == 1
    opened = count + len(again)
    eventually(lambda: sample(stack, 'icws_opens_total{outcome="opened"}') == opened, "counts of the dead are not lost")
    stack.server.wait_for_line("worker has died, its clients have to connect again")
    assert http_get(f"{stack.admin}/health/ready") == (200, b"ready\n")
    echoes(kept[0])
    leave(*kept, *again)
    assert stack.server.stop() == 0, stack.server.output


def test_a_worker_that_hangs_costs_its_own_clients_and_is_replaced(pair: tuple[Devnet, Stack]) -> None:
    _, stack = pair
    found = crowds(stack, 2)
    before = workers_of(stack)
    kept = found[principals_of(stack)[1]]
    os.kill(before[0], signal.SIGSTOP)
    stack.server.wait_for_line("worker hangs, killing it number=0")
    assert http_get(f"{stack.admin}/health/live") == (200, b"OK\n")
    assert http_get(f"{stack.admin}/health/ready") == (200, b"ready\n")
    for client in kept[:3]:
        echoes(client)
    wait_for_another(stack, 0, before[0])
    leave(*kept)
    assert stack.server.stop() == 0, stack.server.output


def test_workers_do_not_outlive_their_supervisor(pair: tuple[Devnet, Stack]) -> None:
    devnet, stack = pair
    found = crowds(stack, 2)
    pids = workers_of(stack).values()
    stack.server.process.kill()
    for clients in found.values():
        assert [ends(client) for client in clients] == [CloseCode.DRAINING] * len(clients)
    eventually(lambda: not any(map(alive, pids)), "the workers have ended")
    assert clients_of(devnet, devnet.echo) == 0, "and the canister has got ws_close"
    # nobody holds the port any more
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", int(stack.gateway.rpartition(":")[2])))
        probe.listen()


def test_a_client_that_comes_again_at_the_other_worker_replaces_its_older_connection(
    pair: tuple[Devnet, Stack],
) -> None:
    _, stack = pair
    same = Ed25519Identity(b"\x41" * 32)
    for _ in range(100):
        older, newer = connect(stack, identity=same), connect(stack, identity=same)
        assert ends(older) == CloseCode.REPLACED
        echoes(newer)
        leave(newer)
        if older.gateway != newer.gateway:
            return
    raise AssertionError("one worker got all connections")


def test_tls_unix_and_a_log_file(tmp_path: Path, stacks: Callable[..., Stack]) -> None:
    signer = pem.authority()
    certificate, key = pem.server(signer).write(tmp_path)
    path, log = tmp_path / "s", tmp_path / "icws.log"
    stack = stacks(
        "--workers=2",
        "--identities=2",
        f"--tls-certificate-pem-path={certificate}",
        f"--tls-certificate-key-pem-path={key}",
        f"--gateway-address=unix:{path}:mode=600",
        twistd=(f"--logfile={log}",),
    )
    eventually(lambda: all_ready(stack), "both workers are ready")
    context = ssl.create_default_context(cadata=signer.pem.decode())
    found = crowds(stack, 1, tls=context)
    for clients in found.values():
        echoes(clients[0])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        client.settimeout(30)
        assert client.recv(1000).startswith(b"HTTP/1.1 ")
    count = sum(map(len, found.values()))
    eventually(lambda: sample(stack, "tls_resolution_time_count") == count, "both workers have reported")
    assert (sample(stack, "icws_tls_certificate_expiry_seconds") or 0) > 1e9
    assert stack.server.stop() == 0, stack.server.output
    assert not path.exists()
    assert stack.server.lines == []
    text = log.read_text()
    for line in (r"gateway starts .*worker=0$", r"gateway starts .*worker=1$", r"session ended .*worker=\d$"):
        assert re.search(line, text, re.MULTILINE), line
    assert "Traceback" not in text


def test_a_worker_that_is_stopped_alone_is_started_again(pair: tuple[Devnet, Stack]) -> None:
    _, stack = pair
    before = workers_of(stack)
    os.kill(before[1], signal.SIGTERM)
    wait_for_another(stack, 1, before[1])
    echoes(connect(stack))
