"""Where the values of options in force come from, for the admin API; with reloads in between."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit, urlunsplit

from icwsgw.config.option import Option
from icwsgw.config.schema import GatewayConfig
from icwsgw.config.sources import Sourced

#: In place of what may be a secret.
HIDDEN = "..."


class Provenance:
    """The sources of the configuration that a process started with, and of the one that it has read last.

    :param began: at the start
    """

    def __init__(self, began: Sourced) -> None:
        self._began = began
        self._read = began

    def read_again(self, sourced: Sourced) -> None:
        """Take note of what was read at a reload."""
        self._read = sourced

    def source(self, entry: Option, running: GatewayConfig) -> str:
        """Return where the running value of an option comes from, in words."""
        value = getattr(running, entry.field)
        of = self._read if value == getattr(self._read.config, entry.field) else self._began
        source = of.sources.get(entry.field, "default")
        if source in ("command line", "default"):
            return source
        if source == "devnet":
            return "--devnet"
        return f"environment {source}" if source in (entry.variable, *entry.variables) else f"file {source}"

    def waiting(self, entry: Option, running: GatewayConfig) -> str | list[str] | None:
        """Return the value that was read last, if it needs a restart; otherwise None."""
        value = getattr(self._read.config, entry.field)
        return None if value == getattr(running, entry.field) else shown(entry, value)


def shown(entry: Option, value: Any) -> str | list[str]:
    """Return the text of a value; for repeatable options, a list. What may be a secret in a URL is left out."""
    if entry.kind.repeatable:
        return [without_secrets(str(item)) for item in value]
    return without_secrets(entry.kind.show(value))


def without_secrets(text: str) -> str:
    """Return a text as it is; if it is a URL, without its user, its password and its query."""
    if "://" not in text:
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        return HIDDEN
    host = parts.netloc.rpartition("@")[2]
    netloc = f"{HIDDEN}@{host}" if "@" in parts.netloc else host
    return urlunsplit((parts.scheme, netloc, parts.path, HIDDEN if parts.query else "", ""))
