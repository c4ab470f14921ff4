from __future__ import annotations

import pytest

from icwsgw.devnet.canisters import CHAT_ID, ECHO_ID
from icwsgw.devnet.request_admission import RequestRefused, boundary_error, target_of
from icwsgw.ic.principal import Principal
from tests.support.devnet import Net, identity

NET = Net(nodes=13)
ECHO_SUBNET = NET.replica.state_of(ECHO_ID).subnet


def target(path: str, net: Net = NET) -> object:
    return target_of(net.replica, path.split("/"))


def refused(path: str, net: Net = NET) -> tuple[int, str]:
    with pytest.raises(RequestRefused) as raised:
        target(path, net)
    return raised.value.answer[0], raised.value.answer[2].decode().split("\n")[0]


def test_a_request_goes_to_a_node_of_its_subnet() -> None:
    seen = set()
    for _ in range(200):
        made = target_of(NET.replica, ["api", "v2", "canister", ECHO_ID.text, "query"])
        assert made.state is NET.replica.state_of(ECHO_ID)
        assert made.node is made.state.subnet.nodes[made.node.number]
        seen.add(made.node.number)
    assert seen == set(range(13))
    other = target_of(NET.replica, ["api", "v2", "canister", CHAT_ID.text, "query"])
    assert other.state is not NET.replica.state_of(ECHO_ID)


@pytest.mark.parametrize(
    "path",
    [
        *(f"api/{version}/canister/{ECHO_ID}/query" for version in ("v2", "v3")),
        *(f"api/{version}/canister/{ECHO_ID}/call" for version in ("v2", "v3", "v4")),
        *(f"api/{version}/subnet/{ECHO_SUBNET.id}/read_state" for version in ("v2", "v3")),
    ],
)
def test_endpoints(path: str) -> None:
    assert target(path)


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("api/v1/canister/x/query", 404, "no such endpoint"),
        (f"api/v4/canister/{ECHO_ID}/query", 404, "no such endpoint"),
        (f"api/v2/subnet/{ECHO_SUBNET.id}/query", 404, "no such endpoint"),
        ("api/v2/canister/nonsense/query", 400, "error: malformed_request"),
        (f"api/v2/canister/{identity(1).principal}/query", 400, "error: canister_not_found"),
        (f"api/v2/canister/{Principal(bytes([255] * 8) + bytes([1, 1]))}/query", 400, "error: canister_not_found"),
        (f"api/v2/canister/{ECHO_SUBNET.id}/query", 400, "error: canister_not_found"),
        (f"api/v2/subnet/{ECHO_ID}/read_state", 400, "error: subnet_not_found"),
    ],
)
def test_what_goes_nowhere(path: str, status: int, words: str) -> None:
    assert refused(path) == (status, words)


def test_older_replicas_and_later_networks() -> None:
    older, later = Net(legacy_api=True), Net(v2_gone=True)
    for version, on in (("v4", "call"), ("v3", "query"), ("v3", "read_state")):
        assert refused(f"api/{version}/canister/{ECHO_ID}/{on}", older)[0] == 404
        assert target(f"api/{version}/canister/{ECHO_ID}/{on}", later)
    assert refused(f"api/v2/canister/{ECHO_ID}/query", later)[0] == 404
    assert target(f"api/v2/canister/{ECHO_ID}/call", later)


def test_a_boundary_node_names_the_cause() -> None:
    status, headers, body = boundary_error(503, "no_healthy_nodes", "later")
    assert (status, headers["x-ic-error-cause"]) == (503, "no_healthy_nodes")
    assert body == b"error: no_healthy_nodes\ndetails: later"
