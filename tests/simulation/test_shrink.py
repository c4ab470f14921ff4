"""The shrinker, with artificial failures and with an error planted in the gateway."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from icwsgw.gateway.gateway import Gateway
from tests.simulation.plan import Plan
from tests.simulation.scenario import draw, run_script
from tests.simulation.script import Script
from tests.simulation.shrink import Failure, Shrinker, as_python, failure_of, kind_of

#: Simulations are not measured (test_simulation.py); the tool is no part of the package.
pytestmark = [pytest.mark.no_cover, pytest.mark.once]

ROOT = Path(__file__).parents[2]


def shrunk(script: Script, run: Any, seconds: float = 30.0) -> Any:
    failure = run(script)
    assert failure is not None
    return Shrinker(script, failure, seconds, run).shrink()


def test_what_does_not_matter_is_left_out() -> None:
    def run(script: Script) -> Failure | None:
        numbers = {step.number for step in script.steps}
        return Failure("it", "it", {}) if {3, 17, 21} <= numbers and script.plan.canisters > 1 else None

    script = replace(draw(1, 40), plan=replace(Plan.draw(1), canisters=3))
    found = shrunk(script, run)
    assert [step.number for step in found.script.steps] == [3, 17, 21]
    assert found.script.plan == replace(Plan.simplest(), canisters=3)
    assert [step.pause for step in found.script.steps] == [0.0, 0.0, 0.0]
    assert found.complete


def test_another_failure_is_not_taken_for_the_same() -> None:
    def run(script: Script) -> Failure | None:
        kind = "one" if len(script.steps) > 10 else "other"
        return Failure(kind, kind, {})

    found = shrunk(draw(1, 40), run)
    assert len(found.script.steps) == 11
    assert found.failure.kind == "one"


def test_steps_of_which_any_will_do() -> None:
    found = shrunk(draw(1, 40), lambda script: Failure("it", "it", {}) if len(script.steps) >= 5 else None)
    assert len(found.script.steps) == 5


def test_it_ends_when_the_time_is_over() -> None:
    found = shrunk(draw(1, 40), lambda script: Failure("it", "it", {}), seconds=0.0)
    assert found.script == draw(1, 40)
    assert not found.complete
    assert "out of time" in found.as_python()


def test_kinds_of_violations() -> None:
    one = "client 12 scuwa/ce35 is stuck after the faults: OPEN, opened True, sent 0"
    other = "client 7 abcde/1f is stuck after the faults: SETUP, opened False, sent 3"
    assert kind_of(one) == kind_of(other) != kind_of(one.replace("after the faults", "with one message each"))
    assert kind_of("session 5f00aa-3 was closed with 4106 (no answer), but the world is calm") != kind_of(
        "session 5f00aa-3 was closed with 4105 (reset), but the world is calm"
    )


def test_a_step_left_out_changes_no_other() -> None:
    script = draw(12, 40)
    whole = run_script(script)
    clients = {client.number: client.key for client in whole.world.clients}
    assert len(clients) > 3
    gone = next(iter(clients))
    rest = run_script(replace(script, steps=tuple(step for step in script.steps if step.number != gone)))
    left = {client.number: client.key for client in rest.world.clients}
    common = clients.keys() & left.keys()
    assert gone not in left
    assert len(common) > 2
    # but who comes again has the identity of somebody who is there
    came = {step.number for step in script.steps if step.kind == "client.connect"}
    assert {number: clients[number] for number in common & came} == {number: left[number] for number in common & came}


def test_an_error_planted_in_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is cut off is forgotten, and no close notice is sent: a client that comes, and is cut."""
    send_close_notice = Gateway.send_close_notice

    def forgetful(gateway: Gateway, session: Any) -> None:
        if session.cause == 1006:
            gateway.finished(session)
        else:
            send_close_notice(gateway, session)

    monkeypatch.setattr(Gateway, "send_close_notice", forgetful)
    for seed in range(1, 100):
        script = draw(seed, 25)
        # where something else fails as well, that may be what is left in the end
        failure = failure_of(script) if script.plan.calm else None
        if failure is not None:
            break
    assert failure is not None
    found = Shrinker(script, failure, 60.0).shrink()
    assert found.failure.kind == "CANISTER was not notified that KEY left"
    # it is cut by a step of its own, or by one in which it comes again
    assert 2 <= len(found.script.steps) <= 3
    assert found.script.steps[0].kind in ("client.connect", "client.rush")
    assert found.script.plan.calm
    with pytest.raises(AssertionError, match="was not notified"):
        run_script(found.script)


def test_the_program_runs(tmp_path: Path) -> None:
    script = draw(2, 5)
    program = tmp_path / "scenario.py"
    program.write_text(
        as_python(script, Failure("it", "a failure\nof two lines", {script.steps[0].number: "did"}), "x")
    )
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    done = subprocess.run([sys.executable, str(program)], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "all faults end" in done.stdout
