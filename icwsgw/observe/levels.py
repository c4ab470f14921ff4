"""Log levels as text: ``info``, or ``warn,gateway=debug,server=error``.

The grammar is the part of tracing-subscriber's EnvFilter that operators of the original use in RUST_LOG_STDOUT
and RUST_LOG_FILE: directives between commas, each a level or ``component=level``; the longest component that
fits a line decides. ``ic_websocket_gateway`` (with or without a ``::module``) means this program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from icwsgw.errors import ConfigError

DEBUG, INFO, WARN, ERROR, CRITICAL, OFF = 10, 20, 30, 40, 50, 100

#: Levels by name; a line is written when its number is at least the number of the wanted level.
LEVELS = {"trace": 5, "debug": DEBUG, "info": INFO, "warn": WARN, "error": ERROR, "critical": CRITICAL, "off": OFF}
_SYNONYMS = {"warning": "warn", "none": "off", "fatal": "critical"}
_ORIGINAL = "ic_websocket_gateway"

#: In place of a component's name: those that are not named.
EVERYTHING = "*"


@dataclass(frozen=True, slots=True)
class Levels:
    """The lowest level written, in general and by component (``gateway``, ``twisted.web``)."""

    default: int = INFO
    components: dict[str, int] = field(default_factory=dict)

    def of(self, component: str) -> int:
        """Give the lowest level that a component writes."""
        while component:
            level = self.components.get(component)
            if level is not None:
                return level
            component = component.rpartition(".")[0]
        return self.default

    def overridden(self, levels: Mapping[str, int]) -> Levels:
        """These levels with others for some components, :data:`EVERYTHING` for those that are not named."""
        components = {**self.components, **levels}
        return Levels(components.pop(EVERYTHING, self.default), components)


def level_name(number: int) -> str:
    """The name of a level number."""
    return next(name for name, level in LEVELS.items() if level == number)


def level_number(word: str) -> int | None:
    """The level that a word means, or None."""
    word = word.strip().lower()
    return LEVELS.get(_SYNONYMS.get(word, word))


def parse_levels(text: str) -> Levels:
    """Read a list of directives.

    :raises ConfigError: at a directive that is neither a level nor ``component=level``
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
    """Translate a RUST_LOG_* filter; what has no meaning here is left out, as the original falls back to its default.

    :return: directives for :func:`parse_levels`, empty when nothing of it applies
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
    # Ours is one program where EnvFilter knows crates: the directive that names it outweighs the general one.
    return ours or general
