"""The admin API's answers: over a whole gateway in memory, and over workers of which some do not answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from icwsgw.admin import api as api_module
from icwsgw.admin.access import Refused
from icwsgw.admin.api import Api, Done, NotAllowed, Replies, Request
from icwsgw.admin.control import NO_OVERRIDES, Control, ControlRequest, Overrides
from icwsgw.config.provenance import Provenance
from icwsgw.config.running import SETTABLE, fitting_options
from icwsgw.config.schema import OPTIONS, GatewayConfig
from icwsgw.core.close_reasons import CloseCode
from icwsgw.errors import IcwsError
from icwsgw.observe.logs import override_levels
from tests.memory.world import CHAT_ID, ECHO_ID, World
from tests.test_layering import ROOT


class Alone:
    """A gateway of one process."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.control = Control(world.gateway)
        self.overrides = NO_OVERRIDES
        self.configured: GatewayConfig = world.config
        self.upgrader: Any = None
        self.provenance: Provenance | None = None
        self.draining = False
        self.drains: list[float | None] = []

    @property
    def config(self) -> GatewayConfig:
        return fitting_options(self.configured, self.overrides.options)[0]

    @config.setter
    def config(self, config: GatewayConfig) -> None:
        self.configured = config

    def request(self, request: ControlRequest) -> Deferred[Replies]:
        return self.control.reply(request).addCallback(lambda answer: Replies({0: answer}, []))

    def override(self, overrides: Overrides) -> Deferred[Replies]:
        self.overrides = overrides
        return self.request({"what": "override", "overrides": overrides.to_json()})

    def seconds(self) -> float:
        return float(self.world.clock.seconds())

    def status_document(self) -> Deferred[dict[str, Any]]:
        return succeed({"ready": True})

    def drain(self, window: float | None) -> None:
        self.draining = True
        self.drains.append(window)
        self.world.gateway.drain(window)


class Workers(Alone):
    """Several processes, of which the last does not answer."""

    def __init__(self, *worlds: World) -> None:
        super().__init__(worlds[0])
        self.controls = [Control(world.gateway) for world in worlds]
        self.requests: list[ControlRequest] = []

    def request(self, request: ControlRequest) -> Deferred[Replies]:
        self.requests.append(request)
        answers: dict[int, Any] = {}
        for number, control in enumerate(self.controls):
            control.reply(request).addCallback(partial(answers.__setitem__, number))
        return succeed(Replies(answers, [len(answers)]))


class Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def info(self, message: str, **fields: Any) -> None:
        self.lines.append((message, {name: value for name, value in fields.items() if value is not None}))


@pytest.fixture(autouse=True)
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    log = Log()
    monkeypatch.setattr(api_module, "_log", log)
    yield log
    override_levels({})


@pytest.fixture
def world() -> World:
    return World(drain_window=3.0)


def done(service: Alone, method: str, target: str, body: Any = None) -> Done:
    path, _, query = target.partition("?")
    content = b"" if body is None else json.dumps(body).encode()
    results: list[Any] = []
    request = Request(method, path, query, content, "uid 0, process 1")
    Deferred.fromCoroutine(Api(service).answer(request)).addBoth(results.append)
    (result,) = results
    if not isinstance(result, Done):
        result.raiseException()
    json.dumps(result.document)
    assert isinstance(result, Done)
    return result


def get(service: Alone, target: str) -> dict[str, Any]:
    return done(service, "GET", target).document


def post(service: Alone, target: str, **body: Any) -> dict[str, Any]:
    return done(service, "POST", target, body).document


def refused(service: Alone, method: str, target: str, body: Any = None) -> tuple[int, str]:
    with pytest.raises(Refused) as caught:
        done(service, method, target, body)
    return caught.value.status, caught.value.text


# looking


def test_sessions_and_one_of_them(world: World) -> None:
    service = Alone(world)
    clients = world.open(3)
    (chatter,) = world.open(canister=CHAT_ID)
    document = get(service, "/v1/sessions")
    assert (len(document["sessions"]), document["more"], document["missing_workers"]) == (4, False, [])
    assert document["sessions"][0]["worker"] == 0
    document = get(service, "/v1/sessions/?limit=2")
    assert (len(document["sessions"]), document["more"]) == (2, True)
    document = get(service, f"/v1/sessions?canister={CHAT_ID.text}&state=open")
    assert [row["id"] for row in document["sessions"]] == [chatter.session.id]
    assert chatter.session is not None
    assert get(service, f"/v1/sessions/{chatter.session.id}")["canister"] == CHAT_ID.text
    assert clients[0].session is not None
    quoted = clients[0].session.id.replace("-", "%2d")
    assert get(service, f"/v1/sessions/{quoted}")["id"] == clients[0].session.id
    assert refused(service, "GET", "/v1/sessions/nobody") == (404, "there is no session 'nobody'")


def test_canisters_of_several_workers_are_put_together(world: World) -> None:
    other = World(seed=2)
    service = Workers(world, other)
    world.open(2)
    other.open()
    other.open(3, canister=CHAT_ID)
    document = get(service, "/v1/canisters")
    found = [(row["canister"], row["sessions"]) for row in document["canisters"]]
    assert sorted(found) == sorted([(ECHO_ID.text, 3), (CHAT_ID.text, 3)])
    (echo,) = get(service, f"/v1/canisters?canister={ECHO_ID.text}")["canisters"]
    assert [(poller["worker"], poller["sessions"]) for poller in echo["pollers"]] == [(0, 2), (1, 1)]
    assert document["missing_workers"] == [2]
    document = get(service, "/v1/canisters?limit=1")
    assert (len(document["canisters"]), document["more"]) == (1, True)
    document = get(service, "/v1/sessions?limit=5")
    assert (len(document["sessions"]), document["more"]) == (5, True)
    assert {row["worker"] for row in get(service, "/v1/sessions")["sessions"]} == {0, 1}
    status, text = refused(service, "GET", "/v1/sessions/nobody")
    assert (status, text) == (404, "there is no session 'nobody'; not all workers have answered")


def test_sessions_that_ended_in_several_workers_are_put_together(world: World) -> None:
    other = World(seed=2)
    service = Workers(world, other)
    (one,), (two,) = world.open(), other.open()
    other.run(2)
    two.leave()
    world.run(5)
    one.leave()
    document = get(service, "/v1/sessions/ended")
    assert one.session is not None
    assert two.session is not None
    assert [(row["id"], row["worker"]) for row in document["sessions"]] == [(one.session.id, 0), (two.session.id, 1)]
    assert (document["more"], document["missing_workers"]) == (False, [2])
    document = get(service, "/v1/sessions/ended?limit=1")
    assert ([row["id"] for row in document["sessions"]], document["more"]) == ([one.session.id], True)
    assert refused(service, "GET", "/v1/sessions/ended?state=open")[0] == 400


def test_the_status(world: World) -> None:
    assert get(Alone(world), "/v1/status") == {"ready": True}


@pytest.mark.parametrize("path", ["/", "", "/v1", "/v2/sessions", "/v1/session", "/v1/sessionsx", "//v1/sessions"])
def test_what_is_not_there(world: World, path: str) -> None:
    status, text = refused(Alone(world), "GET", path)
    assert status == 404
    assert "/v1/status, /v1/sessions, /v1/sessions/ended, /v1/canisters, /v1/top, /v1/config" in text


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/v1/sessions", "GET, HEAD"),
        ("DELETE", "/v1/sessions/x", "GET, HEAD"),
        ("GET", "/v1/kick", "POST"),
        ("HEAD", "/v1/drain", "POST"),
        ("PUT", "/v1/deny", "GET, HEAD, POST"),
        ("OPTIONS", "/v1/log-levels", "GET, HEAD, PUT"),
    ],
)
def test_methods_that_are_not_there(world: World, method: str, path: str, allow: str) -> None:
    with pytest.raises(NotAllowed) as caught:
        done(Alone(world), method, path)
    assert (caught.value.status, caught.value.allow) == (405, allow)


# doing


def test_a_kick(world: World, log: Log) -> None:
    service = Alone(world)
    one, two = world.open(2)
    assert one.session is not None
    session = one.session.id
    assert post(service, "/v1/kick", session=session) == {"closed": 1, "missing_workers": []}
    assert log.lines == [("clients closed", {"by": "uid 0, process 1", "closed": 1, "code": 1008, "session": session})]
    assert (one.close_code, two.close_code) == (CloseCode.POLICY, None)
    world.run(1)
    assert world.replica.stats["ws_close"] == 1
    assert refused(service, "POST", "/v1/kick", {"session": session})[0] == 404
    assert post(service, "/v1/kick", canister=ECHO_ID.text, code=4100)["closed"] == 1
    assert post(service, "/v1/kick", canister=ECHO_ID.text)["closed"] == 0
    assert two.close_code == CloseCode.DRAINING


def test_who_is_kicked_for_a_time_stays_away_for_it(world: World, log: Log) -> None:
    service = Alone(world)
    (kicked,) = world.open(1)
    (other,) = world.open(1)
    assert kicked.session is not None
    session, identity = kicked.session.id, kicked.identity
    principal = identity.principal.text
    assert post(service, "/v1/kick", **{"session": session, "for": 600})["closed"] == 1
    assert log.lines[0][1]["for_s"] == 600.0
    assert (kicked.close_code, other.close_code) == (CloseCode.POLICY, None)
    again = world.client(identity=identity)
    world.until(lambda: again.close_code is not None)
    assert again.close_code == CloseCode.POLICY
    assert again.close_reason.startswith("closed by the operator of this gateway for 9 min")
    world.open(1)
    # at another canister it is welcome
    elsewhere = world.client(CHAT_ID, identity)
    world.until(lambda: elsewhere.opened)
    (row,) = get(service, "/v1/bans")["bans"]
    assert (row["canister"], row["principal"]) == (ECHO_ID.text, principal)
    assert 590 < row["seconds_left"] <= 600
    elsewhere.leave()
    other.leave()
    world.run(601, step=0.5)
    assert get(service, "/v1/bans") == {"bans": []}
    back = world.client(identity=identity)
    world.until(lambda: back.opened)


def test_a_ban_is_lifted_and_a_later_one_replaces_it(world: World, log: Log) -> None:
    service = Alone(world)
    for seconds in (60, 5):
        post(service, "/v1/kick", **{"principal": "2vxsx-fae", "for": seconds})
    post(service, "/v1/kick", **{"canister": ECHO_ID.text, "principal": "2vxsx-fae", "for": 7.5})
    assert [(row["canister"], row["seconds_left"]) for row in get(service, "/v1/bans")["bans"]] == [
        (None, 5.0),
        (ECHO_ID.text, 7.5),
    ]
    assert post(service, "/v1/unban", principal="2vxsx-fae")["changed"]
    assert not post(service, "/v1/unban", principal="2vxsx-fae")["changed"]
    assert len(get(service, "/v1/bans")["bans"]) == 1
    assert log.lines[-1] == ("ban lifted", {"by": "uid 0, process 1", "principal": "2vxsx-fae"})
    assert refused(service, "POST", "/v1/unban", {})[0] == 400


@pytest.mark.parametrize("seconds", [0, -1, True, "10m", 1e9, float("1e300")])
def test_a_time_that_is_none(world: World, seconds: Any) -> None:
    status, words = refused(Alone(world), "POST", "/v1/kick", {"principal": "2vxsx-fae", "for": seconds})
    assert (status, words) == (400, "for is a number of seconds up to 2678400, which is 31 days")


def test_a_session_without_an_envelope_has_no_owner(world: World) -> None:
    service = Alone(world)
    client = world.client()
    client.automatic = False
    world.run(1)
    (row,) = get(service, "/v1/sessions")["sessions"]
    assert refused(service, "POST", "/v1/kick", {"session": row["id"], "for": 5})[0] == 409
    assert refused(service, "POST", "/v1/kick", {"session": "x-1", "for": 5})[0] == 404
    assert client.close_code is None
    assert service.overrides.bans == ()


def test_there_is_room_for_so_many_bans(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_module, "MAX_BANS", 1)
    service = Alone(world)
    post(service, "/v1/kick", **{"principal": "2vxsx-fae", "for": 5})
    # the same once more, and another one when that is over
    post(service, "/v1/kick", **{"principal": "2vxsx-fae", "for": 5})
    assert refused(service, "POST", "/v1/kick", {"principal": "aaaaa-aa", "for": 5})[0] == 409
    world.run(6)
    post(service, "/v1/kick", **{"principal": "aaaaa-aa", "for": 5})


def test_maintenance_begins_and_ends(world: World, log: Log) -> None:
    service = Alone(world)
    (client,) = world.open(1)
    assert get(service, "/v1/maintenance") == {"maintenance": False}
    for on in (True, True, False):
        answer = post(service, "/v1/maintenance", on=on)
        assert answer["maintenance"] is on
        assert get(service, "/v1/maintenance") == {"maintenance": on}
        assert (service.overrides.out_of_service is not None) is on
    assert [line for line, _ in log.lines] == ["maintenance begins", "maintenance ends"]
    assert client.close_code is None
    assert refused(service, "POST", "/v1/maintenance", {})[0] == 400
    assert refused(service, "POST", "/v1/maintenance", {"on": "yes"})[0] == 400


@pytest.mark.parametrize(
    "body", [{}, {"code": 1008}, {"session": "x", "canister": ECHO_ID.text}, {"session": "x", "principal": "aaaaa-aa"}]
)
def test_a_kick_says_whom(world: World, body: dict[str, Any]) -> None:
    world.open()
    assert refused(Alone(world), "POST", "/v1/kick", body)[0] == 400


def test_a_kick_reaches_all_workers(world: World) -> None:
    other = World(seed=2)
    service = Workers(world, other)
    world.open(2)
    other.open()
    assert post(service, "/v1/kick", canister=ECHO_ID.text) == {"closed": 3, "missing_workers": [2]}


def test_a_drain_is_begun_when_its_answer_has_left(world: World, log: Log) -> None:
    service = Alone(world)
    clients = world.open(2)
    answer = done(service, "POST", "/v1/drain", {"window": 0.5})
    assert (answer.status, answer.document) == (202, {"draining": True, "window": 0.5})
    assert not service.draining
    assert answer.then is not None
    answer.then()
    world.run(1)
    assert service.drains == [0.5]
    assert [client.close_code for client in clients] == [CloseCode.DRAINING] * 2
    assert log.lines == [("drain requested", {"by": "uid 0, process 1", "window_s": 0.5})]
    assert refused(service, "POST", "/v1/drain")[0] == 409
    world.check_idle()


class Upgrades:
    """Hands over, or does not."""

    def __init__(self, result: Deferred[dict[str, Any]]) -> None:
        self.result = result
        self.retired = False

    def hand_over(self) -> Deferred[dict[str, Any]]:
        return self.result

    def retire(self) -> None:
        self.retired = True


def test_an_upgrade_is_answered_before_the_process_stops(world: World) -> None:
    service = Alone(world)
    service.upgrader = Upgrades(succeed({"process": 7}))
    answer = done(service, "POST", "/v1/upgrade", {})
    assert (answer.status, answer.document, service.upgrader.retired) == (200, {"process": 7}, False)
    assert answer.then is not None
    answer.then()
    assert service.upgrader.retired


def test_an_upgrade_that_fails_says_why_and_stops_nothing(world: World) -> None:
    service = Alone(world)
    service.upgrader = Upgrades(fail(IcwsError("the new process ended")))
    assert refused(service, "POST", "/v1/upgrade", {}) == (503, "no upgrade: the new process ended")
    assert not service.upgrader.retired


def test_a_gateway_of_several_processes_is_not_upgraded(world: World) -> None:
    assert refused(Alone(world), "POST", "/v1/upgrade", {})[0] == 409


def test_a_drain_may_leave_the_window_to_the_gateway() -> None:
    assert done(Alone(World()), "POST", "/v1/drain").document == {"draining": True, "window": None}


def test_a_drain_takes_the_window_of_the_configuration(world: World) -> None:
    assert done(Alone(world), "POST", "/v1/drain").document["window"] == 3.0


def test_a_canister_is_denied_and_allowed_again(world: World, log: Log) -> None:
    service = Alone(world)
    clients = world.open(2)
    echo = ECHO_ID.text
    document = post(service, "/v1/deny", canister=echo)
    assert document == {"canister": echo, "denied": True, "changed": True, "closed": 2, "missing_workers": []}
    assert [client.close_code for client in clients] == [CloseCode.CANISTER_NOT_ALLOWED] * 2
    assert not post(service, "/v1/deny", canister=echo)["changed"]
    assert get(service, "/v1/deny") == {"denied": [echo], "configured": []}
    # a reload of the configuration leaves it denied
    world.gateway.serve(world.config)
    late = world.client()
    world.until(lambda: late.close_code == CloseCode.CANISTER_NOT_ALLOWED)
    assert post(service, "/v1/allow", canister=echo) == {
        "canister": echo,
        "served": True,
        "changed": True,
        "missing_workers": [],
    }
    assert not post(service, "/v1/allow", canister=echo)["changed"]
    assert get(service, "/v1/deny")["denied"] == []
    world.open()
    assert [message for message, _ in log.lines] == [
        "canister denied",
        "canister denied",
        "canister allowed again",
    ]
    for path in ("/v1/deny", "/v1/allow"):
        assert refused(service, "POST", path, {})[0] == 400


def test_what_the_configuration_denies_is_not_allowed_here(world: World) -> None:
    service = Alone(world)
    echo = ECHO_ID.text
    service.config = replace(world.config, denied_canisters=(echo,))
    assert refused(service, "POST", "/v1/allow", {"canister": echo})[0] == 409
    assert get(service, "/v1/deny") == {"denied": [], "configured": [echo]}
    assert post(service, "/v1/deny", canister=echo)["changed"]
    document = post(service, "/v1/allow", canister=echo)
    assert (document["changed"], document["served"]) == (True, False)
    service.config = replace(world.config, allowed_canisters=(CHAT_ID.text,))
    assert not post(service, "/v1/allow", canister=echo)["served"]


def test_there_is_room_for_so_many(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_module, "MAX_DENIED", 1)
    monkeypatch.setattr(api_module, "MAX_LEVELS", 1)
    service = Alone(world)
    post(service, "/v1/deny", canister=CHAT_ID.text)
    assert refused(service, "POST", "/v1/deny", {"canister": ECHO_ID.text})[0] == 409
    assert not post(service, "/v1/deny", canister=CHAT_ID.text)["changed"]
    assert refused(service, "PUT", "/v1/log-levels", {"relay": "info", "session": "info"})[0] == 409
    assert service.overrides.levels == {}


def test_levels(world: World, log: Log) -> None:
    service = Alone(world)
    service.config = replace(world.config, log_level="warn,relay=error")
    document = get(service, "/v1/log-levels")
    assert document["levels"] == {"*": "warn", "relay": "error"}
    assert (document["overrides"], document["configured"]) == ({}, "warn,relay=error")
    assert {"gateway", "relay", "session"} <= set(document["components"])
    document = done(service, "PUT", "/v1/log-levels", {"session": "debug", "*": "error"}).document
    assert document["levels"] == {"*": "error", "relay": "error", "session": "debug"}
    assert document["overrides"] == {"*": "error", "session": "debug"}
    assert log.lines[-1] == (
        "log levels set",
        {"by": "uid 0, process 1", "levels": "*=error,session=debug"},
    )
    document = done(service, "PUT", "/v1/log-levels", {"*": None, "relay": "trace"}).document
    assert document["overrides"] == {"relay": "trace", "session": "debug"}
    document = done(service, "PUT", "/v1/log-levels", {"reset": True}).document
    assert document["levels"] == {"*": "warn", "relay": "error"}
    assert log.lines[-1][1]["levels"] == "the configuration's"


def test_options_are_set_and_reset(world: World, log: Log) -> None:
    service = Alone(world)
    before = get(service, "/v1/options")["options"]
    assert set(before) == {entry.name for entry in OPTIONS if entry.field in SETTABLE}
    assert before["max-connections"] == {"value": "50000", "set": False}
    document = put(service, {"max-connections": 1000, "open-timeout": "2m", "allowed-origin": ["https://a.example"]})
    rows = {name: row["value"] for name, row in document["options"].items() if row["set"]}
    assert rows["max-connections"] == "1000"
    assert rows["open-timeout"] == "120"
    assert service.config.open_timeout == 120.0
    assert log.lines[-1][0] == "options set"
    put(service, {"max-connections": None})
    assert (service.config.max_connections, service.config.open_timeout) == (50_000, 120.0)
    put(service, {"reset": True, "accept-rate": 5})
    assert service.overrides.options == {"accept-rate": ("5",)}
    put(service, {"reset": True})
    assert get(service, "/v1/options")["options"] == before


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "nothing is asked for"),
        ({"reset": 1}, "reset is true or false"),
        ({"max-connections": "many"}, "max-connections: 'many' is not a whole number"),
        ({"relay-queue-bytes": "9" * 5000}, "relay-queue-bytes: "),
        ({"max-connections": ["1", "2"]}, "max-connections has one value"),
        ({"max-connections": []}, "max-connections has one value"),
        ({"max-connections": True}, "max-connections: a value is text or a number"),
        ({"max-connections": {"a": 1}}, "max-connections: a value is text or a number"),
        ({"workers": "2"}, "workers is not an option that can be set at run time; an upgrade or a restart applies it"),
        ({"log-level": "debug"}, "log-level is not an option that can be set at run time; see icwsctl log-level"),
        ({"x" * 1000: "2"}, "x" * 64 + " is not an option"),
    ],
)
def test_options_that_cannot_be_set(world: World, body: dict[str, Any], words: str) -> None:
    service = Alone(world)
    status, error = refused(service, "PUT", "/v1/options", body)
    assert status == 400
    assert error.startswith(words)
    assert service.overrides == NO_OVERRIDES


def test_an_option_that_a_reload_has_left_without_effect_hinders_no_other(world: World) -> None:
    service = Alone(world)
    put(service, {"first-message-timeout": 25, "client-message-rate": 5})
    service.configured = replace(service.configured, open_timeout=20.0, first_message_timeout=15.0)
    document = put(service, {"outbox-age": 20})
    reason = "--first-message-timeout (25) may not be above --open-timeout (20)"
    rows = {name: row for name, row in document["options"].items() if row["set"]}
    assert rows == {
        "first-message-timeout": {"value": "15", "set": True, "not_applied": reason},
        "client-message-rate": {"value": "5", "set": True},
        "outbox-age": {"value": "20", "set": True},
    }
    assert refused(service, "PUT", "/v1/options", {"first-message-timeout": 24})[0] == 400
    # in force again as soon as it fits
    document = put(service, {"open-timeout": 60})
    assert document["options"]["first-message-timeout"] == {"value": "25", "set": True}
    # but one that others need cannot be reset alone
    service.configured = replace(service.configured, open_timeout=20.0)
    assert refused(service, "PUT", "/v1/options", {"open-timeout": None})[0] == 400


def put(service: Alone, body: dict[str, Any]) -> dict[str, Any]:
    return done(service, "PUT", "/v1/options", body).document


def test_what_is_changed_is_sent_whole_to_all_workers(world: World) -> None:
    service = Workers(world)
    post(service, "/v1/deny", canister=CHAT_ID.text)
    done(service, "PUT", "/v1/log-levels", {"session": "debug"})
    overrides = [request["overrides"] for request in service.requests]
    assert overrides == [
        {"denied": [CHAT_ID.text], "levels": {}, "bans": [], "maintenance": False, "options": {}},
        {"denied": [CHAT_ID.text], "levels": {"session": 10}, "bans": [], "maintenance": False, "options": {}},
    ]


def test_each_path_is_documented() -> None:
    document = (ROOT / "docs" / "admin-api.md").read_text()
    listed = re.findall(
        r"^    (GET|POST|PUT) +(/v1/\S+?),?(?: +POST (/v1/\S+))?(?: |$)", api_module.__doc__ or "", re.M
    )
    paths = {f"{method} {path}" for method, *paths in listed for path in paths if path}
    assert len(paths) == 22
    for each in paths:
        assert f"**`{each}`**" in document, each
    served = {
        f"{method} {path}" for path, handlers in Api(Alone(World(start=False)))._routes.items() for method in handlers
    }
    assert paths == served | {"GET /v1/sessions/<id>"}
