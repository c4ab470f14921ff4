from __future__ import annotations

import json
from typing import Any

import pytest

from icwsgw.devnet.canisters import CHAT_ID, ECHO_ID, Canister, EchoCanister
from icwsgw.devnet.cdk_types import Trap
from icwsgw.devnet.consensus import MAX_LAG, BlockTiming
from icwsgw.errors import CanisterRefused, Rejected
from icwsgw.ic import ws
from icwsgw.ic.principal import Principal
from tests.devnet.wasm.support import module
from tests.support.devnet import GATEWAY, START_NS, Net, identity, pending, result_of

ALICE = identity(1)


def get(net: Net, name: str) -> Any:
    status, headers, body = result_of(net.handle("GET", f"/_/{name}"))
    assert (status, headers["Content-Type"]) == (200, "application/json")
    return json.loads(body)


def post(net: Net, name: str, value: Any) -> tuple[int, Any]:
    status, _, body = result_of(net.handle("POST", f"/_/{name}", json.dumps(value).encode()))
    return status, json.loads(body)


def done(net: Net, name: str, value: Any) -> Any:
    status, answer = post(net, name, value)
    assert status == 200, answer
    return answer


def test_info_is_what_the_demo_page_needs() -> None:
    net = Net()
    assert get(net, "info")["status_url"] is None
    net.replica.gateway_urls = ["ws://127.0.0.1:8080"]
    info = get(net, "info")
    assert info["root_key"] == net.replica.root_key_der.hex()
    assert info["canisters"] == {"echo": ECHO_ID.text, "chat": CHAT_ID.text}
    assert info["gateway_urls"] == ["ws://127.0.0.1:8080"]


def test_logs_by_name_or_id() -> None:
    net = Net()
    net.replica.canisters.logs.add(ECHO_ID, b"one")
    net.advance(2)
    net.replica.canisters.logs.add(ECHO_ID, b"two\xff")
    unnamed = net.replica.install(net.replica.canisters.free_id(), EchoCanister).id
    assert get(net, "logs") == {
        "echo": [
            {"number": 0, "time": START_NS / 1e9, "text": "one"},
            {"number": 1, "time": START_NS / 1e9 + 2, "text": "two\N{REPLACEMENT CHARACTER}"},
        ],
        "chat": [],
        unnamed.text: [],
    }


def test_a_reset_that_traps_is_reported() -> None:
    net = Net()
    net.replica.canisters.install_wasm(ECHO_ID, module('(func (export "canister_post_upgrade") unreachable)'))
    status, answer = post(net, "reset", {"canister": "echo"})
    assert (status, answer["error"][:30]) == (400, "Canister trapped: unreachable\n")
    # what only the CDK in Python can do
    assert post(net, "close", {"canister": ECHO_ID.text, "client": ALICE.principal.text})[0] == 400
    assert done(net, "push", {"canister": "echo"}) == {"sent": 0, "left": 0}
    assert get(net, "stats")["canisters"][ECHO_ID.text] == {"running": True}


def test_stats() -> None:
    net = Net()
    net.open(ALICE)
    done(net, "faults", {"kind": "trap", "count": 3})
    stats = get(net, "stats")
    assert stats["ws_open"] == 1
    assert stats["calls_known"] == 1
    assert stats["faults"] == [{"kind": "trap", "hits": 0, "left": 3}]
    assert stats["canisters"][ECHO_ID.text] == {
        "running": True,
        "clients": 1,
        "queues": {GATEWAY.principal.text: 1},
    }


def test_canisters_are_given_by_name_everywhere() -> None:
    net = Net()
    net.open(ALICE)
    faults = [{"kind": "trap", "canister": name} for name in ("echo", ECHO_ID.text, "*")]
    assert done(net, "faults", faults) == {"faults": 3}
    assert [fault.canister for fault in net.replica.faults] == [ECHO_ID, ECHO_ID, None]
    done(net, "faults", {"clear": True})
    for name in ("reset", "stop", "start"):
        assert done(net, name, {"canister": "echo"}) == {"canisters": 1}
    net.open(ALICE)
    done(net, "close", {"canister": "echo", "client": ALICE.principal.text})
    for name, more in (("faults", {"kind": "trap"}), ("push", {}), ("reset", {}), ("close", {"client": "x"})):
        status, answer = post(net, name, {"canister": "ecco", **more})
        assert status == 400
        assert "'ecco' is no id, and no name: there are echo, chat" in answer["error"]


def test_faults_one_several_and_none() -> None:
    net = Net()
    assert done(net, "faults", {"kind": "hang", "on": "query"}) == {"faults": 1}
    hanging = net.ask(GATEWAY, "ws_get_messages", ws.encode_get_messages(0))
    assert pending(hanging)
    hanging.addErrback(lambda _: None)
    assert done(net, "faults", [{"clear": True}, {"kind": "trap"}, {"kind": "gap"}]) == {"faults": 2}
    assert hanging.called
    with pytest.raises(Rejected):
        net.poll()
    assert done(net, "faults", {"clear": True}) == {"faults": 0}
    net.poll()


def test_a_list_with_a_mistake_changes_nothing() -> None:
    net = Net()
    assert post(net, "faults", [{"kind": "trap"}, {"kind": "nonsense"}])[0] == 400
    assert len(net.replica.faults) == 0


def test_config() -> None:
    net = Net()
    done(net, "config", {"query_latency_ms": 200, "call_latency_ms": 1000.5, "call_jitter_ms": 5})
    replica = net.replica
    assert (replica.query_latency, replica.ingress.latency, replica.ingress.jitter) == (0.2, 1.0005, 0.005)
    done(net, "config", {"call_latency_ms": 0})
    assert (replica.query_latency, replica.ingress.latency) == (0.2, 0)
    done(net, "config", {"block_interval_ms": 400, "gossip_ms": 200, "lag_blocks": 3, "v2_gone": True})
    assert replica.ingress.pace == BlockTiming(0.4, 0.2, 3)
    assert replica.v2_gone
    answer = net.submit(net.call_request(ALICE, "ws_open", ws.encode_open_args(0, GATEWAY.principal.raw)))
    assert pending(answer)
    net.advance(4, 0.1)
    assert not pending(answer)
    assert max(get(net, "stats")["heights"].values()) >= 9
    done(net, "config", {"block_interval_ms": 0, "v2_gone": False})
    assert (replica.ingress.pace, replica.v2_gone) == (BlockTiming(0.0, 0.2, 3), False)
    mistakes: list[Any] = [
        {"other": 1},
        {"query_latency_ms": -1},
        {"query_latency_ms": "1"},
        {"v2_gone": 1},
        {"block_interval_ms": True},
        [],
    ]
    for wrong in mistakes:
        assert post(net, "config", wrong)[0] == 400
    error = post(net, "config", {"lag_blocks": MAX_LAG + 1})[1]["error"]
    assert error.endswith(f"lag_blocks is a whole number from 0 to {MAX_LAG}")


def test_push() -> None:
    net = Net()
    net.open(ALICE)
    assert done(net, "push", {"canister": "echo", "count": 3}) == {"sent": 3, "left": 0}
    assert done(net, "push", {"canister": ECHO_ID.text, "clients": 1, "size": 10, "text": "x"})["sent"] == 1
    assert done(net, "push", {"canister": "*", "clients": "all", "count": 10, "rate": 5}) == {"sent": 0, "left": 10}
    assert len(net.poll().messages) == 5
    done(net, "push", {"stop": True})
    net.advance(10)
    assert len(net.poll().messages) == 5
    for wrong in ({}, {"canister": "nonsense"}):
        assert post(net, "push", wrong)[0] == 400
    for detail in ({"count": -1}, {"clients": "x"}, {"rate": "fast"}):
        assert post(net, "push", {"canister": "echo", **detail})[0] == 400


def test_reset_stop_start_close() -> None:
    net = Net()
    net.open(ALICE)
    done(net, "stop", {"canister": ECHO_ID.text})
    with pytest.raises(Rejected):
        net.poll()
    assert done(net, "start", {"canister": "*"}) == {"canisters": 2}
    done(net, "close", {"canister": ECHO_ID.text, "client": ALICE.principal.text})
    assert net.received()[-1] == ws.CloseMessage("ClosedByApplication")
    assert post(net, "close", {"canister": ECHO_ID.text, "client": ALICE.principal.text})[0] == 400
    done(net, "reset", {"canister": ECHO_ID.text})
    assert net.poll().messages == []
    with pytest.raises(CanisterRefused):
        net.leave(ALICE)


def test_a_client_whose_removal_traps_stays() -> None:
    class Clinging(Canister):
        def on_close(self, client: Principal) -> None:
            raise Trap("stay")

    net = Net(canisters={"clinging": (ECHO_ID, Clinging)})
    net.open(ALICE)
    status, answer = post(net, "close", {"canister": ECHO_ID.text, "client": ALICE.principal.text})
    assert (status, answer) == (400, {"error": "Trap: stay"})
    assert len(net.received()) == 1
    net.send_message(ALICE, 1, "still here")


def test_what_it_does_not_understand() -> None:
    net = Net()
    assert result_of(net.handle("GET", "/_/nonsense"))[0] == 404
    assert result_of(net.handle("POST", "/_/info"))[0] == 405
    assert result_of(net.handle("GET", "/_/reset"))[0] == 405
    assert result_of(net.handle("POST", "/_/reset", b"no JSON"))[0] == 400
    assert result_of(net.handle("POST", "/_/reset", b'{"canister": "aaaaa-aa"}'))[0] == 400


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("config", b'{"query_latency_ms": NaN}'),
        ("config", b'{"call_latency_ms": Infinity}'),
        ("config", b'{"call_jitter_ms": 1e999}'),
        ("config", b'{"query_latency_ms": -1}'),
        ("config", b'{"query_latency_ms": true}'),
        ("config", b'{"block_interval_ms": NaN}'),
        ("config", b'{"gossip_ms": 1e300}'),
        ("config", b'{"lag_blocks": 1.5}'),
        ("config", b'{"lag_blocks": 99999999999}'),
        ("config", b'{"query_latency_ms": ' + b"9" * 400 + b"}"),
        ("config", b'{"query_latency_ms": ' + b"9" * 5000 + b"}"),
        ("config", b'{"query_latency_ms": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        ("config", b"[" * 100_000),
        ("config", b"[]"),
        ("config", b"\xff"),
        ("faults", b'{"kind": "delay", "delay": NaN}'),
        ("faults", b'{"kind": [[]]}'),
        ("faults", b"[[[{}]]]"),
        ("push", b'{"canister": "*", "rate": [1]}'),
        ("push", b'{"canister": "*", "rate": -1}'),
        ("push", b'{"canister": "*", "rate": "1"}'),
        ("push", b'{"canister": "*", "size": 99999999999}'),
        ("push", b'{"canister": "*", "count": 99999999999}'),
        ("push", b'{"canister": "*", "text": [[]]}'),
        ("push", b'{"canister": [["*"]]}'),
        ("close", b'{"canister": {}, "client": []}'),
    ],
)
def test_bad_values_are_refused_and_change_nothing(name: str, body: bytes) -> None:
    net = Net()
    net.open(ALICE)
    before = (net.replica.query_latency, net.replica.ingress.latency, net.replica.ingress.jitter)
    status, _, answer = result_of(net.handle("POST", f"/_/{name}", body))
    assert status == 400, answer
    assert json.loads(answer)["error"]
    assert (net.replica.query_latency, net.replica.ingress.latency, net.replica.ingress.jitter) == before
    assert len(net.replica.faults) == 0


def test_the_clock_of_canisters_is_moved() -> None:
    net = Net()
    net.open(ALICE)
    assert done(net, "clock", {"advance": 300}) == {"offset": 300}
    assert len(net.poll().messages) == 2
    assert done(net, "clock", {"advance": 0.5}) == {"offset": 300.5}
    refused: list[object] = [{}, {"advance": -1}, {"advance": "1"}, {"advance": True}, {"advance": 1e9}, []]
    for wrong in refused:
        assert post(net, "clock", wrong)[0] == 400, wrong
