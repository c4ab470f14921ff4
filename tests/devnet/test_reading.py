from __future__ import annotations

from collections.abc import Sequence

import pytest

from icwsgw.devnet.canisters import CHAT_ID, ECHO_ID
from icwsgw.ic import cbor, envelope, ws
from icwsgw.ic.certificate import certified_data, node_keys, request_status
from icwsgw.ic.hashtree import Found
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from tests.support.devnet import GATEWAY, Net, identity, result_of

ALICE, BOB = identity(1), identity(2)
OPEN = ws.encode_open_args(0, GATEWAY.principal.raw)


def asked(
    net: Net, paths: Sequence[Sequence[bytes]], who: Ed25519Identity = ALICE, at: str = f"canister/{ECHO_ID}"
) -> int:
    content = envelope.read_state_content(who.principal, paths, net.now_ns() + 10**11)
    return result_of(net.handle("POST", f"/api/v3/{at}/read_state", net.signed(who, content).body))[0]


def test_anybody_may_read_the_time_the_subnet_and_a_canisters_own() -> None:
    net = Net()
    net.open(ALICE)
    paths = [(b"time",), (b"subnet",), (b"canister", ECHO_ID.raw, b"certified_data")]
    certificate = net.read_state(None, [*paths, (b"canister", ECHO_ID.raw, b"controllers")])
    assert len(node_keys(certificate, net.replica.state_of(ECHO_ID).subnet.id)) == 4
    assert certified_data(certificate, ECHO_ID) == net.replica.host(ECHO_ID).ws.certified_data()
    controllers = certificate.lookup([b"canister", ECHO_ID.raw, b"controllers"])
    assert isinstance(controllers, Found)
    assert cbor.loads(controllers.value) == []


@pytest.mark.parametrize(
    "path",
    [
        (b"time",),
        (b"subnet", b"x"),
        (b"subnet", b"x", b"public_key"),
        (b"subnet", b"x", b"node", b"n"),
        (b"subnet", b"x", b"node", b"n", b"public_key"),
        (b"canister_ranges",),
        (b"canister_ranges", b"x", b"y"),
        (b"canister", ECHO_ID.raw, b"module_hash"),
        (b"canister", ECHO_ID.raw, b"metadata", b"candid:service"),
        (b"request_status", b"r" * 32),
        (b"request_status", b"r" * 32, b"reply"),
    ],
)
def test_paths_that_may_be_read(path: Sequence[bytes]) -> None:
    assert asked(Net(), [path]) == 200


@pytest.mark.parametrize(
    "path",
    [
        (),
        (b"time", b"x"),
        (b"canister",),
        (b"canister", ECHO_ID.raw),
        (b"canister", CHAT_ID.raw, b"module_hash"),
        (b"canister", b"x" * 30, b"module_hash"),
        (b"canister", ECHO_ID.raw, b"memory"),
        (b"subnet", b"x", b"metrics"),
        (b"subnet", b"x", b"node", b"n", b"address"),
        (b"request_status",),
        (b"request_status", b"short"),
        (b"request_status", b"r" * 32, b"other"),
        (b"canister_ranges", b"x", b"y", b"z"),
        (b"streams",),
    ],
)
def test_paths_that_may_not(path: Sequence[bytes]) -> None:
    assert asked(Net(), [path]) == 400


def test_one_request_at_a_time() -> None:
    assert asked(Net(), [(b"request_status", b"r" * 32), (b"request_status", b"s" * 32)]) == 400
    assert asked(Net(), [(b"request_status", b"r" * 32), (b"request_status", b"r" * 32, b"reply")]) == 200


def test_the_status_of_a_call_is_for_its_sender() -> None:
    net = Net()
    request = net.call_request(ALICE, "ws_open", OPEN)
    net.submit(request)
    path = (b"request_status", request.request_id)
    assert request_status(net.read_state(ALICE, [path]), request.request_id).reply == ws.encode_result_ok()
    assert asked(net, [path], BOB) == 403
    assert asked(net, [path], ALICE, f"canister/{CHAT_ID}") == 403


def test_the_subnets_endpoint_knows_no_canisters() -> None:
    net = Net()
    at = f"subnet/{net.replica.state_of(ECHO_ID).subnet.id}"
    assert asked(net, [(b"subnet",)], at=at) == 200
    assert asked(net, [(b"canister", ECHO_ID.raw, b"module_hash")], at=at) == 400
    assert asked(net, [(b"request_status", b"r" * 32)], at=at) == 400
    assert asked(net, [(b"time",)], at=f"subnet/{Principal(b'other')}") == 400
