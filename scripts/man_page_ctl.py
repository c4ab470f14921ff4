r"""Writes docs/man/icwsctl.1, the manual page of icwsctl, from the command line in icwsgw/ctl/commands.py.

A test fails if the page is out of date. scripts/man_page.py writes the page of the gateway.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from mdoc import roff, sentences

from icwsgw.ctl.commands import make_parser

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "man" / "icwsctl.1"

#: Update this by hand when the text below changes.
DATE = "November 25, 2026"

HEAD = r"""
.\" Made by scripts/man_page_ctl.py: change that, or the command line in icwsgw/ctl/commands.py.
.Dd @DATE@
.Dt ICWSCTL 1
.Os
.Sh NAME
.Nm icwsctl
.Nd inspect and control a running WebSocket gateway
.Sh SYNOPSIS
.Nm
.Op Ar options
.Ar command
.Op Ar arguments
.Nm
.Fl \-version | Fl \-help
.Nm
.Ar command
.Fl \-help
.Sh DESCRIPTION
.Nm
talks to the admin endpoint of a gateway that was started with
.Fl \-admin\-endpoint ;
see
.Xr icws 1 .
It shows sessions and canisters, closes clients, denies canisters, sets log
levels and drains the gateway.
With several workers, each answer covers all of them.
.Pp
The component admin logs each change, with who made it.
.Sh OPTIONS
Options may stand before or after the command.
.Bl -tag -width Ds
""".strip()

TAIL = r"""
.Sh ENVIRONMENT
.Bl -tag -width Ds
.It Ev ICWS_ADMIN_ENDPOINT
The admin endpoint, unless
.Fl \-endpoint
is given; the gateway reads the same variable.
.It Ev ICWS_ADMIN_TOKEN_FILE
The file with the token, unless
.Fl \-token\-file
is given.
.El
.Sh EXIT STATUS
.Bl -tag -width Ds
.It 0
Done.
.It 1
The gateway refused or cannot be reached, or not all of its workers have
confirmed the change.
.It 2
The command line is wrong.
.El
.Sh EXAMPLES
Set the admin endpoint of this machine for the examples below:
.Bd -literal -offset indent
export ICWS_ADMIN_ENDPOINT=unix:/run/icws/admin.sock
icwsctl status
.Ed
.Pp
List the clients of a canister, and close one of them:
.Bd -literal -offset indent
icwsctl sessions --canister bkyz2-fmaaa-aaaaa-qaaaq-cai
icwsctl kick 8a50-1
.Ed
.Pp
Deny a canister until the gateway stops:
.Bd -literal -offset indent
icwsctl deny bkyz2-fmaaa-aaaaa-qaaaq-cai
.Ed
.Pp
Log what the relay does, then go back to the configured level:
.Bd -literal -offset indent
icwsctl log-level relay debug
icwsctl log-level relay --reset
.Ed
.Pp
Ask a gateway on another machine:
.Bd -literal -offset indent
icwsctl --endpoint https://gateway.example:9091 \e
    --token-file /etc/icws/admin-token status
.Ed
.Pp
Print JSON for a program:
.Bd -literal -offset indent
icwsctl --json canisters --limit 1000
.Ed
.Sh DIAGNOSTICS
Each error is one line on standard error.
.Sh SEE ALSO
.Xr icws 1
.Pp
.Pa docs/admin-api.md
in the source repository documents the JSON answers and the access rules.
""".strip()


def value(action: argparse.Action) -> str:
    """Return the placeholder for the value of an argument."""
    if action.choices and action.metavar is None:
        return " | ".join(f"Ar {roff(str(choice))}" for choice in action.choices)
    name = str(action.metavar or action.dest).lower()
    return f"Ar {roff(name.replace('_', '-'))}"


def written(action: argparse.Action) -> str:
    """Return the syntax of an argument."""
    if not action.option_strings:
        return value(action)
    flag = f"Fl \\-{roff(action.option_strings[-1].removeprefix('--'))}"
    return flag if action.nargs == 0 else f"{flag} {value(action)}"


def about(action: argparse.Action) -> Iterator[str]:
    """Format an argument with its meaning; its help contains the environment variable in square brackets."""
    yield f".It {written(action)}"
    help, _, variable = str(action.help or "").partition(" [ICWS_")
    help, _, default = help.partition(" [default: ")
    yield from sentences(f"{help[0].upper()}{help[1:]}.")
    if default:
        yield f"Default: {roff(default.rstrip(']'))}."
    if variable:
        yield ".br"
        yield f".Ev ICWS_{variable.rstrip(']')}"


def arguments(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return the arguments of a parser that have a help text."""
    return [
        action
        for action in parser._actions
        if not isinstance(action, (argparse._HelpAction, argparse._VersionAction, argparse._SubParsersAction))
    ]


def command(name: str, parser: argparse.ArgumentParser, common: set[str]) -> Iterator[str]:
    """Format a command with its arguments, except those that all commands have."""
    own = [action for action in arguments(parser) if action.dest not in common]
    yield ".It Xo"
    yield f".Cm {roff(name)}"
    for action in own:
        yield f".{written(action)}" if action.required else f".Op {written(action)}"
    yield ".Xc"
    yield from sentences(str(parser.description))
    if own:
        yield ".Bl -tag -width Ds"
        for action in own:
            yield from about(action)
        yield ".El"


def body() -> Iterator[str]:
    """Format the options and commands."""
    parser = make_parser()
    common = arguments(parser)
    for action in common:
        yield from about(action)
    yield ".El"
    yield ".Sh COMMANDS"
    yield ".Bl -tag -width Ds"
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    for name, each in commands.choices.items():
        yield from command(name, each, {action.dest for action in common})
    yield ".El"


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD.replace("@DATE@", DATE), *body(), TAIL]) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(page())
