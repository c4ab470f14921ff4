"""No class of the gateway holds more than two flags: what it knows is in the state of a machine.

A flag is an attribute that may be a bool or None. Where a state says whether an attribute is there, it is none: such
attributes are listed, with that state.
"""

from __future__ import annotations

import ast
from pathlib import Path

import icwsgw.gateway

MOST = 2
SOURCE = Path(icwsgw.gateway.__file__).parent

#: By class: attributes that a state implies, and that state.
IMPLIED: dict[str, dict[str, str]] = {
    "InFlightPoll": {"_slot_queue": "in flight", "deferred": "in flight"},
    "ClientSession": {
        "client_key": "State.SETUP or later",
        "poller": "State.SETUP or later",
        "relay": "State.SETUP or later, until all has been sent",
        "stream": "as relay",
        "outgoing": "while the poller delivers a batch",
        "wait": "State.UNCERTAIN and State.DISMISSED",
        "after_wait": "State.UNCERTAIN and State.DISMISSED",
    },
    "Drain": {"_deadline": "DrainState.DRAINING", "_next": "DrainState.DRAINING, and sessions are left"},
    "PollTimer": {"_rest": "TickState.PAUSED", "held": "the canister has a quota"},
    "Relay": {"_under_way": "CallState.IN_FLIGHT, RETRYING and RESUBMITTING"},
    "InboundMessages": {"_holding": "messages are held", "_looking": "a keep-alive is owed"},
}


def _may_be_none_or_bool(annotation: ast.expr) -> bool:
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
        return _may_be_none_or_bool(annotation.left) or _may_be_none_or_bool(annotation.right)
    return ast.unparse(annotation) in ("None", "bool")


def _is_none_or_bool(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and (value.value is None or isinstance(value.value, bool))


def _flags(declared: ast.ClassDef) -> set[str]:
    found = set()
    for node in ast.walk(declared):
        targets: list[ast.expr]
        if isinstance(node, ast.AnnAssign):
            targets, flag = [node.target], _is_none_or_bool(node.value) or _may_be_none_or_bool(node.annotation)
        elif isinstance(node, ast.Assign):
            targets, flag = node.targets, _is_none_or_bool(node.value)
        else:
            continue
        for target in targets:
            if flag and isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self":
                found.add(target.attr)
    return found


def _classes() -> dict[str, set[str]]:
    trees = [ast.parse(path.read_text()) for path in sorted(SOURCE.rglob("*.py"))]
    declared = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    return {each.name: _flags(each) for each in declared}


def test_no_class_holds_more_than_two_flags() -> None:
    many = {name: flags - set(IMPLIED.get(name, ())) for name, flags in _classes().items()}
    assert {name: sorted(flags) for name, flags in many.items() if len(flags) > MOST} == {}


def test_what_states_imply_is_there() -> None:
    classes = _classes()
    for name, attributes in IMPLIED.items():
        assert set(attributes) <= classes.get(name, set()), name


def test_flags_are_found() -> None:
    source = """
class Known:
    def __init__(self, owner: str | None):
        self.owner: str | None = owner
        self.open: bool = owner is not None
        self.count = 0
        self.done = False
    def end(self):
        self.call = None
        other.flag = True
"""
    (declared,) = ast.parse(source).body
    assert isinstance(declared, ast.ClassDef)
    assert _flags(declared) == {"owner", "open", "done", "call"}
