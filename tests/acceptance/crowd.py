"""Many clients of one gateway, and what its endpoints say about them."""

from __future__ import annotations

import json
import re
import ssl
import time
from collections.abc import Callable

from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from tests.acceptance.conftest import Devnet, Stack
from tests.acceptance.processes import START_DEADLINE, http_get
from tests.support.raw_client import RawClient, RawSdkClient
from tests.support.ws_wire import close_frame

#: An application message that echoes.
TEXT = b"DIDL\x00\x00"


def connect(
    stack: Stack,
    *,
    canister: str | None = None,
    identity: Ed25519Identity | None = None,
    tls: ssl.SSLContext | None = None,
    headers: tuple[str, ...] = (),
) -> RawSdkClient:
    """A client that has opened its session."""
    port = int(stack.gateway.rpartition(":")[2])
    connection = RawClient(port, tls=tls).do_handshake(*headers)
    return RawSdkClient(connection, Principal.from_text(canister or stack.echo), identity).open()


def echoes(client: RawSdkClient) -> None:
    """A message goes up and comes down again."""
    content = TEXT + b"%d" % len(client.received)
    client.send_message(content)
    client.until(lambda: client.received[-1:] == [content])


def ends(client: RawSdkClient) -> int | None:
    """The code of the close frame that the client gets, and answers; None where the connection just ends."""
    code = client.connection.close_code()
    if code is not None:
        client.connection.socket.sendall(close_frame(code))
    client.connection.close()
    return code


def leave(*clients: RawSdkClient) -> None:
    """Close connections without a word."""
    for client in clients:
        client.connection.close()


def stats(devnet: Devnet) -> dict[str, int]:
    """What the replica has counted."""
    counts: dict[str, int] = json.loads(http_get(f"{devnet.network}/_/stats")[1])
    return counts


def clients_of(devnet: Devnet, canister: str) -> int:
    """How many clients a canister has in its list."""
    canisters = json.loads(http_get(f"{devnet.network}/_/stats")[1])["canisters"]
    return int(canisters[canister]["clients"]) if canister in canisters else 0


def sample(stack: Stack, name: str) -> float | None:
    """A metric, by its name with its labels."""
    text = http_get(f"{stack.admin}/metrics")[1].decode()
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else None


def eventually(condition: Callable[[], object], what: str, seconds: float = START_DEADLINE) -> None:
    """Ask again and again until something holds.

    What another process does, or a thread of it such as the one that writes log lines, is seen some time after its
    cause. An OSError counts as "not yet": a file that is being moved, a connection to a process that has just ended.

    :param seconds: by default as long as a process may take to start, because many conditions depend on that
    """
    deadline = time.monotonic() + seconds
    while True:
        reason = ""
        try:
            if condition():
                return
        except OSError as error:
            reason = f" ({error!r})"
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}{reason}"
        time.sleep(0.05)
