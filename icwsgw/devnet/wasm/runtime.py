"""All canisters in WebAssembly of one replica: what they share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from icwsgw.devnet.topology import Subnet
from icwsgw.errors import ConfigError
from icwsgw.ic.principal import Principal
from icwsgw.reactor.clock import Clock

try:
    from icwsgw.devnet.wasm.canister import WasmCanister
    from icwsgw.devnet.wasm.canister_messages import CanisterRequest
    from icwsgw.devnet.wasm.host import MessageRunner, WasmHost
    from icwsgw.devnet.wasm.instance import Compiler
except ImportError as missing:
    raise ConfigError(
        f"canisters in WebAssembly need wasmtime, which is not installed: pip install 'icwsgw[wasm]' ({missing})"
    ) from None

CanisterLog = Callable[[Principal, bytes], None]
"""Takes what a canister prints, or the text of its trap."""


class Runtime:
    """Makes canisters that share one compiler and one queue of messages.

    :param elsewhere: executes calls to what is no canister in WebAssembly
    :param log: takes what canisters print, and the texts of their traps
    """

    def __init__(
        self,
        clock: Clock,
        now_ns: Callable[[], int],
        root_key: bytes,
        elsewhere: Callable[[CanisterRequest], None],
        log: CanisterLog,
    ) -> None:
        self._log = log
        self._clock = clock
        self._now_ns = now_ns
        self._root_key = root_key
        self._compiler = Compiler()
        self._runner = MessageRunner(clock, elsewhere)

    def create(self, canister_id: Principal, subnet: Subnet, changed: Callable[[Any], None]) -> WasmHost:
        """Make an empty canister.

        :param changed: called with the host when its part of the state tree may have changed
        """
        canister = WasmCanister(
            canister_id,
            self._compiler,
            self._now_ns,
            root_key=self._root_key,
            subnet_id=subnet.id,
            node_count=len(subnet.nodes),
            log=lambda text: self._log(canister_id, text),
        )
        return WasmHost(canister, self._runner, self._clock, self._now_ns, changed)

    def run(self) -> None:
        """Execute the messages that wait."""
        self._runner.run()

    def close(self) -> None:
        """Execute nothing more."""
        self._runner.close()
