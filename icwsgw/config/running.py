"""What a running gateway can take of its configuration: at a reload, and from the admin API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from icwsgw.config.schema import BY_NAME, OPTIONS, GatewayConfig
from icwsgw.errors import ConfigError

#: Fields of the configuration that a running gateway can change.
RELOADABLE = frozenset(entry.field for entry in OPTIONS if entry.reloaded)
#: Those that the admin API can set; log levels have a request of their own.
SETTABLE = RELOADABLE - {"log_level", "log_file_level"}


def with_options(config: GatewayConfig, options: Mapping[str, Sequence[str]]) -> GatewayConfig:
    """Return the configuration with options that were set at run time.

    :param options: the texts of their values by name: several for those that are repeatable, otherwise one
    :raises ConfigError: a value is invalid, does not fit the others, or cannot apply to a running gateway
    """
    fields: dict[str, Any] = {}
    for name, texts in options.items():
        entry = BY_NAME.get(name)
        if entry is None:
            raise ConfigError(f"{name[:64]} is not an option")
        if entry.field not in SETTABLE:
            hint = "see icwsctl log-level" if entry.field in RELOADABLE else "an upgrade or a restart applies it"
            raise ConfigError(f"{name} is not an option that can be set at run time; {hint}")
        values = [entry.parse(text, name) for text in texts]
        if not entry.kind.repeatable and len(values) != 1:
            raise ConfigError(f"{name} has one value")
        fields[entry.field] = sum(values, ()) if entry.kind.repeatable else values[0]
    return replace(config, **fields)
