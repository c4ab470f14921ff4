"""Each switch, and how often it strikes."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from icwsgw.devnet.canisters import CHAT_ID, ECHO_ID
from icwsgw.devnet.faults import Dropped, Faults, InjectedFault
from icwsgw.errors import CanisterRefused, ConnectionLost, FormatError, Rejected
from icwsgw.ic import cbor, ws
from tests.support.devnet import GATEWAY, Net, identity, pending, result_of

ALICE = identity(1)
POLL = ws.encode_get_messages(0)
OPEN = ws.encode_open_args(0, GATEWAY.principal.raw)


@pytest.fixture
def net() -> Net:
    net = Net()
    net.open(ALICE)
    for number in (1, 2, 3):
        net.send_message(ALICE, number, b"%d" % number)
    return net


def add(net: Net, kind: str, **how: Any) -> InjectedFault:
    return net.replica.faults.add(InjectedFault(kind, **how))


def polled(net: Net, nonce: int = 0) -> list[int]:
    return [ws.nonce_of_key(message[2]) for message in net.poll(nonce, check=False).messages]


def reject_of(act: Any, *arguments: Any) -> Rejected:
    with pytest.raises(Rejected) as caught:
        act(*arguments)
    return caught.value


# -- how often ----------------------------------------------------------------------------------------------------


def strikes(fault: InjectedFault, times: int, seed: int = 0) -> list[bool]:
    faults = Faults(seed)
    faults.add(fault)
    return [faults.meet("query", ECHO_ID, "ws_get_messages") is not None for _ in range(times)]


def test_for_ever_unless_counted() -> None:
    assert strikes(InjectedFault("trap"), 5) == [True] * 5
    assert strikes(InjectedFault("trap", count=2), 5) == [True, True, False, False, False]
    assert strikes(InjectedFault("trap", count=1, skip=2), 5) == [False, False, True, False, False]


def test_by_a_rate_that_its_seed_repeats() -> None:
    some = strikes(InjectedFault("trap", rate=0.3), 1000, seed=5)
    assert some == strikes(InjectedFault("trap", rate=0.3), 1000, seed=5)
    assert some != strikes(InjectedFault("trap", rate=0.3), 1000, seed=6)
    assert 200 < sum(some) < 400
    assert not any(strikes(InjectedFault("trap", rate=0), 10))


def test_it_counts_its_hits_and_is_gone_when_it_is_used_up() -> None:
    faults = Faults()
    fault = faults.add(InjectedFault("hang", count=1))
    assert list(faults) == [fault]
    assert faults.meet("call", ECHO_ID, "ws_open") is fault
    assert (fault.hits, len(faults)) == (1, 0)
    again = faults.add(InjectedFault("hang"))
    faults.remove(again)
    faults.remove(again)
    faults.add(InjectedFault("hang"))
    faults.clear()
    assert len(faults) == 0


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({}, [True, True, True, True]),
        ({"on": "query"}, [True, False, False, False]),
        ({"on": "call"}, [False, True, True, False]),
        ({"canister": CHAT_ID}, [False, False, True, False]),
        ({"method": "ws_open"}, [False, True, False, False]),
        ({"on": "status"}, [False, False, False, True]),
    ],
)
def test_where_it_strikes(where: dict[str, Any], expected: list[bool]) -> None:
    faults = Faults()
    faults.add(InjectedFault("hang", **where))
    requests = [
        ("query", ECHO_ID, "ws_get_messages"),
        ("call", ECHO_ID, "ws_open"),
        ("call", CHAT_ID, "ws_close"),
        ("status", None, None),
    ]
    assert [faults.meet(*request) is not None for request in requests] == expected


def test_what_makes_no_sense_is_refused() -> None:
    for wrong in (
        {"kind": "flood"},
        {"kind": "hang", "on": "everything"},
        {"kind": "gap", "on": "call"},
        {"kind": "trap", "on": "status"},
        {"kind": "hang", "rate": 1.5},
        {"kind": "hang", "count": 0},
        {"kind": "http", "status": 99},
    ):
        with pytest.raises(ValueError, match=r"\w"):
            InjectedFault(**wrong)


def test_from_json() -> None:
    fault = InjectedFault.from_json({"kind": "delay", "delay": 2, "canister": ECHO_ID.text, "count": None})
    assert fault == InjectedFault("delay", delay=2, canister=ECHO_ID)
    mistakes: list[Any] = [
        {},
        [],
        {"kind": 1},
        {"kind": "hang", "hits": 3},
        {"kind": "hang", "count": "2"},
        {"kind": "hang", "canister": "nonsense"},
    ]
    for wrong in mistakes:
        with pytest.raises(ValueError, match=r"\w"):
            InjectedFault.from_json(wrong)


# -- each kind ----------------------------------------------------------------------------------------------------


def test_delay(net: Net) -> None:
    add(net, "delay", delay=3.0, count=1)
    late = net.ask(GATEWAY, "ws_get_messages", POLL)
    assert polled(net) == [0, 1, 2, 3]
    assert pending(late)
    net.advance(3)
    assert result_of(late)[0] == 200


def test_http() -> None:
    net = Net(edge_headers=False)
    add(net, "http", status=429, message="slow down", retry_after=7, cause="rate_limited")
    assert result_of(net.ask(GATEWAY, "ws_get_messages", POLL)) == (
        429,
        {"Content-Type": "text/plain; charset=utf-8", "Retry-After": "7", "x-ic-error-cause": "rate_limited"},
        b"slow down",
    )


def test_a_subnet_is_unavailable_while_the_others_answer(net: Net) -> None:
    own = net.replica.state_of(ECHO_ID).subnet.id
    done = net.handle("POST", "/_/faults", b'{"kind": "unavailable", "subnet": "%s"}' % own.text.encode())
    assert result_of(done)[0] == 200
    for version in ("v2", "v3"):
        status, _, body = result_of(net.ask(GATEWAY, "ws_get_messages", POLL, version=version))
        assert (status, body.split(b"\n")[0]) == (503, b"error: no_healthy_nodes")
    assert result_of(net.submit(net.call_request(ALICE, "ws_open", OPEN)))[0] == 503
    assert result_of(net.ask(GATEWAY, "ws_get_messages", POLL, CHAT_ID))[0] == 200
    assert result_of(net.handle("GET", "/api/v2/status"))[0] == 200
    net.replica.faults.clear()
    add(net, "unavailable", cause="replica_error", status=502, canister=CHAT_ID)
    assert result_of(net.ask(GATEWAY, "ws_get_messages", POLL))[0] == 200
    status, _, body = result_of(net.ask(GATEWAY, "ws_get_messages", POLL, CHAT_ID))
    assert (status, body.split(b"\n")[0]) == (502, b"error: replica_error")


def test_dates_are_off(net: Net) -> None:
    add(net, "date", offset=-600, count=1)
    status, headers, _ = result_of(net.ask(GATEWAY, "ws_get_messages", POLL))
    assert status == 200
    assert parsedate_to_datetime(headers["Date"]).timestamp() == net.now_ns() // 10**9 - 600
    assert "Date" not in result_of(net.ask(GATEWAY, "ws_get_messages", POLL))[1]


def test_answers_from_a_cache_say_so(net: Net) -> None:
    add(net, "cached", on="status", age=90)
    status, headers, body = result_of(net.handle("GET", "/api/v2/status"))
    assert (status, headers["Age"], headers["Via"]) == (200, "90", "1.1 cache")
    assert parsedate_to_datetime(headers["Date"]).timestamp() == net.now_ns() // 10**9 - 90
    assert cbor.loads(body)["root_key"] == net.replica.root_key_der


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5])
def test_reject(net: Net, code: int) -> None:
    add(net, "reject", code=code, message="no", error_code="IC0999")
    for reject in (reject_of(net.poll), reject_of(net.open, identity(2))):
        assert (reject.code, reject.message, reject.error_code) == (code, "no", "IC0999")
    net.replica.faults.clear()
    net.open(identity(2))


def test_a_reject_of_a_call_can_be_certified(net: Net) -> None:
    add(net, "reject", on="call", code=4, certified=True, count=1)
    request = net.call_request(identity(2), "ws_open", OPEN)
    fields = cbor.loads(result_of(net.submit(request))[2])
    assert fields["status"] == "replied"
    assert reject_of(net.outcome, result_of(net.submit(request)), request).code == 4


def test_trap(net: Net) -> None:
    add(net, "trap", message="oh")
    for reject in (reject_of(net.poll), reject_of(net.open, identity(2))):
        assert (reject.code, reject.error_code) == (5, "IC0503")
        assert "'oh'" in reject.message


def test_stopped(net: Net) -> None:
    add(net, "stopped")
    for reject in (reject_of(net.poll), reject_of(net.open, identity(2))):
        assert (reject.code, reject.error_code) == (5, "IC0508")


def test_garbage(net: Net) -> None:
    add(net, "garbage")
    status, _, body = result_of(net.ask(GATEWAY, "ws_get_messages", POLL))
    assert (status, len(body)) == (200, 300)
    with pytest.raises(FormatError):
        cbor.loads(body)


def test_garbage_candid(net: Net) -> None:
    add(net, "garbage_candid")
    with pytest.raises(FormatError):
        net.poll()
    with pytest.raises(FormatError):
        net.open(identity(2))


def test_cdk_err(net: Net) -> None:
    add(net, "cdk_err", message="some error")
    for act in (net.poll, lambda: net.open(identity(2))):
        with pytest.raises(CanisterRefused, match="some error"):
            act()


def test_hang_until_the_faults_are_cleared(net: Net) -> None:
    add(net, "hang", count=2)
    query = net.ask(GATEWAY, "ws_get_messages", POLL)
    call = net.submit(net.call_request(identity(2), "ws_open", OPEN))
    net.advance(299)
    assert pending(query)
    assert pending(call)
    net.replica.release()
    for each in (query, call):
        with pytest.raises(Dropped):
            result_of(each)
    assert polled(net, 3) == [3]


def test_half_body(net: Net) -> None:
    add(net, "half_body", count=1)
    with pytest.raises(Dropped) as caught:
        result_of(net.submit(net.call_request(identity(2), "ws_open", OPEN)))
    assert caught.value.status == 200
    assert cbor.loads(caught.value.body)["status"] == "replied"
    assert polled(net, 4) == [4]


def test_reset_of_the_connection_before_and_after(net: Net) -> None:
    add(net, "reset", count=1)
    add(net, "reset", count=1, after=True)
    first, second = (net.call_request(identity(number), "ws_open", OPEN) for number in (2, 3))
    for request in (first, second):
        with pytest.raises(ConnectionLost):
            result_of(net.submit(request))
    assert net.replica.ingress.get(first.request_id) is None
    assert net.replica.ingress.get(second.request_id) is not None
    # Sent again, the second is the same call.
    assert net.outcome(result_of(net.submit(second)), second) == ws.encode_result_ok()


def test_duplicate(net: Net) -> None:
    add(net, "duplicate", count=1)
    assert polled(net, 9) == []
    assert polled(net, 1) == [1, 1, 2, 3]
    assert polled(net, 1) == [1, 2, 3]


def test_overlap(net: Net) -> None:
    add(net, "overlap")
    assert polled(net, 2) == [1, 2, 3]
    assert polled(net, 0) == [0, 0, 1, 2, 3]


def test_gap(net: Net) -> None:
    add(net, "gap", count=1)
    assert polled(net, 3) == [3]
    assert polled(net, 1) == [2, 3]
    assert polled(net, 1) == [1, 2, 3]


def test_lagging(net: Net) -> None:
    add(net, "lagging", count=1)
    add(net, "lagging", hide=1)
    batch = net.poll(0)
    assert (batch.messages, batch.end_of_queue) == ([], True)
    assert polled(net, 0) == [0, 1, 2]
    assert polled(net, 3) == []


def test_answers_under_a_cursors_fault_are_still_certified(net: Net) -> None:
    for kind in ("overlap", "lagging"):
        add(net, kind, count=1, hide=1)
        assert net.poll(1, check=True).messages


def test_faults_of_the_status(net: Net) -> None:
    add(net, "http", on="status", status=500)
    assert result_of(net.handle("GET", "/api/v2/status"))[0] == 500
    assert polled(net, 3) == [3]


def test_faults_of_read_state(net: Net) -> None:
    add(net, "garbage", on="read_state")
    with pytest.raises(FormatError):
        net.read_state(None, [(b"time",)])
