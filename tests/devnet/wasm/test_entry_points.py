"""From where functions may be called; the specification's own lines for some of them."""

from __future__ import annotations

import pytest

from icwsgw.devnet.wasm.entry_points import allowed_from
from icwsgw.devnet.wasm.execution import Entry


# Lines of the specification's overview of imports: the letters behind each function.
@pytest.mark.parametrize(
    ("function", "letters"),
    [
        ("msg_arg_data_size", "I U RQ NRQ CQ Ry F"),
        ("msg_reply", "U RQ NRQ CQ Ry Rt"),
        ("msg_cycles_accept128", "U RQ Ry Rt"),
        ("call_perform", "U Ry Rt T"),
        ("certified_data_set", "I G U Ry Rt T"),
        ("data_certificate_copy", "NRQ CQ"),
        ("accept_message", "F"),
        ("global_timer_set", "I G U Ry Rt C T"),
        ("subnet_self_node_count", "I G U RQ NRQ CQ Ry Rt C F T"),
        ("cost_http_request_v2", "I G U RQ NRQ CQ Ry Rt C F T s"),
        ("cost_call", "I G U RQ NRQ CQ Ry Rt C F T s"),
    ],
)
def test_the_letters_of_the_specification(function: str, letters: str) -> None:
    assert {entry.value for entry in allowed_from(function)} == set(letters.split())


def test_what_has_no_rule_may_be_called_from_everywhere_but_start() -> None:
    assert allowed_from("time") == set(Entry) - {Entry.START}
    assert allowed_from("trap") == set(Entry)
