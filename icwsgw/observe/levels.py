"""Log levels as text: ``info``, or ``warn,gateway=debug,server=error``.

The grammar is a part of tracing-subscriber's EnvFilter, which operators of the Rust gateway use in RUST_LOG_STDOUT and
RUST_LOG_FILE: directives separated by commas, each a level or ``component=level``. The longest component that matches
applies. ``ic_websocket_gateway`` (with or without a ``::module``) means this program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from icwsgw.errors import ConfigError

DEBUG, INFO, WARN, ERROR, CRITICAL, OFF = 10, 20, 30, 40, 50, 100

#: Levels by name; a line is written if the number of its level is at least that of the configured level.
LEVELS = {"trace": 5, "debug": DEBUG, "info": INFO, "warn": WARN, "error": ERROR, "critical": CRITICAL, "off": OFF}
_SYNONYMS = {"warning": "warn", "none": "off", "fatal": "critical"}
_ORIGINAL = "ic_websocket_gateway"

#: The components of this program.
COMPONENTS = (
    *("acme", "admin", "admin.audit", "agent", "close_notice", "devnet", "gateway", "handover", "log", "notify"),
    *("poller", "relay", "server", "server.tls", "service", "session", "tracing", "workers"),
)
# Components by the name of a module, with anything behind a dot.
_MODULES = ("devnet", "twisted", "autobahn", "stdout", "stderr")

#: Stands for all components that have no level set by name.
EVERYTHING = "*"


@dataclass(frozen=True, slots=True)
class Levels:
    """The lowest level that is written: the default, and by component (``gateway``, ``twisted.web``)."""

    default: int = INFO
    components: dict[str, int] = field(default_factory=dict)

    def of(self, component: str) -> int:
        """Return the lowest level that a component writes."""
        while component:
            level = self.components.get(component)
            if level is not None:
                return level
            component = component.rpartition(".")[0]
        return self.default

    def overridden(self, levels: Mapping[str, int]) -> Levels:
        """Return a copy with other levels for some components; :data:`EVERYTHING` stands for the unnamed ones."""
        components = {**self.components, **levels}
        return Levels(components.pop(EVERYTHING, self.default), components)


def unknown_components(levels: Levels) -> list[str]:
    """Return the components with a level that nothing logs as."""
    return sorted(
        name for name in levels.components if name not in COMPONENTS and name.partition(".")[0] not in _MODULES
    )


def level_name(number: int) -> str:
    """Return the name of a level number."""
    return next(name for name, level in LEVELS.items() if level == number)


def level_number(word: str) -> int | None:
    """Return the number of a level name, or None if there is no such level."""
    word = word.strip().lower()
    return LEVELS.get(_SYNONYMS.get(word, word))


def parse_levels(text: str) -> Levels:
    """Parse a list of directives.

    :raises ConfigError: for a directive that is neither a level nor ``component=level``
    """
    default = INFO
    components: dict[str, int] = {}
    for directive in filter(None, (part.strip() for part in text.split(","))):
        component, equals, word = directive.rpartition("=")
        level = level_number(word)
        if level is None or (equals and not component):
            raise ConfigError(f"{directive!r} is neither a log level ({', '.join(LEVELS)}) nor component=level")
        if equals:
            components[component.strip()] = level
        else:
            default = level
    return Levels(default, components)


def from_rust_log(text: str) -> str:
    """Translate a RUST_LOG_* filter; directives without a meaning here are dropped, so that the default applies.

    :return: directives for :func:`parse_levels`, empty if none of them applies
    """
    general, ours = "", ""
    for directive in filter(None, (part.strip() for part in text.split(","))):
        target, equals, word = directive.rpartition("=")
        level = level_number(word)
        if directive == _ORIGINAL:
            ours = "trace"
        elif level is not None and not equals:
            general = word.strip().lower()
        elif level is not None and target.partition("::")[0] == _ORIGINAL:
            ours = word.strip().lower()
    # EnvFilter distinguishes crates. The directive for this program takes precedence over the general one.
    return ours or general
