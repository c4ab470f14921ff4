"""From where a canister may call each function of the system interface (IC interface specification, "System API").

The letters are those of the specification: ``I`` is ``canister_init`` and ``canister_post_upgrade``, ``U`` an update,
and so on (:class:`~icwsgw.devnet.wasm.execution.Entry`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from icwsgw.devnet.wasm.execution import Entry

_EVERYWHERE = frozenset(Entry) - {Entry.START}
_START_TOO = frozenset(Entry)


def _entries(letters: str) -> frozenset[Entry]:
    return frozenset(map(Entry, letters.split()))


_ANSWERS = _entries("U RQ NRQ CQ Ry Rt")
_CALLS = _entries("U Ry Rt T")
_CYCLES = _entries("U RQ Ry Rt")
_CERTIFICATE = _entries("NRQ CQ")
_COMMITS = _entries("I G U Ry Rt C T")
_CALLER_INFO = _entries("U RQ NRQ CQ Ry Rt C F")

#: The entries from which a function may be called. Any other function may be called from everywhere but ``start``.
ALLOWED: Final[Mapping[str, frozenset[Entry]]] = {
    **dict.fromkeys(("msg_arg_data_size", "msg_arg_data_copy"), _entries("I U RQ NRQ CQ Ry F")),
    **dict.fromkeys(
        (
            "msg_caller_info_data_size",
            "msg_caller_info_data_copy",
            "msg_caller_info_signer_size",
            "msg_caller_info_signer_copy",
        ),
        _CALLER_INFO,
    ),
    "msg_reject_code": _entries("Ry Rt C"),
    **dict.fromkeys(("msg_reject_msg_size", "msg_reject_msg_copy"), _entries("Rt")),
    **dict.fromkeys(("msg_deadline", "msg_reply_data_append", "msg_reply", "msg_reject"), _ANSWERS),
    **dict.fromkeys(
        ("msg_cycles_available", "msg_cycles_available128", "msg_cycles_accept", "msg_cycles_accept128"), _CYCLES
    ),
    **dict.fromkeys(("msg_cycles_refunded", "msg_cycles_refunded128"), _entries("Ry Rt")),
    "cycles_burn128": _entries("I G U RQ Ry Rt C T"),
    **dict.fromkeys(("msg_method_name_size", "msg_method_name_copy", "accept_message"), _entries("F")),
    **dict.fromkeys(
        (
            "call_new",
            "call_on_cleanup",
            "call_data_append",
            "call_with_best_effort_response",
            "call_cycles_add",
            "call_cycles_add128",
            "call_perform",
        ),
        _CALLS,
    ),
    "certified_data_set": _entries("I G U Ry Rt T"),
    **dict.fromkeys(("data_certificate_size", "data_certificate_copy"), _CERTIFICATE),
    **dict.fromkeys(("root_key_size", "root_key_copy"), _entries("I G U RQ Ry Rt C T")),
    "global_timer_set": _COMMITS,
    **dict.fromkeys(
        (
            "stable_size",
            "stable_grow",
            "stable_read",
            "stable_write",
            "stable64_size",
            "stable64_grow",
            "stable64_read",
            "stable64_write",
            "performance_counter",
            "is_controller",
            "in_replicated_execution",
            "cost_call",
            "cost_create_canister",
            "cost_http_request",
            "cost_http_request_v2",
            "cost_sign_with_ecdsa",
            "cost_sign_with_schnorr",
            "cost_vetkd_derive_key",
            "debug_print",
            "trap",
        ),
        _START_TOO,
    ),
}


def allowed_from(function: str) -> frozenset[Entry]:
    """Return the entries from which a function may be called."""
    return ALLOWED.get(function, _EVERYWHERE)
