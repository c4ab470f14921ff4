"""Pebble, Let's Encrypt's own test server for ACME clients (Debian's package ``pebble``), with the DNS server it asks.

It validates names for real, at ports that a test says, refuses nonces now and then as it always does, and reuses
authorizations as it likes.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.acceptance.processes import START_DEADLINE, free_port
from tests.support import pem

#: Every name leads here.
ADDRESS = "127.0.0.1"


class Pebble:
    """A certificate authority on loopback.

    :param directory: for its files
    :param http_port: where it validates HTTP-01
    :param tls_port: where it validates TLS-ALPN-01
    :ivar url: of its ACME directory
    :ivar authority: a file with the authority of its own TLS certificate
    """

    def __init__(
        self,
        directory: Path,
        http_port: int,
        tls_port: int,
        *,
        external: Mapping[str, str] | None = None,
    ) -> None:
        self._directory = directory
        self._port, self._management, self._dns = free_port(), free_port(), free_port()
        self.url = f"https://localhost:{self._port}/dir"
        signer = pem.authority()
        certificate, key = pem.server(signer).write(directory, "pebble")
        self.authority = directory / "pebble-authority.pem"
        self.authority.write_bytes(signer.pem)
        settings: dict[str, Any] = {
            "listenAddress": f"{ADDRESS}:{self._port}",
            "managementListenAddress": f"{ADDRESS}:{self._management}",
            "certificate": str(certificate),
            "privateKey": str(key),
            "httpPort": http_port,
            "tlsPort": tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": external is not None,
            "externalAccountMACKeys": dict(external or {}),
        }
        (directory / "pebble.json").write_text(json.dumps({"pebble": settings}))
        # only DNS: every name is an address of loopback
        self._names = self._run(
            "pebble-challtestsrv",
            *("-defaultIPv4", ADDRESS, "-defaultIPv6", "", "-dns01", f"{ADDRESS}:{self._dns}"),
            *("-http01", "", "-https01", "", "-tlsalpn01", "", "-management", f"{ADDRESS}:{free_port()}"),
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def _run(self, command: str, *words: str) -> subprocess.Popen[bytes]:
        program = shutil.which(command)
        assert program, f"{command} is needed (Debian: apt-get install pebble)"
        environment = {"PATH": os.environ["PATH"], "PEBBLE_VA_NOSLEEP": "1"}
        with (self._directory / f"{command}.log").open("ab") as log:
            return subprocess.Popen(
                [program, *words], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def start(self) -> None:
        """Begin to serve. It has forgotten all accounts, and has a new root."""
        self.process = self._run(
            "pebble", "-config", str(self._directory / "pebble.json"), "-dnsserver", f"{ADDRESS}:{self._dns}", "-strict"
        )
        deadline = time.monotonic() + START_DEADLINE
        for port in (self._port, self._management):
            while True:
                try:
                    socket.create_connection((ADDRESS, port), 1.0).close()
                    break
                except OSError:
                    assert self.process.poll() is None, self.log
                    assert time.monotonic() < deadline, self.log
                    time.sleep(0.05)

    def stop(self) -> None:
        """Be away."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def close(self) -> None:
        """End all processes."""
        self.stop()
        self._names.kill()
        self._names.wait()

    @property
    def log(self) -> str:
        """Its output so far."""
        return (self._directory / "pebble.log").read_text(errors="replace")

    def root(self) -> bytes:
        """The root, in PEM, under which it issues certificates."""
        context = ssl.create_default_context(cafile=str(self.authority))
        handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        with urllib.request.build_opener(*handlers).open(f"https://localhost:{self._management}/roots/0") as answer:
            root: bytes = answer.read()
        return root
