"""Certificates by ACME from Pebble, which Let's Encrypt wrote: real processes, real validations."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from icwsgw.acme.issuance import challenge_pem
from icwsgw.config.tls_options import acme_directory_name
from tests.acceptance.conftest import Stack, loopback
from tests.acceptance.crowd import connect, echoes, eventually, sample
from tests.acceptance.pebble import Pebble
from tests.acceptance.processes import free_port, http_get
from tests.support import pem
from tests.support.raw_client import RawClient

pytestmark = pytest.mark.acceptance

NAME = "localhost"
MAC = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


@pytest.fixture
def authorities(tmp_path: Path) -> Iterator[Callable[..., Pebble]]:
    """Start authorities; they end with the test."""
    started: list[Pebble] = []

    def start(http_port: int, tls_port: int, **options: Any) -> Pebble:
        directory = tmp_path / f"pebble-{len(started)}"
        directory.mkdir()
        started.append(Pebble(directory, http_port, tls_port, **options))
        return started[-1]

    yield start
    for each in started:
        each.close()


def options(authority: Pebble) -> list[str]:
    return [
        f"--acme-domain={NAME}",
        f"--acme-directory={authority.url}",
        f"--acme-ca-file={authority.authority}",
        "--acme-agree-terms",
    ]


def trusting(authority: Pebble) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority.root().decode())


def s_client(port: int, *words: str) -> str:
    """What OpenSSL's own client says of the connection."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", NAME, *words]
    return subprocess.run(command, input="", capture_output=True, text=True, timeout=60, check=False).stdout


def test_tls_alpn_renews_what_an_absent_authority_did_not(
    authorities: Callable[..., Pebble], stacks: Callable[..., Stack], tmp_path: Path
) -> None:
    port = free_port()
    authority = authorities(free_port(), port)
    authority.stop()
    data = tmp_path / "data"
    own = data / "acme" / acme_directory_name(authority.url)
    (own / "certificates").mkdir(parents=True)
    signer = pem.authority("before")
    old = pem.server(signer, NAME, days=10, begins=-80)
    (own / "certificates" / f"{NAME}.pem").write_bytes(old.certificate + old.key)
    words = [*options(authority), f"--gateway-address={loopback(port)}", f"--data-dir={data}"]

    stack = stacks(*words)
    stack.server.wait_for_line("no TLS certificate obtained name=localhost .*cannot be reached.*the previous one")
    before = ssl.create_default_context(cadata=signer.pem.decode())
    echoes(connect(stack, tls=before))
    assert stack.server.stop() == 0, stack.server.output

    authority.start()
    # otherwise it would keep the pause, restart or not
    (own / "state.json").unlink()
    stack = stacks(*words)
    stack.server.wait_for_line("TLS certificate obtained name=localhost")
    stack.server.wait_for_line("TLS certificate reloaded")
    assert "no address uses" not in stack.server.output
    client = connect(stack, tls=trusting(authority))
    echoes(client)
    with pytest.raises(ssl.SSLCertVerificationError):
        RawClient(port, tls=before)
    assert list((own / "challenges").iterdir()) == []
    assert sample(stack, 'icws_acme_orders_total{outcome="ok"}') == 1
    assert stack.server.stop() == 0, stack.server.output
    assert "Traceback" not in stack.server.output


def test_http_with_workers_and_an_external_account(
    authorities: Callable[..., Pebble], stacks: Callable[..., Stack], tmp_path: Path
) -> None:
    port, http = free_port(), free_port()
    authority = authorities(http, free_port(), external={"kid-1": MAC})
    account = tmp_path / "eab"
    account.touch(0o600)
    account.write_text(f"kid-1 {MAC}\n")
    stack = stacks(
        *options(authority),
        f"--gateway-address={loopback(port)}",
        "--workers=2",
        f"--acme-http-endpoint={loopback(http)}",
        f"--acme-eab-file={account}",
        "--acme-email=admin@example.com",
    )
    stack.server.wait_for_line("TLS certificate obtained name=localhost")
    context = trusting(authority)

    def served() -> bool:
        try:
            return [RawClient(port, tls=context).do_handshake().status for _ in range(8)] == [101] * 8
        except OSError:
            return False

    # each worker finds it by itself
    eventually(served, "both workers have it")
    assert sample(stack, 'icws_acme_orders_total{outcome="ok"}') == 1
    # a validation is answered by the worker that gets it, and others are not disturbed
    (own,) = (tmp_path / "stack0" / "data" / "acme").iterdir()
    (own / "challenges" / f"{NAME}.pem").write_bytes(challenge_pem(NAME, "token.thumbprint", 1.9e9))
    asked = s_client(port, "-alpn", "acme-tls/1")
    assert "ALPN protocol: acme-tls/1" in asked
    assert "CN = ACME challenge" in asked
    for words in ([], ["-alpn", "http/1.1"]):
        assert "CN = ACME challenge" not in s_client(port, *words)
    status, body = http_get(f"http://127.0.0.1:{http}/.well-known/acme-challenge/unknown-token-of-nobody")
    assert (status, b"not found" in body) == (404, True)
    assert stack.server.stop() == 0, stack.server.output
    assert "Traceback" not in stack.server.output
