"""Makes the rows of a twistd plugin's command line (``twisted.python.usage.Options``) from declared options."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from icwsgw.config.option import Option


class Given(NamedTuple):
    """A value from the command line. The wrapper distinguishes the value None from an option that was not given."""

    value: Any


def parameter_rows(
    entries: Iterable[Option], help_text: Callable[[Option], str], shorts: Mapping[str, str] | None = None
) -> list[list[Any]]:
    """Make the rows of ``optParameters``: options that take one value.

    :param help_text: returns an option's text for ``--help``
    :param shorts: one-letter forms, by name
    """
    short = shorts or {}
    return [
        [entry.name, short.get(entry.name), None, help_text(entry), _reader(entry)]
        for entry in entries
        if not entry.is_flag and not entry.kind.repeatable
    ]


def flag_rows(entries: Iterable[Option], help_text: Callable[[Option], str]) -> list[list[Any]]:
    """Make the rows of ``optFlags``: each flag and its opposite."""
    flags = [entry for entry in entries if entry.is_flag]
    return [
        *([entry.name, None, help_text(entry)] for entry in flags),
        *([f"no-{entry.name}", None, f"The opposite of --{entry.name}."] for entry in flags),
    ]


class Gathering(Protocol):
    """A command line that collects the values of repeatable options, by name."""

    gathered: dict[str, tuple[Any, ...]]


def add_repeatable(
    command_line: type[Gathering], entries: Iterable[Option], help_text: Callable[[Option], str]
) -> None:
    """Add a handler for each repeatable option to a command line, which then collects its values in ``gathered``."""
    for entry in entries:
        if entry.kind.repeatable:
            setattr(command_line, "opt_" + entry.name.replace("-", "_"), _gather(entry, help_text(entry)))


def _gather(entry: Option, help_text: str) -> Callable[[Gathering, str], None]:
    def gather(self: Gathering, text: str) -> None:
        self.gathered[entry.name] = self.gathered.get(entry.name, ()) + entry.parse(text, f"--{entry.name}")

    gather.__doc__ = help_text
    return gather


def given_values(entries: Iterable[Option], read: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that the command line gave for these options.

    :param read: the Options, after parsing
    :returns: values by option name, without options that were not given
    """
    given: dict[str, Any] = {}
    for entry in entries:
        if entry.is_flag:
            if read[entry.name] or read[f"no-{entry.name}"]:
                given[entry.name] = bool(read[entry.name])
        elif not entry.kind.repeatable and read[entry.name] is not None:
            given[entry.name] = read[entry.name].value
    return given


def _reader(entry: Option) -> Callable[[str], Given]:
    return lambda text: Given(entry.parse(text, f"--{entry.name}"))
