"""Figures, times and codes as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: What became of a client, by close code; docs/protocol.md has what a client does about it.
CLOSES: Final[Mapping[str, str]] = {
    "1000": "closed normally",
    "1001": "the client went away (a page was left), or the gateway shut down",
    "1002": "the client broke the protocol",
    "1003": "the client sent text instead of binary",
    "1005": "the client closed without a code",
    "1006": "the connection broke off",
    "1007": "the client sent what is no envelope",
    "1008": "a message took too long, or the operator closed the client",
    "1009": "the client sent too long a message",
    "1010": "the client missed an extension",
    "1011": "a fault of the gateway: the log has a traceback",
    "1012": "the client's side restarts",
    "1013": "the canister or the principal has all the connections it gets",
    "4000": "the SDK gave up",
    "4001": "the canister closed the connection",
    "4100": "the gateway shut down, or the operator asked to reconnect",
    "4101": "the canister or the network refused ws_open",
    "4102": "the client's clock is wrong, or its call came too late",
    "4103": "the client named another gateway",
    "4104": "the client did not read its messages",
    "4105": "the canister was reset (upgraded or reinstalled)",
    "4106": "the canister did not answer any more",
    "4107": "not opened in time",
    "4108": "the client sent a flood of messages",
    "4109": "replaced by a newer connection of the same client",
    "4110": "this gateway does not serve the canister",
    "4111": "the network or the canister refused a message for good",
    "4112": "a message of the canister could not be read",
    "4113": "the client sent faster than the canister executes",
    "other": "another code",
}

#: What failed, by kind of failure in the status document.
FAILURES: Final[Mapping[str, str]] = {
    "polls": "Polls that failed",
    "calls": "Messages to canisters that failed",
    "opens": "Sessions that did not open",
    "connections": "Connections refused",
}

_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def count(value: float) -> str:
    """A number of things: ``12,345``."""
    return f"{value:,.0f}"


def rate(value: float) -> str:
    """A number with a fraction where it is small: ``0.4``, ``12``, ``12,345``."""
    return f"{value:.1f}" if 0 < value < 9.95 else count(value)


def size(value: float) -> str:
    """Bytes, by powers of 1024: ``812 B``, ``6.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 999.5 or unit == "GiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" or value >= 9.95 else f"{value:.1f} {unit}"


def seconds(value: float) -> str:
    """A short time: ``3.2 ms``, ``240 ms``, ``1.4 s``, ``75 s``."""
    if value < 0.9995:
        thousandths = value * 1000
        return f"{thousandths:.0f} ms" if thousandths >= 9.95 or not thousandths else f"{thousandths:.1f} ms"
    return f"{value:.1f} s" if value < 9.95 else f"{value:.0f} s"


def span(value: float) -> str:
    """A long time by its two greatest units: ``45 s``, ``3 min 20 s``, ``2 d 4 h``."""
    left = max(0, int(value))
    parts = []
    for length, unit in _UNITS:
        amount, left = divmod(left, length)
        if amount:
            parts.append(f"{amount} {unit}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0 s"


def ago(value: float) -> str:
    """How long ago something was, by one unit: ``just now``, ``12 s ago``, ``3 min ago``."""
    for length, unit in _UNITS:
        if value >= length:
            return f"{int(value // length)} {unit} ago"
    return "just now"
