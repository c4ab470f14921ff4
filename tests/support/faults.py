"""The devnet's faults of polls with their options, for tests that inject them one by one or at random."""

from __future__ import annotations

from typing import Any

# The order is part of what a seed of the simulation means.
QUERY_FAULTS: list[dict[str, Any]] = [
    {"kind": "http", "status": 500},
    {"kind": "http", "status": 503},
    {"kind": "http", "status": 429, "retry_after": 1},
    {"kind": "http", "status": 400},
    *({"kind": "reject", "code": code} for code in range(1, 7)),
    {"kind": "trap"},
    {"kind": "stopped"},
    {"kind": "garbage"},
    {"kind": "garbage_candid"},
    {"kind": "cdk_err"},
    {"kind": "hang"},
    {"kind": "half_body"},
    {"kind": "reset"},
    {"kind": "delay", "delay": 0.7},
    {"kind": "delay", "delay": 4.0},
    {"kind": "duplicate"},
    {"kind": "overlap"},
    {"kind": "gap"},
    {"kind": "lagging"},
    {"kind": "lagging", "hide": 3},
]
