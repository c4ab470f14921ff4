"""The command line of icwsctl: its requests, its output, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from icwsgw.ctl import commands
from icwsgw.ctl.admin_client import Failed
from icwsgw.ctl.commands import run

WHERE = {"ICWS_ADMIN_ENDPOINT": "unix:/run/icws/admin.sock"}
CANISTER = "bkyz2-fmaaa-aaaaa-qaaaq-cai"


class Fake:
    """A gateway that records its requests."""

    made: list[tuple[str, Path | None]]
    requests: list[Any]
    document: dict[str, Any] | Exception

    def __init__(self, endpoint: str, token_file: Path | None, seconds: float) -> None:
        self.made.append((endpoint, token_file))

    def _answer(self, *request: Any) -> dict[str, Any]:
        self.requests.append(request)
        if isinstance(self.document, Exception):
            raise self.document
        return self.document

    def get(self, *path: str, **query: Any) -> dict[str, Any]:
        return self._answer("GET", *path, {name: value for name, value in query.items() if value is not None})

    def post(self, *path: str, **body: Any) -> dict[str, Any]:
        return self._answer("POST", *path, {name: value for name, value in body.items() if value is not None})

    def put(self, *path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._answer("PUT", *path, body)


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    monkeypatch.setattr(commands, "AdminClient", Fake)
    Fake.made, Fake.requests, Fake.document = [], [], {}
    return Fake


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("status", ("GET", "status", {})),
        ("sessions", ("GET", "sessions", {})),
        (
            f"sessions --canister {CANISTER} --principal 2vxsx-fae --state open --limit 5",
            ("GET", "sessions", {"canister": CANISTER, "principal": "2vxsx-fae", "state": "open", "limit": 5}),
        ),
        (
            "sessions --address 203.0.113.0/24 --origin https://a.example --older 1h --idle 10m",
            (
                "GET",
                "sessions",
                {"address": "203.0.113.0/24", "origin": "https://a.example", "older": 3600.0, "idle": 600.0},
            ),
        ),
        ("ended", ("GET", "sessions", "ended", {})),
        ("ended --principal 2vxsx-fae --limit 5", ("GET", "sessions", "ended", {"principal": "2vxsx-fae", "limit": 5})),
        ("session ab12-3", ("GET", "sessions", "ab12-3", {})),
        (f"canisters --canister {CANISTER}", ("GET", "canisters", {"canister": CANISTER})),
        ("kick ab12-3", ("POST", "kick", {"session": "ab12-3", "code": 1008})),
        (
            f"kick --canister {CANISTER} --principal 2vxsx-fae --reconnect",
            ("POST", "kick", {"canister": CANISTER, "principal": "2vxsx-fae", "code": 4100}),
        ),
        ("kick ab12-3 --for 10m", ("POST", "kick", {"session": "ab12-3", "code": 1008, "for": 600.0})),
        ("bans", ("GET", "bans", {})),
        ("unban --principal 2vxsx-fae", ("POST", "unban", {"principal": "2vxsx-fae"})),
        ("maintenance", ("GET", "maintenance", {})),
        ("maintenance on", ("POST", "maintenance", {"on": True})),
        ("maintenance off", ("POST", "maintenance", {"on": False})),
        ("drain", ("POST", "drain", {})),
        ("upgrade", ("POST", "upgrade", {})),
        ("drain --window 2.5", ("POST", "drain", {"window": 2.5})),
        ("deny", ("GET", "deny", {})),
        (f"deny {CANISTER}", ("POST", "deny", {"canister": CANISTER})),
        (f"allow {CANISTER}", ("POST", "allow", {"canister": CANISTER})),
        ("options", ("GET", "options", {})),
        ("set max-connections 20000", ("PUT", "options", {"max-connections": "20000"})),
        ("set allowed-origin https://a https://b", ("PUT", "options", {"allowed-origin": ["https://a", "https://b"]})),
        ("set max-connections --reset", ("PUT", "options", {"max-connections": None})),
        ("set --reset", ("PUT", "options", {"reset": True})),
        ("set", ("GET", "options", {})),
        ("log-level", ("GET", "log-levels", {})),
        ("log-level relay debug", ("PUT", "log-levels", {"relay": "debug"})),
        ("log-level * warn", ("PUT", "log-levels", {"*": "warn"})),
        ("log-level relay --reset", ("PUT", "log-levels", {"relay": None})),
        ("log-level --reset", ("PUT", "log-levels", {"reset": True})),
    ],
)
def test_requests(fake: type[Fake], line: str, expected: Any, capsys: pytest.CaptureFixture[str]) -> None:
    fake.document = {"some": ["thing"]}
    assert run([*line.split(), "--json"], WHERE) == 0
    assert fake.requests == [expected]
    out = capsys.readouterr().out
    assert json.loads(out) == {"some": ["thing"]}
    assert out.count("\n") == 1


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "COMMAND"),
        ("dance", "invalid choice"),
        ("kick", "kick: give a session"),
        (f"kick ab12-3 --canister {CANISTER}", "kick: give a session"),
        ("kick ab12-3 --for soon", "'soon' is not a duration such as 250ms, 10s, 2m or 1h"),
        ("unban", "unban: give --canister, --principal"),
        ("maintenance perhaps", "invalid choice"),
        ("allow", "canister"),
        ("sessions --state shut", "invalid choice"),
        ("sessions --idle long", "'long' is not a duration"),
        ("top --sort colour", "invalid choice"),
        ("top --interval 1ms", "'1ms' is outside 0.5 s to 3600 s"),
        ("sessions --limit many", "invalid int"),
        ("kick ab12-3 --principal aaaaa-aa", "kick: give a session"),
        ("set max-connections", "set: give OPTION VALUE"),
        ("set max-connections 5 --reset", "set: give OPTION VALUE"),
        ("log-level relay", "log-level: give COMPONENT LEVEL"),
        ("log-level relay debug --reset", "log-level: give COMPONENT LEVEL"),
    ],
)
def test_wrong_command_lines(fake: type[Fake], line: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(line.split(), WHERE)
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert words in error
    assert error.startswith("icwsctl: ")
    assert error.count("\n") == 1
    assert fake.requests == []


def test_where_the_gateway_is(fake: type[Fake], capsys: pytest.CaptureFixture[str]) -> None:
    environment = {**WHERE, "ICWS_ADMIN_TOKEN_FILE": "/t"}
    run(["deny", "--json"], environment)
    run(["--endpoint", "9091", "--token-file", "/u", "deny", "--json"], environment)
    run(["deny", "--endpoint=9092", "--token-file=/v", "--json"], environment)
    run(["--json", "deny"], {**WHERE, "ICWS_ADMIN_TOKEN_FILE": ""})
    assert fake.made == [
        ("unix:/run/icws/admin.sock", Path("/t")),
        ("9091", Path("/u")),
        ("9092", Path("/v")),
        ("unix:/run/icws/admin.sock", None),
    ]
    with pytest.raises(SystemExit) as ended:
        run(["deny"], {})
    assert ended.value.code == 2
    assert "no admin endpoint: give the gateway's --endpoint" in capsys.readouterr().err


def test_a_dump_is_the_answers_to_two_questions(fake: type[Fake], capsys: pytest.CaptureFixture[str]) -> None:
    options = {"a": {"value": "1", "from": "default"}, "b": {"value": ["x", "y"], "from": "file /f"}}
    fake.document = {"options": options, "certificates": [], "missing_workers": []}
    assert run(["dump"], WHERE) == 0
    assert fake.requests == [("GET", "config", {}), ("GET", "certificates", {})]
    assert capsys.readouterr().out == (
        "OPTION  VALUE  FROM\na       1      default\nb       x, y   file /f\n\nno certificates\n"
    )
    assert run(["dump", "--changed", "--json"], WHERE) == 0
    assert list(json.loads(capsys.readouterr().out)["options"]) == ["b"]


def test_top_asks_twice_for_one_view(fake: type[Fake], capsys: pytest.CaptureFixture[str]) -> None:
    fake.document = {"some": ["thing"]}
    line = f"top --once --json --interval 500ms --sort lag --limit 5 --canister {CANISTER} --principal 2vxsx-fae"
    assert run(line.split(), WHERE) == 0
    query = {"sort": "lag", "limit": 5, "canister": CANISTER, "principal": "2vxsx-fae"}
    assert fake.requests == [("GET", "top", query)] * 2
    assert json.loads(capsys.readouterr().out) == {"some": ["thing"]}


def test_what_fails_is_a_line(fake: type[Fake], capsys: pytest.CaptureFixture[str]) -> None:
    fake.document = Failed("there is no session\n'x'\x1b[2J")
    assert run(["session", "x"], WHERE) == 1
    assert capsys.readouterr() == ("", "icwsctl: there is no session\\n'x'\\u001b[2J\n")


@pytest.mark.parametrize(
    ("line", "document", "text"),
    [
        ("kick ab12-3", {"closed": 1}, "1 closed"),
        ("drain", {"draining": True, "window": 10.0}, "draining, over 10 s"),
        ("bans", {"bans": []}, "no bans"),
        (
            "bans",
            {"bans": [{"canister": None, "principal": "2vxsx-fae", "seconds_left": 90.0}]},
            "CANISTER  PRINCIPAL     LEFT\n-         2vxsx-fae  1min30s",
        ),
        ("unban --principal 2vxsx-fae", {"changed": True}, "ban removed"),
        ("unban --principal 2vxsx-fae", {"changed": False}, "no such ban"),
        (
            "maintenance on",
            {"maintenance": True},
            "maintenance: not ready for new clients, the present ones stay",
        ),
        ("maintenance", {"maintenance": False}, "no maintenance"),
        (
            "options",
            {"options": {"a-b": {"value": "5", "set": True}, "c": {"value": "", "set": False}}},
            "OPTION  VALUE  FROM\na-b     5      set at run time\nc       none   configured",
        ),
        (
            "options",
            {"options": {"a-b": {"value": "5", "set": True, "not_applied": "--a-b (9) may not be above --c (7)"}}},
            "OPTION  VALUE  FROM\na-b     5      configured; set at run time, but not applied: --a-b (9) may not "
            "be above --c (7)",
        ),
        (
            "set a-b 5",
            {"options": {"a-b": {"value": "5", "set": True}, "c": {"value": "", "set": False}}},
            "a-b = 5",
        ),
        ("set --reset", {"options": {}}, "all options are the configuration's"),
        (
            "upgrade",
            {"from": "0.1.0", "to": "0.2.0", "process": 7, "connections": 12, "left": 3, "seconds": 0.2},
            "upgraded from 0.1.0 to 0.2.0: process 7 serves 12 connections, 3 are drained",
        ),
        (f"deny {CANISTER}", {"canister": CANISTER, "changed": True, "closed": 3}, f"{CANISTER} denied, 3 closed"),
        (
            f"deny {CANISTER}",
            {"canister": CANISTER, "changed": False, "closed": 0},
            f"{CANISTER} was denied already, 0 closed",
        ),
        ("deny", {"denied": [], "configured": []}, "no canister is denied"),
        (
            "deny",
            {"denied": ["b"], "configured": ["a"]},
            "CANISTER  DENIED\na         configured\nb         at run time",
        ),
        (
            f"allow {CANISTER}",
            {"canister": CANISTER, "changed": True, "served": True},
            f"{CANISTER} not denied at run time any more",
        ),
        (
            f"allow {CANISTER}",
            {"canister": CANISTER, "changed": False, "served": False},
            f"{CANISTER} was not denied at run time; the configuration does not let it be served",
        ),
        ("session ab12-3", {"id": "ab12-3", "peer": None}, "id    ab12-3\npeer  -"),
    ],
)
def test_what_people_see(
    fake: type[Fake], line: str, document: dict[str, Any], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.document = document
    assert run(line.split(), WHERE) == 0
    assert capsys.readouterr() == (f"{text}\n", "")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("kick x", 1),
        ("maintenance", 0),
        ("maintenance on", 1),
        ("unban --canister x", 1),
        ("sessions", 0),
        ("log-level relay debug", 1),
    ],
)
def test_workers_that_have_not_answered(
    fake: type[Fake], line: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.document = {"closed": 1, "changed": True, "maintenance": True, "missing_workers": [1, 3]}
    assert run([*line.split(), "--json"], WHERE) == status
    assert capsys.readouterr().err == "icwsctl: not all workers have answered, without: 1, 3\n"
