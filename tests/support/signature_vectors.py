"""Signatures made by other software: a passkey, Internet Identity, a canister of a local network."""

from __future__ import annotations

import json
from pathlib import Path

#: By name; all values are hex, but ``source`` and ``canister``.
VECTORS: dict[str, dict[str, str]] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "signatures.json").read_text()
)
