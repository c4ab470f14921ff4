"""Names the gateway and its local replica to twistd; the modules are imported when their names are called."""

from twisted.application.service import ServiceMaker

icws = ServiceMaker(
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
