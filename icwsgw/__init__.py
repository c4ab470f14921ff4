"""IC WebSocket Gateway: WebSockets for canisters of the Internet Computer."""

from icwsgw._version import __version__

__all__ = ["__version__"]
