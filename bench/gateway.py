"""The measured gateway: this checkout's, another one that a command starts, or one that already runs."""

from __future__ import annotations

import datetime
import ipaddress
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.machine import ROOT
from bench.stepped import SOCKET
from icwsgw.blocking_http import request
from icwsgw.errors import TransportError

START_SECONDS = 60.0
STOP_SECONDS = 30.0


class BenchError(Exception):
    """The bench cannot continue; the text is for the user."""


@dataclass
class GatewayOptions:
    """Selects the gateway and its start options. "Ours" is the gateway of this checkout.

    :ivar url: URL of a gateway that already runs, with ``pids``; otherwise one is started
    :ivar command: command of another gateway: {port}, {metrics}, {replica} and {dir} are replaced
    :ivar python: the interpreter for ours; its environment must contain twistd
    :ivar options: more arguments for ours
    :ivar twistd: arguments for twistd, for example a profiler
    :ivar tls: whether ours listens with TLS
    :ivar installed: whether the interpreter's environment has the gateway; otherwise it gets this checkout's
    :ivar stepped: descriptor of the socket that controls our gateway's clock (:mod:`bench.stepped`); the start does not
        wait for readiness then
    """

    url: str = ""
    pids: list[int] = field(default_factory=list)
    command: str = ""
    python: str = sys.executable
    options: list[str] = field(default_factory=list)
    twistd: list[str] = field(default_factory=list)
    tls: bool = False
    stepped: int | None = None
    installed: bool = False

    @property
    def ours(self) -> bool:
        """Whether the gateway is this checkout's."""
        return not self.url and not self.command


def free_port() -> int:
    """Return an unused TCP port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class GatewayProcess:
    """A gateway under measurement.

    :ivar url: the URL for clients
    :ivar metrics: port of its metrics
    :ivar pids: its processes, without their children
    :ivar arguments: its command line, for the results
    """

    def __init__(self, options: GatewayOptions, replica_port: int, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self._log = folder / "gateway.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.pids = list(options.pids)
        self.url = options.url
        self.metrics = 0
        self.arguments: list[str] = []
        if not options.url:
            self._start(replica_port)

    def _start(self, replica_port: int) -> None:
        port, metrics = free_port(), free_port()
        self.metrics = metrics
        replica = f"http://127.0.0.1:{replica_port}"
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("ICWS_", "RUST_LOG"))}
        if self._options.command:
            filled = self._options.command.format(port=port, metrics=metrics, replica=replica, dir=self._folder)
            self.arguments = shlex.split(filled)
        else:
            if not self._options.installed:
                environment["PYTHONPATH"] = str(ROOT)
            self.arguments = self._own_arguments(port, metrics, replica)
        self.url = f"{'wss' if self._options.tls else 'ws'}://127.0.0.1:{port}"
        stepped = self._options.stepped
        if stepped is not None:
            environment[SOCKET] = str(stepped)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self.arguments,
                cwd=self._folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=() if stepped is None else (stepped,),
            )
        self.pids = [self._process.pid]
        if stepped is not None:
            return
        try:
            self._wait_until_ready(port, None if self._options.command else metrics)
        except BaseException:
            self.stop()
            raise

    def _own_arguments(self, port: int, metrics: int, replica: str) -> list[str]:
        options = self._options
        extra = []
        if options.tls:
            certificate, key = make_certificate(self._folder)
            extra = [f"--tls-certificate-pem-path={certificate}", f"--tls-certificate-key-pem-path={key}"]
        twistd = [str(Path(options.python).with_name("twistd"))]
        return [
            *(twistd if options.stepped is None else [options.python, "-m", "bench.stepped"]),
            *("-n", "--pidfile=", *options.twistd, "icws"),
            f"--gateway-address=tcp:{port}:interface=127.0.0.1",
            f"--ic-network-url={replica}",
            f"--prometheus-endpoint=tcp:{metrics}:interface=127.0.0.1",
            f"--data-dir={self._folder / 'data'}",
            *extra,
            *options.options,
        ]

    def _wait_until_ready(self, port: int, metrics: int | None) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while not _ready(port, metrics):
            if self._process.poll() is not None:
                raise BenchError(f"the gateway has ended with status {self._process.returncode}:\n{self.log()}")
            if time.monotonic() > deadline:
                raise BenchError(f"the gateway is not ready after {START_SECONDS:.0f} s:\n{self.log()}")
            time.sleep(0.05)

    def log(self) -> str:
        """The end of its output."""
        return self.log_text()[-4000:]

    def log_text(self) -> str:
        """All of its output."""
        try:
            return self._log.read_text(errors="replace")
        except OSError:
            return ""

    def complaints(self) -> list[str]:
        """Lines of its log that report errors, at most twenty."""
        marks = ("error", "Traceback", "CRITICAL", "panicked")
        try:
            lines = self._log.read_text(errors="replace").splitlines()
        except OSError:
            return []
        return [line for line in lines if any(mark in line for mark in marks)][:20]

    def stop(self) -> int | None:
        """Stop it by SIGTERM, or SIGKILL if necessary. Return the exit status; None if the bench did not start it."""
        process = self._process
        if process is None:
            return None
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
        return process.wait()


def _ready(port: int, metrics: int | None) -> bool:
    """Whether the gateway is ready: by its readiness endpoint if it has metrics, else by its port."""
    try:
        if metrics is None:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            return True
        url = f"http://127.0.0.1:{metrics}/health/ready"
        return request(url, timeout=5.0, max_bytes=1 << 20, direct=True).status == 200
    except (OSError, TransportError):
        return False


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Create a self-signed certificate for 127.0.0.1 and its key (ECDSA P-256) as PEM files."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name: Any = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    today = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = folder / "certificate.pem", folder / "key.pem"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_path, key_path
