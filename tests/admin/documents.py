"""Status documents to test with; test_documents_are_like_real_ones (test_page.py) holds them to a real one's form."""

from __future__ import annotations

from typing import Any

from icwsgw.admin.history import INTERVAL, SLOTS
from icwsgw.admin.status import SERIES

NOW = 1_700_000_000.0


def canister(name: str, **values: Any) -> dict[str, Any]:
    row = {
        "canister": name,
        "sessions": 1,
        "waiting": 0,
        "in_flight": 1,
        "up": 0.0,
        "down": 0.0,
        "lag": None,
        "round_trip": 0.02,
        "answered_ago": 0.1,
        "failures": 0,
        "trouble": False,
        "last_error": None,
        "error_ago": None,
        "quota": None,
    }
    assert set(values) <= set(row)
    return {**row, **values}


def entry(**values: Any) -> dict[str, Any]:
    row = {
        "at": NOW - 90,
        "first": NOW - 900,
        "count": 1,
        "level": "warn",
        "component": "poller",
        "text": "poll failed",
        "details": "canister=a-b",
        "workers": [],
    }
    assert set(values) <= set(row)
    return {**row, **values}


def ended(**values: Any) -> dict[str, Any]:
    row = {
        "id": "ab12-3",
        "canister": "aaaaa-aa",
        "principal": "2vxsx-fae",
        "peer": "192.0.2.7:51210",
        "origin": "https://app.example",
        "state": "open",
        "seconds": 12.4,
        "messages_up": 4,
        "messages_down": 5,
        "bytes_up": 1948,
        "bytes_down": 4420,
        "code": 4000,
        "status": None,
        "by": "client",
        "reason": "Error receiving message",
        "hint": "",
        "ended": NOW - 20,
    }
    assert set(values) <= set(row)
    return {**row, **values}


def document(**values: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "now": NOW,
        "started": NOW - 4000,
        "version": "1.0",
        "python": "3.11.2",
        "twisted": "24.11.0",
        "autobahn": "24.4.2",
        "network": "https://icp0.io",
        "polling_interval_ms": 100,
        "principal": "aaaaa-aa",
        "tls_expires": None,
        "ready": True,
        "draining": False,
        "findings": [{"name": "network", "reason": None}],
        "concerns": [],
        "sessions": {"init": 1, "setup": 1, "open": 10, "closed": 0},
        "connections": 12,
        "in_flight": 3,
        "outbox_bytes": 1000,
        "totals": {
            "opened": 100,
            "closed": 88,
            "refused": 2,
            "pushbacks": 1,
            "up": 12345,
            "down": 23456,
            "bytes_up": 1 << 20,
            "bytes_down": 3 << 30,
            "calls": 12000,
            "failed_calls": 5,
            "call_retries": 6,
            "polls": 50000,
            "failed_polls": 7,
            "duplicates": 8,
            "gaps": 0,
            "resets": 9,
            "unroutable": 10,
        },
        "closes": {"1000": 80, "4104": 8},
        "failures": {"polls": {"timeout": 7}, "calls": {}, "opens": {}, "connections": {"accept_rate": 2}},
        "history": {
            "interval": INTERVAL,
            "end": NOW,
            "series": {name: [float(at % 7) for at in range(SLOTS)] for name in SERIES},
        },
        "canisters": [canister("aaaaa-aa", sessions=11)],
        "canister_count": 1,
        "canister_count_exact": True,
        "identities": [{"number": 0, "principal": "2vxsx-fae", "worker": 0, "sessions": 12}],
        "identity_count": 1,
        "workers": [
            {
                "worker": 0,
                "pid": 77,
                "state": "serving",
                "started": NOW - 4000,
                "restarts": 0,
                "sessions": 12,
                "memory": 70 << 20,
                "cpu": 0.25,
            }
        ],
        "errors": [entry()],
        "ended": [ended()],
        "ended_count": 1,
    }
    assert set(values) <= set(whole)
    return {**whole, **values}


def crowded() -> dict[str, Any]:
    """One with the longest of everything: whatever it is shown on must have room for it."""
    wide = "x" * 200
    whole = document(
        network=f"https://{wide}",
        ready=False,
        findings=[{"name": "network", "reason": wide}],
        closes={"1000": 10**12, "other": 1},
        failures={"polls": {"answer_malformed": 10**9}, "connections": {"connections_per_principal": 10**9}},
        canisters=[
            canister(f"{'aaaaa-' * 10}{n}", sessions=10**6, waiting=10**6, up=1e6, down=1e6, lag=1e5, round_trip=60.0,
                     answered_ago=1e6, failures=10**6, trouble=True, last_error=wide, error_ago=1e6)
            for n in range(3)
        ],
        canister_count=10**6,
        canister_count_exact=False,
        errors=[entry(text=wide, details=wide, count=10**9, workers=list(range(64)))],
        ended=[ended(principal="aaaaa-" * 10, canister="aaaaa-" * 10, peer=wide, reason=wide, hint=wide, seconds=1e6)],
        ended_count=10**6,
    )  # fmt: skip
    whole["history"]["series"] = {name: [1e9] * SLOTS for name in SERIES}
    whole["totals"] = dict.fromkeys(whole["totals"], 10**15)
    (worker,) = whole["workers"]
    whole["workers"] = [{**worker, "state": wide, "sessions": 10**6}, {**worker, "worker": 1, "pid": 4 << 20}]
    whole["identities"] = [{"number": 10**4, "principal": "aaaaa-" * 10 + "aaa", "worker": 63, "sessions": 10**6}]
    return whole
