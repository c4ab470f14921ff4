"""``--print-config`` and ``--check-config``: the effective configuration as a file that ``--config`` takes.

Each key has where its value comes from and its unit in a comment. Reading the file gives the same configuration again,
whatever the values (TOML 1.0: basic strings with their escapes, so that the backslashes of endpoint strings survive).
No option holds a secret; keys and tokens are files, whose paths are printed.
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

# What TOML and every Kind read as one and the same number.
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e-\d+)?")
_NUMERIC_UNITS = frozenset({"seconds", "milliseconds", "bytes", "number", "0 to 1"})
_WIDTH = 110


def describe(sourced: Sourced) -> Iterator[str]:
    """Yield what would run, one option a line.

    :raises ConfigError: a path that is not Unicode, which TOML cannot hold
    """
    for entry in OPTIONS:
        yield _line(entry, sourced)


def as_file(sourced: Sourced) -> Iterator[str]:
    """Yield the lines of a ``--config`` file, with headings and what each option is for.

    :raises ConfigError: a path that is not Unicode, which TOML cannot hold
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


def option_words(entry: Option) -> str:
    """What an option does, its default and its environment variable, for ``--help``."""
    return f"{entry.usage} [{entry.variable}]"


def usage_lines(introduction: str, commands: Mapping[str, str], width: int) -> Iterator[str]:
    """Yield the lines of ``--help``.

    :param commands: what is no option of the gateway, with its explanation
    :param width: columns of the terminal
    """
    yield introduction
    for group in ("General", *GROUPS):
        yield from ("", f"{group}:")
        if group == "General":
            rows = list(commands.items())
        else:
            entries = [entry for entry in OPTIONS if entry.group == group]
            rows = [(f"{entry.name}{'' if entry.is_flag else '='}", option_words(entry)) for entry in entries]
        for name, words in rows:
            yield f"  --{name}"
            yield from textwrap.wrap(
                words, width, initial_indent=" " * 8, subsequent_indent=" " * 8, break_on_hyphens=False
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
    # a file's name may hold what would end the comment
    origin = "".join(character if character.isprintable() else "?" for character in origin)
    unit = f"; {entry.kind.unit}" if entry.kind.is_quantity else ""
    return f"{entry.name} = {_toml(entry, value)}  # {origin}{unit}"


def _toml(entry: Option, value: Any) -> str:
    """Write a value so that TOML and then the option read it as the same value."""
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
    # JSON's escapes are TOML's, but for DEL, which JSON leaves alone
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
