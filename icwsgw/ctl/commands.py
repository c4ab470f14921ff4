"""The commands of ``icwsctl``.

Exit status 0: success. 1: the gateway has refused or cannot be reached, or not all workers have confirmed a change.
2: the command line is invalid. Each error is one line on stderr.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from icwsgw._version import __version__
from icwsgw.config.quantities import parse_duration
from icwsgw.ctl import live_view, tables
from icwsgw.ctl.admin_client import TIMEOUT, AdminClient, Failed
from icwsgw.errors import ConfigError
from icwsgw.process.console import run_command

PROGRAM = "icwsctl"

#: The close codes of kick.
_POLICY, _DRAINING = 1008, 4100

#: Seconds between two views of top.
LEAST_INTERVAL, MOST_INTERVAL = 0.5, 3600.0
#: Seconds that an upgrade may take.
UPGRADE_SECONDS = 300.0

_Document = dict[str, Any]
_Parsed = argparse.Namespace


def _status(gateway: AdminClient, parsed: _Parsed) -> _Document:
    return gateway.get("status")


def _sessions(gateway: AdminClient, parsed: _Parsed) -> _Document:
    names = "canister", "principal", "state", "address", "origin", "older", "idle", "limit"
    return gateway.get("sessions", **{name: getattr(parsed, name) for name in names})


def _session(gateway: AdminClient, parsed: _Parsed) -> _Document:
    return gateway.get("sessions", parsed.session)


def _ended(gateway: AdminClient, parsed: _Parsed) -> _Document:
    return gateway.get("sessions", "ended", canister=parsed.canister, principal=parsed.principal, limit=parsed.limit)


def _canisters(gateway: AdminClient, parsed: _Parsed) -> _Document:
    return gateway.get("canisters", canister=parsed.canister, limit=parsed.limit)


def _dump(gateway: AdminClient, parsed: _Parsed) -> _Document:
    config, certificates = gateway.get("config"), gateway.get("certificates")
    options = config["options"]
    if parsed.changed:
        options = {name: row for name, row in options.items() if row["from"] != "default"}
    return {**certificates, "options": options}


def _top(gateway: AdminClient, parsed: _Parsed) -> int:
    """Show views until the operator has enough."""
    out, as_json = sys.stdout, getattr(parsed, "json", False)
    only = {name: getattr(parsed, name) for name in ("canister", "principal")}

    def fetch(sort: str) -> _Document:
        return gateway.get("top", sort=sort, limit=parsed.limit, **only)

    if as_json or parsed.once or not out.isatty():
        live_view.print_views(fetch, parsed.sort, parsed.interval, as_json=as_json, once=parsed.once, out=out)
        return 0
    # an invalid endpoint is reported before the screen is cleared
    fetch(parsed.sort)
    view = live_view.LiveView(fetch, parsed.sort, parsed.interval, key=live_view.key_from(sys.stdin), out=out)
    with live_view.whole_screen(out, sys.stdin, view.draw):
        view.run()
    return 0


def _kick(gateway: AdminClient, parsed: _Parsed) -> _Document:
    code = _DRAINING if parsed.reconnect else _POLICY
    whom = {"session": parsed.session, "canister": parsed.canister, "principal": parsed.principal}
    return gateway.post("kick", **whom, code=code, **{"for": parsed.seconds})


def _bans(gateway: AdminClient, parsed: _Parsed) -> _Document:
    return gateway.get("bans")


def _unban(gateway: AdminClient, parsed: _Parsed) -> _Document:
    return gateway.post("unban", canister=parsed.canister, principal=parsed.principal)


def _maintenance(gateway: AdminClient, parsed: _Parsed) -> _Document:
    return gateway.get("maintenance") if parsed.state is None else gateway.post("maintenance", on=parsed.state == "on")


def _drain(gateway: AdminClient, parsed: _Parsed) -> _Document:
    return gateway.post("drain", window=parsed.window)


def _upgrade(gateway: AdminClient, parsed: _Parsed) -> _Document:
    return gateway.post("upgrade")


def _deny(gateway: AdminClient, parsed: _Parsed) -> _Document:
    return gateway.get("deny") if parsed.canister is None else gateway.post("deny", canister=parsed.canister)


def _allow(gateway: AdminClient, parsed: _Parsed) -> _Document:
    return gateway.post("allow", canister=parsed.canister)


def _options(gateway: AdminClient, parsed: _Parsed) -> _Document:
    return gateway.get("options")


def _set(gateway: AdminClient, parsed: _Parsed) -> _Document:
    if parsed.reset:
        return gateway.put("options", body={"reset": True} if parsed.option is None else {parsed.option: None})
    if parsed.option is None:
        return gateway.get("options")
    return gateway.put("options", body={parsed.option: parsed.value if len(parsed.value) > 1 else parsed.value[0]})


def _log_level(gateway: AdminClient, parsed: _Parsed) -> _Document:
    if parsed.reset:
        body = {"reset": True} if parsed.component is None else {parsed.component: None}
        return gateway.put("log-levels", body=body)
    if parsed.component is None:
        return gateway.get("log-levels")
    return gateway.put("log-levels", body={parsed.component: parsed.level})


# output of answers


def _show_closed(document: Mapping[str, Any]) -> str:
    return f"{document['closed']} closed"


def _show_bans(document: Mapping[str, Any]) -> str:
    rows = [[row["canister"], row["principal"], tables.duration(row["seconds_left"])] for row in document["bans"]]
    return tables.table(["CANISTER", "PRINCIPAL", "LEFT>"], rows) if rows else "no bans"


def _show_unban(document: Mapping[str, Any]) -> str:
    return "ban removed" if document["changed"] else "no such ban"


def _show_maintenance(document: Mapping[str, Any]) -> str:
    if document["maintenance"]:
        return "maintenance: not ready for new clients, the present ones stay"
    return "no maintenance"


def _show_drain(document: Mapping[str, Any]) -> str:
    window = document["window"]
    return "draining" if window is None else f"draining, over {window:g} s"


def _show_upgrade(document: Mapping[str, Any]) -> str:
    left = f", {document['left']} are drained" if document["left"] else ""
    return (
        f"upgraded from {document['from']} to {document['to']}: process {document['process']} serves "
        f"{document['connections']} connections{left}"
    )


def _show_deny(document: Mapping[str, Any]) -> str:
    if "canister" in document:
        how = "denied" if document["changed"] else "was denied already"
        return f"{document['canister']} {how}, {document['closed']} closed"
    rows = [[canister, "configured"] for canister in document["configured"]]
    rows += [[canister, "at run time"] for canister in document["denied"]]
    return tables.table(["CANISTER", "DENIED"], rows) if rows else "no canister is denied"


def _show_options(document: Mapping[str, Any]) -> str:
    rows = [[name, row["value"] or "none", _origin(row)] for name, row in document["options"].items()]
    return tables.table(["OPTION", "VALUE", "FROM"], rows)


def _origin(row: Mapping[str, Any]) -> str:
    """Return where the value of an option comes from, in words."""
    if "not_applied" in row:
        return f"configured; {tables.NOT_APPLIED}{row['not_applied']}"
    return "set at run time" if row["set"] else "configured"


def _show_set(document: Mapping[str, Any]) -> str:
    rows = [f"{name} = {row['value'] or 'none'}" for name, row in document["options"].items() if row["set"]]
    return "\n".join(rows) or "all options are the configuration's"


def _show_allow(document: Mapping[str, Any]) -> str:
    how = "not denied at run time any more" if document["changed"] else "was not denied at run time"
    served = "" if document["served"] else "; the configuration does not let it be served"
    return f"{document['canister']} {how}{served}"


class _Command(NamedTuple):
    """A command: its request, the output of its answer, a one-line summary, further help, and how long it may take.

    :ivar run: in place of request and output, what does everything and returns the exit status
    """

    request: Callable[[AdminClient, _Parsed], _Document]
    show: Callable[[Mapping[str, Any]], str]
    help: str
    more: str = ""
    seconds: float = TIMEOUT
    run: Callable[[AdminClient, _Parsed], int] | None = None

    @property
    def description(self) -> str:
        return f"{self.help[0].upper()}{self.help[1:]}. {self.more}".strip()


_COMMANDS: dict[str, _Command] = {
    "status": _Command(_status, tables.status, "show readiness and load"),
    "sessions": _Command(
        _sessions,
        tables.sessions,
        "list sessions",
        "W is the worker. UP and DOWN are messages and bytes from and to the client. OUTBOX is the bytes that wait for"
        " the client to read them, QUEUE the messages that wait to be relayed.",
    ),
    "session": _Command(_session, lambda document: tables.pairs(document.items()), "show one session"),
    "ended": _Command(
        _ended,
        tables.ended,
        "list sessions that ended in the last ten minutes, and refused connections",
        "BY is who ended it, the client or the gateway. A line with -> says what to do.",
    ),
    "canisters": _Command(
        _canisters,
        tables.canisters,
        "list canisters, one line for each poller",
        "NEXT is the number of the next message, ASKED the number of queries in flight, ANSWERED the age of the last"
        " valid answer, FAILED the number of failures in a row. QUOTA says what of the canister's quota is used up now,"
        " and how many clients are not read because of it.",
    ),
    "top": _Command(
        _status,
        tables.status,
        "show the busiest canisters and clients, again and again",
        "UP and DOWN are from and to the clients, LAG is the time from a canister to its clients, PENDING the messages"
        " that wait to be relayed, OUTBOX the bytes that wait for clients to read them. On a terminal, the first letter"
        " of a sort key sorts by it, space asks at once, and q ends it. Without a terminal it prints plain text.",
        run=_top,
    ),
    "dump": _Command(
        _dump,
        tables.dump,
        "show all options with their values and where they come from, and the certificates",
        "SNI are the names for which clients get the certificate; the default one is for all others.",
    ),
    "kick": _Command(
        _kick,
        _show_closed,
        "close clients",
        "Name a session, or a canister, a principal or both. The clients get code 1008. They may reconnect at once,"
        " unless --for bans them: the principal at its canister for a session, otherwise what you named.",
    ),
    "bans": _Command(_bans, _show_bans, "list the clients that kick --for bans"),
    "unban": _Command(_unban, _show_unban, "remove bans", "Name a canister, a principal or both, as bans lists them."),
    "maintenance": _Command(
        _maintenance,
        _show_maintenance,
        "show or set whether the gateway is out of service",
        "On: the gateway is not ready, so a load balancer sends no new clients, and the present ones stay. It ends with"
        " off, or when the gateway stops.",
    ),
    "drain": _Command(
        _drain,
        _show_drain,
        "drain and stop, as SIGTERM does",
        "A service manager with Restart=always starts the gateway again: to stop it for good, stop its service.",
    ),
    "upgrade": _Command(
        _upgrade,
        _show_upgrade,
        "hand over to a new process of the installed version",
        "Clients do not notice it, except those whose TLS the gateway itself ends: they are drained. If the new process"
        " cannot start, the present one goes on, and the error says why.",
        seconds=UPGRADE_SECONDS,
    ),
    "deny": _Command(
        _deny,
        _show_deny,
        "deny a canister, or list denied canisters",
        "Closes its clients with code 4110 and refuses new ones, until it is allowed or the gateway stops.",
    ),
    "allow": _Command(_allow, _show_allow, "undo a deny", "What the configuration denies can be allowed only there."),
    "options": _Command(_options, _show_options, "list the options that can be set at run time"),
    "set": _Command(
        _set,
        _show_set,
        "show the options that are set at run time, or set one",
        "Limits, rates, timeouts and lists, as on the gateway's command line. A list takes several values. A value"
        " lasts until it is reset or the gateway stops.",
    ),
    "log-level": _Command(
        _log_level,
        tables.levels,
        "show log levels, or set one",
        "Levels are trace, debug, info, warn, error, critical and off. A level lasts until it is reset or the gateway"
        " stops.",
    ),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print the error without the usage and exit."""
        self.exit(2, f"{PROGRAM}: {tables.clean(message)}; see {self.prog} --help\n")


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    common = _Parser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument(
        "--endpoint",
        help="the admin endpoint: unix:PATH, HOST:PORT, or the value of --admin-endpoint [ICWS_ADMIN_ENDPOINT]",
    )
    common.add_argument("--token-file", type=Path, help="file with the gateway's token [ICWS_ADMIN_TOKEN_FILE]")
    common.add_argument("--json", action="store_true", help="print the gateway's JSON")
    parser = _Parser(PROGRAM, description="Inspects and controls a running gateway.", parents=[common])
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    added = {
        name: commands.add_parser(name, help=command.help, description=command.description, parents=[common])
        for name, command in _COMMANDS.items()
    }
    _add_arguments(added)
    return parser


def _add_arguments(added: Mapping[str, argparse.ArgumentParser]) -> None:
    """Add the arguments of the commands to their parsers."""
    for name in ("sessions", "ended", "canisters", "top", "kick", "unban"):
        added[name].add_argument("--canister", help="only this canister")
    for name in ("sessions", "ended", "top", "kick", "unban"):
        added[name].add_argument("--principal", help="only of this client")
    added["sessions"].add_argument(
        "--state",
        choices=["init", "setup", "open", "closed"],
        help="only in this state; closed: ws_close is still to be sent",
    )
    _add_filters(added["sessions"])
    for name in ("sessions", "ended", "canisters", "top"):
        added[name].add_argument("--limit", type=int, help="number of rows, at most 1000 [default: 100]")
    _add_top(added["top"])
    added["dump"].add_argument("--changed", action="store_true", help="leave out options with their defaults")
    added["session"].add_argument("session", help="session id, from the log or a close reason")
    added["kick"].add_argument("session", nargs="?", help="session id, from the log or a close reason")
    added["kick"].add_argument(
        "--for",
        dest="seconds",
        metavar="TIME",
        type=_time,
        help="ban them for this time, such as 30s, 10m or 24h",
    )
    added["maintenance"].add_argument("state", nargs="?", choices=["on", "off"], help="without it, show which")
    added["kick"].add_argument("--reconnect", action="store_true", help="with 4100, which asks clients to reconnect")
    added["drain"].add_argument(
        "--window", type=float, help="seconds over which clients are closed [default: the gateway's --drain-window]"
    )
    added["deny"].add_argument("canister", nargs="?", help="canister id; without it, list denied canisters")
    added["allow"].add_argument("canister", help="canister id that was denied at run time")
    added["set"].add_argument("option", nargs="?", help="its name, such as max-connections")
    added["set"].add_argument("value", nargs="*", help="its value")
    added["set"].add_argument(
        "--reset", action="store_true", help="use the configuration's value again, for the option or for all"
    )
    added["log-level"].add_argument("component", nargs="?", help="component of the log; * for all others")
    added["log-level"].add_argument("level", nargs="?", help="lowest level that is logged")
    added["log-level"].add_argument(
        "--reset", action="store_true", help="use the configuration's level again, for the component or for all"
    )


def _add_top(top: argparse.ArgumentParser) -> None:
    top.add_argument(
        "--sort",
        metavar="KEY",
        choices=[*live_view.SORT_KEYS.values()],
        default="rate",
        help=f"the greatest first, of {', '.join(live_view.SORT_KEYS.values())} [default: rate]",
    )
    top.add_argument(
        "--interval", metavar="TIME", type=_interval, default=2.0, help="time between two views [default: 2s]"
    )
    top.add_argument("--once", action="store_true", help="print one view after one interval, and end")


def _add_filters(sessions: argparse.ArgumentParser) -> None:
    sessions.add_argument("--address", help="only from this address or network, such as 203.0.113.0/24")
    sessions.add_argument("--origin", help="only from web pages of this origin")
    sessions.add_argument("--older", metavar="TIME", type=_time, help="only those that have lasted for so long")
    sessions.add_argument(
        "--idle", metavar="TIME", type=_time, help="only those whose client has sent its canister nothing for so long"
    )


def _interval(text: str) -> float:
    seconds = _time(text)
    if not LEAST_INTERVAL <= seconds <= MOST_INTERVAL:
        raise argparse.ArgumentTypeError(f"{text!r} is outside {LEAST_INTERVAL:g} s to {MOST_INTERVAL:g} s")
    return seconds


def _time(text: str) -> float:
    try:
        return parse_duration(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _check(parser: argparse.ArgumentParser, parsed: _Parsed) -> None:
    """Check what the argument parser cannot."""
    if parsed.command == "kick":
        by_others = parsed.canister is not None or parsed.principal is not None
        if (parsed.session is None) is not by_others:
            parser.error("kick: give a session, or --canister, --principal or both of these")
    if parsed.command == "unban" and parsed.canister is None and parsed.principal is None:
        parser.error("unban: give --canister, --principal or both of these")
    if parsed.command == "set" and (parsed.option is not None or parsed.reset) and bool(parsed.value) is parsed.reset:
        parser.error("set: give OPTION VALUE, OPTION --reset, --reset, or nothing")
    given = parsed.command == "log-level" and (parsed.component is not None, parsed.level is not None, parsed.reset)
    if given not in (False, (False, False, False), (True, True, False), (True, False, True), (False, False, True)):
        parser.error("log-level: give COMPONENT LEVEL, COMPONENT --reset, --reset, or nothing")


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the command line and return the exit status."""
    parser = make_parser()
    parsed = parser.parse_args(arguments)
    _check(parser, parsed)
    endpoint = getattr(parsed, "endpoint", environment.get("ICWS_ADMIN_ENDPOINT", ""))
    if not endpoint:
        parser.error("no admin endpoint: give the gateway's --endpoint, or set ICWS_ADMIN_ENDPOINT")
    file = getattr(parsed, "token_file", environment.get("ICWS_ADMIN_TOKEN_FILE") or None)
    command = _COMMANDS[parsed.command]
    try:
        gateway = AdminClient(endpoint, None if file is None else Path(file), command.seconds)
        if command.run is not None:
            return command.run(gateway, parsed)
        document = command.request(gateway, parsed)
    except (Failed, ConfigError) as error:
        print(f"{PROGRAM}: {tables.clean(error)}", file=sys.stderr)
        return 1
    print(json.dumps(document) if getattr(parsed, "json", False) else command.show(document))
    missing = document.get("missing_workers")
    if missing:
        numbers = ", ".join(map(str, missing))
        print(f"{PROGRAM}: not all workers have answered, without: {numbers}", file=sys.stderr)
    return int(bool(missing) and _changes(parsed))


def _changes(parsed: _Parsed) -> bool:
    if parsed.command == "log-level":
        return parsed.reset or parsed.component is not None
    if parsed.command == "maintenance":
        return parsed.state is not None
    if parsed.command == "set":
        return parsed.reset or parsed.option is not None
    return parsed.command in ("kick", "unban", "allow", "deny")


def main() -> NoReturn:
    """Run ``icwsctl`` and exit with its status."""
    run_command(run)


if __name__ == "__main__":
    main()
