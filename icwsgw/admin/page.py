"""The status page: a status document (:mod:`icwsgw.admin.status`) as HTML.

The page needs no external resources. It contains its style and script, and its Content-Security-Policy
(:data:`POLICY`) allows only these two, by their hashes. The page is complete, so it can be read without the script. The
script loads the page periodically and replaces the changed parts: the elements marked ``data-live``, by their ids.
Only this module makes HTML from untrusted text, such as canister errors and log lines. It escapes all of it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from html import escape
from importlib.resources import files
from typing import Any, Final

from icwsgw.admin import formatting
from icwsgw.admin.tiles import tiles
from icwsgw.config import quantities

_STATIC = files("icwsgw.admin") / "static"
STYLE: Final = (_STATIC / "status.css").read_text("utf-8")
SCRIPT: Final = (_STATIC / "status.js").read_text("utf-8")

#: Seconds until a browser without scripts loads the page again.
RELOAD: Final = 5


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


#: Content-Security-Policy of the page.
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        f"style-src 'sha256-{_hash(STYLE)}'",
        f"script-src 'sha256-{_hash(SCRIPT)}'",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
#: If a page comes from another release, its script reloads the whole page.
_RELEASE: Final = _hash(STYLE + SCRIPT)[:12]

Row = Mapping[str, Any]


def page(status: Row) -> str:
    """Return the whole page for a status document, as HTML."""
    name, word, _ = _state(status)
    workers = len(status["workers"]) > 1
    live = [
        ("tiles", "tiles", tiles(status)),
        ("canisters", "card", _canisters(status)),
        ("errors", "card", _errors(status)),
        ("ended", "card", _ended(status)),
        ("closes", "card half", _closes(status)),
        ("failures", "card half", _failures(status)),
        ("totals", "card half", _totals(status)),
        ("about", "card half", _about(status)),
        *([("workers", "card", _workers(status))] if workers else []),
        ("identities", "card", _identities(status, workers)),
    ]
    sections = "".join(
        f'<section id="{key}" class="{kind}" data-live>{content}</section>\n' for key, kind, content in live
    )
    return (
        f'<!doctype html>\n<html lang="en" data-release="{_RELEASE}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{word} – IC WebSocket Gateway</title>\n"
        '<link rel="icon" href="data:,">\n'
        f'<noscript><meta http-equiv="refresh" content="{RELOAD}"></noscript>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n"
        f'<header><h1>IC WebSocket Gateway</h1><p id="summary" class="soft" data-live>{_summary(status)}</p></header>\n'
        "<main>\n"
        '<section id="silence" class="state bad" role="alert" hidden><h2>No answer</h2>'
        "<p>The gateway cannot be reached. Below is its last answer.</p></section>\n"
        f'<section id="state" class="state {name}" role="status" data-live>{_verdict(status)}</section>\n'
        f"{sections}</main>\n"
        '<footer class="soft"><p><a href="metrics">metrics</a> <a href="status.json">status.json</a> '
        '<a href="health/ready">health/ready</a> <a href="health/live">health/live</a></p></footer>\n'
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


# the state at a glance


def _state(status: Row) -> tuple[str, str, list[str]]:
    """Return the CSS class of the state, its name, and the reasons."""
    reasons = [f"{each['name']}: {each['reason']}" for each in status["findings"] if each["reason"] is not None]
    if status["draining"]:
        return "wait", "Shutting down", [reason for reason in reasons if not reason.startswith("draining: ")]
    if not status["ready"]:
        return "bad", "Not ready", reasons
    return "good", "Ready", []


def _verdict(status: Row) -> str:
    name, word, reasons = _state(status)
    listed = "".join(f"<li>{escape(reason)}</li>" for reason in reasons)
    html = {
        "good": f"<p>Serves clients of canisters on {escape(status['network'])}</p>",
        "wait": "<p>Accepts no new clients; present clients move or are closed.</p>",
        "bad": "",
    }[name]
    listed += "".join(f'<li class="trouble">{escape(concern)}</li>' for concern in status["concerns"])
    trouble = sum(row["trouble"] for row in status["canisters"])
    if trouble and name == "good":
        html += f'<p class="trouble">{trouble} of its canisters {"does" if trouble == 1 else "do"} not answer.</p>'
    return f"<h2>{word}</h2>{html}" + (f"<ul>{listed}</ul>" if listed else "")


def _summary(status: Row) -> str:
    up = quantities.long_time(status["now"] - status["started"])
    return f"{escape(status['version'])}, up {up}, as of {_time(status['now'], '%H:%M:%S UTC')}"


# lists


def _canisters(status: Row) -> str:
    rows, count = status["canisters"], status["canister_count"]
    more = count - len(rows)
    least = "" if status["canister_count_exact"] else "at least "
    note = f"<p class='soft'>and {least}{formatting.count(more)} more with fewer clients</p>" if more > 0 else ""
    return f"<h2>Canisters {least}{_number(count)}</h2>" + (
        _table(
            ("Canister", "Clients", "Up", "Down", "Message lag", "Round trip", "Last answer", "Last error"),
            [_canister_cells(row) for row in rows],
            ["bad" if row["trouble"] else "" for row in rows],
            "canisters cards",
        )
        + note
        if rows
        else "<p class='soft'>No canister has clients here.</p>"
    )


def _over_quota(quota: Row | None) -> str:
    if quota is None or not quota["reached"]:
        return ""
    held = f", {formatting.count(quota['clients_held'])} clients held" if quota["clients_held"] else ""
    return f" <small>has used up its quota: {', '.join(quota['reached'])}{held}</small>"


def _canister_cells(row: Row) -> list[str]:
    waiting = f" <small>({row['waiting']} opening)</small>" if row["waiting"] else ""
    error = ""
    if row["last_error"]:
        error = f"{escape(row['last_error'])} <small>{quantities.ago(row['error_ago'])}</small>"
    answered = "never" if row["answered_ago"] is None else quantities.ago(row["answered_ago"])
    if row["failures"]:
        answered += f" <small>({formatting.count(row['failures'])} failed since)</small>"
    return [
        f"<code>{escape(row['canister'])}</code>{_over_quota(row.get('quota'))}",
        formatting.count(row["sessions"]) + waiting,
        f"{formatting.rate(row['up'])}/s",
        f"{formatting.rate(row['down'])}/s",
        _maybe(row["lag"]),
        _maybe(row["round_trip"]),
        answered,
        error,
    ]


def _errors(status: Row) -> str:
    entries = status["errors"]
    if not entries:
        return "<h2>Warnings and errors</h2><p class='soft'>None.</p>"
    items = "".join(
        f'<li class="{escape(entry["level"])}"><p><strong>{escape(entry["level"])}</strong> '
        f"{escape(entry['component'])}: {escape(entry['text'])}"
        + (f" <b>× {formatting.count(entry['count'])}</b>" if entry["count"] > 1 else "")
        + f" <small>{_ago(entry['at'], status['now'])}{_workers_of(entry)}</small></p>"
        + (f"<code>{escape(entry['details'])}</code>" if entry["details"] else "")
        + "</li>"
        for entry in entries
    )
    return f"<h2>Warnings and errors {_number(len(entries))}</h2><ol class='log'>{items}</ol>"


def _workers_of(entry: Row) -> str:
    numbers = ", ".join(str(number) for number in entry["workers"])
    return f", {'worker' if len(entry['workers']) == 1 else 'workers'} {escape(numbers)}" if numbers else ""


def _ended(status: Row) -> str:
    rows, count = status["ended"], status["ended_count"]
    head = f"<h2>Ended in the last ten minutes {_number(count)}</h2>"
    if not rows:
        return f"{head}<p class='soft'>None.</p>"
    more = count - len(rows)
    note = f"<p class='soft'>and {formatting.count(more)} before them</p>" if more > 0 else ""
    heads = ("Ended", "Session", "Client", "Canister", "Lasted", "Up, down", "Code", "Why, and what to do")
    classes = ["bad" if row["hint"] else "" for row in rows]
    return head + _table(heads, [_ended_cells(row, status["now"]) for row in rows], classes, "ended cards") + note


def _ended_cells(row: Row, now: float) -> list[str]:
    client = " ".join(f"<code>{escape(row[name])}</code>" for name in ("principal", "peer") if row[name])
    code = row["code"] if row["code"] is not None else row["status"] and f"HTTP {row['status']}"
    reason = row["reason"] or formatting.CLOSES.get(str(row["code"]), "")
    hint = f"<p><strong>{escape(row['hint'])}</strong></p>" if row["hint"] else ""
    return [
        _ago(row["ended"], now),
        f"<code>{escape(row['id'])}</code>" if row["id"] else "–",
        client or "–",
        f"<code>{escape(row['canister'])}</code>" if row["canister"] else "–",
        quantities.short_time(row["seconds"]) if row["id"] else "–",
        f"{formatting.count(row['messages_up'])}, {formatting.count(row['messages_down'])}",
        escape(str(code or "–")),
        f"<p>{escape(row['by'])}: {escape(reason)}</p>{hint}",
    ]


def _closes(status: Row) -> str:
    closes = sorted(status["closes"].items(), key=lambda each: (-each[1], each[0]))
    if not closes:
        return "<h2>Closed clients</h2><p class='soft'>None.</p>"
    rows = [[formatting.count(n), escape(code), escape(formatting.CLOSES.get(code, ""))] for code, n in closes]
    return f"<h2>Closed clients {_number(sum(n for _, n in closes))}</h2>" + _table(
        ("Count", "Code", "Meaning"), rows, kind="words"
    )


def _failures(status: Row) -> str:
    rows = [
        [formatting.count(n), escape(formatting.FAILURES.get(kind, kind)), escape(why.replace("_", " "))]
        for kind, whys in status["failures"].items()
        for why, n in sorted(whys.items(), key=lambda each: (-each[1], each[0]))
    ]
    if not rows:
        return "<h2>Failures</h2><p class='soft'>None.</p>"
    return "<h2>Failures</h2>" + _table(("Count", "What", "Why"), rows, kind="words")


def _totals(status: Row) -> str:
    totals = status["totals"]

    def number(name: str) -> str:
        return formatting.count(totals.get(name, 0))

    def volume(name: str) -> str:
        return f"{number(name)} <small>{quantities.size(totals.get('bytes_' + name, 0))}</small>"

    return "<h2>Since the start</h2>" + _facts(
        (
            ("Sessions opened", number("opened")),
            ("Messages up", volume("up")),
            ("Messages down", volume("down")),
            ("Calls sent again", number("call_retries")),
            ("Polls", number("polls")),
            ("Canister resets", number("resets")),
            ("Messages left out by canisters", number("gaps")),
            ("Messages for clients that had left", number("unroutable")),
            ("Clients slowed down", number("pushbacks")),
        )
    )


def _about(status: Row) -> str:
    expires = status["tls_expires"]
    left = None if expires is None else expires - status["now"]
    certificate = (
        [] if left is None else [("Certificate", f"{quantities.long_time(left)} left" if left > 0 else "has expired")]
    )
    return "<h2>About</h2>" + _facts(
        (
            ("Gateway", escape(status["version"])),
            ("Python", escape(status["python"])),
            ("Twisted, Autobahn", f"{escape(status['twisted'])}, {escape(status['autobahn'])}"),
            ("Network", escape(status["network"])),
            ("Polling interval", f"{status['polling_interval_ms']} ms"),
            ("Started", _time(status["started"], "%Y-%m-%d %H:%M:%S UTC")),
            *certificate,
            ("Connections", formatting.count(status["connections"])),
            ("Not read by clients yet", quantities.size(status["outbox_bytes"])),
        )
    )


def _workers(status: Row) -> str:
    rows = [
        [
            str(row["worker"]),
            escape(row["state"]),
            str(row["pid"] or "–"),
            "–" if row["started"] is None else quantities.long_time(status["now"] - row["started"]),
            formatting.count(row["restarts"]),
            formatting.count(row["sessions"]),
            "–" if row["cpu"] is None else f"{100 * row['cpu']:.0f} %",
            "–" if row["memory"] is None else quantities.size(row["memory"]),
        ]
        for row in status["workers"]
    ]
    classes = ["" if row["state"] == "serving" else "bad" for row in status["workers"]]
    heads = ("Worker", "State", "Process", "Up", "Restarts", "Clients", "CPU", "Memory")
    return f"<h2>Workers {_number(len(rows))}</h2>" + _table(heads, rows, classes, "cards")


def _identities(status: Row, workers: bool) -> str:
    rows = [
        [str(row["number"]), f"<code>{escape(row['principal'])}</code>"]
        + ([str(row["worker"])] if workers else [])
        + [formatting.count(row["sessions"])]
        for row in status["identities"]
    ]
    heads = ("Number", "Principal", *(("Worker",) if workers else ()), "Clients")
    more = status["identity_count"] - len(rows)
    return f"<h2>Identities {_number(status['identity_count'])}</h2>{_table(heads, rows, kind='identities')}" + (
        f"<p class='soft'>and {formatting.count(more)} more</p>" if more > 0 else ""
    )


# parts


def _number(count: float) -> str:
    return f"<small>{formatting.count(count)}</small>"


def _maybe(value: float | None) -> str:
    return "–" if value is None else quantities.short_time(value)


def _time(at: float, form: str) -> str:
    when = datetime.fromtimestamp(at, timezone.utc)
    return f'<time datetime="{when.isoformat(timespec="seconds")}">{when.strftime(form)}</time>'


def _ago(at: float, now: float) -> str:
    when = datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="seconds")
    return f'<time datetime="{when}" title="{when}">{quantities.ago(now - at)}</time>'


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    """Return a list of names and values as HTML; the values are HTML already."""
    return "<dl>" + "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts) + "</dl>"


def _table(heads: Iterable[str], rows: Iterable[list[str]], classes: Iterable[str] = (), kind: str = "") -> str:
    """Return a table as HTML; the cells are HTML already.

    On a phone, the rows of a ``cards`` table become blocks. Its elements have ARIA roles, so that screen readers still
    present it as a table.
    """
    heads, rows, marks = list(heads), list(rows), list(classes)
    head = "".join(f'<th scope="col" role="columnheader">{name}</th>' for name in heads)
    body = []
    for at, cells in enumerate(rows):
        mark = f' class="{marks[at]}"' if marks and marks[at] else ""
        first, *others = zip(heads, cells, strict=True)
        named = f'<th scope="row" role="rowheader" data-name="{first[0]}">{first[1]}</th>'
        named += "".join(f'<td role="cell" data-name="{name}">{cell}</td>' for name, cell in others)
        body.append(f'<tr role="row"{mark}>{named}</tr>')
    name = f' class="{kind}"' if kind else ""
    return (
        f'<table role="table"{name}><thead role="rowgroup"><tr role="row">{head}</tr></thead>'
        f'<tbody role="rowgroup">{"".join(body)}</tbody></table>'
    )
