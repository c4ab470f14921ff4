"""The canisters of the devnet by id, in Python and in WebAssembly, and the calls between them.

Canisters in WebAssembly need the extra ``icwsgw[wasm]``. Their runtime is loaded when the first one is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import TYPE_CHECKING, Final, cast

from twisted.internet.defer import Deferred

from icwsgw.devnet.canister_logs import CanisterLogs
from icwsgw.devnet.canister_management import CanisterManagement, Outcome
from icwsgw.devnet.canisters import CanisterFactory
from icwsgw.devnet.hosting import CanisterHost, CdkSettings, Host
from icwsgw.devnet.management import Management
from icwsgw.devnet.state_tree import StateTree
from icwsgw.devnet.submitted_call import replica_failed
from icwsgw.devnet.system_canisters import SystemCanister, SystemCanisters
from icwsgw.devnet.topology import FIRST_FREE, Subnet, Topology
from icwsgw.devnet.topology import canister_id as id_of_number
from icwsgw.errors import Rejected
from icwsgw.ic.principal import Principal
from icwsgw.reactor.clock import Clock

if TYPE_CHECKING:
    from icwsgw.devnet.wasm.canister_messages import CanisterRequest
    from icwsgw.devnet.wasm.host import WasmHost
    from icwsgw.devnet.wasm.runtime import Runtime


#: The methods of the network's own canisters that keep the cycles of a call.
_TAKES_CYCLES: Final = frozenset(("create_canister", "deposit_cycles", "deposit"))


class InstalledCanisters:
    """All canisters of a network.

    :param now_ns: returns the time of the network, ns since 1970
    :param settings: settings of the CDK of canisters in Python
    :param state_of: returns the state of the subnet that may have an id; raises KeyError
    :param topology: the subnets
    :param random: source of ``raw_rand``
    :param own: whether the network has canisters of its own, see :mod:`icwsgw.devnet.system_canisters`
    :ivar logs: what the canisters print
    :ivar management: the management canister, as far as it is about canisters
    """

    def __init__(
        self,
        clock: Clock,
        now_ns: Callable[[], int],
        settings: CdkSettings,
        state_of: Callable[[Principal], StateTree],
        topology: Topology,
        random: Random,
        logs: CanisterLogs,
        own: bool = True,
    ) -> None:
        self._clock = clock
        self._now_ns = now_ns
        self._settings = settings
        self._state_of = state_of
        self._topology = topology
        self._root_key_der = topology.root_key_der
        self.logs = logs
        self._hosts: dict[Principal, CanisterHost] = {}
        self._deleted: set[Principal] = set()
        self._management = Management(random, logs)
        self.management = CanisterManagement(self)
        self._system = {
            host.id: host
            for host in SystemCanisters(topology, self.management, now_ns).hosts()
            if own and topology.find(host.id) is not None
        }
        self._runtime: Runtime | None = None

    def __len__(self) -> int:
        return len(self._hosts)

    def __iter__(self) -> Iterator[CanisterHost]:
        return iter(list(self._hosts.values()))

    def get(self, canister_id: Principal) -> CanisterHost | None:
        """Return a canister, also one of the network's own, or None."""
        return self._hosts.get(canister_id) or self._system.get(canister_id)

    def free_id(self, subnet: Principal | None = None) -> Principal:
        """Return the lowest id for canisters without a fixed id that no canister has or had.

        :param subnet: where; None: on the subnet of the lowest ids for such canisters
        :raises Rejected: there is no such subnet
        """
        number = FIRST_FREE
        if subnet is not None:
            place = self._topology.by_id.get(subnet)
            if place is None:
                raise Rejected(4, f"No subnet {subnet} on this network", "IC0404")
            number = _first_number(place)
        while id_of_number(number) in self._hosts or id_of_number(number) in self._deleted:
            number += 1
        return id_of_number(number)

    def refresh(self) -> None:
        """Render the parts of all canisters of the state tree again before the next block."""
        for host in self._hosts.values():
            self.changed(host)

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
        host = self._empty(canister_id)
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

    def create_wasm(self, canister_id: Principal) -> WasmHost:
        """Put an empty canister under an id that is not in use.

        :raises KeyError: the id is in no subnet's ranges
        :raises ConfigError: the extra ``icwsgw[wasm]`` is not installed
        """
        host = self._empty(canister_id)
        self._put(host)
        return host

    def _empty(self, canister_id: Principal) -> WasmHost:
        subnet = self._state_of(canister_id).subnet
        from icwsgw.devnet.wasm.runtime import Runtime

        if self._runtime is None:
            self._runtime = Runtime(self._clock, self._now_ns, self._root_key_der, self._call_elsewhere, self.logs.add)
        return self._runtime.create(canister_id, subnet, self.changed)

    def delete(self, canister_id: Principal) -> None:
        """Remove a canister and its part of the state tree. No other canister gets its id, unless it asks for it."""
        host = self._hosts.pop(canister_id)
        self._deleted.add(canister_id)
        host.close()
        self.logs.forget(canister_id)
        self._state_of(canister_id).canister_removed(canister_id)

    def may_read_metadata(self, canister_id: Principal, name: str, reader: Principal) -> bool:
        """Whether a principal may read a metadata section of a canister; only controllers may read private ones."""
        host = self._hosts.get(canister_id)
        return host is None or name not in host.private_metadata or reader in self.management.controllers(canister_id)

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
            outcome = self._reply_elsewhere(request)
        except Exception as error:
            self._answer(request, error)
            return
        if isinstance(outcome, Deferred):
            outcome.addCallbacks(
                lambda reply: self._answer_later(request, reply),
                lambda failure: self._answer_later(request, cast("Exception", failure.value)),
            )
        else:
            self._answer(request, outcome)

    @staticmethod
    def _answer(request: CanisterRequest, outcome: bytes | Exception) -> None:
        if isinstance(outcome, bytes):
            request.answered(outcome, 0 if request.method in _TAKES_CYCLES else request.cycles)
        else:
            # Anything but Rejected is a mistake of this replica: the caller gets an answer, and other messages are
            # executed.
            reject = outcome if isinstance(outcome, Rejected) else replica_failed(outcome)
            request.answered(reject, request.cycles)

    def _answer_later(self, request: CanisterRequest, outcome: bytes | Exception) -> None:
        self._answer(request, outcome)
        assert self._runtime is not None
        self._runtime.run()

    def _reply_elsewhere(self, request: CanisterRequest) -> Outcome:
        if not request.callee.raw:
            return self.call_management(request.method, request.caller, request.argument, request.cycles)
        host = self.get(request.callee)
        if not isinstance(host, (Host, SystemCanister)):
            raise Rejected(3, f"Canister {request.callee} not found", "IC0301")
        return host.update(request.method, request.caller, request.argument)

    def call_management(
        self, method: str, caller: Principal, argument: bytes, cycles: int = 0, subnet: Principal | None = None
    ) -> Outcome:
        """Run a method of the management canister; Candid in, Candid out.

        :param subnet: where a new canister is created; None: on the caller's if it is a canister
        :return: later: ``stop_canister`` of a canister with open calls
        :raises Rejected: it fails; a Deferred fails with it
        """
        if method == "fetch_canister_logs":
            return self._fetch_canister_logs(caller, argument)
        if not self.management.has_method(method):
            return self._management.call(method, argument)
        if subnet is None:
            place = self._topology.find(caller)
            subnet = None if place is None else place.id
        return self.management.call(method, caller, argument, subnet, cycles)

    def _fetch_canister_logs(self, caller: Principal, argument: bytes) -> bytes:
        self.management.check_log_reader(caller, argument)
        return self._management.call("fetch_canister_logs", argument)

    def query_management(self, method: str, caller: Principal, argument: bytes) -> bytes:
        """Run a query method of the management canister; Candid in, Candid out.

        :raises Rejected: it fails
        """
        if method == "canister_status":
            return self.management.canister_status(caller, argument)
        if method == "fetch_canister_logs":
            return self._fetch_canister_logs(caller, argument)
        raise Rejected(5, f"Query method {method[:100]} not found.", "IC0536")

    def close(self) -> None:
        """Stop all timers, and free the memory of canisters in WebAssembly."""
        for host in self._hosts.values():
            host.close()
        if self._runtime is not None:
            self._runtime.close()


def _first_number(subnet: Subnet) -> int:
    """Return the first number for canisters without a fixed id on a subnet."""
    if subnet.covers(id_of_number(FIRST_FREE)):
        return FIRST_FREE
    first = int.from_bytes(subnet.ranges[-1][0].raw[:8], "big")
    # The lowest ids of the root subnet are those of the network's own canisters.
    return first + (0x100 if subnet.kind == "system" else 0)
