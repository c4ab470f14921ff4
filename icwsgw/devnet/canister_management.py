"""The management canister: creates, installs, configures and deletes canisters in WebAssembly.

It follows the IC interface specification, "IC management canister", with these differences. Cycles are counted but cost
nothing. There are no snapshots. The canisters that are built in, and those in Python, have no controllers.

Reject codes and error codes are those of the replica (dfinity/ic, ``rs/types/error_types``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from twisted.internet.defer import Deferred

from icwsgw.devnet import management_types as types
from icwsgw.devnet.hosting import CanisterHost
from icwsgw.errors import ConfigError, FormatError, Rejected
from icwsgw.ic import candid
from icwsgw.ic.principal import Principal

if TYPE_CHECKING:
    from icwsgw.devnet.wasm.host import WasmHost

#: Limits of the IC: bytes of a chunk, chunks of a canister, controllers.
MAX_CHUNK: Final = 1 << 20
MAX_CHUNKS: Final = 100
MAX_CONTROLLERS: Final = 10
#: The most canisters that may be created.
MAX_CREATED: Final = 1_000

_SNAPSHOTS: Final = frozenset(
    f"{verb}_canister_snapshot{rest}"
    for verb, rest in (
        *(("take", ""), ("load", ""), ("delete", ""), ("list", "s")),
        *((verb, rest) for verb in ("read", "upload") for rest in ("_metadata", "_data")),
    )
)


class ManagedCanisters(Protocol):
    """What is needed of :class:`icwsgw.devnet.installed_canisters.InstalledCanisters`."""

    def get(self, canister_id: Principal) -> CanisterHost | None: ...

    def create_wasm(self, canister_id: Principal) -> WasmHost: ...

    def free_id(self, subnet: Principal | None = None) -> Principal: ...

    def changed(self, host: CanisterHost) -> None: ...

    def delete(self, canister_id: Principal) -> None: ...


Outcome = bytes | Deferred[bytes]
"""Candid, now or later; a Deferred may fail with Rejected."""
Handler = Callable[[Principal, Any], Outcome]
"""Runs a method for a caller, with its decoded argument."""


class CanisterManagement:
    """Runs methods of the management canister.

    :param canisters: the canisters of the network
    """

    def __init__(self, canisters: ManagedCanisters) -> None:
        self._canisters = canisters
        self._settings: dict[Principal, dict[str, Any]] = {}
        self._chunks: dict[Principal, dict[bytes, bytes]] = {}
        #: by name: the argument's type, the field with the canister's id, the handler
        self._methods: dict[str, tuple[candid.Type, str, Handler]] = {
            "update_settings": (types.UPDATE_SETTINGS, "canister_id", self._update_settings),
            "install_code": (types.INSTALL_CODE, "canister_id", self._install_code),
            "install_chunked_code": (types.INSTALL_CHUNKED_CODE, "target_canister", self._install_chunked_code),
            "upload_chunk": (types.UPLOAD_CHUNK, "canister_id", self._upload_chunk),
            "clear_chunk_store": (types.CANISTER, "canister_id", self._clear_chunk_store),
            "stored_chunks": (types.CANISTER, "canister_id", self._stored_chunks),
            "uninstall_code": (types.CANISTER, "canister_id", self._uninstall_code),
            "start_canister": (types.CANISTER, "canister_id", self._start_canister),
            "stop_canister": (types.CANISTER, "canister_id", self._stop_canister),
            "delete_canister": (types.CANISTER, "canister_id", self._delete_canister),
            "canister_status": (types.CANISTER, "canister_id", self._canister_status),
        }
        #: as above, for methods that everybody may call
        self._open_methods: dict[str, tuple[candid.Type, str, Handler]] = {
            "canister_info": (types.CANISTER, "canister_id", self._canister_info),
            "canister_metadata": (types.METADATA, "canister_id", self._canister_metadata),
            "deposit_cycles": (types.CANISTER, "canister_id", self._top_up),
            "provisional_top_up_canister": (types.TOP_UP, "canister_id", self._top_up),
        }

    def has_method(self, method: str) -> bool:
        """Whether there is a method of this name, or a reason to answer why there is none."""
        return method in _CREATIONS or method in _SNAPSHOTS or method in self._methods or method in self._open_methods

    def check(self, method: str, caller: Principal, argument: bytes, effective: Principal) -> None:
        """Check a user's call before it is accepted.

        :param effective: the canister id in the URL
        :raises Rejected: the caller may not call the method so
        :raises ValueError: the canister id in the URL is not that of the argument
        """
        if method in _FOR_CANISTERS:
            raise Rejected(4, f"Only canisters can call ic00 method {method}", "IC0406")
        if method == "provisional_create_canister_with_cycles":
            _decoded(types.PROVISIONAL_CREATE, argument)
            return
        if method in _SNAPSHOTS:
            _no_snapshots(method)
        kind, field, _ = self._method(method)
        value = _decoded(kind, argument)
        if value[field] != effective:
            raise ValueError(f"method {method} is about canister {value[field]}, the effective id is {effective}")
        if method in self._methods:
            self._managed(value[field], caller, method)

    def call(
        self, method: str, caller: Principal, argument: bytes, subnet: Principal | None, cycles: int = 0
    ) -> Outcome:
        """Run a method; Candid in, Candid out.

        :param subnet: where a new canister is created; None: anywhere
        :param cycles: attached to the call
        :return: later: ``stop_canister`` of a canister with open calls
        :raises Rejected: it fails; a Deferred fails with it
        """
        if method == "create_canister":
            value = _decoded(types.CREATE, argument)
            return self._created(self.create(caller, value["settings"], subnet, amount=cycles))
        if method == "provisional_create_canister_with_cycles":
            value = _decoded(types.PROVISIONAL_CREATE, argument)
            canister_id = self.create(caller, value["settings"], subnet, value["specified_id"], value["amount"])
            return self._created(canister_id)
        if method in _SNAPSHOTS:
            _no_snapshots(method)
        kind, field, handler = self._method(method)
        value = _decoded(kind, argument)
        if method in self._methods:
            self._managed(value[field], caller, method)
        if method == "deposit_cycles":
            value["amount"] = cycles
        return handler(caller, value)

    def _method(self, method: str) -> tuple[candid.Type, str, Handler]:
        found = self._methods.get(method) or self._open_methods.get(method)
        if found is None:
            raise Rejected(5, f"Management canister has no method '{method[:100]}' on the local replica", "IC0536")
        return found

    # -- canisters ------------------------------------------------------------------------------------------------

    def create(
        self,
        caller: Principal,
        settings: dict[str, Any] | None,
        subnet: Principal | None,
        specified_id: Principal | None = None,
        amount: int | None = None,
    ) -> Principal:
        """Create an empty canister.

        :param caller: its controller unless the settings name others
        :param settings: as ``create_canister`` takes them
        :param subnet: where; None: anywhere
        :param specified_id: its id; None: a free one
        :param amount: the cycles that it begins with; None: the default
        :raises Rejected: there are too many, the id is taken or on no subnet, or wasmtime is not installed
        """
        if len(self._settings) >= MAX_CREATED:
            raise Rejected(1, f"Subnet has reached the allowed canister limit of {MAX_CREATED} canisters", "IC0102")
        canister_id = specified_id or self._canisters.free_id(subnet)
        if self._canisters.get(canister_id) is not None:
            raise Rejected(2, f"Canister {canister_id} is already installed", "IC0205")
        given = {name: value for name, value in (settings or {}).items() if value is not None}
        _check_settings(given)
        try:
            host = self._canisters.create_wasm(canister_id)
        except KeyError:
            raise Rejected(4, f"Specified canister id {canister_id} is on no subnet", "IC0405") from None
        except ConfigError as error:
            raise Rejected(5, str(error), "IC0521") from None
        if amount is not None:
            host.canister.cycles = amount
        self._settings[canister_id] = {**types.DEFAULTS, "controllers": [caller], **given}
        self._apply(host)
        return canister_id

    def controllers(self, canister_id: Principal) -> list[Principal]:
        """Return a canister's controllers; empty if it is not there, or built in."""
        controllers: list[Principal] = self._settings.get(canister_id, {}).get("controllers", [])
        return controllers

    def _created(self, canister_id: Principal) -> bytes:
        return candid.encode([types.CANISTER], [{"canister_id": canister_id}])

    def _host(self, canister_id: Principal) -> WasmHost:
        host: Any = self._canisters.get(canister_id)
        if host is None:
            raise Rejected(3, f"Canister {canister_id} not found.", "IC0301")
        if canister_id not in self._settings:
            raise Rejected(5, f"Canister {canister_id} belongs to the local replica and has no controllers", "IC0512")
        wasm: WasmHost = host
        return wasm

    def _managed(self, canister_id: Principal, caller: Principal, method: str) -> WasmHost:
        """Return a canister that the caller may manage."""
        host = self._host(canister_id)
        settings = self._settings[canister_id]
        public = method == "canister_status" and _may_view(settings["status_visibility"], caller)
        own = caller == canister_id and method in _FOR_ITSELF
        if caller not in settings["controllers"] and not own and not public:
            raise _not_controller(canister_id, method)
        return host

    def _apply(self, host: WasmHost) -> None:
        settings = self._settings[host.id]
        host.canister.controllers = tuple(settings["controllers"])
        host.canister.variables = [
            (each["name"].encode(), each["value"].encode()) for each in settings["environment_variables"]
        ]
        self._canisters.changed(host)

    def check_log_reader(self, caller: Principal, argument: bytes) -> None:
        """Pass if the caller may read the log of the canister in an argument.

        The logs of canisters without controllers are for everybody.

        :raises Rejected: it may not
        """
        canister_id = _decoded(types.CANISTER, argument)["canister_id"]
        if self._canisters.get(canister_id) is None:
            raise Rejected(3, f"Canister {canister_id} not found.", "IC0301")
        settings = self._settings.get(canister_id)
        if settings is None or caller in settings["controllers"] or _may_view(settings["log_visibility"], caller):
            return
        raise Rejected(4, f"Caller {caller} is not allowed to access canister logs", "IC0406")

    # -- methods --------------------------------------------------------------------------------------------------

    def _update_settings(self, caller: Principal, value: dict[str, Any]) -> bytes:
        given = {name: each for name, each in value["settings"].items() if each is not None}
        _check_settings(given)
        host = self._host(value["canister_id"])
        self._settings[host.id].update(given)
        host.canister.version += 1
        self._apply(host)
        return _NOTHING

    def _install_code(self, caller: Principal, value: dict[str, Any]) -> bytes:
        self._install(caller, value["canister_id"], value["mode"], value["wasm_module"], value["arg"])
        return _NOTHING

    def _install_chunked_code(self, caller: Principal, value: dict[str, Any]) -> bytes:
        store = value["store_canister"] or value["target_canister"]
        # A canister may also use its own chunks.
        if store not in (value["target_canister"], caller):
            self._managed(store, caller, "install_chunked_code")
        chunks = self._chunks.get(store, {})
        try:
            file = b"".join(chunks[each["hash"]] for each in value["chunk_hashes_list"])
        except KeyError as missing:
            text = f"Error from Wasm chunk store: Chunk hash {missing.args[0].hex()} was not found"
            raise Rejected(5, text, "IC0504") from None
        if hashlib.sha256(file).digest() != value["wasm_module_hash"]:
            text = f"Error from Wasm chunk store: Wasm module hash {value['wasm_module_hash'].hex()} does not match"
            raise Rejected(5, text, "IC0504")
        self._install(caller, value["target_canister"], value["mode"], file, value["arg"])
        return _NOTHING

    def _install(self, caller: Principal, canister_id: Principal, mode: Any, file: bytes, argument: bytes) -> None:
        from icwsgw.devnet.wasm.execution import CanisterTrap

        host = self._host(canister_id)
        if "install" in mode and host.canister.module is not None:
            text = (
                f"Canister {canister_id} cannot be installed because the canister is not empty. Try installing with "
                "mode='reinstall' instead."
            )
            raise Rejected(5, text, "IC0514")
        try:
            if "upgrade" not in mode:
                host.install(file, argument, caller)
                return
            flags = mode["upgrade"] or {}
            if host.canister.module is None:
                raise CanisterTrap("IC0537", "Attempted to upgrade a canister that contains no Wasm module.")
            persistence = flags.get("wasm_memory_persistence")
            keep = None if persistence is None else "keep" in persistence
            host.upgrade(file, argument, caller, skip_pre_upgrade=bool(flags.get("skip_pre_upgrade")), keep_heap=keep)
        except FormatError as error:
            text = f"Error from Canister {canister_id}: Canister's Wasm module is not valid: {error}"
            raise Rejected(5, text, "IC0505") from None
        except CanisterTrap as trap:
            raise host.canister.rejected(trap) from None

    def _upload_chunk(self, caller: Principal, value: dict[str, Any]) -> bytes:
        chunk, chunks = value["chunk"], self._chunks.setdefault(value["canister_id"], {})
        if len(chunk) > MAX_CHUNK:
            text = f"Wasm chunk size {len(chunk)} exceeds the maximum chunk size of {MAX_CHUNK}"
            raise Rejected(5, f"Error from Wasm chunk store: {text}", "IC0504")
        digest = hashlib.sha256(chunk).digest()
        if digest not in chunks and len(chunks) >= MAX_CHUNKS:
            text = f"Wasm chunk store has already reached maximum capacity of {MAX_CHUNKS} chunks"
            raise Rejected(5, f"Error from Wasm chunk store: {text}", "IC0504")
        chunks[digest] = chunk
        return candid.encode([types.CHUNK], [{"hash": digest}])

    def _clear_chunk_store(self, caller: Principal, value: dict[str, Any]) -> bytes:
        self._chunks.pop(value["canister_id"], None)
        return _NOTHING

    def _stored_chunks(self, caller: Principal, value: dict[str, Any]) -> bytes:
        return candid.encode([types.CHUNKS], [[{"hash": each} for each in self._chunks.get(value["canister_id"], {})]])

    def _uninstall_code(self, caller: Principal, value: dict[str, Any]) -> bytes:
        self._host(value["canister_id"]).uninstall()
        return _NOTHING

    def _start_canister(self, caller: Principal, value: dict[str, Any]) -> bytes:
        self._host(value["canister_id"]).running = True
        return _NOTHING

    def _stop_canister(self, caller: Principal, value: dict[str, Any]) -> Outcome:
        later = self._host(value["canister_id"]).stop()
        return _NOTHING if later is None else later.addCallback(lambda _: _NOTHING)

    def _delete_canister(self, caller: Principal, value: dict[str, Any]) -> bytes:
        host = self._host(value["canister_id"])
        if not host.stopped:
            raise Rejected(5, f"Canister {host.id} must be stopped before it is deleted.", "IC0510")
        self._canisters.delete(host.id)
        del self._settings[host.id]
        self._chunks.pop(host.id, None)
        return _NOTHING

    def canister_status(self, caller: Principal, argument: bytes) -> bytes:
        """Return what ``canister_status`` answers, as a query.

        :raises Rejected: there is no such canister, or the caller may not view it
        """
        value = _decoded(types.CANISTER, argument)
        self._managed(value["canister_id"], caller, "canister_status")
        return self._canister_status(caller, value)

    def _canister_status(self, caller: Principal, value: dict[str, Any]) -> bytes:
        host = self._host(value["canister_id"])
        canister = host.canister
        module = canister.module
        memory = dict.fromkeys(types.MEMORY, 0)
        memory["wasm_chunk_store_size"] = sum(map(len, self._chunks.get(host.id, {}).values()))
        memory.update(host.memory_sizes())
        status = {
            "status": {_STATUSES[canister.status]: None},
            "ready_for_migration": False,
            "version": canister.version,
            "settings": self._settings[host.id],
            "module_hash": None if module is None else module.hash,
            "memory_size": sum(memory.values()),
            "memory_metrics": memory,
            "cycles": canister.cycles,
            "reserved_cycles": 0,
            "idle_cycles_burned_per_day": 0,
            "query_stats": dict.fromkeys(types.QUERY_STATS, 0),
        }
        return candid.encode([types.STATUS], [status])

    def _canister_metadata(self, caller: Principal, value: dict[str, Any]) -> bytes:
        host, name = self._host(value["canister_id"]), value["name"]
        module = host.canister.module
        section = None if module is None else module.metadata.get(name)
        if section is None:
            text = f"Error from Canister {host.id}: The canister has no metadata section with the name {name[:100]}."
            raise Rejected(5, text, "IC0543")
        if not section.public and caller not in self._settings[host.id]["controllers"]:
            raise _not_controller(host.id, "canister_metadata")
        return candid.encode([types.METADATA_VALUE], [{"value": section.content}])

    def _canister_info(self, caller: Principal, value: dict[str, Any]) -> bytes:
        host = self._host(value["canister_id"])
        module = host.canister.module
        info = {
            "total_num_changes": host.canister.version,
            "recent_changes": [],
            "module_hash": None if module is None else module.hash,
            "controllers": self._settings[host.id]["controllers"],
        }
        return candid.encode([types.INFO], [info])

    def _top_up(self, caller: Principal, value: dict[str, Any]) -> bytes:
        self.top_up(value["canister_id"], value["amount"])
        return _NOTHING

    def top_up(self, canister_id: Principal, amount: int) -> None:
        """Give cycles to a canister.

        :raises Rejected: there is none with this id, or it is built in
        """
        self._host(canister_id).canister.cycles += amount


_NOTHING: Final = candid.encode([], [])
#: The statuses of a canister by the numbers that ``ic0.canister_status`` returns.
_STATUSES: Final = {1: "running", 2: "stopping", 3: "stopped"}
#: What canisters alone may call, and what a canister may do with itself without being its own controller.
_FOR_CANISTERS: Final = frozenset(("create_canister", "canister_info", "canister_metadata", "deposit_cycles"))
_FOR_ITSELF: Final = frozenset(("canister_status", "upload_chunk", "clear_chunk_store", "stored_chunks"))
_CREATIONS: Final = frozenset(("create_canister", "provisional_create_canister_with_cycles"))


def _decoded(kind: candid.Type, argument: bytes) -> Any:
    try:
        (value,) = candid.decode_as(argument, [kind])
    except FormatError as error:
        raise Rejected(4, f"Error decoding candid: {error}", "IC0408") from None
    return value


def _not_controller(canister_id: Principal, method: str) -> Rejected:
    return Rejected(5, f"Only controllers of canister {canister_id} can call ic00 method {method}", "IC0512")


def _check_settings(given: dict[str, Any]) -> None:
    if len(given.get("controllers", ())) > MAX_CONTROLLERS:
        raise Rejected(4, f"The number of elements exceeds maximum allowed {MAX_CONTROLLERS}", "IC0408")
    if given.get("compute_allocation", 0) > 100:
        raise Rejected(5, "ComputeAllocation expected to be in the range [0..100]", "IC0504")


def _may_view(visibility: dict[str, Any], caller: Principal) -> bool:
    return "public" in visibility or caller in (visibility.get("allowed_viewers") or ())


def _no_snapshots(method: str) -> NoReturn:
    raise Rejected(4, f"The local replica keeps no snapshots of canisters: {method} is not there", "IC0406")
