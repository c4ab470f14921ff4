"""Answers the admin API's questions about one process, as plain values.

The same object answers in a gateway of one process and in each worker of several, where question and answer travel
over a pipe (:mod:`icwsgw.workers`); so both are what JSON has.

    what       besides                                  answer
    ---------  ---------------------------------------  ------------------------------
    sessions   canister, principal, state, id, limit    rows, more
    canisters  canister, limit                          rows, more
    kick       canister, principal, id, code            closed
    override   overrides                                closed, components
    levels                                              components

Who asks has checked the words: a question that makes no sense is a fault of the program.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.session_machine import State
from icwsgw.gateway.batches import in_batches
from icwsgw.gateway.gateway import Gateway
from icwsgw.gateway.introspection import canister_rows, find_session, find_sessions, session_row, session_rows
from icwsgw.gateway.session import ClientSession
from icwsgw.ic.principal import Principal
from icwsgw.observe.logs import components, override_levels

#: A question, an answer.
Question = Mapping[str, Any]
Answer = dict[str, Any]

#: The codes that a client may be closed with, and the words that go with them.
KICK_CODES = {
    CloseCode.POLICY: "closed by the operator of this gateway",
    CloseCode.DRAINING: "the operator of this gateway asks to reconnect",
}


@dataclass(frozen=True, slots=True)
class Overrides:
    """What was changed at run time and stays so until it is taken back or the gateway ends.

    :ivar denied: canister ids, besides those of the configuration
    :ivar levels: levels of the log by component, in place of the configuration's
    """

    denied: tuple[str, ...] = ()
    levels: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        return {"denied": list(self.denied), "levels": dict(self.levels)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Overrides:
        return cls(tuple(value["denied"]), dict(value["levels"]))


NO_OVERRIDES = Overrides()


class Control:
    """Answers questions about one gateway, and does what it is told to."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def answer(self, question: Question) -> Answer:
        what = question["what"]
        if what == "sessions":
            return self._sessions(question)
        if what == "canisters":
            rows, more = canister_rows(self._gateway, question["limit"], _principal(question, "canister"))
            return {"rows": rows, "more": more}
        if what == "kick":
            return {"closed": self._kick(question)}
        if what == "override":
            closed = self.override(Overrides.from_json(question["overrides"]))
            return {"closed": closed, "components": components()}
        assert what == "levels", what
        return {"components": components()}

    def override(self, overrides: Overrides) -> int:
        """Go on with these, in place of those before; how many clients that has closed."""
        override_levels(overrides.levels)
        return self._gateway.deny(frozenset(Principal.from_text(text).raw for text in overrides.denied))

    def _sessions(self, question: Question) -> Answer:
        if "id" in question:
            session = find_session(self._gateway, question["id"])
            return {"rows": [] if session is None else [session_row(session)], "more": False}
        state = question.get("state")
        rows, more = session_rows(
            self._gateway,
            question["limit"],
            canister=_principal(question, "canister"),
            principal=_principal(question, "principal"),
            state=state,
        )
        return {"rows": rows, "more": more}

    def _kick(self, question: Question) -> int:
        found: list[ClientSession]
        if "id" in question:
            session = find_session(self._gateway, question["id"])
            found = [] if session is None else [session]
        else:
            canister, principal = _principal(question, "canister"), _principal(question, "principal")
            found = list(find_sessions(self._gateway, canister=canister, principal=principal))
        living = [session for session in found if session.state is not State.CLOSED]
        code = CloseCode(question["code"])
        in_batches(self._gateway.context.clock, living, lambda session: session.end(code, KICK_CODES[code]))
        return len(living)


def _principal(question: Question, name: str) -> Principal | None:
    text = question.get(name)
    return Principal.from_text(text) if text is not None else None
