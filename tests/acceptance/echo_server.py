"""Serves the gateway's own WebSocket factory with sessions that echo, for the Autobahn test suite.

    python -m tests.acceptance.echo_server

prints the port it listens on, on 127.0.0.1, and serves until it is killed. Everything between socket and session is
the gateway's: admission, Autobahn's glue, the plain frames read past it, ready frames, outbox.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor

from icwsgw.config.schema import GatewayConfig
from icwsgw.core.messages import frame
from icwsgw.gateway.gateway import Gateway
from icwsgw.gateway.interfaces import Client, Context
from icwsgw.gateway.session import ClientSession
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.observe.metrics import Metrics
from icwsgw.server.factory import GatewayFactory

reactor: Any = _reactor

#: The suite's longest message has 16 MiB.
LONGEST = 32 << 20


class EchoSession(ClientSession):
    """Sends each message back: binary ones as ready frames, text (which no canister sends) by Autobahn."""

    def received(self, payload: bytes, is_binary: bool) -> None:
        client: Any = self.client
        if is_binary:
            client.deliver([frame(payload)])
        else:
            client.sendMessage(payload, False)


class EchoGateway(Gateway):
    """Gives out sessions that echo; there is no network behind it."""

    def connect(self, client: Client) -> ClientSession:
        session = EchoSession(self, client, "echo", 0)
        self.registry.sessions.add(session)
        return session


def factory() -> GatewayFactory:
    config = GatewayConfig(
        data_dir=Path("/nonexistent"),
        max_message_bytes=LONGEST,
        relay_queue_bytes=2 * LONGEST,
        outbox_bytes=2 * LONGEST,
        client_message_rate=0,
        client_byte_rate=0,
        first_message_timeout=3600.0,
        open_timeout=3600.0,
    )
    network: Any = None
    context = Context(
        clock=reactor,
        network=network,
        identities=(Ed25519Identity(bytes(32)),),
        config=config,
        metrics=Metrics(),
        now_ns=time.time_ns,
        jitter=random.random,
    )
    gateway = EchoGateway(context)
    gateway.start()
    made = GatewayFactory(gateway)
    # clients get room for long messages with their ws_open, which is not sent here
    made.protocol.maxMessagePayloadSize = LONGEST
    made.start()
    return made


def main() -> None:
    port = reactor.listenTCP(0, factory(), interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    reactor.run()


if __name__ == "__main__":
    main()
