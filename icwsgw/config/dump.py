"""``--print-config`` and ``--check-config``: print the effective configuration in the format of ``--config``.

A comment gives the source and the unit of each value. The printed file always yields the same configuration again
(TOML 1.0: basic strings with escapes preserve the backslashes of endpoint strings). No option holds a secret; keys and
tokens are in files, of which only the paths are printed.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from icwsgw._version import __version__
from icwsgw.config.option import GROUPS, Option
from icwsgw.config.schema import OPTIONS
from icwsgw.config.sources import Sourced
from icwsgw.errors import ConfigError

# Numbers that TOML and every Kind read as the same value.
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e-\d+)?")
_NUMERIC_UNITS = frozenset({"seconds", "milliseconds", "bytes", "number", "0 to 1"})
_WIDTH = 110


def describe(sourced: Sourced) -> Iterator[str]:
    """Yield the effective configuration, one option per line.

    :raises ConfigError: a path is not Unicode, which TOML cannot represent
    """
    for entry in OPTIONS:
        yield _line(entry, sourced)


def as_file(sourced: Sourced) -> Iterator[str]:
    """Yield the lines of a ``--config`` file, with headings and an explanation of each option.

    :raises ConfigError: a path is not Unicode, which TOML cannot represent
    """
    yield f"# The effective configuration of icwsgw {__version__}, as --config takes it."
    yield "# Behind each value: where it comes from, and its unit."
    group = ""
    for entry in OPTIONS:
        yield ""
        if entry.group != group:
            group = entry.group
            yield from (f"# -- {group} --", "")
        yield from textwrap.wrap(
            entry.help, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
        )
        yield _line(entry, sourced)


def option_help(entry: Option) -> str:
    """Return the explanation, default and environment variable of an option, for ``--help``."""
    return f"{entry.usage} [{entry.variable}]"


def usage_lines(introduction: str, commands: Mapping[str, str], width: int) -> Iterator[str]:
    """Yield the lines of ``--help``.

    :param commands: explanations of the commands that are not options of the gateway, by name
    :param width: the terminal's width in columns
    """
    yield introduction
    for group in ("General", *GROUPS):
        yield from ("", f"{group}:")
        if group == "General":
            rows = list(commands.items())
        else:
            entries = [entry for entry in OPTIONS if entry.group == group]
            rows = [(f"{entry.name}{'' if entry.is_flag else '='}", option_help(entry)) for entry in entries]
        for name, explanation in rows:
            yield f"  --{name}"
            yield from textwrap.wrap(
                explanation, width, initial_indent=" " * 8, subsequent_indent=" " * 8, break_on_hyphens=False
            )
    yield from (
        "",
        "--no-NAME is the opposite of a flag --NAME. man icws and docs/options.md give reasons and examples.",
    )


def _line(entry: Option, sourced: Sourced) -> str:
    value, source = getattr(sourced.config, entry.field), sourced.sources[entry.field]
    origin = {"command line": source, "default": source, "devnet": "--devnet"}.get(source)
    if origin is None:
        origin = f"environment {source}" if source in (entry.variable, *entry.variables) else f"file {source}"
    # a file name may contain characters that would end the comment
    origin = "".join(character if character.isprintable() else "?" for character in origin)
    unit = f"; {entry.kind.unit}" if entry.kind.is_quantity else ""
    return f"{entry.name} = {_toml(entry, value)}  # {origin}{unit}"


def _toml(entry: Option, value: Any) -> str:
    """Return the TOML text of a value, which the option reads as the same value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if entry.kind.repeatable:
        return f"[{', '.join(_string(entry, str(item)) for item in value)}]"
    shown = entry.kind.show(value)
    if entry.kind.unit in _NUMERIC_UNITS and _NUMBER.fullmatch(shown):
        return shown
    return _string(entry, shown)


def _string(entry: Option, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"--{entry.name}: {text!r} is not Unicode, so no file can hold it") from None
    # JSON and TOML have the same escapes, except that JSON does not escape DEL
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
