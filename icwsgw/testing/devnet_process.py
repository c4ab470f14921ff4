"""A local network for tests: canisters, faults by name, a clock to move."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from icwsgw.testing.program_process import loopback_endpoint, request_json, started

if TYPE_CHECKING:
    from typing_extensions import Self

#: How fast the network answers unless :meth:`DevnetProcess.configure` says otherwise.
DEFAULT_TIMES = {
    "query_latency_ms": 0,
    "call_latency_ms": 0,
    "call_jitter_ms": 0,
    "block_interval_ms": 0,
    "gossip_ms": 0,
    "lag_blocks": 0,
    "v2_gone": False,
}


class DevnetProcess:
    """A local network in a process of its own; a context manager that ends it.

    :param canisters: your canisters by name: a module in WebAssembly or a Python file, or ``FILE.wasm:FILE.did``
    :param options: of ``twistd icws-devnet``, for example ``--block-interval=1000``
    :raises StartFailed: it does not start, for example because a file is no canister
    :ivar url: http:// URL
    :ivar canisters: ids by name, with those of the demo canisters ``echo``, ``chat`` and ``ping``
    :ivar root_key: the network's root key in DER
    """

    def __init__(self, canisters: Mapping[str, str | Path] | None = None, options: Sequence[str] = ()) -> None:
        own = [f"--devnet-canister={name}={file}" for name, file in (canisters or {}).items()]

        def command(ports: Sequence[int]) -> tuple[list[str], str]:
            arguments = ["icws-devnet", f"--listen={loopback_endpoint(ports[0])}", *own, *options]
            return arguments, f"http://127.0.0.1:{ports[0]}/api/v2/status"

        self._process, (port,) = started(1, command)
        self.url = f"http://127.0.0.1:{port}"
        info = self._request("info")
        self.canisters: dict[str, str] = info["canisters"]
        self.root_key = bytes.fromhex(info["root_key"])

    def _request(self, what: str, value: object = None) -> Any:
        return request_json(f"{self.url}/_/{what}", value)

    @property
    def lines(self) -> list[str]:
        """What the process has logged."""
        return self._process.lines

    @contextmanager
    def fault(self, kind: str, **fields: object) -> Iterator[None]:
        """Inject a fault for the time of a ``with`` block.

        :param kind: one of :data:`icwsgw.devnet.faults.KINDS`
        :param fields: see :mod:`icwsgw.devnet.faults`: ``on``, ``canister`` (name or id), ``method``, ``count``, ...
        :raises ControlRefused: there is no such kind or field
        """
        self.add_fault(kind, **fields)
        try:
            yield
        finally:
            self.clear_faults()

    def add_fault(self, kind: str, **fields: object) -> None:
        """Inject a fault until :meth:`clear_faults`, see :meth:`fault`."""
        self._request("faults", {"kind": kind, **fields})

    def clear_faults(self) -> None:
        """End all faults; requests that hang get their connections ended."""
        self._request("faults", {"clear": True})

    def advance(self, seconds: float) -> float:
        """Move the canisters' clock forward: acknowledgements and timers that become due run, each at its time.

        The gateway's and the client's clocks stay, and certificates keep the real time.

        :returns: how many seconds the canisters are ahead now
        """
        offset: float = self._request("clock", {"advance": seconds})["offset"]
        return offset

    def configure(self, **times: object) -> None:
        """Change how fast the network answers, see :data:`DEFAULT_TIMES` for the names."""
        self._request("config", times)

    def reset(self, canister: str) -> None:
        """Upgrade a canister with the code that it has: its sessions end, and clients get 4105."""
        self._request("reset", {"canister": canister})

    def stop_canister(self, canister: str) -> None:
        """Stop a canister: it rejects calls and queries."""
        self._request("stop", {"canister": canister})

    def start_canister(self, canister: str) -> None:
        """Start a canister that was stopped."""
        self._request("start", {"canister": canister})

    def logs(self, canister: str) -> list[str]:
        """Return what a canister has printed, and its traps.

        :param canister: its name
        """
        return [record["text"] for record in self._request("logs")[canister]]

    def stats(self) -> dict[str, Any]:
        """Return how many requests there were, the active faults, and the clients of each canister."""
        found: dict[str, Any] = self._request("stats")
        return found

    def restore(self) -> None:
        """End what tests have changed, except canisters' state and clock: faults, times, stopped canisters."""
        self.clear_faults()
        self._request("push", {"stop": True})
        self.configure(**DEFAULT_TIMES)
        self.start_canister("*")

    def close(self) -> None:
        """End the process."""
        self._process.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
