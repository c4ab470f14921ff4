"""A running gateway is replaced by a new process, with real clients: nobody is closed and nothing is lost."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from icwsgw.core.close_reasons import CloseCode
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from tests.acceptance.conftest import ROUNDS_BY_CLOCK, ROUNDS_BY_CLOCK_SDK, Devnet, Stack
from tests.acceptance.crowd import clients_of, connect, echoes, ends, eventually, leave, sample
from tests.acceptance.processes import ROOT, free_port, http_get, run_node
from tests.deploy.test_systemd import Manager, connect_when_there, settings
from tests.deploy.tools import tool
from tests.support import pem
from tests.support.raw_client import DEADLINE, RawClient, RawSdkClient
from tests.support.ws_wire import handshake

pytestmark = pytest.mark.acceptance

CROWD = 50


@pytest.fixture
def started(stacks: Callable[..., Stack]) -> Iterator[Callable[..., Stack]]:
    """Start stacks whose last processes end with the test too."""
    made: list[Stack] = []

    def start(*options: str, network: str) -> Stack:
        made.append(stacks(*options, network=network))
        return made[-1]

    yield start
    for stack in made:
        for process in re.findall(r"handover begins\b.* successor=(\d+)", stack.server.output):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)


def upgrade(stack: Stack, process: int) -> int:
    """Upgrade a gateway; the number of its new process."""
    seen = stack.server.output.count("taken over")
    os.kill(process, signal.SIGUSR2)
    try:
        eventually(lambda: stack.server.output.count("taken over") > seen, "the new process takes over")
    except AssertionError as error:
        raise AssertionError(f"{error}: {stack.server.output}") from None
    return int(re.findall(r"handover begins\b.* successor=(\d+)", stack.server.output)[-1])


def test_no_client_notices_an_upgrade(devnets: Callable[..., Devnet], started: Callable[..., Stack]) -> None:
    devnet = devnets()
    stack = started("--header-timeout=300", network=devnet.network)
    process = stack.server.process.pid
    clients = [connect(stack) for _ in range(CROWD)]
    for client in clients:
        echoes(client)
    # one has sent a part of its request, one a part of a message, one has not opened its session
    port = int(stack.gateway.rpartition(":")[2])
    request = handshake()
    late = RawClient(port)
    late.socket.sendall(request[:40])
    for _ in range(3):
        for client in clients:
            client.send_message(b"DIDL\x00\x00on its way")
        before = process
        process = upgrade(stack, process)
        eventually(lambda pid=before: not alive(pid, stack), "the former process ends")
        for client in clients:
            client.until(lambda client=client: client.received[-1:] == [b"DIDL\x00\x00on its way"])
            echoes(client)
    late.socket.sendall(request[40:])
    assert late.answer().status == 101
    assert clients_of(devnet, devnet.echo) == CROWD
    assert (sample(stack, 'icws_sessions{state="open"}'), http_get(f"{stack.admin}/health/ready")[0]) == (CROWD, 200)
    assert (sample(stack, "icws_client_messages_total") or 0) >= 7 * CROWD, "counters go on"
    leave(*clients)
    eventually(lambda: clients_of(devnet, devnet.echo) == 0, "the canister has got every ws_close")
    os.kill(process, signal.SIGTERM)


def alive(process: int, stack: Stack) -> bool:
    """Whether a process runs; the first one is a child of this one."""
    if process == stack.server.process.pid:
        return stack.server.process.poll() is None
    return os.path.exists(f"/proc/{process}")


def test_an_upgrade_that_cannot_start_costs_nothing(
    devnets: Callable[..., Devnet], started: Callable[..., Stack], tmp_path: Path
) -> None:
    devnet = devnets()
    config = tmp_path / "icws.toml"
    config.write_text("drain-window = 0.5\n")
    endpoint = f"unix:{tmp_path}/admin.sock"
    stack = started(f"--config={config}", f"--admin-endpoint={endpoint}", network=devnet.network)
    client = connect(stack)
    for broken, words in (
        ("open-timeout = 'soon'\n", "open-timeout"),
        ("no-such-option = 1\n", "no-such-option"),
        ("tls-certificate-pem-path = '/nonexistent'\n", "tls-certificate"),
    ):
        config.write_text(broken)
        code, text = icwsctl(endpoint, "upgrade")
        assert (code, text.startswith("icwsctl: no upgrade: "), words in text) == (1, True, True), text
        echoes(client)
    config.write_text("drain-window = 0.5\n")
    (key,) = tmp_path.rglob("key_pair")
    key.rename(tmp_path / "moved")
    code, text = icwsctl(endpoint, "upgrade")
    assert (code, f"there is no key file {key}" in text) == (1, True), text
    assert not key.exists(), "a new key would be that of another gateway"
    (tmp_path / "moved").rename(key)
    echoes(client)
    # what the operator has set, and what the status page shows
    gone, banned = connect(stack), Ed25519Identity(bytes(32)).principal.text
    gone.connection.close()
    for order in (
        ("deny", stack.chat),
        ("set", "ping-interval", "317s"),
        ("log-level", "poller", "debug"),
        ("maintenance", "on"),
    ):
        code, text = icwsctl(endpoint, *order)
        assert code == 0, text
    icwsctl(endpoint, "kick", "--principal", banned, "--for", "1h")
    eventually(lambda: "1006" in icwsctl(endpoint, "ended")[1], "the end of a session is listed")

    def overrides() -> list[str]:
        return [icwsctl(endpoint, words)[1] for words in ("deny", "options", "maintenance", "log-level")]

    before = overrides()
    code, text = icwsctl(endpoint, "upgrade")
    assert (code, text.startswith("upgraded from ")) == (0, True), text
    assert stack.server.process.wait(60) == 0
    assert "this process stops, another one serves" in stack.server.output
    for event in ("gateway draining", "gateway stopped"):
        assert event not in stack.server.output, "clients were not dropped"
    echoes(client)
    assert overrides() == before
    shown = (re.escape(stack.chat), r"ping-interval .*\b317", "not ready", r"poller .*debug")
    for pattern, text in zip(shown, before, strict=True):
        assert re.search(pattern, text), text
    assert banned in icwsctl(endpoint, "bans")[1]
    assert "1006" in icwsctl(endpoint, "ended")[1]
    assert http_get(f"{stack.admin}/health/ready")[0] == 503, "it is still out of service"
    assert icwsctl(endpoint, "maintenance", "off")[0] == 0
    code, text = icwsctl(endpoint, "sessions")
    assert (code, "open" in text) == (0, True)
    leave(client)


def icwsctl(endpoint: str, *words: str) -> tuple[int, str]:
    """Run icwsctl: its exit status and what it prints."""
    command = [sys.executable, "-m", "icwsgw.ctl.commands", "--endpoint", endpoint, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False, cwd=ROOT)
    return done.returncode, done.stdout + done.stderr


class UnixClient(RawClient):
    """A client that comes through a unix socket."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(DEADLINE)
        self.socket.connect(str(path))
        self.status, self.head, self._data = 0, b"", b""


def test_unix_sockets_and_addresses_behind_proxies_hand_over(
    devnets: Callable[..., Devnet], started: Callable[..., Stack], tmp_path: Path
) -> None:
    devnet = devnets()
    path, port = tmp_path / "ws.sock", free_port()
    endpoint = f"unix:{tmp_path}/admin.sock"
    stack = started(
        f"--gateway-address=unix:{path}",
        f"--gateway-address=haproxy:tcp:{port}:interface=127.0.0.1",
        "--trusted-proxy=127.0.0.1",
        f"--admin-endpoint={endpoint}",
        "--drain-window=0.5",
        network=devnet.network,
    )
    canister = Principal.from_text(stack.echo)

    def come() -> list[RawSdkClient]:
        proxied = RawClient(port).do_handshake(before=b"PROXY TCP4 198.51.100.7 127.0.0.1 40000 80\r\n")
        return [RawSdkClient(each, canister).open() for each in (UnixClient(path).do_handshake(), proxied)]

    clients, process = come(), stack.server.process.pid
    mode = path.stat().st_mode
    for _ in range(2):
        process = upgrade(stack, process)
        for client in clients:
            echoes(client)
        clients += come()
    assert path.stat().st_mode == mode
    for client in clients:
        echoes(client)
    code, text = icwsctl(endpoint, "sessions", "--json")
    assert code == 0
    assert text.count('"peer": "198.51.100.7:40000"') == 3, text
    leave(*clients)
    eventually(lambda: clients_of(devnet, devnet.echo) == 0, "the canister has got every ws_close")
    os.kill(process, signal.SIGTERM)


@pytest.mark.sdk
@pytest.mark.long
def test_the_sdks_sessions_live_through_five_upgrades_and_acknowledgements(
    devnets: Callable[..., Devnet], started: Callable[..., Stack]
) -> None:
    stack = started(network=devnets(*ROUNDS_BY_CLOCK).network)
    process = stack.server.process.pid

    def replace(event: dict[str, object]) -> None:
        nonlocal process
        if event["event"] == "upgrade":
            process = upgrade(stack, process)

    options = {"scenario": "upgrades", "clients": 3, "upgrades": 5, **ROUNDS_BY_CLOCK_SDK, "admin": stack.admin}
    result = run_node("sdk.mjs", {**options, **stack.places}, on_event=replace)[-1]
    assert len(set(result["processes"])) == 6
    for answers in result["answers"]:
        assert [text.rsplit(" ", 1)[1] for text in answers] == [str(number) for number in range(len(answers))]
        assert len(answers) >= 5
    assert all(count >= 5 for count in result["keepAlives"])
    assert {(close["code"], close["wasClean"]) for close in result["closes"]} == {(1000, True)}
    assert result["errors"] == []


def test_clients_with_tls_are_drained_and_the_others_stay(
    devnets: Callable[..., Devnet], started: Callable[..., Stack], tmp_path: Path
) -> None:
    devnet = devnets()
    signer = pem.authority()
    certificate, key = pem.server(signer).write(tmp_path)
    context = ssl.create_default_context(cadata=signer.pem.decode())
    secure = free_port()
    stack = started(
        f"--gateway-address=ssl:{secure}:interface=127.0.0.1:privateKey={key}:certKey={certificate}",
        network=devnet.network,
    )
    plain = connect(stack)
    drained = RawSdkClient(RawClient(secure, tls=context).do_handshake(), Principal.from_text(stack.echo)).open()
    upgrade(stack, stack.server.process.pid)
    assert ends(drained) == CloseCode.DRAINING
    assert stack.server.process.wait(60) == 0
    echoes(plain)
    again = RawSdkClient(RawClient(secure, tls=context).do_handshake(), Principal.from_text(stack.echo)).open()
    echoes(again)
    leave(plain, again)


@pytest.mark.deploy
def test_systemd_follows_the_process_and_its_sockets_stay(devnets: Callable[..., Devnet], tmp_path: Path) -> None:
    """The descriptors come from systemd-socket-activate, and the notifications go over a socket like systemd's."""
    devnet = devnets()
    manager, port = Manager(tmp_path / "notify"), free_port()
    given = {"PYTHONPATH": str(ROOT), "NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "400000"}
    address = settings("10-socket.conf")["Environment"][0].partition("=")[2]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ICWS_", "RUST_LOG"))}
    process = subprocess.Popen(
        [
            *(tool("systemd-socket-activate", "systemd"), f"--listen=127.0.0.1:{port}"),
            *(word for name, value in given.items() for word in ("-E", f"{name}={value}")),
            # systemd itself names descriptors by their unit
            "--fdname=icws.socket",
            *(str(Path(sys.executable).with_name("twistd")), "--nodaemon", "--pidfile=", "icws"),
            *(f"--ic-network-url={devnet.network}", f"--gateway-address={address}", f"--data-dir={tmp_path}/data"),
            *("--prometheus-endpoint=", "--drain-window=0.5"),
        ],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=(tmp_path / "log").open("w"),
        stderr=subprocess.STDOUT,
    )
    main = process.pid
    try:
        client = RawSdkClient(connect_when_there(port).do_handshake(), Principal.from_text(devnet.echo)).open()
        manager.until("READY=1")
        for _ in range(2):
            former = main
            os.kill(former, signal.SIGUSR2)
            # the former process names its successor, which is ready then
            (*before, named) = manager.until_any("MAINPID=")
            main = int(named.removeprefix("MAINPID="))
            assert main != former
            after = manager.until("READY=1")
            assert not any("STOPPING=1" in message for message in (*before, *after)), "the unit stays active"
            echoes(client)
            fresh = RawSdkClient(RawClient(port).do_handshake(), Principal.from_text(devnet.echo)).open()
            echoes(fresh)
            fresh.connection.close()
            manager.until("WATCHDOG=1")
        assert process.wait(60) == 0, (tmp_path / "log").read_text()
        os.kill(main, signal.SIGHUP)
        reloading = [*manager.until("RELOADING=1"), *manager.until("READY=1")]
        assert not any("STOPPING=1" in message for message in reloading)
        echoes(client)
        os.kill(main, signal.SIGTERM)
        assert "STATUS=draining" in manager.until("STOPPING=1")[-1]
        assert ends(client) == CloseCode.DRAINING
        eventually(lambda: not os.path.exists(f"/proc/{main}"), "the last process ends")
    finally:
        for each in (process.pid, main):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        process.wait()
        manager.close()


@pytest.mark.long
def test_workers_are_replaced_also_by_another_number(
    devnets: Callable[..., Devnet], started: Callable[..., Stack], tmp_path: Path
) -> None:
    devnet = devnets()
    config = tmp_path / "icws.toml"
    config.write_text("workers = 2\ndrain-window = 0.5\n")
    stack = started(f"--config={config}", network=devnet.network)
    eventually(lambda: sample(stack, "icws_workers") == 2, "both workers are ready")
    clients = [connect(stack) for _ in range(20)]
    process, sent = stack.server.process.pid, 0
    for workers in (2, 3, 1, 2):
        config.write_text(f"workers = {workers}\ndrain-window = 0.5\n")
        for client in clients:
            client.send_message(b"DIDL\x00\x00on its way")
        before = process
        process = upgrade_all(stack, process)
        eventually(lambda pid=before: not alive(pid, stack), "the former process ends")
        for client in clients:
            client.until(lambda client=client: client.received[-1:] == [b"DIDL\x00\x00on its way"])
            echoes(client)
        sent += 2 * len(clients)
        clients += [connect(stack) for _ in range(2)]
        eventually(lambda: http_get(f"{stack.admin}/health/ready")[0] == 200, "it is ready")
        # that half of the workers are: the others may not have reported yet
        opened = len(clients)
        eventually(lambda count=opened: sample(stack, 'icws_sessions{state="open"}') == count, "all have reported")
        assert (sample(stack, "icws_client_messages_total") or 0) >= sent, "counters go on"
    assert clients_of(devnet, devnet.echo) == len(clients)
    leave(*clients)
    eventually(lambda: clients_of(devnet, devnet.echo) == 0, "the canister has got every ws_close")
    os.kill(process, signal.SIGTERM)


def upgrade_all(stack: Stack, process: int) -> int:
    """Upgrade a gateway, of several processes perhaps; the number of its new main process."""
    seen = len(stack.server.output)
    os.kill(process, signal.SIGUSR2)
    over = re.compile(r"handed over\b[^\n]* process=(\d+)")
    eventually(lambda: over.search(stack.server.output[seen:]) is not None, stack.server.output[seen:])
    found = over.search(stack.server.output[seen:])
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("workers", [1, 2])
def test_either_process_is_killed_before_the_point_of_no_return(
    devnets: Callable[..., Devnet], started: Callable[..., Stack], workers: int
) -> None:
    """The successor's end costs nothing. The predecessor's end is a crash, which leaves nothing behind."""
    devnet = devnets()
    stack = started(f"--workers={workers}", "--drain-window=0.5", network=devnet.network)
    server = stack.server
    eventually(lambda: http_get(f"{stack.admin}/health/ready")[0] == 200, "it is ready")
    client = connect(stack)
    os.kill(server.process.pid, signal.SIGUSR2)
    eventually(lambda: "handover begins" in server.output, server.output)
    os.kill(successor_of(stack), signal.SIGKILL)
    eventually(lambda: "handover failed, this process continues" in server.output, server.output)
    echoes(client)
    fresh = connect(stack)
    echoes(fresh)
    os.kill(server.process.pid, signal.SIGUSR2)
    eventually(lambda: server.output.count("handover begins") == 2, server.output)
    server.process.kill()
    successor = successor_of(stack)
    assert ends(client) in (None, CloseCode.DRAINING)
    eventually(lambda: not alive(successor, stack), "the successor has nothing to take over, and ends")
    port = int(stack.gateway.rpartition(":")[2])
    eventually(lambda: not listens(port), "nobody listens any more")


def successor_of(stack: Stack) -> int:
    """The process that was started last to take over."""
    return int(re.findall(r"handover begins\b.* successor=(\d+)", stack.server.output)[-1])


def listens(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    try:
        socket.create_connection(("127.0.0.1", port), 5.0).close()
    except OSError:
        return False
    return True


def test_the_former_process_is_killed_when_it_has_handed_over(
    devnets: Callable[..., Devnet], started: Callable[..., Stack]
) -> None:
    devnet = devnets()
    stack = started("--workers=2", "--drain-window=0.5", network=devnet.network)
    eventually(lambda: sample(stack, "icws_workers") == 2, "both workers are ready")
    clients = [connect(stack) for _ in range(6)]
    process = upgrade_all(stack, stack.server.process.pid)
    stack.server.process.kill()
    for client in clients:
        echoes(client)
    fresh = connect(stack)
    process = upgrade_all(stack, process)
    for client in (*clients, fresh):
        echoes(client)
    leave(*clients, fresh)
    os.kill(process, signal.SIGTERM)
    eventually(lambda: not alive(process, stack), "the last one ends")
