"""What the admin API shows of a whole gateway beyond lists: the busiest of all, the configuration, certificates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from icwsgw.admin.busiest import busiest, merged
from icwsgw.config.provenance import Provenance, shown
from icwsgw.config.running import SETTABLE, fitting_options
from icwsgw.config.schema import OPTIONS, GatewayConfig

Document = dict[str, Any]


class AnsweringGateway(Protocol):
    """The part of :class:`icwsgw.admin.api.AdministeredGateway` that is shown."""

    #: where the values of options come from; None: unknown
    provenance: Provenance | None

    @property
    def overrides(self) -> Any: ...

    @property
    def config(self) -> GatewayConfig: ...

    @property
    def configured(self) -> GatewayConfig: ...

    def request(self, request: Mapping[str, Any]) -> Deferred[Any]: ...


async def top_document(gateway: AnsweringGateway, only: Mapping[str, Any]) -> Document:
    """Return the busiest canisters and clients of all processes.

    :param only: sort, limit, canister, principal
    """
    replies = await gateway.request({"what": "top", **only})
    answers = dict(sorted(replies.given.items()))
    sessions = [{"worker": worker, **row} for worker, each in answers.items() for row in each["sessions"]]
    canisters: dict[str, Document] = {}
    for each in answers.values():
        for row in each["canisters"]:
            name = row["canister"]
            canisters[name] = merged(canisters[name], row) if name in canisters else row
    sort, limit = only["sort"], only["limit"]
    times = [each["seconds"] for each in answers.values()]
    return {
        # of workers that are asked together, the times are the same but for one that has just started
        "seconds": max((seconds for seconds in times if seconds is not None), default=None),
        "session_count": sum(each["session_count"] for each in answers.values()),
        # a canister may have clients in several workers, and a row in each or in none
        "canister_count": max(len(canisters), *(each["canister_count"] for each in answers.values()), 0),
        "up": round(sum(each["up"] for each in answers.values()), 2),
        "down": round(sum(each["down"] for each in answers.values()), 2),
        "sessions": busiest(sessions, sort, limit),
        "canisters": busiest(list(canisters.values()), sort, limit),
        "missing_workers": replies.missing,
    }


async def certificates_document(gateway: AnsweringGateway) -> Document:
    """Return the certificates towards clients; the same ones of several workers become one row."""
    replies = await gateway.request({"what": "certificates"})
    rows: list[Document] = []
    for worker, answer in sorted(replies.given.items()):
        for row in answer["rows"]:
            same = next((each for each in rows if row == {name: each[name] for name in row}), None)
            if same is None:
                rows.append({**row, "workers": [worker]})
            else:
                same["workers"].append(worker)
    return {"certificates": rows, "missing_workers": replies.missing}


def config_document(gateway: AnsweringGateway) -> Document:
    """Return the options in force, each with where its value comes from."""
    not_applied = _not_applied(gateway)
    return {"options": {entry.name: _option_row(gateway, entry, not_applied) for entry in OPTIONS}}


def options_document(gateway: AnsweringGateway, missing: list[int]) -> Document:
    """Return the options that can be set at run time, with their values in force.

    :param missing: numbers of the workers that have not answered
    """
    config, options, not_applied = gateway.config, gateway.overrides.options, _not_applied(gateway)
    rows: dict[str, Document] = {}
    for entry in OPTIONS:
        if entry.field in SETTABLE:
            value = entry.kind.show(getattr(config, entry.field))
            rows[entry.name] = {"value": value, "set": entry.name in options}
            if entry.name in not_applied:
                rows[entry.name]["not_applied"] = not_applied[entry.name]
    return {"options": rows, "missing_workers": missing}


def _not_applied(gateway: AnsweringGateway) -> dict[str, str]:
    """Return why an option that was set at run time is not applied, by name."""
    return fitting_options(gateway.configured, gateway.overrides.options)[1]


def _option_row(gateway: AnsweringGateway, entry: Any, not_applied: Mapping[str, str]) -> Document:
    value = getattr(gateway.config, entry.field)
    row: Document = {"value": shown(entry, value), "from": "unknown"}
    provenance = gateway.provenance
    if provenance is not None:
        row["from"] = provenance.source(entry, gateway.configured)
        waiting = provenance.waiting(entry, gateway.configured)
        if waiting is not None:
            row["after_restart"] = waiting
    if entry.name in not_applied:
        row["not_applied"] = not_applied[entry.name]
    elif entry.name in gateway.overrides.options:
        row["from"] = "set at run time"
    elif value != getattr(gateway.configured, entry.field):
        row["configured"] = shown(entry, getattr(gateway.configured, entry.field))
    return row
