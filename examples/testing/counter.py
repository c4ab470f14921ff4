"""The canister under test: each client has its own count, and gets it every minute."""

from icwsgw.devnet.canisters import Canister, app_message, app_text
from icwsgw.ic.principal import Principal


class Counter(Canister):
    def __init__(self, ws):
        super().__init__(ws)
        self.counts: dict[Principal, int] = {}
        self.set_timer_interval(60, self.remind)

    def on_open(self, client: Principal) -> None:
        self.counts[client] = 0

    def on_message(self, client: Principal, message: bytes) -> None:
        if app_text(message) != "count":
            raise ValueError("count is all that this canister can do")
        self.counts[client] += 1
        self.ws.send(client, app_message(f"{self.counts[client]}"))

    def on_close(self, client: Principal) -> None:
        del self.counts[client]

    def remind(self) -> None:
        for client, count in self.counts.items():
            self.ws.send(client, app_message(f"still {count}"))
