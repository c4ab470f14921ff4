"""Writes docs/options.md, the reference of all options, from their declarations in icwsgw/config/schema.py.

A test fails if the page is out of date.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from icwsgw.config.option import GROUPS, Option
from icwsgw.config.schema import OPTIONS, REMOVED

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "options.md"

HEAD = """\
# Options of `twistd icws`

Made by `scripts/options_page.py` from the declarations in the code. The 15 options that people change first come
first, the others follow by subject. `man icws` and `twistd icws --help` have the same text.

An option can stand in three places:

```sh
twistd icws --polling-interval 200                    # on the command line
ICWS_POLLING_INTERVAL=200 twistd icws                 # in the environment: ICWS_ and the name
echo 'polling-interval = 200' > icws.toml             # in a TOML file
twistd icws --config icws.toml                        # that --config or ICWS_CONFIG names
```

Precedence: command line, environment, file, default. An unknown option on the command line or in the file stops the
start with one line that suggests the likely name. An unknown `ICWS_` variable does not stop the start, because
container platforms set such variables; one that looks like a misspelt option is logged. An empty variable counts as
unset.

`twistd` daemonizes by default and writes `twistd.log` and `twistd.pid` in the current directory. `--nodaemon
--pidfile=` before `icws` keeps it in the foreground with its log on stdout.

* **Durations** are numbers in the unit that the option names, or carry a unit: `250ms`, `10s`, `2m`, `1h`.
* **Sizes** are bytes, or powers of 1024: `64K`, `4M` (also `4MiB`), `1G`.
* **Flags** take no value on the command line; `--no-` before the name is the opposite. In the environment and in the
  file they are `true` or `false` (also `yes`, `on`, `1` and so on).
* **Repeatable options** are repeated on the command line. In the file they are a list, in the environment one text
  with commas or spaces between the values.
* **Paths** are relative to the directory in which the gateway starts.
* **None** is an empty text, `none` or `off`, if the default is *none*.

`--check-config` checks options, addresses, certificates and the key file, and prints the effective configuration. It
starts nothing. If something is invalid it prints one line and exits with status 1. It warns on stderr of what may be
right at another time: dates and chains of certificates, file modes, taken ports, missing directories, unknown hosts.
`--print-config` prints the effective configuration as a file for `--config`, with the source of each value:

```console
$ twistd icws --polling-interval 200 --print-config | grep -A1 'between the starts'
# Time between the starts of two polls of a canister.
polling-interval = 200  # command line; milliseconds
```

SIGHUP reloads some options; they say so. The others need a restart, and the log names them.
"""

REMOVED_WORDS = """\
Options of earlier versions have no effect. They are still accepted on the command line, in the environment and in the
file, with any value, so that an upgrade does not stop the start; the log warns of each."""

#: The introductory text of each group of options.
GROUP_WORDS = {
    "Most used": "What people change first.",
    "Network": "How the gateway talks to the Internet Computer. The defaults suit mainnet.",
    "Connections": "How many clients may connect, how fast, and to which canisters. With `--workers`, each worker has "
    "its share of the limits on all clients, and counts addresses and principals by itself.",
    "Timeouts of clients": "A client that misses a timeout is closed with a code that says which one "
    "([close codes](close-codes.md)).",
    "Messages and queues": "Sizes, rates and queue lengths. Each queue says what happens when it is full.",
    "Logs and traces": "What is written and where. [tracing.md](tracing.md) explains how to read it.",
    "Administration": "The admin API and the embedded replica.",
}


def assignment(entry: Option) -> str:
    """Return the option's example as a line of the configuration file."""
    text = entry.example or entry.kind.example
    if entry.kind.repeatable:
        return f'{entry.name} = ["{text}"]'
    bare = entry.is_flag or text.isdecimal()
    return f"{entry.name} = {text}" if bare else f'{entry.name} = "{text}"'


def command(entry: Option) -> str:
    """Return the option's example for the command line."""
    if entry.is_flag:
        return f"--no-{entry.name}" if entry.default else f"--{entry.name}"
    text = entry.example or entry.kind.example
    return f"--{entry.name} {text}"


def section(entry: Option) -> Iterator[str]:
    """Format the section of one option."""
    yield from ("", f"### --{entry.name}", "", _escaped(entry.help), "")
    default = entry.kind.readable(entry.default)
    yield f"* Default: {default if default in ('on', 'off', 'none') else f'`{default}`'}. {_escaped(entry.reason)}"
    value = {"number": "a whole number", "0 to 1": "a share, 0 to 1 or with `%`"}.get(entry.kind.unit)
    if value is None:
        value = f"`{entry.kind.unit}`" if "|" in entry.kind.unit else entry.kind.unit
    value = value.replace(" | ", "`, `")
    yield f"* Value: {value}" + (f", {entry.kind.bounds}" if entry.kind.bounds else "")
    yield f"* Example: `{command(entry)}`, `{assignment(entry)}`"
    others = "".join(f"; also the Rust gateway's `{name}`" for name in entry.variables)
    yield f"* Environment: `{entry.variable}`{others}"
    if entry.reloaded:
        yield "* Reloaded at SIGHUP"


def page() -> str:
    """The whole document."""
    lines = [HEAD]
    for group in GROUPS:
        entries = [entry for entry in OPTIONS if entry.group == group]
        lines += [f"## {group}", "", GROUP_WORDS[group], ""]
        links = ", ".join(f"[--{entry.name}](#--{entry.name})" for entry in entries)
        lines += [links]
        for entry in entries:
            lines += section(entry)
        lines.append("")
    lines += ["## Removed options", "", REMOVED_WORDS, ""]
    lines += [f"* `--{entry.name}`: {entry.instead}." for entry in REMOVED]
    return "\n".join(lines).rstrip() + "\n"


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace(">", "&gt;")


if __name__ == "__main__":
    DOCUMENT.write_text(page())
