import os

from icwsgw.client.network_requests import NetworkRequests
from icwsgw.client.root_key import fetch_root_key
from icwsgw.ic.candid import Nat64, decode_as
from icwsgw.ic.candid.did import parse_did
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal

NETWORK = "http://127.0.0.1:4943"
chat = Principal.from_text("bd3sg-teaaa-aaaaa-qaaba-cai")
network = NetworkRequests(NETWORK)

# the canister's interface, certified by the network
interface = network.metadata(chat, b"candid:service", fetch_root_key(NETWORK))
print(", ".join(parse_did(interface).types))

# a query; its argument is () in Candid
reply = network.query(chat, "members", b"DIDL\0\0", Ed25519Identity.generate(os.urandom))
(members,) = decode_as(reply, [Nat64])
print(f"{members} members")
