"""What a fresh connection of Autobahn's is made of, and what of it is the same in all of them.

Autobahn sets some forty attributes in each connection that is made, most of them to the same constants, and writes its
options down for a log that nobody reads. Here the constants become attributes of the class, once, so that a connection
costs less time and memory, a stranger's that is never used above all. Objects of a connection's own are made when they
are needed: a validator of UTF-8, for example, is for text, which the gateway refuses.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from autobahn.websocket.protocol import WebSocketProtocol
from autobahn.websocket.utf8validator import Utf8Validator

_CONSTANT = (bool, int, float, str, bytes, type(None))
_OWN = (deque, Utf8Validator)


class _Unheard:
    """In place of the Deferreds by which Autobahn tells that a connection is open or closed, since nobody listens."""

    def callback(self, result: Any) -> None:
        """Nothing follows."""


UNHEARD = _Unheard()


class _WhenAsked:
    """An attribute that is made when it is first asked for: most connections never need it."""

    def __init__(self, name: str, kind: Callable[[], Any]) -> None:
        self._name = name
        self._kind = kind

    def __get__(self, connection: Any, owner: type | None = None) -> Any:
        made = connection.__dict__[self._name] = self._kind()
        return made


class Fresh:
    """What a class of connections begins with.

    :param connection: one of the class that has its factory and no transport
    :ivar shared: attributes for the class, by name
    """

    def __init__(self, connection: Any) -> None:
        before = set(vars(connection))
        WebSocketProtocol._connectionMade(connection)
        self.shared: dict[str, Any] = {}
        # a version of Autobahn that makes more than is known here makes it itself
        self._known = True
        for name, value in vars(connection).items():
            if name in before or name == "trafficStats":
                # the latter is one for all, set where a connection is made
                continue
            if isinstance(value, _CONSTANT):
                self.shared[name] = value
            elif type(value) in _OWN:
                self.shared[name] = _WhenAsked(name, type(value))
            else:
                self._known = False

    def begin(self, connection: Any) -> None:
        """Do for a connection what Autobahn does when it is made, as far as the class does not."""
        if not self._known:
            WebSocketProtocol._connectionMade(connection)
