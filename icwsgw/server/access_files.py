"""Watches ``--deny-list`` and ``--allow-list``, and applies them when they change: to present clients, too.

Lists from URLs are watched in the same way, as their kept copies (:mod:`icwsgw.server.list_download`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from twisted.application.service import Service
from twisted.internet.task import LoopingCall

from icwsgw.config.access_list import EVERYBODY, MOST_BYTES, NOTHING, AccessList, AccessRules, parse_access_list
from icwsgw.errors import ConfigError
from icwsgw.observe.logs import get_logger
from icwsgw.server.list_download import read_kept

#: Seconds between two looks at the files.
PERIOD = 10.0

_log = get_logger("server")

_Stamp = tuple[int, int, int]


class KeptAt(NamedTuple):
    """Where the copy of a list from a URL is kept."""

    path: Path
    url: str


class AccessFiles(Service):
    """The files of one gateway.

    :param apply: gets the rules when they have changed
    :param kept_denied: the copy of a further list of those who may not connect; None: there is no such list
    :param kept_allowed: the same of those who may
    :raises ConfigError: a file cannot be read, or is invalid; a kept copy is then ignored and logged
    :ivar rules: the present ones
    """

    def __init__(
        self,
        denied: Path | None,
        allowed: Path | None,
        clock: Any,
        apply: Callable[[AccessRules], None],
        *,
        kept_denied: KeptAt | None = None,
        kept_allowed: KeptAt | None = None,
    ) -> None:
        self._paths = (denied, allowed)
        self._kept = (kept_denied, kept_allowed)
        #: The kept copies as they were read last; None: there is none yet.
        self._copies: list[AccessList | None] = [None, None]
        self._apply = apply
        self._stamps = self._look_at()
        self.rules = self._read(at_start=True)
        self._loop = LoopingCall(self.look)
        self._loop.clock = clock

    def startService(self) -> None:  # noqa: N802
        """Begin to watch."""
        super().startService()  # type: ignore[no-untyped-call]
        if (any(self._paths) or any(self._kept)) and not self._loop.running:
            self._loop.start(PERIOD, now=False)

    def stopService(self) -> None:  # noqa: N802
        """Watch no longer."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._loop.running:
            self._loop.stop()

    def unready(self) -> str | None:
        """Why no client may connect yet, or None."""
        return "the allow list has not been fetched yet: no client may connect" if self.rules.unknown else None

    def concern(self) -> str | None:
        """What the operator should know although clients may connect, or None."""
        if self._kept[0] is not None and self._copies[0] is None:
            return "the deny list has not been fetched yet: it denies no client"
        return None

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
        _log.info("access lists reloaded", denied=self.rules.denied.size, allowed=self.rules.allowed.size)
        self._apply(self.rules)

    def _look_at(self) -> list[_Stamp | None]:
        paths = [*self._paths, *(None if kept is None else kept.path for kept in self._kept)]
        return [None if path is None else _stamp(path) for path in paths]

    def _read(self, at_start: bool = False) -> AccessRules:
        if not any(self._paths) and not any(self._kept):
            return EVERYBODY
        files = [NOTHING if path is None else read_access_list(path) for path in self._paths]
        self._read_copies(at_start)
        denied, allowed = (
            AccessList.joined([file, *([] if copy is None else [copy])])
            for file, copy in zip(files, self._copies, strict=True)
        )
        return AccessRules(denied, allowed, unknown=self._kept[1] is not None and self._copies[1] is None)

    def _read_copies(self, at_start: bool) -> None:
        copies = list(self._copies)
        for number, kept in enumerate(self._kept):
            if kept is None:
                continue
            try:
                found = read_kept(*kept)
            except ConfigError as error:
                if not at_start:
                    raise
                _log.error("access list ignored until it is fetched", reason=error)
                continue
            if found is not None:
                copies[number] = found.entries
            elif copies[number] is not None:
                raise ConfigError(f"kept access list {kept.path} is gone")
        self._copies = copies


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
