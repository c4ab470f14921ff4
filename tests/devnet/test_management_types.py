from __future__ import annotations

from typing import Any

import pytest

from icwsgw.devnet import management_types as types
from icwsgw.ic import candid
from icwsgw.ic.principal import Principal


def test_defaults_are_complete_and_of_their_types() -> None:
    settings = {**types.DEFAULTS, "controllers": [Principal(b"\x04")]}
    kind = candid.Record(types.SETTINGS)
    assert candid.decode_as(candid.encode([kind], [settings]), [kind]) == [settings]


@pytest.mark.parametrize(
    ("wire", "value", "kind", "expected"),
    [
        # an older tool names fewer settings, a newer one more
        (candid.Record({}), {}, types.CREATE, {"settings": None}),
        (
            candid.Record({"settings": candid.Opt(candid.Record({"freezing_threshold": candid.Opt(candid.Nat)}))}),
            {"settings": {"freezing_threshold": 5}},
            types.CREATE,
            {"settings": {**dict.fromkeys(types.SETTINGS), "freezing_threshold": 5}},
        ),
        (
            candid.Record({"canister_id": candid.PrincipalType, "sender_canister_version": candid.Opt(candid.Nat64)}),
            {"canister_id": Principal(b"\x04"), "sender_canister_version": 7},
            types.CANISTER,
            {"canister_id": Principal(b"\x04")},
        ),
    ],
)
def test_tools_of_other_ages_are_understood(wire: candid.Type, value: Any, kind: candid.Type, expected: Any) -> None:
    assert candid.decode_as(candid.encode([wire], [value]), [kind]) == [expected]
