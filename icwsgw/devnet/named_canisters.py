"""Installs the canisters of ``--devnet-canister``, and upgrades them when their files change (``--devnet-reload``).

A canister with the name of a demo canister takes its place and its id. The others get ids in their order, so that a
restart with the same options gives the same ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from twisted.logger import Logger

from icwsgw.config.canister_files import CanisterFile
from icwsgw.devnet.hosting import CanisterHost
from icwsgw.devnet.network_state import NetworkState
from icwsgw.devnet.python_canisters import PythonCanister
from icwsgw.devnet.wasm.execution import CanisterTrap
from icwsgw.errors import ConfigError, FormatError
from icwsgw.ic import candid
from icwsgw.ic.principal import Principal
from icwsgw.reactor.clock import Timer

#: Seconds between two looks at the files. A change is taken when two looks in a row saw the same file.
LOOK_S: Final = 0.5

_log = Logger()

_Stamps = tuple["tuple[int, int] | None", ...]
"""Of each file the time of its last change in ns and its size; None: there is no such file."""

#: What a file of a developer may do wrong.
_FAILURES = (OSError, UnicodeDecodeError, FormatError, CanisterTrap)
#: The argument of ``canister_init`` and ``canister_post_upgrade``: no values, as tools send it where none is given.
_NO_ARGUMENT = candid.encode([], [])


class NamedCanisters:
    """The canisters that come from files.

    :param network: where they are installed
    """

    def __init__(self, network: NetworkState, files: Sequence[CanisterFile]) -> None:
        self._network = network
        self._installed = [_Installed(file) for file in files]
        self._timer: Timer | None = None

    def install(self) -> None:
        """Read all files and install the canisters.

        :raises ConfigError: a file cannot be read, or is no canister; wasmtime is not installed
        """
        for each in self._installed:
            name = each.file.name
            canister_id = self._network.names.setdefault(name, self._network.canisters.free_id())
            each.taken = each.seen = each.stamps()
            try:
                self._put(each, canister_id)
            except _FAILURES as error:
                raise ConfigError(f"--devnet-canister {name}: {_reason(error, each.file)}") from error

    def _put(self, each: _Installed, canister_id: Principal) -> bool:
        """Install what the files hold, or upgrade to it.

        :return: False: the files hold what they held before
        """
        file = each.file
        source = file.code.read_bytes()
        interface = file.candid.read_text("utf-8") if file.candid is not None else None
        if (source, interface) == (each.source, each.interface):
            return False
        canisters = self._network.canisters
        host: CanisterHost
        if file.is_python:
            host = canisters.install(canister_id, PythonCanister(file.name, source, file.code))
        elif each.source is None:
            host = canisters.install_wasm(canister_id, source, _NO_ARGUMENT)
        else:
            host = canisters.upgrade_wasm(canister_id, source, _NO_ARGUMENT)
        host.candid = interface
        canisters.changed(host)
        each.source, each.interface = source, interface
        return True

    # -- reload ---------------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Begin to look at the files."""
        self._timer = self._network.clock.callLater(LOOK_S, self._look)

    def close(self) -> None:
        """Stop looking."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _look(self) -> None:
        self.watch()
        for each in self._installed:
            if each.has_changed():
                self._upgrade(each)

    def _upgrade(self, each: _Installed) -> None:
        name = each.file.name
        try:
            changed = self._put(each, self._network.names[name])
        except _FAILURES as error:
            _log.warn("canister {name} stays as it is: {why}", name=name, why=_reason(error, each.file))
            return
        if changed:
            _log.info("canister {name} is upgraded: {file} has changed", name=name, file=str(each.file.code))


class _Installed:
    """A file, what was read from it, and what was seen of it.

    :ivar source: the code that runs; None: nothing is installed yet
    :ivar interface: the Candid description that belongs to it
    :ivar taken: the stamps of what was read last, or that reading failed with
    :ivar seen: the stamps at the last look
    """

    def __init__(self, file: CanisterFile) -> None:
        self.file = file
        self.source: bytes | None = None
        self.interface: str | None = None
        self.taken: _Stamps = ()
        self.seen: _Stamps = ()

    def stamps(self) -> _Stamps:
        """Return the stamps of the files as they are now."""
        paths = [self.file.code] if self.file.candid is None else [self.file.code, self.file.candid]
        return tuple(map(_stamp, paths))

    def has_changed(self) -> bool:
        """Whether the files have changed since they were read, and are no longer being written."""
        before, self.seen = self.seen, self.stamps()
        # A compiler removes the file, or writes it piece by piece.
        if self.seen == self.taken or self.seen != before or None in self.seen:
            return False
        self.taken = self.seen
        return True


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _reason(error: Exception, file: CanisterFile) -> str:
    if isinstance(error, OSError):
        return f"cannot read {error.filename or file.code}: {error.strerror or error}"
    text = error.text if isinstance(error, CanisterTrap) else str(error)
    return f"{file.code}: {text}"
