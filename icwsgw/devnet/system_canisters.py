"""The canisters of the network itself that developers' tools call, as far as these tools need them.

======================  ===========================  ==================================================================
canister                id                           methods
======================  ===========================  ==================================================================
registry                rwlgt-iiaaa-aaaaa-aaaaa-cai  get_subnet_for_canister
cycles minting          rkp4c-7iaaa-aaaaa-aaaca-cai  get_default_subnets, get_subnet_types_to_subnets,
canister                                             get_icp_xdr_conversion_rate
cycles ledger           um5iw-rqaaa-aaaaq-qaaba-cai  create_canister, deposit, withdraw, icrc1_balance_of, icrc1_fee,
                                                     icrc1_decimals, icrc1_symbol, icrc1_name
======================  ===========================  ==================================================================

Everybody has :data:`BALANCE` cycles, and nothing costs any: a local network has no economy. Candid interfaces:
dfinity/ic ``rs/registry/canister``, ``rs/nns/cmc``; dfinity/cycles-ledger ``cycles-ledger.did``; ICRC-1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from icwsgw.devnet.canister_management import CanisterManagement
from icwsgw.devnet.hosting import Certifier, PageFilter, no_method
from icwsgw.devnet.topology import FIRST_FREE, Topology
from icwsgw.devnet.topology import canister_id as id_of_number
from icwsgw.errors import FormatError, Rejected
from icwsgw.ic import candid, cbor, hashtree
from icwsgw.ic.candid import Blob, Nat, Nat8, Nat64, Opt, PrincipalType, Record, Text, Type, Variant, Vec
from icwsgw.ic.hashtree import Tree
from icwsgw.ic.principal import Principal

REGISTRY: Final = Principal.from_text("rwlgt-iiaaa-aaaaa-aaaaa-cai")
CYCLES_MINTING: Final = Principal.from_text("rkp4c-7iaaa-aaaaa-aaaca-cai")
CYCLES_LEDGER: Final = Principal.from_text("um5iw-rqaaa-aaaaq-qaaba-cai")
#: The cycles that everybody has.
BALANCE: Final = 10**18

_ACCOUNT: Final = Record({"owner": PrincipalType, "subaccount": Opt(Blob)})
_LEDGER_SETTINGS: Final = Record(
    {
        "controllers": Opt(Vec(PrincipalType)),
        **dict.fromkeys(
            ("freezing_threshold", "reserved_cycles_limit", "memory_allocation", "compute_allocation"), Opt(Nat)
        ),
    }
)
_CREATE: Final = Record(
    {
        "amount": Nat,
        "creation_args": Opt(
            Record(
                {
                    "subnet_selection": Opt(
                        Variant(
                            {
                                "Subnet": Record({"subnet": PrincipalType}),
                                "Filter": Record({"subnet_type": Opt(Text)}),
                            }
                        )
                    ),
                    "settings": Opt(_LEDGER_SETTINGS),
                }
            )
        ),
    }
)
_CREATED: Final = Variant(
    {
        "Ok": Record({"block_id": Nat, "canister_id": PrincipalType}),
        "Err": Variant({"GenericError": Record({"message": Text, "error_code": Nat})}),
    }
)
_DEPOSIT: Final = Record({"to": _ACCOUNT})
_DEPOSITED: Final = Record({"balance": Nat, "block_index": Nat})
_WITHDRAW: Final = Record({"amount": Nat, "to": PrincipalType})
_WITHDRAWN: Final = Variant({"Ok": Nat, "Err": Variant({"InvalidReceiver": Record({"receiver": PrincipalType})})})

Method = Callable[[Principal, Any], Any]
"""Runs a method for a caller, with its argument; returns the value of its result."""


class SystemCanister:
    """A canister of the network. It satisfies :class:`~icwsgw.devnet.hosting.CanisterHost`.

    :param methods: for each method its name, whether it is a query, the types of argument and result, and what it does
    """

    candid: str | None = None

    def __init__(
        self, canister_id: Principal, methods: Mapping[str, tuple[bool, Sequence[Type], Type, Method]]
    ) -> None:
        self.id = canister_id
        self.running = True
        self._methods = methods

    @property
    def private_metadata(self) -> frozenset[str]:
        """None: it has no metadata."""
        return frozenset()

    def check_running(self) -> None:
        """Pass: it always runs."""

    def inspect(self, method: str, caller: Principal, arg: bytes) -> None:
        """Take any call."""

    def update(self, method: str, caller: Principal, arg: bytes) -> bytes:
        """Run a method, also one that is a query.

        :raises Rejected: there is none of this name, or the argument has another type
        """
        return self._run("update", method, caller, arg)

    def query(
        self,
        method: str,
        caller: Principal,
        arg: bytes,
        certify: Certifier,
        page_filter: PageFilter | None = None,
        view: Any = None,
    ) -> bytes:
        """Run a query method.

        :raises Rejected: there is none of this name, or the argument has another type
        """
        return self._run("query", method, caller, arg)

    def _run(self, kind: str, method: str, caller: Principal, arg: bytes) -> bytes:
        found = self._methods.get(method)
        if found is None or (kind == "query" and not found[0]):
            raise no_method(self.id, kind, method)
        _, kinds, result, run = found
        try:
            values = candid.decode_as(arg, kinds)
        except FormatError as error:
            text = f"Error from Canister {self.id}: Canister called `ic0.trap` with message: '{error}'."
            raise Rejected(5, text, "IC0503") from None
        return candid.encode([result], [run(caller, values[0] if values else None)])

    def view(self) -> object:
        """Return nothing: queries always see the newest state."""
        return None

    def state(self) -> Tree:
        """Return what stands under ``/canister/<id>``."""
        return hashtree.label_map(
            [(b"certified_data", hashtree.leaf(b"")), (b"controllers", hashtree.leaf(cbor.dumps_tagged([])))]
        )

    def reset(self) -> None:
        """Do nothing: it has no state."""

    def close(self) -> None:
        """Do nothing: it has no timers."""


class SystemCanisters:
    """The methods of the network's canisters.

    :param now_ns: returns the network's time, ns since 1970
    """

    def __init__(self, topology: Topology, management: CanisterManagement, now_ns: Callable[[], int]) -> None:
        self._topology = topology
        self._management = management
        self._now_ns = now_ns
        self._blocks = 0

    def hosts(self) -> list[SystemCanister]:
        """Return the canisters."""
        subnets = Vec(PrincipalType)
        kinds = Record({"data": Vec(candid.Tuple(Text, subnets))})
        rate = Record({"xdr_permyriad_per_icp": Nat64, "timestamp_seconds": Nat64})
        found = Variant({"Ok": Record({"subnet_id": Opt(PrincipalType)}), "Err": Text})
        minting = {
            "get_default_subnets": (True, (), subnets, lambda _, __: self._subnets()),
            "get_subnet_types_to_subnets": (True, (), kinds, lambda _, __: {"data": []}),
            "get_icp_xdr_conversion_rate": (
                *(True, (), Record({"data": rate, "hash_tree": Blob, "certificate": Blob})),
                lambda _, __: {
                    "data": {"xdr_permyriad_per_icp": 10_000, "timestamp_seconds": self._now_ns() // 10**9},
                    "hash_tree": b"",
                    "certificate": b"",
                },
            ),
        }
        ledger = {
            "create_canister": (False, (_CREATE,), _CREATED, self._create_canister),
            "deposit": (False, (_DEPOSIT,), _DEPOSITED, self._deposit),
            "withdraw": (False, (_WITHDRAW,), _WITHDRAWN, self._withdraw),
            "icrc1_balance_of": (True, (_ACCOUNT,), Nat, lambda _, __: BALANCE),
            "icrc1_fee": (True, (), Nat, lambda _, __: 0),
            "icrc1_decimals": (True, (), Nat8, lambda _, __: 12),
            "icrc1_symbol": (True, (), Text, lambda _, __: "TCYCLES"),
            "icrc1_name": (True, (), Text, lambda _, __: "Trillion Cycles"),
        }
        registry = {
            "get_subnet_for_canister": (
                *(True, (Record({"principal": Opt(PrincipalType)}),), found),
                lambda _, value: self._subnet_for(value["principal"]),
            )
        }
        return [
            SystemCanister(REGISTRY, registry),
            SystemCanister(CYCLES_MINTING, minting),
            SystemCanister(CYCLES_LEDGER, ledger),
        ]

    def _subnets(self) -> list[Principal]:
        """The subnet of the lowest free ids alone: tools choose one at random, and ids should be the same each time."""
        subnet = self._topology.find(id_of_number(FIRST_FREE))
        assert subnet is not None
        return [subnet.id]

    def _subnet_for(self, canister_id: Principal | None) -> Any:
        subnet = None if canister_id is None else self._topology.find(canister_id)
        if subnet is None:
            return {"Err": "Canister is not assigned to any subnet."}
        return {"Ok": {"subnet_id": subnet.id}}

    def _create_canister(self, caller: Principal, value: dict[str, Any]) -> Any:
        given = value["creation_args"] or {"subnet_selection": None, "settings": None}
        selection = given["subnet_selection"] or {}
        subnet = selection["Subnet"]["subnet"] if "Subnet" in selection else self._subnets()[0]
        try:
            canister_id = self._management.create(caller, given["settings"], subnet, amount=value["amount"])
        except Rejected as reject:
            return {"Err": {"GenericError": {"message": reject.message, "error_code": reject.code}}}
        return {"Ok": {"block_id": self._next_block(), "canister_id": canister_id}}

    def _deposit(self, caller: Principal, value: dict[str, Any]) -> Any:
        # The caller's cycles are gone, see installed_canisters; nobody's balance changes.
        return {"balance": BALANCE, "block_index": self._next_block()}

    def _withdraw(self, caller: Principal, value: dict[str, Any]) -> Any:
        try:
            self._management.top_up(value["to"], value["amount"])
        except Rejected:
            return {"Err": {"InvalidReceiver": {"receiver": value["to"]}}}
        return {"Ok": self._next_block()}

    def _next_block(self) -> int:
        self._blocks += 1
        return self._blocks
