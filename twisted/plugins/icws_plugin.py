"""Names the gateway and its local replica to twistd; the modules are imported when their names are called."""

import sys
from typing import Any

from twisted.application.service import ServiceMaker

if "icws" in sys.argv[1:]:
    # Twistd imports this module to find the plugin, also for other plugins: only those signals are held that do not ask
    # for the end of a process.
    from icwsgw.process.signals import held

    held.hold_unless_they_stop()


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
