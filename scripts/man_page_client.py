r"""Writes docs/man/icws-client.1, the manual page of the command icws, from its parser in icwsgw/cli/icws_command.py.

``man icws`` is the gateway's page, which scripts/man_page.py writes. A test fails if the page is out of date.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from man_page_ctl import about, arguments, command

from icwsgw.cli.icws_command import make_parser

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "man" / "icws-client.1"

#: Update this by hand when the text below changes.
DATE = "November 29, 2026"

HEAD = r"""
.\" Made by scripts/man_page_client.py: change that, or the command line in icwsgw/cli/icws_command.py.
.Dd @DATE@
.Dt ICWS-CLIENT 1
.Os
.Sh NAME
.Nm icws\-client
.Nd talk to canisters through a WebSocket gateway
.Sh SYNOPSIS
.Nm icws
.Ar command
.Op Ar options
.Ar canister
.Op Ar arguments
.Nm icws
.Fl \-version | Fl \-help
.Nm icws
.Ar command
.Fl \-help
.Sh DESCRIPTION
.Nm icws
opens a session with a canister of the Internet Computer through a gateway
.Pq see Xr icws 1 ,
sends messages, and shows those that it receives and has verified, one on
each line of standard output.
What else happens goes to standard error.
.Pp
Messages are written as JSON by the canister's message type, which is in its
metadata
.Dq candid:service ,
or in the file of
.Fl \-did .
.Sh OPTIONS
These options are the same for all commands.
.Bl -tag -width Ds
""".strip()

TAIL = r"""
.Sh SCRIPTS
A script has one step on each line:
.Bl -tag -width Ds
.It > Ar message
Send a message.
.It < Ar message
Wait for a message that matches.
A JSON object matches messages that have its fields, whatever else they have.
.It hex> Ar digits , Li hex< Ar digits
The same with a message in hex digits, whatever the format.
.It wait Ar seconds
Wait.
.It # Ar comment
Nothing.
.El
.Pp
A recording of
.Fl \-record
is a script.
.Sh ENVIRONMENT
.Bl -tag -width Ds
.It Ev ICWS_GATEWAY
The gateway, unless
.Fl \-gateway
is given.
.It Ev ICWS_NETWORK
The network, unless
.Fl \-network
is given.
.El
.Sh EXIT STATUS
.Bl -tag -width Ds
.It 0
Done.
.It 1
The session could not be opened, or ended; with
.Cm doctor ,
something is wrong.
.It 2
The command line, a message or a script is wrong.
.It 3
An expected message did not come.
.El
.Sh EXAMPLES
Talk to the echo canister of the local replica, line by line:
.Bd -literal -offset indent
icws connect bkyz2-fmaaa-aaaaa-qaaaq-cai
.Ed
.Pp
Test that it answers:
.Bd -literal -offset indent
icws send bkyz2-fmaaa-aaaaa-qaaaq-cai '{"text": "hi"}' \e
    --expect '{"text": "hi"}'
.Ed
.Pp
Record a session with a canister of mainnet, and play it again:
.Bd -literal -offset indent
icws connect --gateway wss://gateway.example --record talk.txt \e
    bkyz2-fmaaa-aaaaa-qaaaq-cai
icws connect --gateway wss://gateway.example --script talk.txt \e
    bkyz2-fmaaa-aaaaa-qaaaq-cai
.Ed
.Pp
Find out why a page cannot talk to a canister:
.Bd -literal -offset indent
icws doctor --gateway wss://gateway.example \e
    --origin https://app.example bkyz2-fmaaa-aaaaa-qaaaq-cai
.Ed
.Sh DIAGNOSTICS
Each error is one line on standard error.
It says what to do where that is known.
.Sh SEE ALSO
.Xr icws 1 ,
.Xr icwsctl 1
.Pp
.Pa docs/python-client.md
in the source repository documents the client as a library.
""".strip()


def body() -> Iterator[str]:
    """Format the options that all commands have, and the commands."""
    (commands,) = (action for action in make_parser()._actions if isinstance(action, argparse._SubParsersAction))
    parsers: dict[str, argparse.ArgumentParser] = commands.choices
    in_all = set.intersection(*({action.dest for action in arguments(each)} for each in parsers.values()))
    in_all.discard("canister")
    shared = [action for action in arguments(parsers["connect"]) if action.dest in in_all]
    for action in shared:
        yield from about(action)
    yield ".El"
    yield ".Sh COMMANDS"
    yield ".Bl -tag -width Ds"
    for name, each in parsers.items():
        yield from command(name, each, {action.dest for action in shared})
    yield ".El"


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD.replace("@DATE@", DATE), *body(), TAIL]) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(page())
