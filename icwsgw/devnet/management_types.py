"""Candid types of the management canister (IC interface specification, "IC management canister", ic.did)."""

from __future__ import annotations

from typing import Any, Final

from icwsgw.ic.candid import Blob, Bool, Empty, Nat, Nat64, Null, Opt, PrincipalType, Record, Text, Type, Variant, Vec

_VISIBILITY: Final = Variant({"controllers": Null, "public": Null, "allowed_viewers": Vec(PrincipalType)})
_VARIABLE: Final = Record({"name": Text, "value": Text})

#: The settings of a canister by name, in the form that ``canister_status`` returns.
SETTINGS: Final[dict[str, Type]] = {
    "controllers": Vec(PrincipalType),
    "compute_allocation": Nat,
    "memory_allocation": Nat,
    "freezing_threshold": Nat,
    "reserved_cycles_limit": Nat,
    "log_visibility": _VISIBILITY,
    "log_memory_limit": Nat,
    "snapshot_visibility": _VISIBILITY,
    "status_visibility": _VISIBILITY,
    "wasm_memory_limit": Nat,
    "wasm_memory_threshold": Nat,
    "minimum_incoming_canister_call_cycles": Nat,
    "environment_variables": Vec(_VARIABLE),
}
#: The values that a new canister has; its controllers are the principal that creates it.
DEFAULTS: Final[dict[str, Any]] = {
    "compute_allocation": 0,
    "memory_allocation": 0,
    "freezing_threshold": 2_592_000,
    "reserved_cycles_limit": 5_000_000_000_000,
    "log_visibility": {"controllers": None},
    "log_memory_limit": 4096,
    "snapshot_visibility": {"controllers": None},
    "status_visibility": {"controllers": None},
    "wasm_memory_limit": 3 << 30,
    "wasm_memory_threshold": 0,
    "minimum_incoming_canister_call_cycles": 0,
    "environment_variables": [],
}
_GIVEN: Final = Record({name: Opt(kind) for name, kind in SETTINGS.items()})
_MODE: Final = Variant(
    {
        "install": Null,
        "reinstall": Null,
        "upgrade": Opt(
            Record(
                {
                    "skip_pre_upgrade": Opt(Bool),
                    "wasm_memory_persistence": Opt(Variant({"keep": Null, "replace": Null})),
                }
            )
        ),
    }
)
_CHUNK: Final = Record({"hash": Blob})

NOTHING: Final = Record({})
CANISTER: Final = Record({"canister_id": PrincipalType})
CREATE: Final = Record({"settings": Opt(_GIVEN)})
PROVISIONAL_CREATE: Final = Record(
    {"amount": Opt(Nat), "settings": Opt(_GIVEN), "specified_id": Opt(PrincipalType)},
)
UPDATE_SETTINGS: Final = Record({"canister_id": PrincipalType, "settings": _GIVEN})
INSTALL_CODE: Final = Record({"mode": _MODE, "canister_id": PrincipalType, "wasm_module": Blob, "arg": Blob})
INSTALL_CHUNKED_CODE: Final = Record(
    {
        "mode": _MODE,
        "target_canister": PrincipalType,
        "store_canister": Opt(PrincipalType),
        "chunk_hashes_list": Vec(_CHUNK),
        "wasm_module_hash": Blob,
        "arg": Blob,
    }
)
UPLOAD_CHUNK: Final = Record({"canister_id": PrincipalType, "chunk": Blob})
CHUNK: Final = _CHUNK
CHUNKS: Final = Vec(_CHUNK)
TOP_UP: Final = Record({"canister_id": PrincipalType, "amount": Nat})
METADATA: Final = Record({"canister_id": PrincipalType, "name": Text})
METADATA_VALUE: Final = Record({"value": Blob})
INFO: Final = Record(
    {
        "total_num_changes": Nat64,
        "recent_changes": Vec(Empty),
        "module_hash": Opt(Blob),
        "controllers": Vec(PrincipalType),
    }
)
#: The parts of ``memory_metrics`` in :data:`STATUS`.
MEMORY: Final = (
    *("wasm_memory_size", "stable_memory_size", "global_memory_size", "wasm_binary_size", "custom_sections_size"),
    *("canister_history_size", "wasm_chunk_store_size", "snapshots_size", "log_memory_store_size"),
)
#: The parts of ``query_stats`` in :data:`STATUS`.
QUERY_STATS: Final = (
    "num_calls_total",
    "num_instructions_total",
    "request_payload_bytes_total",
    "response_payload_bytes_total",
)
STATUS: Final = Record(
    {
        "status": Variant({"running": Null, "stopping": Null, "stopped": Null}),
        "ready_for_migration": Bool,
        "version": Nat64,
        "settings": Record(SETTINGS),
        "module_hash": Opt(Blob),
        "memory_size": Nat,
        "memory_metrics": Record(dict.fromkeys(MEMORY, Nat)),
        "cycles": Nat,
        "reserved_cycles": Nat,
        "idle_cycles_burned_per_day": Nat,
        "query_stats": Record(dict.fromkeys(QUERY_STATS, Nat)),
    }
)
