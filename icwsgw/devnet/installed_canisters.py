"""The canisters of the devnet by id, in Python and in WebAssembly, and the calls between them.

Canisters in WebAssembly need the extra ``icwsgw[wasm]``. Their runtime is loaded when the first one is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import TYPE_CHECKING, Final, cast

from icwsgw.devnet.canister_logs import CanisterLogs
from icwsgw.devnet.canisters import CanisterFactory
from icwsgw.devnet.hosting import CanisterHost, CdkSettings, Host
from icwsgw.devnet.management import Management
from icwsgw.devnet.state_tree import StateTree
from icwsgw.devnet.topology import canister_id as id_of_number
from icwsgw.errors import Rejected
from icwsgw.ic.principal import Principal
from icwsgw.reactor.clock import Clock

if TYPE_CHECKING:
    from icwsgw.devnet.wasm.canister_messages import CanisterRequest
    from icwsgw.devnet.wasm.host import WasmHost
    from icwsgw.devnet.wasm.runtime import Runtime

#: The first id for canisters without a fixed id. It follows those of the demo canisters, as on a local replica.
FIRST_FREE: Final = 0x8000_0000_0010_0003


class InstalledCanisters:
    """All canisters of a network.

    :param now_ns: returns the time of the network, ns since 1970
    :param settings: settings of the CDK of canisters in Python
    :param state_of: returns the state of the subnet that may have an id; raises KeyError
    :param root_key_der: the network's root key
    :param random: source of ``raw_rand``
    :ivar logs: what the canisters print
    """

    def __init__(
        self,
        clock: Clock,
        now_ns: Callable[[], int],
        settings: CdkSettings,
        state_of: Callable[[Principal], StateTree],
        root_key_der: bytes,
        random: Random,
        logs: CanisterLogs,
    ) -> None:
        self._clock = clock
        self._now_ns = now_ns
        self._settings = settings
        self._state_of = state_of
        self._root_key_der = root_key_der
        self.logs = logs
        self._hosts: dict[Principal, CanisterHost] = {}
        self._management = Management(random, logs)
        self._runtime: Runtime | None = None

    def __len__(self) -> int:
        return len(self._hosts)

    def __iter__(self) -> Iterator[CanisterHost]:
        return iter(list(self._hosts.values()))

    def get(self, canister_id: Principal) -> CanisterHost | None:
        """Return a canister, or None."""
        return self._hosts.get(canister_id)

    def free_id(self) -> Principal:
        """Return the lowest id for canisters without a fixed id that is not in use."""
        number = FIRST_FREE
        while id_of_number(number) in self._hosts:
            number += 1
        return id_of_number(number)

    def install(self, canister_id: Principal, factory: CanisterFactory) -> Host:
        """Install an application in Python under an id; it replaces a canister that is already there.

        :raises KeyError: the id is in no subnet's ranges
        """
        self._state_of(canister_id)
        log = self._log_of(canister_id)
        host = Host(canister_id, factory, self._clock, self._now_ns, self._settings, self.changed, log)
        self._put(host)
        return host

    def install_wasm(self, canister_id: Principal, file: bytes, argument: bytes = b"") -> WasmHost:
        """Install a canister in WebAssembly under an id; it replaces a canister that is already there.

        :param file: the module, compressed with gzip or not
        :param argument: Candid for ``canister_init``
        :raises KeyError: the id is in no subnet's ranges
        :raises FormatError: the file is not a canister's module
        :raises CanisterTrap: ``canister_init`` traps
        :raises ConfigError: the extra ``icwsgw[wasm]`` is not installed
        """
        from icwsgw.devnet.wasm.runtime import Runtime

        subnet = self._state_of(canister_id).subnet
        if self._runtime is None:
            self._runtime = Runtime(self._clock, self._now_ns, self._root_key_der, self._call_elsewhere, self.logs.add)
        host = self._runtime.create(canister_id, subnet.id, self.changed)
        try:
            host.install(file, argument)
        except BaseException:
            host.close()
            raise
        self._put(host)
        return host

    def upgrade_wasm(self, canister_id: Principal, file: bytes, argument: bytes = b"") -> WasmHost:
        """Upgrade a canister in WebAssembly to other code; its stable memory stays.

        :raises KeyError: there is no canister in WebAssembly under the id
        :raises FormatError: the file is not a canister's module; nothing has changed
        :raises CanisterTrap: ``canister_pre_upgrade`` or ``canister_post_upgrade`` traps; nothing has changed
        """
        host = self._hosts.get(canister_id)
        if host is None or isinstance(host, Host):
            raise KeyError(canister_id)
        wasm: WasmHost = cast("WasmHost", host)
        wasm.upgrade(file, argument)
        return wasm

    def _log_of(self, canister_id: Principal) -> Callable[[str], None]:
        return lambda text: self.logs.add(canister_id, text.encode("utf-8", "replace"))

    def _put(self, host: CanisterHost) -> None:
        old = self._hosts.get(host.id)
        if old is not None:
            old.close()
        self._hosts[host.id] = host
        self.changed(host)

    def changed(self, host: CanisterHost) -> None:
        """Render a canister's part of the state tree again before the next block."""
        # A canister that is being installed is not in the network yet.
        if self._hosts.get(host.id) is host:
            self._state_of(host.id).canister_changed(host.id, host.state)

    def _call_elsewhere(self, request: CanisterRequest) -> None:
        """Execute a canister's call to the management canister or to a canister in Python."""
        try:
            reply = self._reply_elsewhere(request)
        except Rejected as reject:
            request.answered(reject, request.cycles)
        else:
            request.answered(reply, request.cycles)

    def _reply_elsewhere(self, request: CanisterRequest) -> bytes:
        if not request.callee.raw:
            return self._management.call(request.method, request.argument)
        host = self._hosts.get(request.callee)
        if not isinstance(host, Host):
            raise Rejected(3, f"Canister {request.callee} not found", "IC0301")
        return host.update(request.method, request.caller, request.argument)

    def close(self) -> None:
        """Stop all timers, and free the memory of canisters in WebAssembly."""
        for host in self._hosts.values():
            host.close()
        if self._runtime is not None:
            self._runtime.close()
