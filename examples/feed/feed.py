from icwsgw.devnet.canisters import Canister
from icwsgw.devnet.cdk import WebSocketCdk
from icwsgw.ic.candid import Nat32, Record, Text, Variant, Vec, decode_as, encode
from icwsgw.ic.principal import Principal

Entry = Record({"number": Nat32, "id": Text, "text": Text})
Message = Variant({"say": Record({"id": Text, "text": Text}), "after": Nat32, "entries": Vec(Entry)})


class Feed(Canister):
    def __init__(self, ws: WebSocketCdk) -> None:
        super().__init__(ws)
        self.entries: list[dict[str, object]] = []

    def on_message(self, client: Principal, message: bytes) -> None:
        (value,) = decode_as(message, [Message])
        if "after" in value:
            self.tell(client, self.entries[value["after"] :])
        elif "say" in value and all(entry["id"] != value["say"]["id"] for entry in self.entries):
            self.entries.append({"number": len(self.entries) + 1, **value["say"]})
            for key in self.ws.clients:
                self.tell(Principal(key.principal), self.entries[-1:])

    def tell(self, client: Principal, entries: list[dict[str, object]]) -> None:
        self.ws.send(client, encode([Message], [{"entries": entries}]))
