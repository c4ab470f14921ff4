"""Lists the local networks that ``--ic-network-url auto`` looks for, the likeliest first.

They come from the project in a directory, and from the ports on which the tools listen by default:

========================================  =========================================================================
file                                      network
========================================  =========================================================================
.icp/cache/networks/local/descriptor.json the port on which icp-cli runs the network ``local`` now
icp.yaml                                  the network ``local``: its ``url``, or its ``gateway``'s port, 8000 if it is
                                          not in the file
.dfx/network/local/webserver-port         the port on which dfx runs the project's own network ``local`` now
dfx.json                                  the network ``local``: its ``bind`` or its first provider, 4943 if it is
                                          not in the file
========================================  =========================================================================

Of ``icp.yaml`` only the top-level ``networks`` are read, as block mappings and sequences of plain or quoted scalars
(YAML 1.2, chapters 7 and 8). Whatever else a file may hold, it does not stop the start: a file that cannot be read
counts as one that names no network.

Sources: dfinity/icp-cli, crates/icp/src/network (``Gateway``, ``Connected``, ``NetworkDescriptorModel``);
dfinity/sdk, docs/dfx-json-schema.json (``ConfigNetwork``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from icwsgw.config.option import URL
from icwsgw.errors import ConfigError, FormatError
from icwsgw.ic.networks import LOCAL_PORTS

#: Bytes of a file that are read.
_MOST = 1 << 20
_NAME = "local"

_KEY = re.compile(
    r"""("[^"\\]*"|'[^']*'|[^\s"'\[\]{}#&*!|>%@`,?:-](?:[^#\[\]{}"']*?[^#\[\]{}"'\s])??)\s*:(?:\s+(.*))?"""
)
_COMMENT = re.compile(r"(?:^|\s)#.*$")


class LocalNetwork(NamedTuple):
    """A network that may run on this machine.

    :ivar url: its URL
    :ivar why: what names it, in words
    """

    url: str
    why: str


def local_networks(folder: Path) -> list[LocalNetwork]:
    """List the networks of the project in a directory, then those of the tools' default ports; each URL once."""
    found: dict[str, LocalNetwork] = {}
    for url, why in _all(folder):
        try:
            found.setdefault(url, LocalNetwork(URL.parse(url), why))
        except ConfigError:
            continue
    return list(found.values())


def _all(folder: Path) -> Iterator[tuple[str, str]]:
    yield from _of_icp(folder)
    yield from _of_dfx(folder)
    for tool, port in LOCAL_PORTS.items():
        yield _here(port), f"the port of {tool}"


def _here(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _of_icp(folder: Path) -> Iterator[tuple[str, str]]:
    descriptor = _json(folder / ".icp" / "cache" / "networks" / _NAME / "descriptor.json")
    port = _port(_entry(descriptor, "gateway", "port"))
    if port:
        yield _here(port), "icp-cli has started it for this directory"
    text = _text(folder / "icp.yaml")
    if text is None:
        return
    default = LOCAL_PORTS["icp-cli"]
    try:
        networks = read_networks(text)
    except FormatError as error:
        yield _here(default), f"the port of icp-cli; the networks in icp.yaml are not readable here ({error})"
        return
    entry = next((each for each in networks if isinstance(each, dict) and each.get("name") == _NAME), None)
    if entry is None or (entry.get("mode") != "connected" and "gateway" not in entry):
        yield _here(default), "the port of icp-cli, whose icp.yaml is here"
    elif entry.get("mode") == "connected":
        yield str(entry.get("url")), "icp.yaml names it"
    elif port := _port(_entry(entry, "gateway", "port")):
        yield _here(port), "icp.yaml names its port"


def _of_dfx(folder: Path) -> Iterator[tuple[str, str]]:
    running = _text(folder / ".dfx" / "network" / _NAME / "webserver-port")
    if port := _port((running or "").strip()):
        yield _here(port), "dfx has started it for this directory"
    project = _json(folder / "dfx.json")
    if project is None:
        return
    entry = _entry(project, "networks", _NAME)
    bind, providers = _entry(entry, "bind"), _entry(entry, "providers")
    if isinstance(providers, list) and providers:
        yield str(providers[0]), "dfx.json names it"
    elif isinstance(bind, str):
        if port := _port(bind.rpartition(":")[2]):
            yield _here(port), "dfx.json names its port"
    else:
        yield _here(LOCAL_PORTS["dfx"]), "the port of dfx, whose dfx.json is here"


def _text(path: Path) -> str | None:
    try:
        with path.open("rb") as stream:
            return stream.read(_MOST).decode()
    except (OSError, UnicodeDecodeError):
        return None


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path) or "null")
    except (ValueError, RecursionError):
        return None


def _entry(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _port(value: object) -> int | None:
    """A port above 0 from a number or digits, else None."""
    digits = str(value)
    port = int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 6 else 0
    return port if 0 < port < 65536 else None


def read_networks(text: str) -> list[Any]:
    """Read the top-level ``networks`` of ``icp.yaml``; all scalars are text.

    :returns: the entries; empty if there are none
    :raises FormatError: they use YAML that this reader does not know
    """
    lines: list[tuple[int, str]] | None = None
    for raw in text.splitlines():
        line = _COMMENT.sub("", raw).rstrip()
        if not line or line == "---":
            continue
        indent = len(line) - len(line.lstrip(" "))
        if indent == 0 and not line.startswith("-"):
            if lines is not None:
                break
            if line.startswith("networks:"):
                lines = []
                if line != "networks:":
                    return _flow(line[9:].strip())
        elif lines is not None:
            lines.append((indent, line.lstrip(" ")))
    if not lines:
        return []
    lines.reverse()
    try:
        value = _block(lines, lines[-1][0])
    except RecursionError:
        raise FormatError("nested too deeply") from None
    if lines:
        raise FormatError(f"the indentation of {lines[-1][1]!r}")
    if not isinstance(value, list):
        raise FormatError("networks is no list")
    return value


def _flow(text: str) -> list[Any]:
    if text in ("[]", "~", "null"):
        return []
    raise FormatError(f"{text!r}")


#: Indentation and text of the lines that are left, in reverse order.
_Lines = list[tuple[int, str]]


def _block(lines: _Lines, indent: int) -> Any:
    """Read the block that begins at an indentation, and take its lines away."""
    return _sequence(lines, indent) if _is_entry(lines[-1][1]) else _mapping(lines, indent)


def _is_entry(text: str) -> bool:
    return text == "-" or text.startswith("- ")


def _sequence(lines: _Lines, indent: int) -> list[Any]:
    values: list[Any] = []
    while lines and lines[-1][0] == indent and _is_entry(lines[-1][1]):
        _, text = lines.pop()
        inner = text[1:].lstrip(" ")
        if inner and (inner.startswith("- ") or _KEY.fullmatch(inner)):
            deeper = indent + len(text) - len(inner)
            lines.append((deeper, inner))
            values.append(_block(lines, deeper))
        elif inner:
            values.append(_scalar(inner))
        else:
            values.append(_below(lines, indent, False))
    return values


def _mapping(lines: _Lines, indent: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    while lines and lines[-1][0] == indent and not lines[-1][1].startswith("- "):
        _, line = lines.pop()
        found = _KEY.fullmatch(line)
        if found is None:
            raise FormatError(f"{line!r}")
        text = found[2]
        values[_scalar(found[1])] = _scalar(text) if text else _below(lines, indent, True)
    return values


def _below(lines: _Lines, indent: int, may_align: bool) -> Any:
    """Read the block below a key or a dash; None if there is none. A sequence may align with its key."""
    if lines and (lines[-1][0] > indent or (may_align and lines[-1][0] == indent and lines[-1][1].startswith("-"))):
        return _block(lines, lines[-1][0])
    return None


def _scalar(text: str) -> str:
    if text[0] in "\"'":
        inner = text[1:-1]
        if len(text) < 2 or text[-1] != text[0] or text[0] in inner or (text[0] == '"' and "\\" in inner):
            raise FormatError(f"{text}")
        return inner
    if text[0] in "[]{}&*!|>%@`" or ": " in text:
        raise FormatError(f"{text!r}")
    return text
