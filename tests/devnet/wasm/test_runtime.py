from __future__ import annotations

import subprocess
import sys

from tests.devnet.wasm.support import PRINTING, log_of, module
from tests.support.devnet import Net


def test_canisters_share_one_compiler() -> None:
    net = Net()
    canisters = net.replica.canisters
    first, second = (canisters.install_wasm(canisters.free_id(), module(PRINTING)) for _ in range(2))
    assert first.canister._compiler is second.canister._compiler
    assert first.id != second.id
    net.replica.close()


def test_what_a_canister_prints_comes_with_its_id() -> None:
    seen: list[tuple[str, str]] = []
    net = Net(log=log_of(seen))
    host = net.replica.canisters.install_wasm(net.replica.canisters.free_id(), module(PRINTING))
    assert seen == [(host.id.text, "hi\N{REPLACEMENT CHARACTER}")]
    net.replica.close()


def test_one_sentence_where_the_extra_is_missing() -> None:
    code = (
        "import sys; sys.modules['wasmtime'] = None\n"
        "from icwsgw.errors import ConfigError\n"
        "try:\n    import icwsgw.devnet.wasm.runtime\n"
        "except ConfigError as error:\n    print(error)\n"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pip install 'icwsgw[wasm]'" in output
    assert len(output.splitlines()) == 1
