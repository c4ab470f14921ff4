"""Merges the status documents (:mod:`icwsgw.admin.status`) of several processes into one for the whole gateway.

Counts are added; histories are merged by slot and canisters by id. For a lag, the greatest value counts. Log entries
are sorted by time. After a process has ended, its counts, curves and log entries are kept (:func:`remains`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import nlargest, nsmallest
from typing import Any, Final

from icwsgw.admin.history import merge_histories
from icwsgw.admin.status import CANISTERS, ENDED, IDENTITIES, Document
from icwsgw.gateway.ended_sessions import KEEP_SECONDS
from icwsgw.gateway.introspection import merge_quotas
from icwsgw.observe.recent_warnings import KEEP

#: Fields that are kept after a process has ended.
_REMAINS: Final = ("totals", "closes", "failures", "history", "errors", "ended", "ended_count")
#: Curves that are merged by their greatest value instead of their sum.
_GREATEST: Final = {"lag": max, "loop_lag": max}
_CANISTER_SUMS: Final = ("sessions", "waiting", "in_flight", "up", "down")
_CANISTER_WORST: Final = ("lag", "round_trip", "answered_ago", "failures", "trouble")
#: Facts that are the same in all processes.
_SHARED: Final = ("version", "python", "twisted", "autobahn", "network", "polling_interval_ms")


def merge(parts: Sequence[Mapping[str, Any]]) -> Document:
    """Merge several documents into one; missing fields are ignored.

    :param parts: documents of running processes, and the remains of ended ones
    """
    lists = {name: [entry for part in parts for entry in part.get(name, ())] for name in ("identities", "workers")}
    canisters, count, exact = _canisters(parts)
    ended, ended_count = _ended(parts)
    whole: Document = {
        "now": _of(parts, "now", max),
        "started": _of(parts, "started", min),
        **{name: part[name] for part in reversed(parts) for name in _SHARED if name in part},
        "principal": next((part["principal"] for part in parts if "principal" in part), None),
        "tls_expires": _of(parts, "tls_expires", min),
        "ready": all(part["ready"] for part in parts if "ready" in part),
        "draining": any(part.get("draining", False) for part in parts),
        "findings": _findings(parts),
        "concerns": list(dict.fromkeys(concern for part in parts for concern in part.get("concerns", ()))),
        "sessions": _sums(part.get("sessions", {}) for part in parts),
        "connections": _of(parts, "connections", sum) or 0,
        "in_flight": _of(parts, "in_flight", sum) or 0,
        "outbox_bytes": _of(parts, "outbox_bytes", sum) or 0,
        "totals": _sums(part.get("totals", {}) for part in parts),
        "closes": _sums(part.get("closes", {}) for part in parts),
        "failures": _failures(parts),
        "history": merge_histories([part["history"] for part in parts if "history" in part], _GREATEST),
        "canisters": canisters,
        "canister_count": count,
        "canister_count_exact": exact,
        "identities": sorted(lists["identities"], key=lambda row: row["number"])[:IDENTITIES],
        "identity_count": _of(parts, "identity_count", sum) or 0,
        "workers": sorted(lists["workers"], key=lambda row: row["worker"]),
        "errors": _errors(parts),
        "ended": ended,
        "ended_count": ended_count,
    }
    return whole


def remains(part: Mapping[str, Any]) -> Document:
    """Return the fields of a document that are kept after its process has ended."""
    return {name: part[name] for name in _REMAINS if name in part}


def _ended(parts: Sequence[Mapping[str, Any]]) -> tuple[list[Document], int]:
    """Return the latest ends and their number, without those that are too old; a process that is gone forgets none."""
    now = _of(parts, "now", max)
    rows, count = [], 0
    for part in parts:
        given = part.get("ended", ())
        kept = [row for row in given if now is None or now - row["ended"] <= KEEP_SECONDS]
        rows += kept
        # what a process does not list has ended before what it lists
        count += len(kept) + (part.get("ended_count", 0) - len(given) if len(kept) == len(given) else 0)
    return nlargest(ENDED, rows, key=_ended_at), count


def _ended_at(row: Mapping[str, Any]) -> float:
    return float(row["ended"])


def _errors(parts: Sequence[Mapping[str, Any]]) -> list[Document]:
    """Merge log entries, the latest first; the same entry of several processes becomes one."""
    entries: dict[tuple[str, ...], Document] = {}
    for part in parts:
        for entry in part.get("errors", ()):
            key = tuple(entry[name] for name in ("level", "component", "text", "details"))
            same = entries.get(key)
            if same is None:
                entries[key] = dict(entry)
                continue
            same["count"] += entry["count"]
            same["at"], same["first"] = max(same["at"], entry["at"]), min(same["first"], entry["first"])
            same["workers"] = sorted({*same["workers"], *entry["workers"]})
    return nlargest(KEEP, entries.values(), key=_at)


def _at(entry: Mapping[str, Any]) -> float:
    return float(entry["at"])


def _of(parts: Sequence[Mapping[str, Any]], name: str, merge: Callable[[Iterable[Any]], Any]) -> Any:
    values = [part[name] for part in parts if part.get(name) is not None]
    return merge(values) if values else None


def _sums(counts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)


def _failures(parts: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    kinds = [part.get("failures", {}) for part in parts]
    return {kind: _sums(each.get(kind, {}) for each in kinds) for kind in dict.fromkeys(k for e in kinds for k in e)}


def _findings(parts: Sequence[Mapping[str, Any]]) -> list[Document]:
    """Return one finding for each name, with the first reason if there is one."""
    reasons: dict[str, str | None] = {}
    for part in parts:
        for finding in part.get("findings", ()):
            name, reason = finding["name"], finding["reason"]
            reasons[name] = reasons.get(name) or reason
    return [{"name": name, "reason": reason} for name, reason in reasons.items()]


def _canisters(parts: Sequence[Mapping[str, Any]]) -> tuple[list[Document], int, bool]:
    """Return the rows merged by id, the number of canisters, and whether this number is exact.

    If a process has more canisters than it lists, the number is a lower bound: another process may list the others.
    """
    rows: dict[str, Document] = {}
    for part in parts:
        for row in part.get("canisters", ()):
            name = row["canister"]
            rows[name] = _canister(rows[name], row) if name in rows else dict(row)
    counts = [part["canister_count"] for part in parts if part.get("canister_count")]
    exact = len(counts) <= 1 or all(part.get("canister_count", 0) <= len(part.get("canisters", ())) for part in parts)
    return nsmallest(CANISTERS, rows.values(), key=_place), max([len(rows), *counts]), exact


def _place(row: Mapping[str, Any]) -> tuple[bool, int, str]:
    return not row["trouble"], -row["sessions"], row["canister"]


def _canister(one: Document, other: Mapping[str, Any]) -> Document:
    merged = dict(one)
    for name in _CANISTER_SUMS:
        merged[name] = one[name] + other[name]
    for name in _CANISTER_WORST:
        merged[name] = max((row[name] for row in (one, other) if row[name] is not None), default=None)
    latest = min((row for row in (one, other) if row["error_ago"] is not None), key=_error_ago, default=one)
    merged["quota"] = merge_quotas(one.get("quota"), other.get("quota"))
    merged["last_error"], merged["error_ago"] = latest["last_error"], latest["error_ago"]
    return merged


def _error_ago(row: Mapping[str, Any]) -> float:
    return float(row["error_ago"])
