"""What both event loops have in common in how a client uses Autobahn.

Autobahn has a protocol class for asyncio and one for Twisted, with the same methods. This module imports neither: a
process can have one of them.
"""

from __future__ import annotations

import re
from typing import Any, Final

from icwsgw.client.client_settings import ClientSettings
from icwsgw.client.driver import LinkEvents
from icwsgw.close_codes import ABNORMAL_CLOSURE

#: Seconds between pings, and until their answers, after which a silent connection is ended.
PING_INTERVAL, PING_TIMEOUT = 20.0, 20.0
#: The payload of the driver's pings, which distinguishes their pongs from those of Autobahn's pings.
READ_PING: Final = b"read"
#: Seconds that Autobahn's own limits are later than the machine's, which give better reasons.
LATER: Final = 5.0
_UPGRADE_FAILED: Final = re.compile(r"upgrade failed \[(\d{3})\]: ?([^\"]*)")


def protocol_options(settings: ClientSettings) -> dict[str, Any]:
    """Return the arguments of ``setProtocolOptions`` for the connections of a client."""
    return {
        "openHandshakeTimeout": settings.connect_timeout + LATER,
        "closeHandshakeTimeout": settings.closing_timeout + LATER,
        "failByDrop": False,
        "autoPingInterval": PING_INTERVAL,
        "autoPingTimeout": PING_TIMEOUT,
    }


class AutobahnLink:
    """The connections of one client, one at a time: all that does not depend on the event loop."""

    driver: LinkEvents

    def __init__(self) -> None:
        self.protocol: Any = None

    def write(self, payload: bytes) -> None:
        """Send a binary message."""
        self.protocol.sendMessage(payload, isBinary=True)

    def ping(self) -> None:
        """Send a ping; its pong shows how far the gateway has read."""
        if self.protocol is not None:
            self.protocol.sendPing(READ_PING)

    def close(self, code: int, reason: str) -> None:
        """Send a close frame."""
        if self.protocol is not None:
            # Autobahn lets a program send 1000 and 3000 to 4999 alone
            self.protocol.sendClose(code if code == 1000 or code >= 3000 else 1000, reason)

    def abort(self) -> None:
        """End the connection, or the attempt to open it, at once."""
        if self.protocol is not None:
            self.protocol.dropConnection(abort=True)
        else:
            self.end_attempt()

    def end_attempt(self) -> None:
        """End the attempt to open a connection, if there is one."""
        raise NotImplementedError

    def ended(self, protocol: Any, code: int, reason: str) -> None:
        """Tell the driver that a connection, or an attempt (None), has ended."""
        if protocol is not self.protocol:
            return
        self.protocol = None
        failed = _UPGRADE_FAILED.search(reason)
        if failed is not None:
            self.driver.refused(int(failed[1]), failed[2].strip())
        else:
            self.driver.lost(code, reason)


class LinkedProtocol:
    """Notifies a link of what comes on a connection; to be mixed into a ``WebSocketClientProtocol`` of Autobahn."""

    link: AutobahnLink
    remoteCloseCode: int | None
    remoteCloseReason: str | None

    def onOpen(self) -> None:
        """Tell that the handshake is done."""
        self.link.driver.connected()

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Tell that a message came."""
        self.link.driver.received(payload, binary=isBinary)

    def onPong(self, payload: bytes) -> None:
        """Tell that the gateway has read what was sent before a ping."""
        if payload == READ_PING:
            self.link.driver.ponged()

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """Report the code of the gateway's close frame; without one Autobahn's own reason, with 1006."""
        theirs = self.remoteCloseCode
        if theirs is None:
            self.link.ended(self, ABNORMAL_CLOSURE, reason or "")
        else:
            self.link.ended(self, theirs, self.remoteCloseReason or "")
