"""A gateway for tests, in front of any network."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from icwsgw.testing.program_process import ProgramProcess, StartFailed, loopback_endpoint, started

if TYPE_CHECKING:
    from typing_extensions import Self


class GatewayProcess:
    """A gateway in a process of its own; a context manager that ends it.

    :param network: URL of the network
    :param options: of ``twistd icws``
    :raises StartFailed: it does not start
    :ivar network: URL of the network
    :ivar url: ws:// URL for clients
    :ivar status_url: http:// URL of its status page, ``/metrics`` and ``/health/ready``
    """

    def __init__(self, network: str, options: Sequence[str] = ()) -> None:
        self.network = network
        self._options = list(options)
        self._data = tempfile.TemporaryDirectory(prefix="icws-testing-")
        try:
            self._process, self._ports = started(2, self._command)
        except BaseException:
            self._data.cleanup()
            raise
        self.url = f"ws://127.0.0.1:{self._ports[0]}"
        self.status_url = f"http://127.0.0.1:{self._ports[1]}"

    def _command(self, ports: Sequence[int]) -> tuple[list[str], str]:
        arguments = [
            "icws",
            f"--ic-network-url={self.network}",
            f"--gateway-address={loopback_endpoint(ports[0])}",
            f"--prometheus-endpoint={loopback_endpoint(ports[1])}",
            f"--data-dir={self._data.name}",
            "--drain-window=0",
            *self._options,
        ]
        return arguments, f"http://127.0.0.1:{ports[1]}/health/ready"

    @property
    def lines(self) -> list[str]:
        """What the process has logged since its last start."""
        return self._process.lines

    @property
    def is_running(self) -> bool:
        """Whether it runs."""
        return self._process.is_running

    def stop(self) -> int:
        """Stop it as a service manager does (clients are asked to move, or get 4100); return its exit status."""
        return self._process.end()

    def kill(self) -> None:
        """End it at once: clients lose their connections."""
        self._process.end(kill=True)

    def start(self) -> None:
        """Start it again, at the same address and with the same principal.

        :raises StartFailed: it runs already, or does not start
        """
        if self.is_running:
            raise StartFailed("the gateway runs already: end it with stop() or kill() first")
        arguments, url = self._command(self._ports)
        self._process = ProgramProcess(arguments)
        self._process.wait_until_ready(url)

    def restart(self) -> None:
        """Stop it and start it again."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End the process, and remove its key."""
        self._process.end()
        self._data.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
