"""Whether a scenario has what an error needs is known without running it."""

from __future__ import annotations

from tests.planted.aimed import NEEDS, SECONDS, Aimed
from tests.planted.hunt import FIRST_SEED
from tests.planted.patches import all_patches
from tests.planted.search import steps_of
from tests.simulation.scenario import draw


def test_scenarios_that_have_what_an_error_needs() -> None:
    aimed = Aimed(FIRST_SEED, 40)
    seeds = aimed.seeds("core/answers-always-at-once", 600.0)
    plans = {seed: draw(seed, steps_of(seed)).plan for seed in range(FIRST_SEED, FIRST_SEED + 40)}
    assert seeds == [seed for seed, plan in plans.items() if plan.answer_cost and plan.poll_window > 1]
    assert 0 < len(seeds) < 40
    assert aimed.seeds("an/error-without-needs", 600.0) == list(plans)
    assert aimed.seeds("an/error-without-needs", 10 * SECONDS + 0.1) == list(plans)[:10]
    assert aimed.seconds_until(FIRST_SEED + 9) == 10 * SECONDS


def test_what_is_needed_is_needed_by_an_error() -> None:
    aimed = Aimed(FIRST_SEED, 2)
    names = {each.name for each in all_patches()}
    assert NEEDS.is_file()
    for name in aimed._needs:
        assert name in names
        aimed.seeds(name, 60.0)
