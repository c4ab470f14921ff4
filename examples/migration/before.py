from icwsgw.devnet.canisters import Canister, MethodNotFound
from icwsgw.devnet.cdk import WebSocketCdk
from icwsgw.ic.candid import Nat32, Record, Text, Vec, decode_as, encode
from icwsgw.ic.principal import Principal

News = Record({"first": Nat32, "texts": Vec(Text)})


class Newspaper(Canister):
    def __init__(self, ws: WebSocketCdk) -> None:
        super().__init__(ws)
        self.news: list[str] = []

    def update(self, method: str, caller: Principal, arg: bytes) -> bytes:
        if method != "publish":
            raise MethodNotFound(method)
        (text,) = decode_as(arg, [Text])
        self.publish(text)
        return encode([], [])

    def query(self, method: str, caller: Principal, arg: bytes) -> bytes:
        if method != "news_after":
            raise MethodNotFound(method)
        (number,) = decode_as(arg, [Nat32])
        return encode([News], [{"first": number, "texts": self.news[number:]}])

    def publish(self, text: str) -> None:
        self.news.append(text)
