"""The extensions that a client offers (RFC 6455, section 9.1), down to those that the gateway can take.

A server takes an offer whole or declines it, and the connection goes on (RFC 7692, section 5.1). Autobahn refuses the
connection instead when an offer of ``permessage-deflate`` has a parameter that it does not know, repeated, or of a
value that it does not take; so it gets to see only offers that it understands.
"""

from __future__ import annotations

import re

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PARAMETER = re.compile(rf'({_TOKEN})(?:[ \t]*=[ \t]*(?:({_TOKEN})|"({_TOKEN})"))?')

DEFLATE = "permessage-deflate"

# zlib makes no raw deflate stream with a window of 2**8 bytes, which RFC 7692 allows; it reads one.
_SERVER_WINDOWS = frozenset(("9", "10", "11", "12", "13", "14", "15"))
_CLIENT_WINDOWS = frozenset(("8", *_SERVER_WINDOWS))


def acceptable(value: bytes) -> list[bytes]:
    """Give the offers in a value of ``Sec-WebSocket-Extensions`` that the gateway could accept, in the client's order.

    :param value: ASCII; what of it is no offer at all is passed over, as if it were an unknown extension
    :returns: each offer in plain form; empty: none
    """
    offers = []
    for element in split_outside_quotes(value.decode("ascii"), ","):
        offer = _deflate_offer(element)
        if offer is not None:
            offers.append(offer.encode("ascii"))
    return offers


def _deflate_offer(element: str) -> str | None:
    name, *parameters = (part.strip(" \t") for part in split_outside_quotes(element, ";"))
    if name.lower() != DEFLATE:
        return None
    known: dict[str, str | None] = {}
    for parameter in parameters:
        match = _PARAMETER.fullmatch(parameter)
        if match is None:
            return None
        key, argument = match[1].lower(), match[2] or match[3]
        if key in known or not _takes(key, argument):
            return None
        # how small the client's window may be asked to be is its own matter: larger ones are not asked for
        known[key] = None if key == "client_max_window_bits" else argument
    return "; ".join((DEFLATE, *(key if text is None else f"{key}={text}" for key, text in known.items())))


def _takes(key: str, argument: str | None) -> bool:
    if key in ("server_no_context_takeover", "client_no_context_takeover"):
        return argument is None
    if key == "server_max_window_bits":
        return argument in _SERVER_WINDOWS
    return key == "client_max_window_bits" and (argument is None or argument in _CLIENT_WINDOWS)


def split_outside_quotes(text: str, separator: str) -> list[str]:
    """Cut a header's value at a separator, but not inside of quoted strings (RFC 9110, section 5.6.4)."""
    if '"' not in text:
        return text.split(separator)
    parts = []
    start = 0
    quoted = escaped = False
    for at, character in enumerate(text):
        if escaped:
            escaped = False
        elif character == '"':
            quoted = not quoted
        elif character == "\\":
            escaped = quoted
        elif character == separator and not quoted:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]
