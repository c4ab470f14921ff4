"""Formats answers of the admin API: aligned columns, times and sizes with units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from icwsgw.config.quantities import duration as spaced_duration
from icwsgw.config.quantities import size as spaced_size
from icwsgw.escaping import escape_invisible

#: Introduces the reason.
NOT_APPLIED = "set at run time, but not applied: "

_NONE = "-"


def clean(value: object) -> str:
    """Return a value as text without line breaks and terminal controls, since some values are untrusted."""
    return _NONE if value is None else escape_invisible(str(value))


def duration(seconds: float | None) -> str:
    """Format seconds as one word, so that tools can split columns: ``3min20s``, or a dash for None."""
    return _NONE if seconds is None else spaced_duration(seconds).replace(" ", "")


def size(number: float | None) -> str:
    """Format a number of bytes as one word: ``6.5MiB``, or a dash for None."""
    return _NONE if number is None else spaced_size(number).replace(" ", "")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Format rows as aligned columns; a column whose name ends in > holds numbers and is right-aligned."""
    cells = [[name.rstrip(">") for name in head], *([clean(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = []
    for row in cells:
        columns = [
            text.rjust(width) if name.endswith(">") else text.ljust(width)
            for name, text, width in zip(head, row, widths, strict=True)
        ]
        lines.append("  ".join(columns).rstrip())
    return "\n".join(lines)


def sessions(document: Mapping[str, Any]) -> str:
    """Format the answer to ``GET /v1/sessions`` as a table."""
    head = ["SESSION", "STATE", "W>", "AGE>", "UP>", "DOWN>", "OUTBOX>", "QUEUE>", "PEER", "CANISTER", "PRINCIPAL"]
    return _list(document, "sessions", table(head, map(_session, document["sessions"])))


def _session(row: Mapping[str, Any]) -> list[object]:
    up = f"{row['messages_up']}/{size(row['bytes_up'])}"
    down = f"{row['messages_down']}/{size(row['bytes_down'])}"
    waits = size(row["outbox_bytes"]), row["relay_queue"]
    start = row["id"], row["state"], row["worker"], duration(row["age_s"])
    return [*start, up, down, *waits, row["peer"], row["canister"], row["principal"]]


def ended(document: Mapping[str, Any]) -> str:
    """Format the answer to ``GET /v1/sessions/ended``: a table, and below each session what to do about its end."""
    head = [
        "SESSION",
        "ENDED",
        "W>",
        "LASTED>",
        "UP>",
        "DOWN>",
        "CODE>",
        "BY",
        "PEER",
        "CANISTER",
        "PRINCIPAL",
        "REASON",
    ]
    first, *lines = table(head, map(_ended, document["sessions"])).split("\n")
    text = [first]
    for line, row in zip(lines, document["sessions"], strict=True):
        text += [line, *([f"  -> {clean(row['hint'])}"] if row["hint"] else [])]
    return _list(document, "sessions", "\n".join(text))


def _ended(row: Mapping[str, Any]) -> list[object]:
    code = row["code"] if row["code"] is not None else row["status"]
    at = datetime.fromtimestamp(row["ended"], timezone.utc).strftime("%H:%M:%S")
    lasted = None if row["id"] is None else duration(row["seconds"])
    start = row["id"], at, row["worker"], lasted, row["messages_up"], row["messages_down"], code, row["by"]
    return [*start, row["peer"], row["canister"], row["principal"], row["reason"] or None]


def canisters(document: Mapping[str, Any]) -> str:
    """Format the answer to ``GET /v1/canisters`` as a table with one line for each poller."""
    head = ["CANISTER", "W>", "SESSIONS>", "NEXT>", "ASKED>", "ANSWERED>", "FAILED>", "QUOTA", "LAST-ERROR"]
    rows = []
    for canister in document["canisters"]:
        for poller in canister["pollers"]:
            error = poller["last_error"]
            rows.append(
                [
                    canister["canister"],
                    poller["worker"],
                    poller["sessions"],
                    poller["next_message"],
                    poller["in_flight"],
                    duration(poller["last_good_s"]),
                    poller["failures"],
                    _quota(canister.get("quota")),
                    None if error is None else f"{duration(poller['last_error_s'])} ago: {error}",
                ]
            )
    return _list(document, "canisters", table(head, rows))


def _quota(quota: Mapping[str, Any] | None) -> str | None:
    """What of a canister's quota is used up: None if it has none."""
    if quota is None:
        return None
    held = f" ({quota['clients_held']} held)" if quota["clients_held"] else ""
    return ", ".join(quota["reached"]) + held if quota["reached"] else "left"


def _list(document: Mapping[str, Any], what: str, text: str) -> str:
    if not document[what]:
        return f"no {what}"
    return f"{text}\nthere are more {what}: use --limit or say which" if document["more"] else text


def pairs(values: Iterable[tuple[str, object]]) -> str:
    """Format names and values, one pair per line."""
    listed = [(name, clean(value)) for name, value in values]
    width = max((len(name) for name, _ in listed), default=0)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in listed)


def levels(document: Mapping[str, Any]) -> str:
    """Format the answer to ``GET`` or ``PUT /v1/log-levels`` as a table."""
    overrides = document["overrides"]
    rows = [
        [component, level, "set at run time" if component in overrides else "configured"]
        for component, level in document["levels"].items()
    ]
    return f"{table(['COMPONENT', 'LEVEL', 'FROM'], rows)}\ncomponents: {', '.join(document['components'])}"


def dump(document: Mapping[str, Any]) -> str:
    """Format the answers to ``GET /v1/config`` and ``GET /v1/certificates``."""
    rows = []
    for name, row in document["options"].items():
        value = row["value"]
        source = row["from"]
        if "configured" in row:
            source += f", where it is {_option_value(row['configured'])}"
        if "not_applied" in row:
            source += f"; {NOT_APPLIED}{row['not_applied']}"
        if "after_restart" in row:
            source += f"; after a restart {_option_value(row['after_restart'])}"
        rows.append([name, _option_value(value), source])
    options = table(["OPTION", "VALUE", "FROM"], rows) if rows else "all options have their defaults"
    certificates = [
        [
            row["certificate"],
            f"{row['days_left']} days left" if row["fault"] is None else row["fault"],
            "default" if row["default"] else "",
            ",".join(row["sni"]) or "none",
            row["issuer"],
        ]
        for row in document["certificates"]
    ]
    head = ["CERTIFICATE", "VALID", "DEFAULT", "SNI", "ISSUER"]
    return f"{options}\n\n{table(head, certificates) if certificates else 'no certificates'}"


def _option_value(value: str | list[str]) -> str:
    return (", ".join(value) if isinstance(value, list) else value) or "none"


def status(document: Mapping[str, Any]) -> str:
    """Format a short form of the answer to ``GET /v1/status`` for a terminal."""
    trouble = [f"{found['name']}: {found['reason']}" for found in document["findings"] if found["reason"]]
    trouble += document.get("concerns", [])
    state = "draining" if document["draining"] else "ready" if document["ready"] else "not ready"
    totals = document["totals"]
    lines = pairs(
        [
            ("state", "; ".join([state, *trouble])),
            ("version", document["version"]),
            ("running for", duration(document["now"] - document["started"])),
            ("network", document["network"]),
            ("principal", document["principal"]),
            ("sessions", ", ".join(f"{count:.0f} {name}" for name, count in document["sessions"].items())),
            ("canisters", f"{'' if document['canister_count_exact'] else 'at least '}{document['canister_count']}"),
            ("messages", f"{totals['up']:.0f} up, {totals['down']:.0f} down"),
            ("certificate", _certificate(document["tls_expires"], document["now"])),
        ]
    )
    head = ["WORKER>", "PROCESS>", "STATE", "SESSIONS>", "MEMORY>", "STARTED-AGAIN>"]
    workers = [
        [row["worker"], row["pid"], row["state"], row["sessions"], size(row["memory"]), row["restarts"]]
        for row in document["workers"]
    ]
    return f"{lines}\n\n{table(head, workers)}"


def _certificate(expires: float | None, now: float) -> str:
    if expires is None:
        return "none"
    left = expires - now
    return f"valid for {duration(left)}" if left > 0 else "expired"
