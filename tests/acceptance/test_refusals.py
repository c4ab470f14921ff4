"""What a client that does something wrong gets: a close code and a plain reason, at once (docs/protocol.md)."""

from __future__ import annotations

import pytest

from icwsgw.core.close_reasons import MAX_REASON_BYTES, CloseCode
from tests.acceptance.conftest import Stack
from tests.acceptance.processes import run_node

pytestmark = [pytest.mark.acceptance, pytest.mark.sdk]


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("textFrame", CloseCode.NOT_BINARY, "binary"),
        ("undecodable", CloseCode.UNDECODABLE, ""),
        ("notAnEnvelope", CloseCode.UNDECODABLE, "envelope"),
        ("wrongGateway", CloseCode.WRONG_GATEWAY, "gateway"),
        ("expired", CloseCode.EXPIRED, "expired"),
        ("farAhead", CloseCode.EXPIRED, "at most 330"),
        ("anonymous", CloseCode.OPEN_REFUSED, "anonymous"),
        ("badSignature", CloseCode.OPEN_REFUSED, "signature"),
        ("otherMethod", CloseCode.PROTOCOL_ERROR, "not ws_open"),
        ("replaced", CloseCode.REPLACED, "newer"),
    ],
)
def test_a_fault_gets_its_close_code_and_reason(stack: Stack, fault: str, code: CloseCode, words: str) -> None:
    close = run_node("raw.mjs", {"fault": fault, **stack.places})[-1]["close"]
    assert (close["code"], close["wasClean"]) == (code, True), close
    assert words in close["reason"].lower()
    assert len(close["reason"].encode()) <= MAX_REASON_BYTES
