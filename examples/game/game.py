"""A game loop at 10 messages a second: everybody steers a dot, the canister moves all of them and tells everybody."""

from __future__ import annotations

from icwsgw.devnet.canisters import Canister
from icwsgw.devnet.cdk import WebSocketCdk
from icwsgw.ic.candid import Int8, Nat16, Nat32, Record, Text, Variant, Vec, decode_as, encode
from icwsgw.ic.principal import Principal

TICK = 0.1
SIZE = 400
SPEED = 8
Message = Variant(
    {
        "steer": Record({"x": Int8, "y": Int8}),
        "world": Record({"tick": Nat32, "dots": Vec(Record({"who": Text, "x": Nat16, "y": Nat16}))}),
    }
)


class Dot:
    """A player's dot: where it is, and where it goes."""

    def __init__(self) -> None:
        self.x = self.y = SIZE // 2
        self.dx = self.dy = 0

    def move(self) -> None:
        self.x = min(max(self.x + self.dx * SPEED, 0), SIZE)
        self.y = min(max(self.y + self.dy * SPEED, 0), SIZE)


class Game(Canister):
    candid = """
      type Message = variant {
        steer : record { x : int8; y : int8 };
        world : record { tick : nat32; dots : vec record { who : text; x : nat16; y : nat16 } };
      };
      service : { ws_message : (record {}, opt Message) -> (); }
    """

    def __init__(self, ws: WebSocketCdk) -> None:
        super().__init__(ws)
        self.tick = 0
        self.dots: dict[Principal, Dot] = {}
        self.set_timer_interval(TICK, self.loop)

    def on_open(self, client: Principal) -> None:
        self.dots[client] = Dot()

    def on_message(self, client: Principal, message: bytes) -> None:
        (value,) = decode_as(message, [Message])
        steer = value["steer"]
        self.dots[client].dx = min(max(steer["x"], -1), 1)
        self.dots[client].dy = min(max(steer["y"], -1), 1)

    def on_close(self, client: Principal) -> None:
        self.dots.pop(client, None)

    def loop(self) -> None:
        self.tick += 1
        for dot in self.dots.values():
            dot.move()
        dots = [{"who": who.text[:5], "x": dot.x, "y": dot.y} for who, dot in self.dots.items()]
        world = encode([Message], [{"world": {"tick": self.tick, "dots": dots}}])
        for player in self.dots:
            self.ws.send(player, world)
