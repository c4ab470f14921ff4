"""Actions of an operator while clients are connected: denials, kicks and queries of the admin API, reloads by SIGHUP.

Each action must affect exactly the intended clients. The model is small: the served canisters and allowed origins.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from icwsgw.admin.control import Control, Overrides
from icwsgw.config.schema import GatewayConfig
from icwsgw.core.close_reasons import CloseCode
from icwsgw.errors import ConfigError
from icwsgw.ic.principal import Principal
from icwsgw.process.reload import Reloader
from tests.simulation.clients import ORIGIN, SimClient
from tests.simulation.oracle import _show
from tests.simulation.plan import Plan
from tests.simulation.process import SimProcess
from tests.simulation.script import Chance
from tests.simulation.subject import Subject
from tests.simulation.unauthenticated import NOWHERE
from tests.simulation.world import CANISTERS

#: Where no client's page comes from.
ELSEWHERE = "https://elsewhere.example"
#: Virtual seconds in which an order reaches all whom it is for.
AT_ONCE = 0.05


class Operations(Subject):
    """Orders to the gateway, by its admin API and by its configuration."""

    name = "operator"
    steps = {
        "deny": 1.0,
        "allow": 1.5,
        "reload": 2.0,
        "reload_nothing": 0.4,
        "kick": 1.0,
        "look": 1.5,
    }

    def __init__(self, scenario: Any) -> None:
        super().__init__(scenario)
        self.reloads = 0
        self._reloaders: dict[SimProcess, Reloader] = {}
        self._next: GatewayConfig | None = None
        self._running = self.world.processes[0].config
        self._denied: set[Principal] = set()
        self._due: list[tuple[float, SimClient, int]] = []

    @classmethod
    def applies_to(cls, plan: Plan) -> bool:
        return plan.operations

    @classmethod
    def single(cls, plan: Plan) -> dict[str, float]:
        return {"deny_several": 0.3 * (plan.canisters > 1)}

    # the model

    def _unserved(self) -> set[Principal]:
        running = self._running
        denied = self._denied | {Principal.from_text(text) for text in running.denied_canisters}
        allowed = {Principal.from_text(text) for text in running.allowed_canisters}
        return denied | ({*CANISTERS, *NOWHERE} - allowed if allowed else set())

    def _serve(self) -> None:
        """Take note of who is served now, and who has to go."""
        world = self.world
        now, world.unserved = world.clock.seconds(), self._unserved()
        for client in world.clients:
            if client.canister in world.unserved and client.registered:
                client.doomed.add(CloseCode.CANISTER_NOT_ALLOWED)
                self._due.append((now, client, CloseCode.CANISTER_NOT_ALLOWED))

    def _read(self) -> GatewayConfig:
        if self._next is None:
            raise ConfigError("it is of no use")
        return self._next

    def restarted(self, process: SimProcess) -> None:
        """A worker was started again: its orders have what has been changed since."""
        process.reload(self._running)
        Control(process.gateway).answer({"what": "override", "overrides": self.overrides().to_json()})

    def read_again(self, process: SimProcess) -> None:
        """A new process reads the configuration, as its predecessor was requested to."""
        process.reload(self._running)

    def overrides(self) -> Overrides:
        """What was changed at run time."""
        return Overrides(tuple(canister.text for canister in self._denied))

    # steps

    def deny(self, chance: Chance) -> str:
        canister = chance.choice(CANISTERS)
        self._denied.add(canister)
        return f"{canister.text[:5]} is denied, {self._override()} closed"

    def deny_several(self, chance: Chance) -> str:
        """One order denies several canisters."""
        canisters = chance.sample(CANISTERS[: self.world.plan.canisters], 2)
        self._denied.update(canisters)
        return f"{[canister.text[:5] for canister in canisters]} are denied, {self._override()} closed"

    def allow(self, chance: Chance) -> str | None:
        if not self._denied:
            return None
        canister = chance.choice(sorted(self._denied, key=lambda each: each.raw))
        self._denied.discard(canister)
        self._override()
        return f"{canister.text[:5]} is not denied any more"

    def _override(self) -> int:
        before = {client for client in self.world.clients if client.registered}
        self._serve()
        meant = {client for client in before if client.canister in self.world.unserved}
        denied = [canister.text for canister in self._denied]
        closed = 0
        for process in self.world.processes:
            question = {"what": "override", "overrides": Overrides(tuple(denied)).to_json()}
            closed += Control(process.gateway).answer(question)["closed"]
        if closed != len(meant):
            self.oracle.fail(f"the denial says that it closed {closed} clients, {len(meant)} had to go")
        return closed

    def reload(self, chance: Chance) -> str:
        names = [canister.text for canister in CANISTERS]
        running = self._running
        denied = chance.sample(names, chance.choice((0, 0, 1)))
        # one list may not have what the other has
        allowed = [name for name in chance.sample(names, chance.choice((0, 0, 2, 3))) if name not in denied]
        taken: dict[str, Any] = {
            "denied_canisters": tuple(denied),
            "allowed_canisters": tuple(allowed),
            "allowed_origins": chance.choice(((), (), (ORIGIN,), (ELSEWHERE,), (ELSEWHERE, ORIGIN))),
            "drain_window": chance.choice((1.0, 2.0)),
        }
        if chance.random() < 0.5:
            del taken["allowed_canisters"], taken["denied_canisters"]
        # what needs a restart changes nothing
        self._next = replace(running, **taken, relay_order="accepted", polling_interval=9.0)
        self._running = replace(running, **taken)
        self._origins()
        self._serve()
        self._reload(ok=True)
        return f"reload: {taken}"

    def _origins(self) -> None:
        self.world.origins = tuple(self._running.allowed_origins)
        for client in self.world.clients:
            if client.session is None:
                # its request is on its way
                client.welcome = None

    def reload_nothing(self, chance: Chance) -> str:
        self._next = None
        self._reload(ok=False)
        return "reload of a file of no use"

    def _reload(self, ok: bool) -> None:
        self.reloads += 1
        for process in self.world.processes:
            reloader = self._reloaders.get(process)
            if reloader is None:
                reloader = self._reloaders[process] = Reloader(process.config, self._read, process)
            process.reloaded_ok.clear()
            reloader()
            if process.reloaded_ok != [ok]:
                self.oracle.fail(f"a reload was counted as {process.reloaded_ok}")
            if process.config != self._running:
                self.oracle.fail("a reload took over something else")

    def kick(self, chance: Chance) -> str | None:
        client = self.pick(chance)
        if client is None or client.session is None or not client.registered:
            return None
        code = chance.choice((CloseCode.POLICY, CloseCode.DRAINING))
        by = chance.choice(("id", "principal", "canister", "both"))
        question: dict[str, Any] = {"what": "kick", "code": int(code)}
        meant = [client]
        if by == "id":
            question["id"] = client.session.id
        else:
            if by != "canister":
                question["principal"] = client.identity.principal.text
            if by != "principal":
                question["canister"] = client.canister.text
            meant = [other for other in self.world.clients if other.registered and _fits(other, client, by)]
        now = self.world.clock.seconds()
        for each in meant:
            each.doomed.add(code)
            self._due.append((now, each, code))
        closed = sum(Control(process.gateway).answer(question)["closed"] for process in self.world.processes)
        if closed != len(meant):
            self.oracle.fail(f"a kick by {by} says that it closed {closed} clients, {len(meant)} were meant")
        return f"kicked by {by}: {[each.number for each in meant]}"

    def look(self, chance: Chance) -> str | None:
        """What the admin API shows is what there is."""
        canister = chance.choice((None, *CANISTERS))
        question: dict[str, Any] = {"what": "sessions", "limit": 1000}
        if canister is not None:
            question["canister"] = canister.text
        for process in self.world.processes:
            answer = Control(process.gateway).answer(question)
            shown = sorted(row["id"] for row in answer["rows"] if row["state"] != "closed")
            clients = [c for c in self.world.clients if c.process is process and c.session is not None and c.living]
            there = sorted(c.session.id for c in clients if canister in (None, c.canister if c.registered else None))
            if shown != there or answer["more"]:
                self.oracle.fail(f"the admin API shows sessions {shown}, there are {there}")
            rows = Control(process.gateway).answer({"what": "canisters", "limit": 1000})["rows"]
            counts = {row["canister"]: row["sessions"] for row in rows}
            for each in CANISTERS:
                count = sum(c.registered and c.canister == each for c in clients)
                if counts.get(each.text, 0) != count:
                    self.oracle.fail(
                        f"the admin API shows {counts.get(each.text, 0)} clients of a canister, not {count}"
                    )
        return None

    # checks

    def after_step(self) -> None:
        now = self.world.clock.seconds()
        late = [each for each in self._due if now - each[0] > AT_ONCE]
        self._due = [each for each in self._due if now - each[0] <= AT_ONCE]
        for _, client, code in late:
            if client.session is not None and client.session.ended_with is None:
                self.oracle.fail(f"{_show(client.key)} was to be closed with {code}, and is not")
        for client in self.world.clients:
            if client.welcome and client.close_code == 403:
                self.oracle.fail(f"client {client.number} was turned away, but its origin is welcome")
            elif client.welcome is False and client.link.wire and client.session is not None:
                self.oracle.fail(f"client {client.number} was let in, but its origin is not welcome")
        for process in self.world.processes:
            for poller in process.gateway.registry.pollers.values():
                waits = [each for each in self._due if each[1].canister == poller.canister]
                if poller.canister in self.world.unserved and not waits:
                    self.oracle.fail(f"{poller.canister.text[:5]} is polled though it is not served")

    def heal(self) -> None:
        """All canisters and all origins are welcome again."""
        self._denied.clear()
        self._next = self._running = replace(
            self._running, denied_canisters=(), allowed_canisters=(), allowed_origins=()
        )
        self._origins()
        self._override()
        self._serve()
        self._reload(ok=True)


def _fits(other: SimClient, client: SimClient, by: str) -> bool:
    same = other.identity.principal == client.identity.principal
    return (same or by == "canister") and (other.canister == client.canister or by == "principal")
