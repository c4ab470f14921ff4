"""Watches ``--deny-list`` and ``--allow-list``, and applies them when they change: to present clients, too."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.task import LoopingCall

from icwsgw.config.access_list import EVERYBODY, MOST_BYTES, NOTHING, AccessList, AccessRules, parse_access_list
from icwsgw.errors import ConfigError
from icwsgw.observe.logs import get_logger

#: Seconds between two looks at the files.
PERIOD = 10.0

_log = get_logger("server")

_Stamp = tuple[int, int, int]


class AccessFiles(Service):
    """The files of one gateway.

    :param apply: gets the rules when they have changed
    :raises ConfigError: a file cannot be read, or is invalid
    :ivar rules: the present ones
    """

    def __init__(
        self, denied: Path | None, allowed: Path | None, clock: Any, apply: Callable[[AccessRules], None]
    ) -> None:
        self._paths = (denied, allowed)
        self._apply = apply
        self._stamps = self._look_at()
        self.rules = self._read()
        self._loop = LoopingCall(self.look)
        self._loop.clock = clock

    def startService(self) -> None:  # noqa: N802
        """Begin to watch."""
        super().startService()  # type: ignore[no-untyped-call]
        if any(self._paths) and not self._loop.running:
            self._loop.start(PERIOD, now=False)

    def stopService(self) -> None:  # noqa: N802
        """Watch no longer."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._loop.running:
            self._loop.stop()

    def look(self) -> None:
        """Read the files again if they have changed. An invalid one is ignored and logged once."""
        stamps = self._look_at()
        if stamps == self._stamps:
            return
        self._stamps = stamps
        try:
            self.rules = self._read()
        except ConfigError as error:
            _log.error("invalid access list ignored, the former one stays in force", reason=error)
            return
        counts = [len(each.networks) + len(each.principals) + len(each.origins) for each in self.rules]
        _log.info("access lists reloaded", denied=counts[0], allowed=counts[1])
        self._apply(self.rules)

    def _look_at(self) -> list[_Stamp | None]:
        return [None if path is None else _stamp(path) for path in self._paths]

    def _read(self) -> AccessRules:
        if not any(self._paths):
            return EVERYBODY
        return AccessRules(*(NOTHING if path is None else read_access_list(path) for path in self._paths))


def read_access_list(path: Path) -> AccessList:
    """Read one file.

    :raises ConfigError: it cannot be read, or is invalid
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ConfigError(f"access list {path} is longer than {MOST_BYTES >> 20} MiB")
        return parse_access_list(data.decode())
    except OSError as error:
        raise ConfigError(f"access list {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"access list {path} is not text in UTF-8") from None
    except ConfigError as error:
        raise ConfigError(f"access list {path}: {error}") from None


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
