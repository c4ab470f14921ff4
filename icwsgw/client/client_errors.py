"""The errors of the client: each names what happened and, where it is known, what to do."""

from __future__ import annotations

import sys
from typing import Final

from icwsgw.close_codes import CLOSE_CODES
from icwsgw.close_hints import REJECT_HINTS
from icwsgw.errors import IcwsError

#: What is known about each close code.
KNOWN_CODES: Final = {int(info.code): info for info in CLOSE_CODES}


class ClientError(IcwsError):
    """Base class of the client's errors. A traceback shows the hint too, from Python 3.11 on.

    :ivar hint: what to do, in one sentence; empty: nothing is known
    """

    cause = "client"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        if hint and sys.version_info >= (3, 11):
            self.add_note(hint)

    def explained(self) -> str:
        """Return the message and the hint."""
        return f"{self}. {self.hint}" if self.hint else str(self)


class MessageInvalid(ClientError):
    """A message from the gateway is malformed, does not verify, or is not the next one."""


class QueueFull(ClientError):
    """The queue of messages to send is full: the application sends faster than the canister executes."""


class MessageTooBig(ClientError):
    """A message is longer than a call of the network can be."""


class NotOpen(ClientError):
    """The client has ended."""


class SessionEnded(ClientError):
    """A session ended, and the client does not connect again, or a request was open.

    :ivar code: the WebSocket close code
    :ivar reason: the reason in the close frame
    """

    def __init__(self, code: int, reason: str, hint: str | None = None) -> None:
        info = KNOWN_CODES.get(code)
        text = reason or (info.message if info is not None else "the connection was closed")
        super().__init__(f"{text} ({code})", _advice(code, reason) if hint is None else hint)
        self.code = code
        self.reason = reason


def _advice(code: int, reason: str) -> str:
    """Return what to do: by the network's error code in the reason, else by the close code."""
    for reject, text in REJECT_HINTS.items():
        if reject in reason:
            return text
    info = KNOWN_CODES.get(code)
    return "" if info is None else info.action
