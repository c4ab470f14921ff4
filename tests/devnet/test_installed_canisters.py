"""Canisters by id, in Python and in WebAssembly, and the calls between them."""

from __future__ import annotations

import pytest

from icwsgw.devnet.canisters import CHAT_ID, ECHO_ID, EchoCanister
from icwsgw.devnet.topology import canister_id
from icwsgw.devnet.wasm.execution import CanisterTrap
from icwsgw.errors import FormatError, Rejected
from icwsgw.ic import candid
from icwsgw.ic.principal import Principal
from tests.devnet.wasm.support import PRINTING, module
from tests.support.devnet import Net, identity

ALICE = identity(1)


def test_free_ids_are_those_of_a_local_replica() -> None:
    canisters = Net().replica.canisters
    # the ids that dfx gives to the third and fourth canister of a fresh local replica
    assert canisters.free_id().text == "be2us-64aaa-aaaaa-qaabq-cai"
    canisters.install(canisters.free_id(), EchoCanister)
    assert canisters.free_id().text == "br5f7-7uaaa-aaaaa-qaaca-cai"


def test_one_in_webassembly_takes_anothers_place() -> None:
    net = Net()
    net.open(ALICE)
    net.replica.canisters.install_wasm(ECHO_ID, module(PRINTING))
    assert net.call(ALICE, "echo", b"here") == b"here"
    assert [host.id for host in net.replica.hosts] == [CHAT_ID]
    with pytest.raises(KeyError):
        net.replica.host(ECHO_ID)
    net.replica.close()
    assert net.clock.getDelayedCalls() == []


def test_no_subnet_has_the_id() -> None:
    canisters = Net().replica.canisters
    with pytest.raises(KeyError):
        canisters.install_wasm(ALICE.principal, module(PRINTING))
    with pytest.raises(KeyError):
        canisters.install(ALICE.principal, EchoCanister)


@pytest.mark.parametrize(
    ("file", "error"),
    [
        (b"no module", FormatError),
        (module('(func (export "canister_init") unreachable)'), CanisterTrap),
    ],
)
def test_one_that_cannot_be_installed_leaves_the_other(file: bytes, error: type[Exception]) -> None:
    net = Net()
    with pytest.raises(error):
        net.replica.canisters.install_wasm(ECHO_ID, file)
    net.open(ALICE)
    assert len(net.poll().messages) == 1


def test_calls_to_the_management_canister_and_to_python() -> None:
    net = Net()
    own = net.replica.canisters.install_wasm(canister_id(0x8000_0000_0010_0003), module(PRINTING)).id
    (value,) = candid.decode_as(net.call(ALICE, "ask", b"", own), [candid.Blob])
    assert len(value) == 32
    # its callback rejects with the words that it got
    for callee, words in (
        (CHAT_ID, "has no update method 'raw_rand'"),
        (canister_id(0x8000_0000_0010_0009), "not found"),
    ):
        with pytest.raises(Rejected, match=words) as caught:
            net.call(ALICE, "call", callee.raw, own)
        assert caught.value.code == 4


def test_all_of_them_are_in_the_state_tree() -> None:
    net = Net()
    own = net.replica.canisters.install_wasm(canister_id(0x8000_0000_0010_0003), module(PRINTING)).id
    net.call(ALICE, "certify", b"data", own)
    certificate = net.read_state(None, [(b"canister", own.raw, b"module_hash")], own)
    assert certificate is not None
    assert Principal(own.raw) in [host.id for host in net.replica.canisters]
    assert len(net.replica.canisters) == 3
