"""Answers the admin API's requests about one process.

The same class serves a gateway of one process and each of several workers. Workers get requests and send answers over
a pipe (:mod:`icwsgw.workers`), so both consist of JSON values.

    what       further fields                           answer
    ---------  ---------------------------------------  ------------------------------
    sessions   canister, principal, state, address,     rows, more
               origin, older, idle, id, limit
    canisters  canister, limit                          rows, more
    top        sort, canister, principal, limit         sessions, canisters, counts and rates of all
    certificates                                        rows
    ended      canister, principal, limit               rows, more
    kick       canister, principal, id, code            closed
    override   overrides                                closed, components
    levels                                              components

The sender has validated the request: an invalid one is a fault of the program.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any

from twisted.internet.defer import Deferred, execute

from icwsgw.admin.busiest import BusiestRows
from icwsgw.config.access_list import Networks
from icwsgw.core.bans import Ban
from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.session_machine import State
from icwsgw.gateway.batches import in_batches
from icwsgw.gateway.ended_sessions import end_row
from icwsgw.gateway.gateway import Gateway
from icwsgw.gateway.introspection import (
    SessionFilter,
    canister_rows,
    find_session,
    find_sessions,
    session_row,
    session_rows,
)
from icwsgw.gateway.session import ClientSession
from icwsgw.ic.principal import Principal
from icwsgw.observe.logs import components, override_levels

#: A request and its answer, of JSON values.
ControlRequest = Mapping[str, Any]
Answer = dict[str, Any]

#: Close codes for a kick, with their reasons.
KICK_CODES = {
    CloseCode.POLICY: "closed by the operator of this gateway",
    CloseCode.DRAINING: "the operator of this gateway asks to reconnect",
}


@dataclass(frozen=True, slots=True)
class Overrides:
    """Changes made at run time; they stay in force until they are undone or the gateway ends.

    :ivar denied: ids of denied canisters, in addition to those of the configuration
    :ivar levels: log levels by component, which replace those of the configuration
    :ivar bans: who may not open a session for a while: canister id or None, principal or None, and the end in seconds
        of the system's monotonic clock
    :ivar options: texts of the values of options, by name
    :ivar maintenance: the gateway is not ready, because an operator has set it; it still serves clients
    """

    denied: tuple[str, ...] = ()
    levels: Mapping[str, int] = field(default_factory=dict)
    bans: tuple[tuple[str | None, str | None, float], ...] = ()
    maintenance: bool = False
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the overrides as JSON values."""
        return {
            "denied": list(self.denied),
            "levels": dict(self.levels),
            "bans": [list(ban) for ban in self.bans],
            "maintenance": self.maintenance,
            "options": {name: list(texts) for name, texts in self.options.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Overrides:
        """Return the overrides of JSON values; an older version may have left some out."""
        bans = tuple((canister, principal, until) for canister, principal, until in value.get("bans", ()))
        options = {name: tuple(texts) for name, texts in value.get("options", {}).items()}
        maintenance = value.get("maintenance", False)
        return cls(tuple(value.get("denied", ())), dict(value.get("levels", {})), bans, maintenance, options)

    @property
    def out_of_service(self) -> str | None:
        """Return why the gateway is not ready, or None."""
        return "the operator has taken the gateway out of service; it keeps its clients" if self.maintenance else None


NO_OVERRIDES = Overrides()


class Control:
    """Answers requests about one gateway and carries out changes.

    :ivar certificates: makes the rows of the certificates towards clients
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._busiest = BusiestRows(gateway)
        self.certificates: Callable[[], list[dict[str, Any]]] = list

    def reply(self, request: ControlRequest) -> Deferred[Answer]:
        """Answer a request, some of them after several turns of the event loop."""
        if request["what"] != "top":
            return execute(self.answer, request)
        whose = {name: _principal(request, name) for name in ("canister", "principal")}
        return self._busiest.answer(request["sort"], request["limit"], **whose)

    def answer(self, request: ControlRequest) -> Answer:
        """Answer a request at once; not ``top``."""
        what = request["what"]
        if what == "sessions":
            return self._sessions(request)
        if what == "canisters":
            rows, more = canister_rows(self._gateway, request["limit"], _principal(request, "canister"))
            return {"rows": rows, "more": more}
        if what == "certificates":
            return {"rows": self.certificates()}
        if what == "ended":
            return self._ended(request)
        if what == "kick":
            return {"closed": self._kick(request)}
        if what == "override":
            closed = self.override(Overrides.from_json(request["overrides"]))
            return {"closed": closed, "components": components()}
        assert what == "levels", what
        return {"components": components()}

    def override(self, overrides: Overrides) -> int:
        """Replace the present overrides; return the number of clients that this closed."""
        override_levels(overrides.levels)
        self._gateway.bans.replace(
            Ban(_raw(canister), _raw(principal), until) for canister, principal, until in overrides.bans
        )
        return self._gateway.deny(frozenset(Principal.from_text(text).raw for text in overrides.denied))

    def _sessions(self, request: ControlRequest) -> Answer:
        if "id" in request:
            session = find_session(self._gateway, request["id"])
            return {"rows": [] if session is None else [session_row(session)], "more": False}
        network = request.get("address")
        only = SessionFilter(
            principal=_principal(request, "principal"),
            address=None if network is None else Networks([ip_network(network)]),
            **{name: request.get(name) for name in ("state", "origin", "older", "idle")},
        )
        rows, more = session_rows(self._gateway, request["limit"], _principal(request, "canister"), only)
        return {"rows": rows, "more": more}

    def _ended(self, request: ControlRequest) -> Answer:
        context = self._gateway.context
        now, now_ns = context.clock.seconds(), context.now_ns()
        limit = request["limit"]
        records, count = context.ended_sessions.latest(
            now, limit, canister=request.get("canister"), principal=request.get("principal")
        )
        return {"rows": [end_row(record, now, now_ns) for record in records], "more": count > limit}

    def _kick(self, request: ControlRequest) -> int:
        found: list[ClientSession]
        if "id" in request:
            session = find_session(self._gateway, request["id"])
            found = [] if session is None else [session]
        else:
            canister, principal = _principal(request, "canister"), _principal(request, "principal")
            found = list(find_sessions(self._gateway, canister, SessionFilter(principal=principal)))
        living = [session for session in found if session.state is not State.CLOSED]
        code = CloseCode(request["code"])
        in_batches(self._gateway.context.clock, living, lambda session: session.end(code, KICK_CODES[code]))
        return len(living)


def _raw(text: str | None) -> bytes | None:
    return None if text is None else Principal.from_text(text).raw


def _principal(request: ControlRequest, name: str) -> Principal | None:
    text = request.get(name)
    return Principal.from_text(text) if text is not None else None
