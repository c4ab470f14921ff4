"""Writes docs/options.md, the reference of all options, from their declarations in icwsgw/config.py.

A test says when the page is stale.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from icwsgw.config import GROUPS, OPTIONS
from icwsgw.options import Option
from icwsgw.reloading import RELOADABLE

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "options.md"

HEAD = """\
# Options of `twistd icws`

Made by `scripts/options_page.py` from the declarations in the code; the [README](../README.md#options) has them as one
table, `man icws` as a manual page, `twistd icws --help` where no documents are.

Every option can be given in three places:

```sh
twistd icws --polling-interval 200                    # on the command line
ICWS_POLLING_INTERVAL=200 twistd icws                 # in the environment: ICWS_ and the name
echo 'polling-interval = 200' > icws.toml             # in a TOML file
twistd icws --config icws.toml                        # which --config names, or ICWS_CONFIG
```

The command line outweighs the environment, the environment the file. An option on the command line or in the file that
does not exist stops the start with a line that says what may have been meant. An unknown `ICWS_` variable stops
nothing, since container platforms make some of their own; one that looks like a misspelt option is told in the log. An
empty one counts as not set.

`twistd` by itself goes to the background and writes `twistd.log` and `twistd.pid` where it was started; `--nodaemon
--pidfile=` before `icws` keeps it in the foreground, its log on stdout.

* **Durations** are numbers of the unit that the option names, or carry their own: `250ms`, `10s`, `2m`, `1h`.
* **Sizes** are bytes, or powers of 1024: `64K`, `4M` (also `4MiB`), `1G`.
* **Flags** stand alone on the command line; `--no-` before the name is their opposite. Elsewhere they are `true` or
  `false` (also `yes`, `on`, `1`, and so on).
* **What may be repeated** is repeated on the command line, a list in the file, and in the environment one text with
  commas or blanks between the values.
* **Paths** are relative to the directory in which the gateway starts.
* **Nothing** is an empty text, `none` or `off`, where the default is *none*.

`--check-config` says what would run, looks at addresses, certificates and the key file without starting anything, and
ends with status 1 and a line when something is of no use. `--print-config` prints the whole configuration as a file
that `--config` takes, with where each value comes from:

```console
$ twistd icws --polling-interval 200 --print-config | grep -A1 'between two polls'
# Time between two polls of a canister, start to start.
polling-interval = 200  # command line; milliseconds
```

A running gateway takes some options anew at SIGHUP; those say so. The rest wait for a restart, and the log names them.
"""

#: What the options of a group have in common.
GROUP_WORDS = {
    "Main": "Where to listen, which network, how many processes. Seven are the original's: the first four, those of "
    "TLS and the collector.",
    "Protocol": "How messages travel between clients and canisters. The defaults suit mainnet.",
    "Time limits": "How long anything may take. A client that misses one is closed with a code that says which; "
    "[protocol.md](protocol.md) has the codes.",
    "Bounds": "Sizes of messages and of what may wait. Each of these queues has an answer to being full.",
    "Clients": "What clients and strangers may take. With `--workers` each has its share of what is for all, and "
    "counts one address's and one principal's itself. 0 is no limit where it is allowed.",
    "Access": "Who may connect to what. All three lists are taken anew at SIGHUP, and clients of a canister that is "
    "denied from then on are closed with 4110.",
    "Logs and traces": "What is written where. [tracing.md](tracing.md) says how to read it.",
}


def assignment(entry: Option) -> str:
    """The example as a line of the file."""
    text = entry.example or entry.kind.example
    if entry.kind.repeatable:
        return f'{entry.name} = ["{text}"]'
    bare = entry.is_flag or text.isdecimal()
    return f"{entry.name} = {text}" if bare else f'{entry.name} = "{text}"'


def command(entry: Option) -> str:
    """The example on the command line."""
    if entry.is_flag:
        return f"--no-{entry.name}" if entry.default else f"--{entry.name}"
    text = entry.example or entry.kind.example
    return f"--{entry.name} {text}"


def section(entry: Option) -> Iterator[str]:
    """One option."""
    yield from ("", f"### --{entry.name}", "", _escaped(entry.help), "")
    default = entry.kind.readable(entry.default)
    yield f"* Default: {default if default in ('on', 'off', 'none') else f'`{default}`'}. {_escaped(entry.reason)}"
    value = {"number": "a whole number", "0 to 1": "a share, 0 to 1 or with `%`"}.get(entry.kind.unit)
    if value is None:
        value = f"`{entry.kind.unit}`" if "|" in entry.kind.unit else entry.kind.unit
    value = value.replace(" | ", "`, `")
    yield f"* Value: {value}" + (f", {entry.kind.bounds}" if entry.kind.bounds else "")
    yield f"* Example: `{command(entry)}`, `{assignment(entry)}`"
    others = "".join(f"; also the original's `{name}`" for name in entry.variables)
    yield f"* Environment: `{entry.variable}`{others}"
    if entry.field in RELOADABLE:
        yield "* Taken at SIGHUP"


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
    return "\n".join(lines).rstrip() + "\n"


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace(">", "&gt;")


if __name__ == "__main__":
    DOCUMENT.write_text(page())
