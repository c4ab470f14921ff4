"""Limits that the operator has set at run time: what clients and canisters have used of them stays used."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from icwsgw.admin.control import Overrides
from icwsgw.core.request_budget import RequestBudget
from icwsgw.core.request_kind import RequestKind
from icwsgw.process.reload import with_options_that_fit
from tests.gateway.test_gateway_handover import successor
from tests.handover.test_denied_clients import Upgrade
from tests.memory.world import World
from tests.support.handover_state import service_around

QUOTAS = ("message-rate", "byte-rate", "delivery-rate", "delivery-byte-rate", "poll-rate")


def can_be_set(service: Any) -> Any:
    """Let a service apply options at run time, as GatewayService does."""
    context, gateway = service.gateway.context, service.gateway

    def override(overrides: Overrides) -> None:
        before, service.overrides = service.overrides, overrides
        if overrides.options == before.options:
            return
        config = with_options_that_fit(service.configured, overrides.options)
        context.change(config)
        context.budget.change(config.queries_per_second, config.opens_per_second, context.clock.seconds())
        gateway.serve(config)
        service.factory.change(config)

    service.override = override
    return service


class SetUpgrade(Upgrade):
    """An upgrade of a gateway with options that were set at run time.

    :param options: of the command line
    :param later: those of the new process that are others
    """

    def __init__(self, later: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__()
        self.world = World(**options)
        self.old = can_be_set(service_around(self.world, self.world.gateway))
        context = self.world.context
        config = replace(context.config, **(later or {}))
        budget = RequestBudget(config.queries_per_second, config.polling_interval, config.opens_per_second)
        self.world.context = replace(context, budget=budget, config=config)
        self.gateway = successor(self.world)
        self.world.context = context
        self.new = can_be_set(service_around(self.world, self.gateway))
        self.gateway.served_elsewhere = True

    def set(self, **options: str) -> None:
        self.old.override(Overrides(options={name.replace("_", "-"): (text,) for name, text in options.items()}))


def test_what_is_used_of_quotas_that_were_set_at_run_time_stays_used() -> None:
    upgrade = SetUpgrade()
    client = upgrade.open()
    upgrade.set(**{f"{name}-per-canister": "500" for name in QUOTAS})
    for number in range(3):
        client.send_message(b"%d" % number)
        upgrade.world.run(0.05)
        client.read()
    (poller,) = upgrade.world.gateway.registry.pollers.values()
    now = upgrade.world.clock.seconds()
    assert poller.poll_budget.held(now) == "bytes"
    before = poller.written()
    upgrade.run()
    (poller,) = upgrade.gateway.registry.pollers.values()
    after = poller.written()
    assert after["clients_quota"] == before["clients_quota"]
    assert after["clients_quota"]["octets"]["level"] < 0
    assert after["budget"]["quota"] == before["budget"]["quota"]
    assert poller.poll_budget.held(now) == "bytes"


@pytest.mark.parametrize("configured", [0, 1, 1_000_000])
def test_what_a_client_owes_of_a_rate_that_was_set_at_run_time_it_still_owes(configured: int) -> None:
    upgrade = SetUpgrade(client_message_rate=configured, client_byte_rate=configured)
    client, rich = upgrade.open(), upgrade.open()
    upgrade.set(client_message_rate="5", client_byte_rate="1M")
    for number in range(7):
        client.send_message(b"%d" % number)
    before = sorted((each.protocol._frames_left, each.protocol._bytes_left) for each in (client, rich))
    assert [frames for frames, _ in before] == [3, 10]
    upgrade.run()
    after = sorted((each._frames_left, each._bytes_left) for each in upgrade.new.factory.connections)
    assert after == before


@pytest.mark.parametrize("before", [0, 1_000_000])
def test_a_client_has_no_more_tokens_than_a_burst_of_the_new_process(before: int) -> None:
    """Otherwise a limit that the new configuration begins with would not hold for it."""
    upgrade = SetUpgrade(
        {"client_message_rate": 5, "client_byte_rate": 1 << 19}, client_message_rate=before, client_byte_rate=before
    )
    upgrade.open()
    upgrade.run()
    (connection,) = upgrade.new.factory.connections
    rates = upgrade.new.factory.rates
    assert (connection._frames_left, connection._bytes_left) == (rates.first_frames, rates.first_bytes)


def test_what_is_used_of_a_request_budget_that_was_set_at_run_time_stays_used() -> None:
    upgrade = SetUpgrade()
    upgrade.open()
    upgrade.set(query_budget="8", open_rate="3")
    now = upgrade.world.clock.seconds()
    for budget in (upgrade.world.context.budget, upgrade.gateway.context.budget):
        assert (budget is upgrade.world.context.budget) == (budget.per_second is not None)
    while any(upgrade.world.context.budget.take(kind, now) for kind in RequestKind if kind is not RequestKind.OWN):
        pass
    before = upgrade.world.context.budget.written()
    upgrade.run()
    after = upgrade.gateway.context.budget.written()
    assert (after["tokens"], after["opens"]) == (before["tokens"], before["opens"])
    assert not upgrade.gateway.context.budget.take(RequestKind.OPEN, now)
