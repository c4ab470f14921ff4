"""Overrides from a process of another version: each valid one is applied, the others are logged."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from icwsgw.admin.control import NO_OVERRIDES, Overrides
from icwsgw.handover.carried_overrides import fitting_overrides, take_overrides

ALL = Overrides(
    denied=("aaaaa-aa",),
    levels={"gateway": 10},
    bans=(("aaaaa-aa", None, 7.5), (None, "2vxsx-fae", 9.0)),
    maintenance=True,
    options={"ping-interval": ("1m",)},
)


def test_all_of_the_same_version_are_taken() -> None:
    assert fitting_overrides(ALL.to_json()) == (ALL, [])


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("denied", "no canister"),
        ("denied", 5),
        ("bans", ["aaaaa-aa", None]),
        ("bans", ["aaaaa-aa", "nobody", 1.0]),
        ("bans", [None, None, "tomorrow"]),
        ("levels", ["gateway", "loud"]),
        ("options", ["an option of tomorrow", ["1"]]),
        ("options", ["ping-interval", ["soon"]]),
        ("options", ["ping-interval", 5]),
        ("options", ["workers", ["2"]]),
    ],
)
def test_an_invalid_override_affects_no_other(kind: str, more: Any) -> None:
    value: Any = ALL.to_json()
    value[kind] = [*(value[kind].items() if isinstance(value[kind], dict) else value[kind]), more]
    overrides, left_out = fitting_overrides(value)
    assert overrides == ALL
    assert [reason.partition(":")[0] for reason in left_out] == [kind]


@pytest.mark.parametrize("kind", ["denied", "bans", "levels", "options"])
def test_an_override_of_an_unknown_kind_affects_no_other(kind: str) -> None:
    overrides, left_out = fitting_overrides({**ALL.to_json(), kind: 5, "quotas": [1], "nothing": []})
    assert overrides.to_json() == {**ALL.to_json(), kind: NO_OVERRIDES.to_json()[kind]}
    assert [reason.partition(":")[0] for reason in left_out] == [kind, "quotas"]


def test_options_that_fit_only_together_are_taken() -> None:
    overrides = Overrides(options={"first-message-timeout": ("60",), "open-timeout": ("90",)})
    assert fitting_overrides(overrides.to_json()) == (overrides, [])


def test_overrides_that_are_no_map_are_logged() -> None:
    assert fitting_overrides(5) == (NO_OVERRIDES, ["overrides: unknown"])


def test_they_are_applied_at_once() -> None:
    applied: list[Overrides] = []
    service: Any = SimpleNamespace(override=applied.append)
    take_overrides(service, {**ALL.to_json(), "quotas": [1]})
    assert applied == [ALL]
