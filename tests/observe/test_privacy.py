import pytest

from icwsgw.observe import logs
from icwsgw.observe.levels import Levels
from icwsgw.observe.logs import get_logger, hide_clients, make_observer
from icwsgw.observe.privacy import CLIENT_DETAILS, hider, masked_client, masked_peer
from icwsgw.observe.recent_warnings import RecentWarnings
from tests.support.log_state import reset_logs

LINE = {"cause": 1000, "peer": "203.0.113.7:50712", "client": "bkyz2-fmaaa-aaaaa-qaaaq-cai", "origin": "https://a.b"}


@pytest.mark.parametrize(
    ("peer", "masked"),
    [
        ("203.0.113.7:50712", "203.0.113.0/24"),
        ("203.0.113.7", "203.0.113.0/24"),
        ("[2001:db8:1:2::3]:50712", "2001:db8:1::/48"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("[::ffff:203.0.113.7]:9", "203.0.113.0/24"),
        ("[fe80::1%eth0]:9", "fe80::/48"),
        ("unix", "unix"),
        ("others", "others"),
        ("", ""),
    ],
)
def test_a_masked_address(peer: str, masked: str) -> None:
    assert masked_peer(peer) == masked


def test_what_each_mode_leaves() -> None:
    assert hider("full") is None
    masked, none = hider("masked"), hider("none")
    assert masked is not None
    assert none is not None
    assert masked(LINE) == {"cause": 1000, "peer": "203.0.113.0/24", "client": "bkyz2-...", "origin": "https://a.b"}
    assert none(LINE) == {"cause": 1000}
    assert masked({"client": None, "peer": "unix"}) == {"client": None, "peer": "unix"}
    for hide in (masked, none):
        other = {"principal": "bkyz2-fmaaa-aaaaa-qaaaq-cai"}
        assert hide(other) is other, "the gateway's own principal is no client's"
    assert masked_client("aaaaa-aa") == "aaaaa-..."
    assert CLIENT_DETAILS == ("full", "masked", "none")


def test_every_line_and_the_status_page_obey(monkeypatch: pytest.MonkeyPatch) -> None:
    recent = RecentWarnings()
    monkeypatch.setattr(logs, "globalLogPublisher", recent)
    try:
        make_observer(Levels(), "text")
        hide_clients("masked")
        get_logger("x").warn("one", peer="203.0.113.7:5")
        hide_clients("none")
        get_logger("y").error("two", peer="203.0.113.7:5", canister="c")
        hide_clients("full")
        get_logger("z").error("three", peer="203.0.113.7:5")
    finally:
        reset_logs()
    details = [entry["details"] for entry in recent.entries()]
    assert details[0] == "peer=203.0.113.7:5"
    assert details[1] == "canister=c"
    assert details[2] == "peer=203.0.113.0/24"
