"""Query parameters and bodies: what is understood, and that all else is refused."""

from __future__ import annotations

import pytest

from icwsgw.admin.access import Refused
from icwsgw.admin.parameters import MAX_FIELDS, MAX_LIMIT, MAX_ORIGIN, read_body, read_levels, read_query
from icwsgw.observe.levels import DEBUG, OFF, WARN
from icwsgw.server import upgrade

CANISTER = "bkyz2-fmaaa-aaaaa-qaaaq-cai"


def test_queries() -> None:
    assert read_query("") == {}
    assert read_query(f"canister={CANISTER}&state=open&limit=1000", "canister", "state", "limit") == {
        "canister": CANISTER,
        "state": "open",
        "limit": MAX_LIMIT,
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("canistr=x", "'canistr' means nothing here; there is canister, limit"),
        ("canister", "invalid query"),
        ("canister=", "1 to 64 characters"),
        ("canister=aaaaa", "canister: "),
        (f"canister={CANISTER.upper()}", "is written"),
        (f"canister={CANISTER}&canister={CANISTER}", "duplicate"),
        ("&".join(f"a{number}=1" for number in range(MAX_FIELDS + 1)), "invalid query"),
        ("limit=0", "from 1 to 1000"),
        ("limit=1001", "from 1 to 1000"),
        ("limit=-1", "from 1 to 1000"),
        ("limit=١", "from 1 to 1000"),
        ("limit=" + "9" * 5000, "from 1 to 1000"),
    ],
)
def test_queries_that_are_refused(text: str, words: str) -> None:
    with pytest.raises(Refused, match=words) as refused:
        read_query(text, "canister", "limit")
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("address=203.0.113.7", "203.0.113.7/32"),
        ("address=203.0.113.7/24", "203.0.113.0/24"),
        ("address=2001:db8::/32", "2001:db8::/32"),
        # as the gateway knows connections from there
        ("address=::ffff:203.0.113.0/120", "203.0.113.0/24"),
        ("older=60", 60.0),
        ("idle=0.5", 0.5),
        ("origin=https://a.example", "https://a.example"),
        ("sort=lag", "lag"),
    ],
)
def test_what_sessions_are_found_by(text: str, value: object) -> None:
    name = text.partition("=")[0]
    assert read_query(text, name) == {name: value}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("address=somewhere", "address is an address or a network"),
        ("address=203.0.113.0/33", "address is an address or a network"),
        ("older=-1", "older is a number of seconds"),
        ("older=1h", "older is a number of seconds"),
        ("idle=nan", "idle is a number of seconds"),
        ("idle=" + "9" * 400, "idle is a number of seconds"),
        ("origin=" + "a" * (MAX_ORIGIN + 1), "origin is text of 1 to 200 characters"),
        ("sort=colour", "sort is one of rate, up, down"),
    ],
)
def test_what_no_session_is_found_by(text: str, words: str) -> None:
    name = text.partition("=")[0]
    with pytest.raises(Refused, match=words):
        read_query(text, name)


def test_an_origin_is_found_as_it_is_kept() -> None:
    assert MAX_ORIGIN == upgrade.MAX_ORIGIN


def test_a_state_that_is_none() -> None:
    with pytest.raises(Refused, match="state is one of init, setup, open, closed"):
        read_query("state=OPEN", "state")


def test_bodies() -> None:
    assert read_body(b"") == {}
    assert read_body(b' {"code": 4100, "session": "ab12-3"}', "code", "session") == {"code": 4100, "session": "ab12-3"}
    assert read_body(b'{"window": 0}', "window") == {"window": 0.0}
    assert read_body(b'{"window": 2.5}', "window") == {"window": 2.5}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 16_000, "not JSON"),
        (b"1" * 5000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"sesion": "x"}', "means nothing here"),
        (b'{"session": 1}', "session is text"),
        (b'{"session": ""}', "session is text"),
        (b'{"session": "%s"}' % (b"x" * 65), "session is text"),
        (b'{"code": 1000}', "code is one of 1008, 4100"),
        (b'{"code": "1008"}', "code is one of"),
        (b'{"code": [1008]}', "code is one of"),
        (b'{"code": 1008.0}', "code is one of"),
        (b'{"code": true}', "code is one of"),
        (b'{"window": "10"}', "number of seconds"),
        (b'{"window": true}', "number of seconds"),
        (b'{"window": -1}', "window: -1 is outside 0 to 1 h"),
        (b'{"window": 3601}', "outside 0 to 1 h"),
        (b'{"window": -1' + b"0" * 400 + b"}", "window: "),
        (b'{"window": NaN}', "not JSON"),
        (b'{"window": -Infinity}', "not JSON"),
        (b'{"session": "a", "code": 1008, "session": "b"}', "'session' stands twice in the body"),
        (b'{"window": 1e999}', "window: "),
        (b'{"window": 1%s}' % (b"0" * 400), "window: "),
    ],
)
def test_bodies_that_are_refused(body: bytes, words: str) -> None:
    with pytest.raises(Refused, match=words) as refused:
        read_body(body, "session", "code", "window")
    assert refused.value.status == 400


def test_levels() -> None:
    assert read_levels(b'{"gateway": "debug", "server.tls": "WARNING", "*": "off", "relay": null}') == (
        False,
        {"gateway": DEBUG, "server.tls": WARN, "*": OFF, "relay": None},
    )
    assert read_levels(b'{"reset": true}') == (True, {})
    assert read_levels(b'{"reset": true, "relay": "debug"}') == (True, {"relay": DEBUG})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "nothing is asked for"),
        (b'{"reset": false}', "nothing is asked for"),
        (b'{"reset": 1}', "reset is true or false"),
        (b'{"relay": "info", "relay": "debug"}', "'relay' stands twice in the body"),
        (b'{"gateway": "loud"}', "gateway: a level is one of trace, debug"),
        (b'{"gateway": 10}', "a level is one of"),
        (b'{"gateway debug": "info"}', "no component's name"),
        (b'{"": "info"}', "no component's name"),
        (b'{".a": "info"}', "no component's name"),
        (b'{"a\\nb": "info"}', "no component's name"),
        (b'{"%s": "info"}' % (b"x" * 65), "no component's name"),
    ],
)
def test_levels_that_are_refused(body: bytes, words: str) -> None:
    with pytest.raises(Refused, match=words) as refused:
        read_levels(body)
    assert refused.value.status == 400
