"""Reads and checks the query parameters and JSON bodies of the admin API.

Invalid input is refused with status 400 and a reason in plain words. This includes unknown names: a misspelt
``canister`` must not return, or close, the sessions of all canisters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from icwsgw.admin.access import Refused
from icwsgw.admin.busiest import SORTS
from icwsgw.admin.control import KICK_CODES
from icwsgw.config.schema import BY_NAME
from icwsgw.core.session_machine import LABELS
from icwsgw.errors import ConfigError, FormatError
from icwsgw.ic.principal import Principal
from icwsgw.observe.levels import EVERYTHING, LEVELS, level_number
from icwsgw.observe.peers import parse_network

#: Number of rows in a list: the default and the maximum.
DEFAULT_LIMIT, MAX_LIMIT = 100, 1000
#: Largest number of query parameters.
MAX_FIELDS = 16
MAX_TEXT = 64
#: As long as the gateway keeps it of a client's request.
MAX_ORIGIN = 200
#: Longest ban of clients.
MAX_BAN_DAYS = 31
MAX_BAN_SECONDS = MAX_BAN_DAYS * 86_400

_COMPONENT = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")


def read_query(text: str, *names: str) -> dict[str, Any]:
    """Parse the query of a URL; only these names are allowed.

    :raises Refused: with 400
    """
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise Refused(400, f"invalid query: {error}") from None
    values = dict(pairs)
    if len(values) != len(pairs):
        raise Refused(400, "duplicate query parameter")
    return _read(values, names)


def read_body(body: bytes, *names: str) -> dict[str, Any]:
    """Parse a JSON object; only these names are allowed; no body means an empty object.

    :raises Refused: with 400
    """
    return _read(read_object(body), names)


def read_object(body: bytes) -> dict[str, Any]:
    """Parse a JSON object.

    :raises Refused: with 400
    """
    try:
        value = json.loads(body, object_pairs_hook=_once, parse_constant=_no_number) if body.strip() else {}
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not JSON") from None
    if not isinstance(value, dict):
        raise Refused(400, "the body is not a JSON object")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise Refused(400, f"{name[:MAX_TEXT]!r} stands twice in the body")
        values[name] = value
    return values


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def read_levels(body: bytes) -> tuple[bool, dict[str, int | None]]:
    """Parse log levels by component; None restores the configured level of a component.

    :return: whether to restore all configured levels first; the levels to set after that
    :raises Refused: with 400
    """
    values = read_object(body)
    reset = values.pop("reset", False)
    if not isinstance(reset, bool):
        raise Refused(400, "reset is true or false")
    if not values and not reset:
        raise Refused(400, 'nothing is asked for: say {"component": "level"} or {"reset": true}')
    levels: dict[str, int | None] = {}
    for component, word in values.items():
        if component != EVERYTHING and not (len(component) <= MAX_TEXT and _COMPONENT.fullmatch(component)):
            raise Refused(400, f"{component[:MAX_TEXT]!r} is no component's name, nor {EVERYTHING} for all others")
        number = level_number(word) if isinstance(word, str) else None
        if number is None and word is not None:
            raise Refused(400, f"{component}: a level is one of {', '.join(LEVELS)}, or null for the configuration's")
        levels[component] = number
    return reset, levels


def read_options(body: bytes) -> tuple[bool, dict[str, tuple[str, ...] | None]]:
    """Parse options and their values; None restores the configured value of an option.

    :return: whether to restore all configured values first; the texts of the values to set after that
    :raises Refused: with 400
    """
    values = read_object(body)
    reset = values.pop("reset", False)
    if not isinstance(reset, bool):
        raise Refused(400, "reset is true or false")
    if not values and not reset:
        raise Refused(400, 'nothing is asked for: say {"option": value} or {"reset": true}')
    return reset, {name: None if value is None else _texts(name, value) for name, value in values.items()}


def _texts(name: str, value: Any) -> tuple[str, ...]:
    texts = value if isinstance(value, list) else [value]
    if any(isinstance(text, bool) or not isinstance(text, (str, int, float)) for text in texts):
        raise Refused(400, f"{name[:MAX_TEXT]}: a value is text or a number, or a list of them")
    return tuple(map(str, texts))


def _read(values: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    for name in values:
        if name not in names:
            known = ", ".join(names) or "nothing"
            raise Refused(400, f"{name[:MAX_TEXT]!r} means nothing here; there is {known}")
    return {name: _READERS[name](value) for name, value in values.items()}


def _text(name: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT:
            raise Refused(400, f"{name} is text of 1 to {MAX_TEXT} characters")
        return value

    return read


def _principal(name: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        try:
            return Principal.from_text(_text(name)(value)).text
        except FormatError as error:
            raise Refused(400, f"{name}: {error}") from None

    return read


def _state(value: Any) -> str:
    if value not in LABELS:
        raise Refused(400, f"state is one of {', '.join(LABELS)}")
    return str(value)


def _limit(value: Any) -> int:
    if not (isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value) and 1 <= int(value) <= MAX_LIMIT):
        raise Refused(400, f"limit is a number from 1 to {MAX_LIMIT}")
    return int(value)


def _code(value: Any) -> int:
    if not isinstance(value, int) or value not in KICK_CODES:
        raise Refused(400, f"code is one of {', '.join(str(int(code)) for code in KICK_CODES)}")
    return int(value)


def _window(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Refused(400, "window is a number of seconds")
    kind = BY_NAME["drain-window"].kind
    try:
        if value < 0:
            raise ConfigError(f"{value:g} is outside {kind.bounds}")
        window: float = kind.parse(f"{value:f}")
    except (ConfigError, OverflowError) as error:
        raise Refused(400, f"window: {error}") from None
    return window


def _for(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= MAX_BAN_SECONDS:
        raise Refused(400, f"for is a number of seconds up to {MAX_BAN_SECONDS}, which is {MAX_BAN_DAYS} days")
    return float(value)


def _network(value: Any) -> str:
    try:
        # connections from IPv4-mapped addresses are known by their IPv4 address
        return str(parse_network(_text("address")(value), strict=False))
    except ValueError as error:
        raise Refused(400, f"address is an address or a network: {error}") from None


def _origin(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ORIGIN:
        raise Refused(400, f"origin is text of 1 to {MAX_ORIGIN} characters")
    return value


def _seconds(name: str) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        if not (isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", value)):
            raise Refused(400, f"{name} is a number of seconds")
        return float(value)

    return read


def _sort(value: Any) -> str:
    if value not in SORTS:
        raise Refused(400, f"sort is one of {', '.join(SORTS)}")
    return str(value)


def _on(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Refused(400, "on is true or false")
    return value


_READERS: dict[str, Callable[[Any], Any]] = {
    "canister": _principal("canister"),
    "principal": _principal("principal"),
    "session": _text("session"),
    "state": _state,
    "limit": _limit,
    "code": _code,
    "window": _window,
    "for": _for,
    "on": _on,
    "address": _network,
    "origin": _origin,
    "older": _seconds("older"),
    "idle": _seconds("idle"),
    "sort": _sort,
}
