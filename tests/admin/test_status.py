from __future__ import annotations

import json
from typing import Any

from icwsgw.admin.history import INTERVAL
from icwsgw.admin.status import CANISTERS, SERIES, Status, resident_bytes
from icwsgw.devnet.canisters import CHAT_ID, ECHO_ID
from icwsgw.devnet.faults import InjectedFault
from icwsgw.ic.principal import Principal
from icwsgw.observe.event_loop_lag import EventLoopLag
from icwsgw.observe.health import Health
from icwsgw.observe.recent_warnings import RecentWarnings
from tests.memory.world import World


class Seen(World):
    """A world that somebody looks at, from the beginning of a slot of the history on."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.health = Health()
        self.recent = RecentWarnings()
        self.lag = EventLoopLag(self.metrics.event_loop_lag, self.clock)
        self.run(-self.clock.seconds() % INTERVAL)
        self.status = Status(
            self.gateway,
            self.health,
            self.lag,
            recent=self.recent,
            connections=lambda: 7,
            identity_numbers=(4, 5, 9),
            worker=2,
            now=lambda: self.now_ns() / 1e9,
        )
        self.lag.start()
        self.status.start()

    def look(self) -> dict[str, Any]:
        """The document as a program gets it."""
        document: dict[str, Any] = json.loads(json.dumps(self.status.document()))
        return document


def series(document: dict[str, Any], name: str) -> list[float]:
    values: list[float] = document["history"]["series"][name]
    return values


def test_clients_canisters_and_counts() -> None:
    world = Seen(query_latency=0.02, identities=2)
    clients = world.open(3)
    (chatter,) = world.open(1, CHAT_ID)
    chatter.leave()
    world.run(0.5)
    opening = world.client()
    opening.automatic = False
    for client in clients:
        for number in range(10):
            client.send(b"%d" % number)
    world.until(lambda: all(len(client.received) == 10 for client in clients))
    seen = world.look()
    assert seen["sessions"] == {"init": 1, "setup": 0, "open": 3, "closed": 0}
    assert seen["connections"] == 7
    assert (seen["totals"]["opened"], seen["totals"]["closed"]) == (4, 1)
    # the chat room greets
    assert (seen["totals"]["up"], seen["totals"]["down"]) == (34, 35)
    assert seen["totals"]["polls"] > 5
    assert seen["totals"]["failed_polls"] == seen["totals"]["failed_calls"] == 0
    assert seen["closes"] == {"1000": 1}
    assert seen["failures"] == {"polls": {}, "calls": {}, "opens": {}, "connections": {}}
    assert seen["canister_count"] == 1
    (canister,) = seen["canisters"]
    assert (canister["canister"], canister["sessions"], canister["waiting"]) == (ECHO_ID.text, 3, 0)
    assert 0.02 <= canister["round_trip"] < 0.05
    assert canister["answered_ago"] <= 0.2
    assert (canister["last_error"], canister["trouble"], canister["failures"]) == (None, False, 0)
    assert [(row["number"], row["worker"], row["sessions"]) for row in seen["identities"]] == [(4, 2, 4), (5, 2, 0)]
    assert seen["identity_count"] == 2
    assert seen["identities"][1]["principal"] == world.context.identities[1].principal.text
    assert seen["principal"] == world.context.identities[0].principal.text
    (worker,) = seen["workers"]
    assert (worker["worker"], worker["state"], worker["restarts"], worker["sessions"]) == (2, "serving", 0, 4)
    assert (seen["polling_interval_ms"], seen["network"]) == (100, "http://127.0.0.1:4943")
    assert all(isinstance(seen[name], str) for name in ("version", "python", "twisted", "autobahn"))


def test_history_and_rates() -> None:
    world = Seen(query_latency=0.02)
    (client,) = world.open()
    world.run(-world.clock.seconds() % INTERVAL + 0.01)
    for number in range(int(INTERVAL)):
        for each in range(2):
            client.send(b"%d" % (2 * number + each))
        world.run(1.0)
    seen = world.look()
    assert set(seen["history"]["series"]) == set(SERIES)
    assert seen["history"]["end"] == round(world.now_ns() / 1e9 - 0.01)
    assert series(seen, "clients") == [1, 1]
    assert series(seen, "up")[-1] == series(seen, "down")[-1] == 2.0
    assert 9 < series(seen, "polls")[-1] < 25
    assert series(seen, "failed")[-1] == 0
    assert 0.02 <= series(seen, "lag")[-1] < 0.5
    assert 0 <= series(seen, "loop_lag")[-1] < 0.01, "a step of the test's clock"
    assert series(seen, "cpu")[-1] >= 0
    assert series(seen, "memory")[-1] > 1e6
    assert [(row["up"], row["down"]) for row in seen["canisters"]] == [(2.0, 2.0)]
    assert seen["canisters"][0]["lag"] < 0.5
    world.clock.advance(0.75)
    world.run(INTERVAL - 0.75)
    seen = world.look()
    assert 0.5 <= series(seen, "loop_lag")[-1] <= 0.75
    assert series(seen, "up")[-1] == 0
    assert series(seen, "lag")[-1] is None, "nothing was delivered"
    assert [(row["up"], row["down"]) for row in seen["canisters"]] == [(0, 0)]
    world.status.stop()
    world.status.stop()
    world.run(INTERVAL)
    assert len(series(world.look(), "up")) == 3


def test_samples_begin_with_a_slot_of_the_wall_clock() -> None:
    world = World()
    world.run(1.4 - world.clock.seconds())
    status = Status(
        world.gateway, Health(), EventLoopLag(world.metrics.event_loop_lag, world.clock), now=lambda: 1e9 + 1.4
    )
    status.start()
    world.run(3.5)
    assert status.document()["history"]["end"] == 0
    world.run(0.2)
    assert status.document()["history"]["end"] > 0
    status.stop()
    early = Status(world.gateway, Health(), EventLoopLag(world.metrics.event_loop_lag, world.clock))
    early.start()
    early.stop()


def test_a_canister_in_trouble_comes_first_with_what_is_wrong() -> None:
    world = Seen()
    world.open(2)
    world.open(1, CHAT_ID)
    world.replica.faults.add(
        InjectedFault(on="query", canister=CHAT_ID, method="ws_get_messages", kind="trap", count=10_000)
    )
    world.run(3)
    assert [row["trouble"] for row in world.look()["canisters"]] == [False, False], "one may fail for a while"
    world.run(4)
    seen = world.look()
    bad, good = seen["canisters"]
    assert (bad["canister"], bad["trouble"], good["trouble"]) == (CHAT_ID.text, True, False)
    assert bad["failures"] > 30
    assert bad["answered_ago"] > 6
    assert bad["error_ago"] < 5
    assert "trap" in bad["last_error"].lower()
    assert sum(seen["failures"]["polls"].values()) == seen["totals"]["failed_polls"] == bad["failures"]
    assert good["last_error"] is None


def test_lists_are_bounded() -> None:
    world = Seen()
    canisters = [Principal(b"\x00\x00\x00\x00\x00\x90" + bytes([number]) + b"\x01\x01\x01") for number in range(60)]
    for canister in canisters:
        world.client(canister)
    world.run(0.5)
    seen = world.look()
    assert (len(seen["canisters"]), seen["canister_count"]) == (CANISTERS, 60)
    assert len(json.dumps(seen)) < 40_000


def test_readiness_the_end_and_what_was_logged() -> None:
    world = Seen()
    assert world.look()["ready"] is True
    world.health.add("network", lambda: "not reached")
    world.health.add("listening", lambda: None)
    world.health.add_concern(lambda: "clients cannot verify")
    world.health.add_concern(lambda: None)
    world.open(1)
    world.recent({"log_level": None})
    seen = world.look()
    assert (seen["ready"], seen["draining"], seen["errors"]) == (False, False, [])
    assert seen["findings"] == [{"name": "network", "reason": "not reached"}, {"name": "listening", "reason": None}]
    assert seen["concerns"] == ["clients cannot verify"]
    world.gateway.drain(1)
    seen = world.look()
    assert (seen["draining"], seen["workers"][0]["state"]) == (True, "draining")


def test_memory_of_this_process() -> None:
    assert 1e6 < (resident_bytes() or 0) < 1e11


def test_counters_of_a_former_process_are_no_rate() -> None:
    world = Seen()
    started = world.look()["started"]
    (client,) = world.open(1)
    world.run(2 * INTERVAL)
    former = world.status.written()
    world.metrics.client_messages.inc(1_000_000)
    world.status.continue_from({**former, "started": started - 1000.0})
    client.echoes(b"one")
    world.run(2 * INTERVAL)
    document = world.look()
    assert max(value for value in series(document, "up") if value is not None) < 10
    assert len(series(document, "up")) == len(series({"history": former["history"]}, "up")) + 2
    assert document["started"] == started - 1000.0
    assert document["workers"][0]["started"] == started
    world.status.continue_from({})
    assert world.look()["started"] == started - 1000.0
