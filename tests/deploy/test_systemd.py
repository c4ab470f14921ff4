"""The systemd units: systemd-analyze reads and judges them, the gateway reads their environment, and runs under them.

There is no systemd to start services in a test, but its parts are real: the file descriptors come from
systemd-socket-activate, and the notifications go over a socket like systemd's.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from icwsgw.config.schema import MAINNET_BUDGET, GatewayConfig
from icwsgw.gateway.identities import check_key_file
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.process.check_config import check_files
from tests.acceptance.conftest import loopback
from tests.acceptance.processes import ROOT, START_DEADLINE, Server, free_port
from tests.deploy.tools import DEPLOY, read_environment, run, tool
from tests.support import pem
from tests.support.raw_client import RawClient

pytestmark = pytest.mark.deploy

UNITS = DEPLOY / "systemd"
SERVICES = ["icws.service", "icws@.service"]
Read = Callable[[list[str], dict[str, str]], GatewayConfig]

#: Exposure by systemd-analyze's count (0 to 10) that a unit may have at most, times ten.
THRESHOLD = 15


def settings(name: str) -> dict[str, list[str]]:
    """The values of each setting of a unit's file."""
    found: dict[str, list[str]] = {}
    for line in (UNITS / name).read_text().splitlines():
        if re.match(r"[A-Za-z]+=", line):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units as on a machine where the gateway is installed."""
    directory = tmp_path / "units"
    directory.mkdir()
    for path in UNITS.iterdir():
        if path.suffix in (".service", ".socket", ".target"):
            text = path.read_text().replace("/opt/icws/bin/twistd", str(Path(sys.executable).with_name("twistd")))
            (directory / path.name).write_text(text)
    drop_ins = directory / "icws.service.d"
    drop_ins.mkdir()
    for path in UNITS.glob("[0-9]0-*.conf"):
        shutil.copy(path, drop_ins)
    credentials = drop_ins / "20-credentials.conf"
    # with all that is commented out, except the explanation
    credentials.write_text(re.sub(r"^#(?=[A-Z]\w+=)", "", credentials.read_text(), flags=re.M))
    return directory


def test_systemd_understands_the_units(installed: Path) -> None:
    units = [*installed.glob("*.service"), *installed.glob("*.socket"), *installed.glob("*.target")]
    assert len(units) == 4
    output = run(tool("systemd-analyze", "systemd"), "verify", "--man=no", *units)
    assert output == ""


def test_the_gateway_reads_its_secrets_from_credentials(
    installed: Path, tmp_path: Path, understood: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As systemd places them where the file system has access lists: of root, with the right to read in the list."""
    text = (installed / "icws.service.d" / "20-credentials.conf").read_text()
    directory = tmp_path / "credentials"
    directory.mkdir()
    given = dict(re.findall(r"^Environment=(\w+)=(.*)$", text, re.M))
    config = understood([], {name: value.replace("%d", str(directory)) for name, value in given.items()})
    pair = pem.server(pem.authority(), days=20, password=b"of the machine")
    contents = {
        "key_pair": Ed25519Identity(b"\x01" * 32).to_pkcs8_der(),
        "tls-passphrase": b"of the machine",
        "admin-token": b"0123456789abcdef",
    }
    assert set(re.findall(r"^LoadCredential(?:Encrypted)?=([\w-]+):", text, re.M)) == set(contents)
    for name, content in contents.items():
        (directory / name).write_bytes(content)
        (directory / name).chmod(0o440)
    certificate, key = pair.write(tmp_path)
    key.chmod(0o600)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    warnings = check_files(
        replace(
            config,
            data_dir=tmp_path / "data",
            gateway_addresses=(f"ssl:0:privateKey={key}:certKey={certificate}",),
            prometheus_endpoint=None,
            admin_endpoint=f"unix:{tmp_path}/admin.sock",
            ic_network_url="http://127.0.0.1:1",
        )
    )
    assert not [warning for warning in warnings if "open to others" in warning or "may read" in warning]
    assert not (tmp_path / "data" / "key_pair").exists()
    assert check_key_file(config.key_path) is not None


@pytest.mark.parametrize("name", SERVICES)
def test_systemd_finds_them_well_confined(name: str) -> None:
    analyze = tool("systemd-analyze", "systemd")
    output = run(analyze, "security", "--offline=yes", f"--threshold={THRESHOLD}", UNITS / name)
    assert "Overall exposure level" in output


def test_instances_are_confined_as_the_single_service_is() -> None:
    def confinement(name: str) -> str:
        return (UNITS / name).read_text().partition("# A client costs")[2].partition("[Install]")[0]

    assert confinement("icws.service")
    assert confinement("icws.service") == confinement("icws@.service")


@pytest.mark.parametrize("name", SERVICES)
def test_the_gateway_understands_the_environment(understood: Read, name: str) -> None:
    unit = settings(name)
    example = read_environment((UNITS / "icws.env").read_text())
    given = dict(value.split("=", 1) for value in unit["Environment"])
    for specifier, meaning in (("%S", "/var/lib"), ("%t", "/run"), ("%i", "8081")):
        given = {key: value.replace(specifier, meaning) for key, value in given.items()}
    (command,) = unit["ExecStart"]
    words = command.split()
    assert words[1:] == ["--nodaemon", "--pidfile=", "icws"]
    config = understood([], {**given, **example})
    assert config.is_mainnet
    state = unit["StateDirectory"][0].replace("%i", "8081")
    assert str(config.data_dir) == f"/var/lib/{state}"
    runtime = unit["RuntimeDirectory"][0].replace("%i", "8081")
    assert config.admin_endpoint == f"unix:/run/{runtime}/admin.sock"
    assert config.admin_token_file is None
    if "@" in name:
        assert config.gateway_addresses == ("haproxy:tcp:8081:interface=127.0.0.1",)
        assert config.prometheus_endpoint == "tcp:18081:interface=127.0.0.1"
        assert config.trusted_proxies == ("127.0.0.1/32",)
        # they share one address: together they stay within what boundary nodes take from it
        servers = re.findall(r"^\s*server icws", (DEPLOY / "haproxy" / "haproxy.cfg").read_text(), re.M)
        assert config.gateways_per_address == len(servers)
        assert len(servers) * (config.queries_per_second or 0) <= MAINNET_BUDGET


def test_what_is_commented_out_is_understood_too(understood: Read) -> None:
    text = (UNITS / "icws.env").read_text().replace("#ICWS_", "ICWS_")
    assert understood([], read_environment(text)).tls_certificate_pem_path == Path("/etc/icws/tls/fullchain.pem")
    for name in UNITS.glob("10-*.conf"):
        (address,) = (value for value in settings(name.name)["Environment"])
        key, _, value = address.partition("=")
        assert understood([], {key: value}).gateway_addresses == (value,)


@pytest.mark.parametrize("name", SERVICES)
def test_the_stop_and_the_descriptors_suffice(name: str) -> None:
    unit = settings(name)
    # The gateway asks for more than this only once it knows its configuration.
    assert float(unit["TimeoutStopSec"][0].removesuffix("s")) >= 30.0
    assert int(unit["LimitNOFILE"][0]) > 2 * GatewayConfig().max_connections


class Manager:
    """The service manager's end of $NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(START_DEADLINE)

    def until(self, word: str) -> list[str]:
        """Messages up to one that holds an assignment, or the deadline."""
        messages: list[str] = []
        while not messages or word not in messages[-1].split("\n"):
            messages.append(self._socket.recv(4096).decode())
        return messages

    def until_any(self, beginning: str) -> list[str]:
        """Messages up to one that begins so, or the deadline."""
        messages: list[str] = []
        while not messages or not messages[-1].startswith(beginning):
            messages.append(self._socket.recv(4096).decode())
        return messages

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


def test_the_manager_gets_the_start_the_reload_and_the_stop(tmp_path: Path, manager: Manager) -> None:
    words = [f"--gateway-address={loopback(free_port())}", "--prometheus-endpoint=", "--drain-window=1"]
    server = Server(
        ["icws", f"--ic-network-url=http://127.0.0.1:{free_port()}", *words],
        cwd=tmp_path,
        environment={"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "200000"},
    )
    try:
        manager.until("READY=1")
        manager.until("WATCHDOG=1")
        manager.until("WATCHDOG=1")
        server.process.send_signal(signal.SIGHUP)
        assert any(line.startswith("MONOTONIC_USEC=") for line in manager.until("RELOADING=1")[-1].split("\n"))
        manager.until("READY=1")
        server.process.send_signal(signal.SIGTERM)
        longest_stop = int(GatewayConfig(drain_window=1.0).longest_stop * 1e6)
        assert f"EXTEND_TIMEOUT_USEC={longest_stop}" in manager.until("STOPPING=1")[-1].split("\n")
        assert server.wait() == 0, server.output
    finally:
        server.kill()


def test_a_client_waits_at_systemds_port_for_the_gateway(tmp_path: Path) -> None:
    """The first connection starts the gateway, as after a restart; it is served when that is up."""
    port, admin = free_port(), free_port()
    address = settings("10-socket.conf")["Environment"][0].partition("=")[2]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ICWS_", "RUST_LOG"))}
    process = subprocess.Popen(
        [
            *(tool("systemd-socket-activate", "systemd"), f"--listen=127.0.0.1:{port}", "-E", f"PYTHONPATH={ROOT}"),
            # systemd itself names descriptors by their unit
            "--fdname=icws.socket",
            *(str(Path(sys.executable).with_name("twistd")), "--nodaemon", "--pidfile=", "icws", "--devnet"),
            *(f"--devnet-listen={loopback(free_port())}", f"--prometheus-endpoint={loopback(admin)}"),
            *(f"--gateway-address={address}", f"--data-dir={tmp_path}/data"),
        ],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        client = connect_when_there(port)
        assert client.do_handshake().status == 101
        opcode, greeting = client.frame() or (0, b"")
        assert opcode == 2
        assert b"gateway_principal" in greeting
        process.terminate()
        assert client.close_code() in (1001, 4100)
        output, _ = process.communicate(timeout=START_DEADLINE)
        assert process.returncode == 0, output
        assert "gateway stopped" in output
    finally:
        process.kill()
        process.communicate()


def connect_when_there(port: int) -> RawClient:
    """Connect as soon as somebody listens."""
    deadline = time.monotonic() + START_DEADLINE
    while True:
        try:
            return RawClient(port)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
