"""Loads a canister from a Python file: a class that extends :class:`icwsgw.devnet.canisters.Canister`.

Such canisters are for prototypes and tests. Any exception in a handler, method or timer is a trap: the CDK's state and
the timers are restored, the caller gets the reject of a trap, and the traceback goes to the canister's log. The
attributes of the class are not restored.
"""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from icwsgw.devnet.canisters import Canister, MethodNotFound
from icwsgw.devnet.cdk import WebSocketCdk
from icwsgw.devnet.cdk_types import Trap
from icwsgw.errors import FormatError
from icwsgw.ic.principal import Principal

_T = TypeVar("_T")

#: Exceptions with a meaning of their own for the CDK and its host.
_MEANT = (Trap, MethodNotFound)


class PythonCanister:
    """Makes canisters from the class in a Python file; a :data:`~icwsgw.devnet.canisters.CanisterFactory`.

    :param name: the canister's name
    :param source: the content of the file
    :param path: where it was read, for tracebacks
    :raises FormatError: the file does not run, or does not have exactly one class that extends ``Canister``
    :ivar module_hash: SHA-256 of the source
    """

    def __init__(self, name: str, source: bytes, path: Path) -> None:
        self.module_hash = hashlib.sha256(source).digest()
        self._class = _class_of(_module(name, source, path))

    def __call__(self, ws: WebSocketCdk) -> Canister:
        try:
            canister = self._class(ws)
        except Exception as error:
            raise FormatError(f"{self._class.__name__} cannot be created: {_described(error)}") from error
        if not isinstance(canister.candid, str | None):
            raise FormatError(f"{self._class.__name__}.candid is {type(canister.candid).__name__}, not a text")
        return _Trapping(canister)


def _module(name: str, source: bytes, path: Path) -> ModuleType:
    module = ModuleType(f"icwsgw_canister_{name.replace('-', '_')}")
    module.__file__ = str(path)
    # Dataclasses and typing look their module up there.
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    except Exception as error:
        raise FormatError(_described(error)) from error
    return module


def _class_of(module: ModuleType) -> type[Canister]:
    found = [
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Canister) and each.__module__ == module.__name__
    ]
    # A class that another one extends is a base, not the canister.
    found = [each for each in found if not any(each in other.__mro__[1:] for other in found)]
    if len(found) != 1:
        names = ", ".join(each.__name__ for each in found) or "none"
        raise FormatError(f"one class has to extend icwsgw.devnet.canisters.Canister, there is: {names}")
    return found[0]


def _described(error: Exception) -> str:
    """Describe an error in the developer's file on one line, with the number of the line."""
    line = getattr(error, "lineno", None)
    if line is None:
        frames = traceback.extract_tb(error.__traceback__)
        line = frames[-1].lineno if frames else None
    text = error.msg if isinstance(error, SyntaxError) else error
    return f"line {line}: {type(error).__name__}: {text}"


def _traceback(error: Exception) -> str:
    """Format a traceback without the frames of this module."""
    inner = error.__traceback__
    while inner is not None and inner.tb_frame.f_code.co_filename == __file__:
        inner = inner.tb_next
    return "".join(traceback.format_exception(type(error), error, inner)).rstrip()


class _Trapping(Canister):
    """A developer's canister whose exceptions are traps."""

    def __init__(self, canister: Canister) -> None:
        super().__init__(canister.ws)
        self.candid = canister.candid
        self._canister = canister

    def on_open(self, client: Principal) -> None:
        self._run(lambda: self._canister.on_open(client))

    def on_message(self, client: Principal, message: bytes) -> None:
        self._run(lambda: self._canister.on_message(client, message))

    def on_close(self, client: Principal) -> None:
        self._run(lambda: self._canister.on_close(client))

    def update(self, method: str, caller: Principal, arg: bytes) -> bytes:
        return self._reply(lambda: self._canister.update(method, caller, arg))

    def query(self, method: str, caller: Principal, arg: bytes) -> bytes:
        return self._reply(lambda: self._canister.query(method, caller, arg))

    def _run(self, act: Callable[[], _T]) -> _T:
        try:
            return act()
        except _MEANT:
            raise
        except Exception as error:
            self.debug_print(_traceback(error))
            raise Trap(f"{type(error).__name__}: {error}") from error

    def _reply(self, act: Callable[[], bytes]) -> bytes:
        reply = self._run(act)
        if not isinstance(reply, bytes):
            raise Trap(f"a method returned {type(reply).__name__}, not bytes")
        return reply
