r"""Writes docs/man/icws-capacity.1, the manual page of icws-capacity, from its parser in icwsgw/capacity.

A test fails if the page is out of date.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from man_page_ctl import about, arguments

from icwsgw.capacity.capacity_command import make_parser

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "man" / "icws-capacity.1"

#: Update this by hand when the text below changes.
DATE = "November 29, 2026"

HEAD = r"""
.\" Made by scripts/man_page_capacity.py: change that, or icwsgw/capacity/capacity_command.py.
.Dd @DATE@
.Dt ICWS-CAPACITY 1
.Os
.Sh NAME
.Nm icws\-capacity
.Nd plan WebSocket gateways for a load
.Sh SYNOPSIS
.Nm
.Fl \-clients Ar n
.Op Ar options
.Nm
.Fl \-version | Fl \-help
.Sh DESCRIPTION
.Nm
says how many gateways
.Pq see Xr icws 1
a load needs, how much CPU and memory each of them takes, and with which
options to start them.
It computes by the formulas of
.Pa docs/scaling.md
from figures that were measured on one small machine.
It needs neither a gateway nor a network.
.Pp
Rates are a second, of all gateways together.
A number may have commas or underscores.
.Sh OPTIONS
.Bl -tag -width Ds
""".strip()

TAIL = r"""
.El
.Sh EXIT STATUS
.Bl -tag -width Ds
.It 0
The plan is above.
.It 1
Something stands against the plan; it is in lines that begin with
.Dq but .
.It 2
The command line is wrong.
.El
.Sh EXAMPLES
A hundred canisters with a thousand clients each, a message a minute in both
directions:
.Bd -literal -offset indent
icws-capacity --clients 100000 --canisters 100 \e
    --messages-up 1667 --messages-down 1667
.Ed
.Pp
The same behind a boundary node of your own, for a program:
.Bd -literal -offset indent
icws-capacity --clients 100000 --canisters 100 \e
    --own-boundary-node --json
.Ed
.Sh SEE ALSO
.Xr icws 1
.Pp
.Pa docs/scaling.md
in the source repository explains the figures and their limits.
""".strip()


def body() -> Iterator[str]:
    """Yield the lines of the page."""
    yield HEAD.replace("@DATE@", DATE)
    for action in arguments(make_parser()):
        yield from about(action)
    yield TAIL


def page() -> str:
    """Return the text of the page."""
    return "\n".join(body()) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(page())
