"""Answers as people read them."""

from __future__ import annotations

from typing import Any

import pytest

from icwsgw.ctl import tables


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (1.26, "1.3s"), (3_725, "1h2min")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert tables.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "-"), (0, "0B"), (204_800, "200KiB")],
)
def test_sizes(count: int | None, text: str) -> None:
    assert tables.size(count) == text


def test_columns_are_aligned() -> None:
    assert tables.table(["NAME", "COUNT>", "MORE"], [["a", 7, None], ["long", 1234, "x"]]) == (
        "NAME  COUNT  MORE\na         7  -\nlong   1234  x"
    )


def test_text_of_others_cannot_move_the_cursor() -> None:
    assert tables.clean("a\x1b[2Jb\nc") == "a\\u001b[2Jb\\nc"
    assert tables.clean("größer") == "größer"


ROW: dict[str, Any] = {
    "worker": 1,
    "id": "ab12-3",
    "state": "open",
    "canister": "bkyz2-fmaaa-aaaaa-qaaaq-cai",
    "principal": "2vxsx-fae",
    "client_nonce": "7",
    "peer": "192.0.2.1:5",
    "gateway_principal": "aaaaa-aa",
    "age_s": 61.5,
    "messages_up": 3,
    "messages_down": 4,
    "bytes_up": 2048,
    "bytes_down": 10,
    "outbox_bytes": 0,
    "relay_queue": 2,
}


def test_a_dump_names_sources_and_what_waits_for_a_restart() -> None:
    certificate = {
        **{"certificate": "/tls/a.pem", "days_left": 40, "fault": None, "default": True, "sni": ["a.example"]},
        **{"issuer": "CN=R3,O=Let's Encrypt", "names": ["a.example", "b.example"]},
    }
    expired = {
        **certificate,
        "certificate": "/tls/b.pem",
        "fault": "expired on 2026-01-02",
        "default": False,
        "sni": [],
    }
    text = tables.dump(
        {
            "options": {
                "max-connections": {"value": "900", "from": "default", "configured": "50000"},
                "poll-window": {"value": "16", "from": "file /f", "after_restart": "64"},
                "deny-list": {"value": "", "from": "default"},
                "a-b": {"value": "5", "from": "default", "not_applied": "--a-b (9) may not be above --c (7)"},
            },
            "certificates": [certificate, expired],
        }
    )
    assert text == (
        "OPTION           VALUE  FROM\n"
        "max-connections  900    default, where it is 50000\n"
        "poll-window      16     file /f; after a restart 64\n"
        "deny-list        none   default\n"
        "a-b              5      default; set at run time, but not applied: --a-b (9) may not be above --c (7)\n"
        "\n"
        "CERTIFICATE  VALID                  DEFAULT  SNI        ISSUER\n"
        "/tls/a.pem   40 days left           default  a.example  CN=R3,O=Let's Encrypt\n"
        "/tls/b.pem   expired on 2026-01-02           none       CN=R3,O=Let's Encrypt"
    )


def test_sessions() -> None:
    text = tables.sessions({"sessions": [ROW], "more": True})
    head, row, more = text.splitlines()
    assert head.split()[:2] == ["SESSION", "STATE"]
    assert row.split() == [
        *("ab12-3", "open", "1", "1min1s", "3/2.0KiB", "4/10B", "0B", "2"),
        *("192.0.2.1:5", "bkyz2-fmaaa-aaaaa-qaaaq-cai", "2vxsx-fae"),
    ]
    assert more.startswith("there are more sessions")
    assert tables.sessions({"sessions": [], "more": False}) == "no sessions"


def test_ended_sessions_and_what_to_do_about_them() -> None:
    row = {
        **ROW,
        **{"code": 4000, "status": None, "by": "client", "seconds": 61.5, "ended": 1_700_000_000.0},
        **{"reason": "Error receiving message", "hint": "Compare\x1b the types."},
    }
    refused = {**row, "id": None, "code": None, "status": 403, "by": "gateway", "hint": "", "reason": ""}
    head, first, hint, second, more = tables.ended({"sessions": [row, refused], "more": True}).splitlines()
    assert head.split()[:4] == ["SESSION", "ENDED", "W", "LASTED"]
    assert first.split() == [
        *("ab12-3", "22:13:20", "1", "1min1s", "3", "4", "4000", "client", "192.0.2.1:5"),
        *("bkyz2-fmaaa-aaaaa-qaaaq-cai", "2vxsx-fae", "Error", "receiving", "message"),
    ]
    assert hint == "  -> Compare\\u001b the types."
    assert second.split()[:8] == ["-", "22:13:20", "1", "-", "3", "4", "403", "gateway"]
    assert more.startswith("there are more sessions")
    assert tables.ended({"sessions": [], "more": False}) == "no sessions"


def test_canisters() -> None:
    poller = {
        "worker": 0,
        "gateway_principal": "aaaaa-aa",
        "sessions": 2,
        "next_message": 17,
        "in_flight": 1,
        "last_good_s": 0.04,
        "failures": 3,
        "last_error": "HTTP 500: \x1b[31m",
        "last_error_s": 2.0,
    }
    quiet = {**poller, "worker": 1, "last_error": None, "last_error_s": None}
    row = {"canister": "bkyz2-fmaaa-aaaaa-qaaaq-cai", "sessions": 4, "pollers": [poller, quiet]}
    _, one, two = tables.canisters({"canisters": [row], "more": False}).splitlines()
    assert one.split(maxsplit=8)[1:] == ["0", "2", "17", "1", "40ms", "3", "-", "2.0s ago: HTTP 500: \\u001b[31m"]
    assert two.split()[-1] == "-"
    for reached, held, words in (
        ([], 0, "left"),
        (["messages up", "polls"], 3, "messages up, polls (3 held)"),
    ):
        quota = {"poll_rate": 5, "reached": reached, "clients_held": held}
        assert words in tables.canisters({"canisters": [{**row, "quota": quota}], "more": False})


def test_levels() -> None:
    document = {
        "levels": {"*": "info", "relay": "debug"},
        "overrides": {"relay": "debug"},
        "configured": "info",
        "components": ["gateway", "relay"],
    }
    assert tables.levels(document).splitlines()[1:] == [
        "*          info   configured",
        "relay      debug  set at run time",
        "components: gateway, relay",
    ]


def test_the_status() -> None:
    document = {
        "now": 1000.0,
        "started": 900.0,
        "version": "1.0",
        "network": "https://icp-api.io",
        "principal": "2vxsx-fae",
        "ready": False,
        "draining": False,
        "findings": [{"name": "network", "reason": "not reached"}, {"name": "listening", "reason": None}],
        "sessions": {"init": 0, "open": 5},
        "canister_count": 2,
        "canister_count_exact": True,
        "totals": {"up": 10, "down": 20},
        "tls_expires": 87_400.0,
        "workers": [{"worker": 0, "pid": 7, "state": "serving", "sessions": 5, "memory": 1 << 26, "restarts": 0}],
    }
    text = tables.status(document)
    for line in (
        "state        not ready; network: not reached",
        "running for  1min40s",
        "sessions     0 init, 5 open",
        "messages     10 up, 20 down",
        "certificate  valid for 1d",
    ):
        assert line in text.splitlines()
    assert text.splitlines()[-1].split() == ["0", "7", "serving", "5", "64MiB", "0"]
    text = tables.status({**document, "ready": True, "findings": [], "tls_expires": None})
    assert "state        ready" in text
    assert "certificate  none" in text
    assert "draining" in tables.status({**document, "draining": True, "tls_expires": 1.0})
    assert "certificate  expired" in tables.status({**document, "tls_expires": 1.0})
