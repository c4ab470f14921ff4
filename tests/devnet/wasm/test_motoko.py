"""What the Motoko compiler makes: memory of 64 bits that is exported under another name, and kept at an upgrade."""

from __future__ import annotations

from typing import Any

import pytest

from icwsgw.errors import Rejected
from icwsgw.ic import candid
from icwsgw.ic.candid import Blob, Nat, Opt, Type
from icwsgw.ic.certificate import decode_certificate
from tests.support.built_canisters import build_motoko
from tests.support.devnet import Net, identity

pytestmark = pytest.mark.rust

ALICE = identity(1)
NOTHING = candid.encode([], [])


class Counter:
    def __init__(self) -> None:
        self.logged: list[str] = []
        self.net = Net(log=lambda canister, text: self.logged.append(text))
        file = build_motoko("counter", "Counter.mo")
        canisters = self.net.replica.canisters
        self.host = canisters.install_wasm(canisters.free_id(), file, NOTHING)

    def call(self, method: str, *result: Type, argument: bytes = NOTHING) -> list[Any]:
        return candid.decode_as(self.net.call(ALICE, method, argument, self.host.id), list(result))

    def query(self, method: str, *result: Type) -> list[Any]:
        return candid.decode_as(self.net.query(ALICE, method, NOTHING, self.host.id), list(result))


@pytest.fixture
def counter() -> Counter:
    return Counter()


def test_calls_to_itself_and_its_log(counter: Counter) -> None:
    assert counter.call("add", Nat) == [1]
    assert counter.call("addTwice", Nat) == [3]
    assert counter.query("both", Nat, Nat) == [3, 3]
    assert counter.logged == ["added"] * 3


def test_a_trap_rolls_back(counter: Counter) -> None:
    with pytest.raises(Rejected, match="as asked") as caught:
        counter.call("addAndTrap")
    assert (caught.value.code, caught.value.error_code) == (5, "IC0503")
    assert counter.query("both", Nat, Nat) == [0, 0]


def test_its_timer(counter: Counter) -> None:
    counter.call("addLater")
    counter.net.advance(0.9)
    assert counter.query("both", Nat, Nat) == [0, 0]
    counter.net.advance(0.2, step=0.1)
    assert counter.query("both", Nat, Nat) == [1000, 0]


def test_certified_data(counter: Counter) -> None:
    counter.call("certify", argument=candid.encode([Blob], [b"data"]))
    (certificate,) = counter.query("certificate", Opt(Blob))
    assert decode_certificate(bytes(certificate)) is not None
    counter.net.verified(bytes(certificate), counter.host.id)
    assert counter.host.canister.certified_data == b"data"


def test_an_upgrade_keeps_what_is_persistent(counter: Counter) -> None:
    counter.call("addTwice", Nat)
    counter.net.replica.reset(counter.host.id)
    assert counter.query("both", Nat, Nat) == [2, 0]


def test_its_interface_is_metadata(counter: Counter) -> None:
    assert "addTwice" in (counter.host.candid or "")
