"""SIGHUP: reads the configuration again and applies what a running gateway can apply.

This covers lists, limits, rates, timeouts, log levels and certificates. Other changes are logged and need a restart. An
invalid configuration is ignored and logged as one error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from icwsgw.config.log_options import level_warnings
from icwsgw.config.running import RELOADABLE, fitting, fitting_options
from icwsgw.config.schema import OPTIONS, GatewayConfig
from icwsgw.errors import ConfigError
from icwsgw.observe.levels import parse_levels
from icwsgw.observe.logs import change_levels, get_logger

_log = get_logger("service")


class OptionChange(NamedTuple):
    """The effect of a reload on a running gateway.

    :ivar config: the running configuration, with the reloadable fields of the new one
    :ivar taken: names of the changed options that apply now
    :ivar waiting: names of the changed options that need a restart
    """

    config: GatewayConfig
    taken: list[str]
    waiting: list[str]


def compare(running: GatewayConfig, new: GatewayConfig) -> OptionChange:
    """Merge the reloadable fields of ``new`` into ``running``.

    A value that contradicts one that needs a restart waits with it.
    """
    differing = (entry for entry in OPTIONS if getattr(running, entry.field) != getattr(new, entry.field))
    changed = sorted(differing, key=lambda entry: entry.name)
    reloadable = {entry.field: getattr(new, entry.field) for entry in changed if entry.field in RELOADABLE}
    config, unfit = fitting(running, reloadable)
    taken = [entry for entry in changed if entry.field in reloadable and entry.field not in unfit]
    return OptionChange(
        config,
        [entry.name for entry in taken],
        [entry.name for entry in changed if entry not in taken],
    )


def with_options_that_fit(config: GatewayConfig, options: Mapping[str, Sequence[str]]) -> GatewayConfig:
    """Return the configuration with those options set at run time that fit it; log the others."""
    config, reasons = fitting_options(config, options)
    for name, reason in reasons.items():
        _log.error(
            "an option set at run time does not fit the configuration and is not applied", option=name, reason=reason
        )
    return config


class Reloads(Protocol):
    """A target of a reload: the gateway, or the supervisor of several workers."""

    def reload(self, config: GatewayConfig) -> None:
        """Apply ``config``, which differs from the previous one in :data:`RELOADABLE` only; reload certificates."""

    def reloaded(self, ok: bool) -> None:
        """Record the result: False if the new configuration was invalid (:meth:`reload` then gets the previous one)."""


class Reloader:
    """A callable that reloads.

    :param config: the running configuration
    :param read: reads the configuration again; raises ConfigError
    :param target: gets the new configuration and the result
    :param notify: called with True when a reload begins and with False when it ends
    """

    def __init__(
        self,
        config: GatewayConfig,
        read: Callable[[], GatewayConfig],
        target: Reloads,
        notify: Callable[[bool], None] = lambda begins: None,
    ) -> None:
        self._config = config
        self._read = read
        self._target = target
        self._notify = notify

    def __call__(self) -> None:
        self._notify(True)
        try:
            change = compare(self._config, self._read())
        except ConfigError as error:
            self._target.reloaded(False)
            _log.error("invalid configuration ignored", reason=error)
        except Exception:
            # the service manager waits for the end
            self._target.reloaded(False)
            _log.failure("reloading the configuration failed, the previous one stays in use")
        else:
            self._config = change.config
            self._target.reloaded(True)
            change_levels(parse_levels(change.config.log_level), parse_levels(change.config.log_file_level))
            _log.info("configuration reloaded", changed=",".join(change.taken) or "nothing")
            if {"log-level", "log-file-level"}.intersection(change.taken):
                for warning in level_warnings(change.config):
                    _log.warn(warning)
            if change.waiting:
                _log.warn("changed options need a restart", options=",".join(change.waiting))
        # Certificates are reloaded even if the configuration is invalid.
        try:
            self._target.reload(self._config)
        except Exception:
            _log.failure("reloading failed")
        self._notify(False)
