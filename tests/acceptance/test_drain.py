"""How a gateway lets its clients go: real signals, real sockets, a second gateway that takes them."""

from __future__ import annotations

import signal
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from icwsgw.core.close_reasons import CloseCode
from tests.acceptance.conftest import Devnet, Stack
from tests.acceptance.crowd import clients_of, connect, echoes, ends, eventually, leave, sample, stats
from tests.acceptance.processes import http_get, http_post_json
from tests.support import pem

pytestmark = pytest.mark.acceptance

CROWD = 50


def refuses(stack: Stack) -> bool:
    try:
        socket.create_connection(("127.0.0.1", int(stack.gateway.rpartition(":")[2])), timeout=10).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize(("number", "secure"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
def test_every_client_gets_a_close_frame_and_every_canister_a_notice(
    number: int,
    secure: bool,
    tmp_path: Path,
    devnets: Callable[..., Devnet],
    stacks: Callable[..., Stack],
) -> None:
    devnet = devnets()
    options: list[str] = []
    context: ssl.SSLContext | None = None
    if secure:
        signer = pem.authority()
        certificate, key = pem.server(signer).write(tmp_path)
        options = [f"--tls-certificate-pem-path={certificate}", f"--tls-certificate-key-pem-path={key}"]
        context = ssl.create_default_context(cadata=signer.pem.decode())
    old = stacks("--drain-window=3", *options, network=devnet.network)
    new = stacks(*options, network=devnet.network)
    clients = [connect(old, tls=context) for _ in range(CROWD)]
    assert clients_of(devnet, devnet.echo) == CROWD
    for client in clients[::10]:
        client.send_message(b"DIDL\x00\x00on its way")

    old.server.process.send_signal(number)
    codes = []
    moved = []
    for client in clients:
        codes.append(ends(client))
        if len(codes) == 1:
            status, reasons = http_get(f"{old.admin}/health/ready")
            assert (status, b"draining: the gateway is shutting down" in reasons) == (503, True)
            assert refuses(old)
        # the same person comes again, elsewhere
        moved.append(connect(new, identity=client.identity, tls=context))
    assert codes == [CloseCode.DRAINING] * CROWD
    assert old.server.wait() == 0, old.server.output
    assert "gateway stopped" in old.server.output
    assert "Traceback" not in old.server.output
    assert stats(devnet)["ws_close"] == CROWD
    for client in moved[::10]:
        echoes(client)
    assert clients_of(devnet, devnet.echo) == CROWD, "those of the second gateway"
    leave(*moved)
    eventually(lambda: clients_of(devnet, devnet.echo) == 0, "the canister has got every ws_close")


def test_a_second_signal_ends_a_drain_that_takes_too_long(
    devnets: Callable[..., Devnet], stacks: Callable[..., Stack]
) -> None:
    devnet = devnets()
    stack = stacks("--drain-window=600", network=devnet.network)
    clients = [connect(stack) for _ in range(5)]
    http_post_json(f"{devnet.network}/_/faults", {"kind": "hang", "on": "call", "method": "ws_close"})
    stack.server.process.send_signal(signal.SIGTERM)
    eventually(lambda: stats(devnet).get("fault:hang", 0) >= 1, "ws_close is in flight")
    assert clients_of(devnet, devnet.echo) == 5
    assert sample(stack, 'icws_sessions{state="open"}') == 4, "the others have most of ten minutes left"
    stack.server.process.send_signal(signal.SIGINT)
    assert [ends(client) for client in clients] == [CloseCode.DRAINING] * 5
    assert stack.server.wait() == 0, stack.server.output
    assert "draining at once" in stack.server.output
    assert "ws_close calls abandoned count=5" in stack.server.output


def test_clients_that_do_not_answer_the_close_frame_hold_nothing_up(stacks: Callable[..., Stack]) -> None:
    stack = stacks("--drain-window=0", "--close-timeout=600")
    clients = [connect(stack) for _ in range(3)]
    assert stack.server.stop() == 0, stack.server.output
    assert [client.connection.close_code() for client in clients] == [CloseCode.DRAINING] * 3
    leave(*clients)
