"""The canisters of the network itself, as developers' tools call them."""

from __future__ import annotations

from typing import Any

import pytest

from icwsgw.devnet.canisters import ECHO_ID
from icwsgw.devnet.consensus import BlockTiming
from icwsgw.devnet.system_canisters import BALANCE, CYCLES_LEDGER, CYCLES_MINTING, REGISTRY
from icwsgw.devnet.topology import canister_id
from icwsgw.errors import Rejected
from icwsgw.ic import candid
from icwsgw.ic.candid import Nat, Opt, PrincipalType, Record, Text, Variant, Vec
from icwsgw.ic.principal import Principal
from tests.support.devnet import Net, identity

ALICE = identity(1)
SUBNET = Variant({"Ok": Record({"subnet_id": Opt(PrincipalType)}), "Err": Text})
SELECTION = Variant({"Subnet": Record({"subnet": PrincipalType}), "Filter": Record({"subnet_type": Opt(Text)})})
CREATE = Record({"amount": Nat, "creation_args": Opt(Record({"subnet_selection": Opt(SELECTION)}))})
ERROR = Variant({"GenericError": Record({"message": Text, "error_code": Nat})})
CREATED = Variant({"Ok": Record({"block_id": Nat, "canister_id": PrincipalType}), "Err": ERROR})


def ask(net: Net, canister: Principal, method: str, kind: candid.Type, *given: tuple[candid.Type, Any]) -> Any:
    argument = candid.encode([kind for kind, _ in given], [value for _, value in given])
    (value,) = candid.decode_as(net.query(ALICE, method, argument, canister), [kind])
    return value


def subnets(net: Net) -> list[Principal]:
    return ask(net, CYCLES_MINTING, "get_default_subnets", Vec(PrincipalType))


def create(net: Net, selection: Any) -> Any:
    value = {"amount": 7, "creation_args": {"subnet_selection": selection}}
    argument = candid.encode([CREATE], [value])
    (created,) = candid.decode_as(net.call(ALICE, "create_canister", argument, CYCLES_LEDGER), [CREATED])
    return created


def test_canisters_are_created_where_their_ids_are_predictable() -> None:
    net = Net()
    assert subnets(net) == [net.replica.state_of(net.replica.canisters.free_id()).subnet.id]
    for place in (ECHO_ID, canister_id(0x8000_0000_0010_0003), REGISTRY):
        found = ask(
            net,
            REGISTRY,
            "get_subnet_for_canister",
            SUBNET,
            (Record({"principal": PrincipalType}), {"principal": place}),
        )
        assert found == {"Ok": {"subnet_id": net.replica.state_of(place).subnet.id}}
    nowhere: list[tuple[candid.Type, Any]] = [
        (Record({"principal": PrincipalType}), {"principal": ALICE.principal}),
        (Record({}), {}),
    ]
    for given in nowhere:
        assert "Err" in ask(net, REGISTRY, "get_subnet_for_canister", SUBNET, given)


@pytest.mark.parametrize("delegation", ["none", "legacy"])
def test_a_network_of_one_subnet(delegation: str) -> None:
    net = Net(delegation=delegation)
    assert subnets(net) == [subnet.id for subnet in net.replica.topology.subnets]
    assert "Ok" in create(net, None)


def test_the_cycles_ledger_creates_canisters() -> None:
    net = Net()
    for subnet in [each.id for each in net.replica.topology.subnets]:
        created = create(net, {"Subnet": {"subnet": subnet}})["Ok"]["canister_id"]
        assert net.replica.state_of(created).subnet.id == subnet
        assert net.replica.canisters.management.controllers(created) == [ALICE.principal]
    assert "Ok" in create(net, {"Filter": {"subnet_type": None}})
    refused = create(net, {"Subnet": {"subnet": ALICE.principal}})["Err"]["GenericError"]
    assert "No subnet" in refused["message"]


def test_every_canister_has_cycles_and_may_give_them_away() -> None:
    net = Net()
    account = Record({"owner": PrincipalType, "subaccount": Opt(candid.Blob)})
    owner = {"owner": ALICE.principal, "subaccount": None}
    assert ask(net, CYCLES_LEDGER, "icrc1_balance_of", Nat, (account, owner)) == BALANCE
    assert ask(net, CYCLES_LEDGER, "icrc1_symbol", Text) == "TCYCLES"
    created = create(net, None)["Ok"]["canister_id"]
    kind = Record({"amount": Nat, "to": PrincipalType})
    invalid = Variant({"InvalidReceiver": Record({"receiver": PrincipalType})})
    result = Variant({"Ok": Nat, "Err": invalid})
    for receiver, expected in ((created, "Ok"), (ECHO_ID, "Err")):
        argument = candid.encode([kind], [{"amount": 100, "to": receiver}])
        (done,) = candid.decode_as(net.call(ALICE, "withdraw", argument, CYCLES_LEDGER), [result])
        assert list(done) == [expected]
    host: Any = net.replica.canister(created)
    assert host.canister.cycles == 107


def test_what_is_not_there() -> None:
    net = Net()
    for method, call in (("nonsense", net.query), ("nonsense", net.call), ("create_canister", net.query)):
        with pytest.raises(Rejected, match="has no") as caught:
            call(ALICE, method, candid.encode([], []), CYCLES_LEDGER)
        assert caught.value.error_code == "IC0536"
    with pytest.raises(Rejected) as caught:
        net.call(ALICE, "create_canister", candid.encode([Text], ["x"]), CYCLES_LEDGER)
    assert caught.value.error_code == "IC0503"


def test_they_answer_with_blocks_too_and_are_not_the_developers() -> None:
    net = Net(pace=BlockTiming(0.4))
    net.advance(2, 0.1)
    assert len(subnets(net)) == 1
    assert {host.id for host in net.replica.canisters} == set(net.replica.names.values())
    net.replica.close()


def test_where_every_id_is_an_echo_canister_there_are_none() -> None:
    net = Net(echo_any=True)
    net.open(ALICE, canister=REGISTRY)
    assert len(net.poll(canister=REGISTRY).messages) == 1
