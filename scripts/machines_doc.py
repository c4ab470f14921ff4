"""Writes docs/machines.md, the state diagrams of the machines in icwsgw/core and agent/http, from their tables.

A test fails if the page is out of date.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from enum import Enum
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from icwsgw.agent.http import response_parser
from icwsgw.core import (
    call_table,
    close_notice,
    drain_machine,
    flood_guard,
    liveness,
    move_machine,
    session_machine,
)

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "machines.md"

HEAD = """\
# State machines

Made by `scripts/machines_doc.py` from the tables in `icwsgw/core` and `icwsgw/agent/http`. A machine knows no clock
and no network ([decision 0011](decisions/0011-pure-core.md)): it takes an event and gives effects, which another
module performs in the order shown. An event that a table does not have in a state is a fault of the gateway and raises
`LookupError`.

In the diagrams, an arrow is an event; events that lead from one state to the same next state share an arrow.
"""

Table = Mapping[tuple[Any, Any], tuple[Any, tuple[Any, ...]]]


class Machine(NamedTuple):
    """One section of the page.

    :ivar title: its heading
    :ivar text: the purpose of the machine
    :ivar table: (state, event) to (next state, effects)
    :ivar start: the first state
    :ivar enums: the enums to explain, by heading
    """

    title: str
    text: str
    table: Table
    start: Enum
    enums: dict[str, type[Enum]]


MACHINES = [
    Machine(
        "A client's session",
        "Table: [core/session_machine.py](../icwsgw/core/session_machine.py). Performed by "
        "[gateway/session.py](../icwsgw/gateway/session.py). In CLOSED every event is ignored. `opened` "
        "says what is known of the client's ws_open, also after the end.",
        session_machine.TABLE,
        session_machine.State.INIT,
        {
            "States": session_machine.State,
            "Events": session_machine.Event,
            "Effects": session_machine.Effect,
            "Opened": session_machine.Opened,
        },
    ),
    Machine(
        "A client's calls",
        "Table: [core/call_table.py](../icwsgw/core/call_table.py). Followed by "
        "[core/client_calls.py](../icwsgw/core/client_calls.py), performed by "
        "[gateway/calls/relay.py](../icwsgw/gateway/calls/relay.py). A client has one call at a time; "
        "the others wait in a queue. "
        "NEXT starts the next one if the gate is open.",
        call_table.TABLE,
        call_table.CallState.IDLE,
        {
            "States": call_table.CallState,
            "Events": call_table.CallEvent,
            "Effects": call_table.CallEffect,
            "What is known": call_table.OutcomeKnowledge,
        },
    ),
    Machine(
        "The gate before a client's calls",
        "Table: `GATES` in [core/call_table.py](../icwsgw/core/call_table.py). The gate stays as it is at every other "
        "event.",
        {key: (after, ()) for key, after in call_table.GATES.items()},
        call_table.SendGate.SHUT,
        {"States": call_table.SendGate, "Events": call_table.GateEvent},
    ),
    Machine(
        "A ws_close",
        "Table: [core/close_notice.py](../icwsgw/core/close_notice.py). Performed by "
        "[gateway/calls/close_notices.py](../icwsgw/gateway/calls/close_notices.py). In OVER every event is ignored.",
        close_notice.TABLE,
        close_notice.NoticeState.WAITING,
        {
            "States": close_notice.NoticeState,
            "Events": close_notice.NoticeEvent,
            "Effects": close_notice.NoticeEffect,
        },
    ),
    Machine(
        "The shutdown of a gateway",
        "Table: [core/drain_machine.py](../icwsgw/core/drain_machine.py). Performed by "
        "[gateway/drain.py](../icwsgw/gateway/drain.py).",
        drain_machine.TABLE,
        drain_machine.DrainState.SERVING,
        {
            "States": drain_machine.DrainState,
            "Events": drain_machine.DrainEvent,
            "Effects": drain_machine.DrainEffect,
        },
    ),
    Machine(
        "A client that moves",
        "Table: [core/move_machine.py](../icwsgw/core/move_machine.py). Performed by "
        "[gateway/moving.py](../icwsgw/gateway/moving.py). A drain asks clients that can to open their next session "
        "elsewhere; any other event in a state is a mistake of the client.",
        move_machine.TABLE,
        move_machine.MoveState.STAYING,
        {
            "States": move_machine.MoveState,
            "Events": move_machine.MoveEvent,
            "Effects": move_machine.MoveEffect,
        },
    ),
    Machine(
        "An open connection's life",
        "Table: [core/liveness.py](../icwsgw/core/liveness.py). Performed by "
        "[server/protocol.py](../icwsgw/server/protocol.py) when its wheel visits the connection. The first event of "
        "the list that applies is taken.",
        liveness.TABLE,
        liveness.LivenessState.QUIET,
        {
            "States": liveness.LivenessState,
            "Events": liveness.LivenessEvent,
            "Effects": liveness.LivenessEffect,
        },
    ),
    Machine(
        "A client's rate limits",
        "Table: [core/flood_guard.py](../icwsgw/core/flood_guard.py). Performed by "
        "[server/protocol.py](../icwsgw/server/protocol.py). The connection asks when its tokens are used up.",
        flood_guard.TABLE,
        flood_guard.FloodState.READING,
        {
            "States": flood_guard.FloodState,
            "Events": flood_guard.FloodEvent,
            "Effects": flood_guard.FloodEffect,
        },
    ),
    Machine(
        "The responses on a connection to the network",
        "Table: [agent/http/response_parser.py](../icwsgw/agent/http/response_parser.py), which follows it sans I/O. "
        "Performed by [agent/http/connection.py](../icwsgw/agent/http/connection.py). Invalid data, the end of the "
        "connection and its owner's decision to end it lead to CLOSED from any state.",
        {key: (after, ()) for key, after in response_parser.TABLE.items()},
        response_parser.ParserState.IDLE,
        {"States": response_parser.ParserState, "Events": response_parser.ParserEvent},
    ),
]


def meanings(enum: type[Enum]) -> dict[str, str]:
    """Return the meaning of each member of an enum: the string below it, or its value if that is a text."""
    found: dict[str, str] = {}
    (declared,) = ast.parse(textwrap.dedent(inspect.getsource(enum))).body
    assert isinstance(declared, ast.ClassDef)
    name = ""
    for line in declared.body:
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
            name = line.targets[0].id
            value = enum[name].value
            found[name] = sentence(value) if isinstance(value, str) else ""
        elif name and isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant):
            found[name] = re_flow(str(line.value.value))
    return found


def sentence(text: str) -> str:
    """Format text as a sentence; the name of a method at its start keeps its case."""
    return (text if "_" in text.split()[0] else text[0].upper() + text[1:]) + "."


def re_flow(text: str) -> str:
    """Join text into one line, and remove the names of Sphinx roles."""
    words = " ".join(text.split())
    for role in (":attr:", ":meth:", ":class:", ":data:"):
        words = words.replace(role, "")
    return words


def diagram(machine: Machine) -> Iterator[str]:
    """Return the machine as a Mermaid diagram."""
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield f"    [*] --> {machine.start.name}"
    arrows: dict[tuple[str, str], list[str]] = {}
    for (state, event), (after, _) in machine.table.items():
        arrows.setdefault((state.name, after.name), []).append(event.name)
    for (state, after), events in arrows.items():
        rows = [", ".join(events[at : at + 2]) for at in range(0, len(events), 2)]
        yield f"    {state} --> {after}: {'<br/>'.join(rows)}"
    left = {state for state, _ in arrows}
    for after in dict.fromkeys(after for _, after in arrows):
        if after not in left:
            yield f"    {after} --> [*]"
    yield "```"


def section(machine: Machine) -> Iterator[str]:
    """Return the machine's text, diagram, table, and explanations."""
    yield from (f"## {machine.title}", "", *textwrap.wrap(machine.text, 116, break_long_words=False), "")
    yield from diagram(machine)
    yield from ("", "| state | event | next state | effects |", "|---|---|---|---|")
    rows = sorted(machine.table.items(), key=lambda row: int(row[0][0]))
    for _, group in groupby(rows, key=lambda row: row[0][0]):
        for (state, event), (after, effects) in group:
            names = ", ".join(effect.name for effect in effects)
            yield f"| {state.name} | {event.name} | {after.name} | {names or '-'} |"
    for heading, enum in machine.enums.items():
        yield from ("", f"**{heading}**", "")
        for name, meaning in meanings(enum).items():
            yield f"- {name}: {meaning}"
    yield ""


def page() -> str:
    """The whole page."""
    lines = [HEAD]
    for machine in MACHINES:
        lines += section(machine)
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(page())
