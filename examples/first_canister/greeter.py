from icwsgw.devnet.canisters import Canister, app_message, app_text
from icwsgw.ic.principal import Principal


class Greeter(Canister):
    def on_open(self, client: Principal) -> None:
        self.ws.send(client, app_message("What is your name?"))

    def on_message(self, client: Principal, message: bytes) -> None:
        self.debug_print(f"{client} sends a name")
        self.ws.send(client, app_message(f"Hello, {app_text(message)}!"))
