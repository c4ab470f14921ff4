"""How twistd starts the gateway, how it refuses to, and how it ends: real processes."""

from __future__ import annotations

import json
import os
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import Stack, loopback, start_stack
from tests.acceptance.crowd import eventually
from tests.acceptance.processes import ROOT, START_DEADLINE, Server, free_port, http_get
from tests.support import pem

pytestmark = pytest.mark.acceptance

VECTOR = ROOT / "tests" / "vectors" / "identity" / "test_key_pair"
PRINCIPAL = "7cio4-7j2lx-6f3tp-mkfw7-t4amd-tjphs-hkits-6qa7x-hmnmx-yvwxk-nqe"


def refused(directory: Path, *words: str, twistd: tuple[str, ...] = ("-n", "--pidfile=")) -> str:
    """Start a gateway that must not start: status 1, nothing on stdout but log lines; returns its stderr."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ICWS_", "RUST_LOG"))}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("twistd")), *twistd, "icws", *words],
        cwd=directory,
        env={**environment, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_DEADLINE,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    assert "Traceback" not in output
    return done.stderr


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--polling-intervall", "100"], "option --polling-intervall not recognized; did you mean --polling-interval?"),
        (["--polling-interval", "soon"], "--polling-interval: 'soon' is not a duration such as 250ms, 10s, 2m or 1h"),
        (["--gateway-address", "http:80:x"], "address 'http:80:x': Unknown endpoint type: 'http'"),
        (
            ["--tls-certificate-pem-path", "c", "--tls-certificate-key-pem-path", "k"],
            "cannot read {directory}/c: No such file or directory",
        ),
    ],
)
def test_a_wrong_option_is_one_line(tmp_path: Path, words: list[str], line: str) -> None:
    assert refused(tmp_path, *words) == f"twistd icws: {line.format(directory=tmp_path)}\n"


def test_a_key_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    key = tmp_path / "data" / "key_pair"
    key.write_bytes(VECTOR.read_bytes()[:40])
    error = refused(tmp_path)
    assert error.startswith(f"twistd icws: key file {key} is not an Ed25519 key in PKCS#8: ")
    assert error.count("\n") == 1


def test_a_key_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "data" / "key_pair").mkdir(parents=True)
    assert refused(tmp_path) == f"twistd icws: key file {tmp_path}/data/key_pair is not a file\n"


def test_a_certificate_with_the_key_of_another(tmp_path: Path) -> None:
    signer = pem.authority()
    certificate, _ = pem.server(signer).write(tmp_path, "one")
    _, key = pem.server(signer).write(tmp_path, "two")
    error = refused(tmp_path, f"--tls-certificate-pem-path={certificate}", f"--tls-certificate-key-pem-path={key}")
    assert error == f"twistd icws: TLS key {key} does not belong to the first certificate of {certificate}\n"


@pytest.mark.parametrize("option", ["gateway-address", "prometheus-endpoint", "admin-endpoint"])
def test_a_taken_port_ends_the_start(tmp_path: Path, taken: int, option: str) -> None:
    address = loopback(taken)
    others = {"gateway-address": loopback(free_port()), "prometheus-endpoint": loopback(free_port()), option: address}
    error = refused(
        tmp_path,
        *(f"--{name}={value}" for name, value in others.items()),
        twistd=("-n", "--pidfile=icws.pid"),
    )
    assert error == f"twistd icws: cannot listen on {address} (--{option}): Address already in use\n"
    assert not (tmp_path / "icws.pid").exists()


def test_a_taken_port_reaches_who_starts_a_daemon(tmp_path: Path, taken: int) -> None:
    error = refused(tmp_path, f"--gateway-address={loopback(taken)}", "--prometheus-endpoint=", twistd=())
    assert error == f"twistd icws: cannot listen on {loopback(taken)} (--gateway-address): Address already in use\n"
    # the daemon first reports the error to the process that started it, and then removes the file
    eventually(lambda: not (tmp_path / "twistd.pid").exists(), "the pid file is removed")


def test_check_config_starts_nothing(tmp_path: Path, taken: int) -> None:
    server = Server(["icws", "--check-config", f"--gateway-address=127.0.0.1:{taken}"], cwd=tmp_path)
    assert server.wait() == 0
    address = f"tcp:{taken}:interface=127.0.0.1"
    assert f'gateway-address = ["{address}"]  # command line' in server.lines
    assert (
        f"twistd icws: --gateway-address {address}: Address already in use, unless this gateway has it" in server.lines
    )
    assert list(tmp_path.iterdir()) == []


def test_it_starts_without_a_replica_says_so_and_ends_at_sigterm(tmp_path: Path) -> None:
    gateway, admin, nobody = (free_port() for _ in range(3))
    server = Server(
        [
            "icws",
            f"--gateway-address=127.0.0.1:{gateway}",
            f"--prometheus-endpoint=127.0.0.1:{admin}",
            f"--ic-network-url=http://127.0.0.1:{nobody}",
            "--opentelemetry-collector-endpoint=grpc://collector:4317",
        ],
        cwd=tmp_path,
        environment={"RUST_LOG_STDOUT": "ic_websocket_gateway=debug"},
    )
    try:
        server.wait_until_ready(f"http://127.0.0.1:{admin}/health/live")
        status, body = http_get(f"http://127.0.0.1:{admin}/health/ready")
        assert status == 503
        assert body.startswith(f"network: http://127.0.0.1:{nobody} has not been reached".encode())
        metrics = http_get(f"http://127.0.0.1:{admin}/")[1].decode()
        assert "\nicws_network_ready 0.0\n" in metrics
        assert "\nclients_connected 0.0\n" in metrics
        key = tmp_path / "data" / "key_pair"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        server.wait_for_line("traces are exported")
        server.wait_for_line(r"^\S+Z debug ")
    finally:
        status = server.stop()
    assert status == 0, server.output
    assert "Traceback" not in server.output


def test_the_originals_data_directory_keeps_its_principal(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "key_pair").write_bytes(VECTOR.read_bytes())
    (data / "key_pair").chmod(0o644)
    admin = free_port()
    server = Server(
        [
            "icws",
            f"--gateway-address=127.0.0.1:{free_port()}",
            f"--prometheus-endpoint=127.0.0.1:{admin}",
            "--log-format=json",
        ],
        cwd=tmp_path,
        environment={"RUST_LOG_FILE": "ic_websocket_gateway=trace"},
    )
    try:
        server.wait_for_line(PRINCIPAL)
        server.wait_until_ready(f"http://127.0.0.1:{admin}/health/live")
    finally:
        assert server.stop() == 0, server.output
    records = [json.loads(line) for line in server.lines]
    assert any("is open to others (mode 0644)" in record["message"] for record in records)
    (file,) = (data / "traces").glob("gateway_*.log")
    assert [json.loads(line)["time"] for line in file.read_text().splitlines()]


def test_tls_by_pem_paths(tmp_path: Path) -> None:
    signer = pem.authority()
    certificate, key = pem.server(signer).write(tmp_path)
    directory = tmp_path / "stack"
    directory.mkdir()
    stack = start_stack(directory, f"--tls-certificate-pem-path={certificate}", f"--tls-certificate-key-pem-path={key}")
    try:
        port = int(stack.gateway.rpartition(":")[2])
        context = ssl.create_default_context(cadata=signer.pem.decode())
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            assert secure.version() == "TLSv1.3"
        metrics = http_get(f"{stack.admin}/metrics")[1].decode()
        assert "icws_tls_certificate_expiry_seconds 1" in metrics
        assert "\ntls_resolution_time_count 1.0\n" in metrics
    finally:
        assert stack.server.stop() == 0, stack.server.output


def test_unix_socket(tmp_path: Path, stacks: Callable[..., Stack]) -> None:
    path = tmp_path / "icws.sock"
    stacks(f"--gateway-address=unix:{path}")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        client.settimeout(10)
        assert client.recv(1000).startswith(b"HTTP/1.1 ")


def test_what_it_makes_is_its_users_alone_whatever_the_umask(tmp_path: Path) -> None:
    """Traces have requests of clients in them, and the directory the gateway's key."""
    stack = start_stack(tmp_path, "--log-file-level=trace", umask=0)
    try:
        data = tmp_path / "data"
        made = {path: stat.S_IMODE(path.stat().st_mode) for path in [data, *data.rglob("*")]}
        assert data / "traces" in made
        assert any(path.parent.name == "traces" for path in made), "a trace file"
        assert {mode for path, mode in made.items() if path.is_dir()} == {0o700}
        assert all(not mode & 0o022 for mode in made.values()), "others change nothing"
    finally:
        stack.server.kill()
