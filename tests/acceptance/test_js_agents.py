"""Two generations of the JavaScript agent against the local replica: the endpoints, certificates and signatures.

@dfinity/agent 2.4 is what the SDK uses (v3 call, v2 query and read_state); @icp-sdk/core 6 is the current one (v4
call, v3 query and read_state). Both verify what the replica certifies and signs, and both must refuse what was changed
on the way, or the first half of the test would prove nothing.
"""

from __future__ import annotations

import time

import pytest

from tests.acceptance.conftest import Stack
from tests.acceptance.processes import run_node

pytestmark = [pytest.mark.acceptance, pytest.mark.sdk]


@pytest.mark.parametrize("library", ["dfinity", "icp"])
def test_agents_accept_what_is_right_and_refuse_what_was_changed(stack: Stack, library: str) -> None:
    result = run_node("agents.mjs", {"library": library, "network": stack.network, "canister": stack.echo})[-1]
    assert len(bytes.fromhex(result["rootKey"])) == 133
    assert result["opened"] == {"Ok": None}
    assert result["queryRefused"] is None
    assert result["count"] == 1
    assert result["key"] == f"{result['gatewayPrincipal']}_{0:020}"
    assert result["contentCertified"] is True
    assert result["treeCertified"] is True
    assert abs(result["time"] / 1000 - time.time()) < 300
    assert result["hasSubnetKeys"] >= 1
    accepted = [what for what, words in result["refused"].items() if words is None]
    assert accepted == [], result["refused"]
