"""SIGHUP on a running gateway: lists, levels, certificates; what is of no use changes nothing."""

from __future__ import annotations

import re
import signal
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from icwsgw.core.close_reasons import CloseCode
from icwsgw.ic.principal import Principal
from tests.acceptance.conftest import Stack
from tests.acceptance.crowd import connect, echoes, ends, eventually, sample
from tests.support import pem
from tests.support.raw_client import RawClient, RawSdkClient

pytestmark = pytest.mark.acceptance


def count(stack: Stack, line: str) -> int:
    return len(re.findall(line, stack.server.output, re.MULTILINE))


def reload(stack: Stack, line: str, times: int = 1) -> None:
    """Send SIGHUP and wait until the lines that tell of it are so many in all."""
    stack.server.process.send_signal(signal.SIGHUP)
    eventually(lambda: count(stack, line) == times, line)


def handshake(stack: Stack, *headers: str) -> int:
    client = RawClient(int(stack.gateway.rpartition(":")[2])).do_handshake(*headers)
    client.close()
    return client.status


def refuses(stack: Stack, origin: str) -> bool:
    """Whether pages of an origin are refused by all workers, as far as some handshakes tell."""
    return all(handshake(stack, f"Origin: {origin}") == 403 for _ in range(8))


@pytest.mark.parametrize("workers", [1, 2])
def test_lists_and_levels(workers: int, tmp_path: Path, stacks: Callable[..., Stack]) -> None:
    file = tmp_path / "icws.toml"
    file.write_text('log-level = "warn,service=info,workers=info"\n')
    stack = stacks(f"--config={file}", f"--workers={workers}")
    if workers > 1:
        eventually(lambda: sample(stack, "icws_workers") == workers, "all workers are ready")
    denied = [connect(stack, canister=stack.chat) for _ in range(10)]
    stays = connect(stack)
    assert handshake(stack, "Origin: https://evil.example") == 101

    file.write_text(
        f'denied-canister = ["{stack.chat}"]\nallowed-origin = "https://app.example"\n'
        'log-level = "debug"\npolling-interval = 500\n'
    )
    reload(stack, "configuration reloaded changed=allowed-origin,denied-canister,log-level")
    stack.server.wait_for_line("changed options need a restart options=polling-interval")
    assert [ends(client) for client in denied] == [CloseCode.CANISTER_NOT_ALLOWED] * 10
    echoes(stays)
    # an info line, as wanted now
    stack.server.wait_for_line("session ended")
    # each worker gets the new configuration by itself
    eventually(lambda: refuses(stack, "https://evil.example"), "pages of other origins are refused")
    late = RawSdkClient(
        RawClient(int(stack.gateway.rpartition(":")[2])).do_handshake("Origin: https://app.example"),
        Principal.from_text(stack.chat),
    )
    assert late.connection.status == 101
    frame = late.connection.frame()
    assert frame is not None
    for answer in late.handle(frame[1], time.time_ns()):
        late.connection.send(answer)
    assert ends(late) == CloseCode.CANISTER_NOT_ALLOWED

    errors = count(stack, r"^\S+ error")
    file.write_text('denied-canister = "no canister"\n')
    reload(stack, "invalid configuration ignored")
    assert count(stack, r"^\S+ error") == errors + 1
    assert handshake(stack, "Origin: https://evil.example") == 403
    echoes(stays)
    file.unlink()
    reload(stack, "reason=.cannot read .*icws.toml: No such file or directory")
    eventually(lambda: sample(stack, 'icws_reloads_total{outcome="failed"}') == 2, "two of no use")
    assert sample(stack, 'icws_reloads_total{outcome="ok"}') == 1
    assert stack.server.stop() == 0, stack.server.output
    assert "Traceback" not in stack.server.output


@pytest.mark.parametrize("workers", [1, 2])
def test_certificates(workers: int, tmp_path: Path, stacks: Callable[..., Stack]) -> None:
    signer, other = pem.authority(), pem.authority("another authority")
    certificate, key = pem.server(signer).write(tmp_path)
    stack = stacks(
        f"--tls-certificate-pem-path={certificate}",
        f"--tls-certificate-key-pem-path={key}",
        f"--workers={workers}",
    )
    if workers > 1:
        eventually(lambda: sample(stack, "icws_workers") == workers, "all workers are ready")
    context = ssl.create_default_context(cadata=signer.pem.decode())
    client = connect(stack, tls=context)

    certificate.write_bytes(b"half a certificate")
    # each worker looks by itself, and every few seconds without being asked as well
    reload(stack, "invalid TLS certificate ignored", workers)
    for _ in range(5):
        assert RawClient(int(stack.gateway.rpartition(":")[2]), tls=context).do_handshake().status == 101

    renewed = pem.server(other)
    certificate.write_bytes(renewed.certificate)
    key.write_bytes(renewed.key)
    reload(stack, "TLS certificate reloaded", workers)
    eventually(lambda: sample(stack, 'icws_tls_reloads_total{outcome="ok"}') == workers, "all workers have reported")
    newer = ssl.create_default_context(cadata=other.pem.decode())
    for _ in range(5):
        assert RawClient(int(stack.gateway.rpartition(":")[2]), tls=newer).do_handshake().status == 101
    with pytest.raises(ssl.SSLCertVerificationError):
        RawClient(int(stack.gateway.rpartition(":")[2]), tls=context)
    echoes(client)
    assert stack.server.stop() == 0, stack.server.output
