"""A live dashboard: visitors order, everybody sees the figures once a second, when they have changed."""

from __future__ import annotations

from typing import Any

from icwsgw.devnet.canisters import Canister
from icwsgw.devnet.cdk import WebSocketCdk
from icwsgw.ic.candid import Nat32, Record, Text, Variant, Vec, decode_as, encode
from icwsgw.ic.principal import Principal

ITEMS = ("coffee", "tea", "cake")
Message = Variant(
    {
        "order": Text,
        "figures": Record({"visitors": Nat32, "orders": Vec(Record({"item": Text, "count": Nat32}))}),
    }
)


class Dashboard(Canister):
    candid = """
      type Message = variant {
        order : text;
        figures : record { visitors : nat32; orders : vec record { item : text; count : nat32 } };
      };
      service : { ws_message : (record {}, opt Message) -> (); }
    """

    def __init__(self, ws: WebSocketCdk) -> None:
        super().__init__(ws)
        self.orders = dict.fromkeys(ITEMS, 0)
        self.shown: Any = None
        self.set_timer_interval(1, self.publish)

    def on_open(self, client: Principal) -> None:
        # The new visitor changes the figures, so the next second tells everybody.
        self.shown = None

    def on_message(self, client: Principal, message: bytes) -> None:
        (value,) = decode_as(message, [Message])
        item = value.get("order")
        if item not in self.orders:
            raise ValueError(f"{item!r} is not for sale")
        self.orders[item] += 1

    def publish(self) -> None:
        visitors = {Principal(key.principal) for key in self.ws.clients}
        orders = [{"item": item, "count": count} for item, count in self.orders.items()]
        figures = {"figures": {"visitors": len(visitors), "orders": orders}}
        if figures != self.shown:
            for visitor in visitors:
                self.ws.send(visitor, encode([Message], [figures]))
            self.shown = figures
