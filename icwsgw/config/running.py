"""What a running gateway can take of its configuration: at a reload, and from the admin API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
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
    return replace(config, **read_settable(options))


def fitting_options(
    config: GatewayConfig, options: Mapping[str, Sequence[str]]
) -> tuple[GatewayConfig, dict[str, str]]:
    """Return the configuration with those options set at run time that fit it.

    :param options: as for :func:`with_options`; in the order of their setting
    :return: the configuration, and why each of the other options is not applied, by name
    :raises ConfigError: a value is invalid or cannot apply to a running gateway
    """
    config, reasons = fitting(config, read_settable(options))
    return config, {name: str(reasons[field]) for name in options if (field := BY_NAME[name].field) in reasons}


def fitting(config: GatewayConfig, fields: Mapping[str, Any]) -> tuple[GatewayConfig, dict[str, ConfigError]]:
    """Replace those fields of the configuration whose new values fit it and each other.

    :param fields: values by field, all valid by themselves; of two that contradict each other, the later one applies
    :return: the configuration, and why each of the other values does not fit, by field
    """
    reasons: dict[str, ConfigError] = {}
    try:
        return replace(config, **fields), reasons
    except ConfigError:
        left = dict(reversed(list(fields.items())))
    added = True
    while added:
        added = False
        # a value may need another one that comes behind it, or two may need each other
        for names in [*combinations(left, 1), *combinations(left, 2)]:
            if not left.keys() >= set(names):
                continue
            try:
                config = replace(config, **{name: left[name] for name in names})
            except ConfigError as error:
                if len(names) == 1:
                    reasons[names[0]] = error
            else:
                added = True
                for name in names:
                    del left[name]
    return config, {name: reasons[name] for name in fields if name in left}


def read_settable(options: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the values of options that are set at run time, by field of the configuration.

    :param options: as for :func:`with_options`
    :raises ConfigError: a value is invalid or cannot apply to a running gateway
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
    return fields
