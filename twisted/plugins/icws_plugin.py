"""Names the gateway and its local replica to twistd; the modules are imported when their names are called."""

from typing import Any

from twisted.application.service import ServiceMaker


class _Gateway(ServiceMaker):  # type: ignore[misc]
    """Holds signals from now on, which would end the process while its modules are imported, a second or so."""

    @property
    def options(self) -> Any:
        from icwsgw.process.signals import held

        held.hold()
        return ServiceMaker.options.fget(self)


icws = _Gateway(
    "IC WebSocket Gateway",
    "icwsgw.tap",
    "WebSocket gateway for canisters of the Internet Computer.",
    "icws",
)

icws_devnet = ServiceMaker(
    "IC WebSocket local replica",
    "icwsgw.devnet.command_line",
    "Local replica with demo canisters, to develop and test against.",
    "icws-devnet",
)
