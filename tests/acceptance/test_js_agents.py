"""Two generations of the JavaScript agent against the local replica: the endpoints, certificates and signatures.

@dfinity/agent 2.4 is what the SDK uses (v3 call, v2 query and read_state); @icp-sdk/core 6 is the current one (v4
call, v3 query and read_state). Both verify what the replica certifies and signs, and both must refuse what was changed
on the way, or the first half of the test would prove nothing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

import pytest

from tests.acceptance.conftest import Devnet
from tests.acceptance.processes import run_node
from tests.devnet.wasm.support import GREETING_DID, greeting

pytestmark = [pytest.mark.acceptance, pytest.mark.sdk]


# agent-js 2.4 reads the canister ranges of a delegation in their older place only.
@pytest.mark.parametrize(
    ("library", "options"),
    [
        ("dfinity", []),
        ("dfinity", ["--delegation=none"]),
        ("dfinity", ["--delegation=legacy"]),
        ("dfinity", ["--legacy-api"]),
        ("icp", []),
        ("icp", ["--v2-gone"]),
        ("icp", ["--delegation=none"]),
        ("icp", ["--delegation=legacy"]),
        ("icp", ["--delegation=sharded"]),
    ],
)
def test_agents_accept_what_is_right_and_refuse_what_was_changed(
    devnets: Callable[..., Devnet], library: str, options: list[str]
) -> None:
    devnet = devnets(*options)
    result = run_node("agents.mjs", {"library": library, "network": devnet.network, "canister": devnet.echo})[-1]
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


@pytest.mark.parametrize(("library", "options"), [("dfinity", ["--delegation=legacy"]), ("icp", [])])
def test_agents_manage_canisters(devnets: Callable[..., Devnet], library: str, options: list[str]) -> None:
    devnet, wasm = devnets(*options), greeting()
    parameters = {"library": library, "network": devnet.network, "place": devnet.echo, "wasm": wasm.hex()}
    result = run_node("management.mjs", parameters)[-1]
    assert result["greeting"] == "hi"
    assert result["statuses"] == ["running", "stopped"]
    module_hash = hashlib.sha256(wasm).hexdigest()
    assert (result["controllers"], result["moduleHash"]) == ([result["principal"]], module_hash)
    assert result["certified"] == {
        "controllers": [result["principal"]],
        "moduleHash": module_hash,
        "candid": GREETING_DID,
    }
    assert f"Only controllers of canister {result['canister']}" in result["strangerRefused"]
    assert "IC0301" in result["gone"] or "not found" in result["gone"]
