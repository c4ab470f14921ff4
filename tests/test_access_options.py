"""The options about who may connect; their rows are tested with all others."""

from __future__ import annotations

import dataclasses

from icwsgw.access_options import ACCESS, AccessOptions
from icwsgw.config import BY_NAME, GatewayConfig


def test_its_options_stand_together_in_the_table() -> None:
    fields = {field.name for field in dataclasses.fields(AccessOptions)}
    assert fields == {entry.field for entry in BY_NAME.values() if entry.group == ACCESS}
    assert issubclass(GatewayConfig, AccessOptions)


def test_anybody_may_open_anything_by_default() -> None:
    assert AccessOptions() == AccessOptions(allowed_origins=(), allowed_canisters=(), denied_canisters=())
