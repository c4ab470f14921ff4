"""Attributes that Autobahn sets in every new connection, kept in the class instead.

Autobahn sets about forty attributes in each new connection, most of them to the same constants, and formats its options
for a debug log that nobody reads. Here the constants become attributes of the class, once. A connection then costs less
time and memory, which matters most for connections that are never used. Objects that belong to one connection are made
when they are needed first: a UTF-8 validator, for example, is needed for text, which the gateway refuses.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from autobahn.websocket.protocol import WebSocketProtocol
from autobahn.websocket.utf8validator import Utf8Validator

_CONSTANT = (bool, int, float, str, bytes, type(None))
_OWN = (deque, Utf8Validator)


class _IgnoredEvent:
    """Replaces the Deferreds by which Autobahn announces that a connection opens or closes, which nothing uses."""

    def callback(self, result: Any) -> None:
        """Ignore the event."""


IGNORED_EVENT = _IgnoredEvent()


class _WhenAsked:
    """An attribute that is made when it is read first, because most connections never need it."""

    def __init__(self, name: str, kind: Callable[[], Any]) -> None:
        self._name = name
        self._kind = kind

    def __get__(self, connection: Any, owner: type | None = None) -> Any:
        made = connection.__dict__[self._name] = self._kind()
        return made


class Fresh:
    """The initial attributes of a class of connections.

    :param connection: an instance of the class, with its factory and without a transport
    :ivar shared: attributes for the class, by name
    """

    def __init__(self, connection: Any) -> None:
        before = set(vars(connection))
        WebSocketProtocol._connectionMade(connection)
        self.shared: dict[str, Any] = {}
        # if Autobahn makes other objects than those known here, it initializes the connections itself
        self._known = True
        for name, value in vars(connection).items():
            if name in before or name == "trafficStats":
                # trafficStats is one object for all connections; connectionMade sets it
                continue
            if isinstance(value, _CONSTANT):
                self.shared[name] = value
            elif type(value) in _OWN:
                self.shared[name] = _WhenAsked(name, type(value))
            else:
                self._known = False

    def begin(self, connection: Any) -> None:
        """Initialize a connection as Autobahn does, as far as the attributes of the class do not."""
        if not self._known:
            WebSocketProtocol._connectionMade(connection)
