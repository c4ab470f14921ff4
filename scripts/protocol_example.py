"""Generates the worked example of docs/protocol.md with the gateway's code, from fixed keys and times.

`python scripts/protocol_example.py` replaces the text between the markers of the document. A test fails if the document
and the code disagree.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from icwsgw.core.messages import BatchFramer, handshake, payload_of
from icwsgw.ic import bls, candid, cbor, certificate, envelope, hashtree, ws
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from icwsgw.ic.request_id import leb128

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "protocol.md"
BEGIN, END = "<!-- example: begin -->", "<!-- example: end -->"

GATEWAY = Ed25519Identity(b"\x01" * 32)
CLIENT = Ed25519Identity(b"\x02" * 32)
CANISTER = Principal.from_text("bkyz2-fmaaa-aaaaa-qaaaq-cai")
CLIENT_NONCE = 7
NOW_NS = 1_800_000_000_000_000_000
ROOT_SECRET = bls.secret_key(b"docs/protocol.md" * 2)

Line = tuple[int, bytes, str]


def items(data: bytes, start: int, depth: int) -> Iterator[Line]:
    """Split CBOR into items: depth, the bytes of the line, and their meaning."""
    major, info = data[start] >> 5, data[start] & 31
    size = 1 if info < 24 else 1 + (1 << (info - 24))
    value = info if info < 24 else int.from_bytes(data[start + 1 : start + size], "big")
    head = data[start : start + size]
    at = start + size
    if major == 2:
        yield depth, head, f"{value} bytes"
        yield from blob(data[at : at + value], depth + 1)
    elif major == 3:
        yield depth, data[start : at + value], f'"{data[at : at + value].decode()}"'
    elif major == 4:
        yield depth, head, TREE_NODES.get((value, data[at]), f"list of {value}")
        for _ in range(value):
            yield from items(data, at, depth + 1)
            at = cbor.item_end(data, at)
    elif major == 5:
        yield depth, head, f"map of {value}"
        for _ in range(value):
            for deeper in (1, 2):
                yield from items(data, at, depth + deeper)
                at = cbor.item_end(data, at)
    elif major == 6:
        yield depth, head, f"tag {value}" + (", “this is CBOR”" if value == 55799 else "")
        yield from items(data, at, depth)
    elif major == 7:
        yield depth, head, {20: "false", 21: "true"}.get(info, "simple value")
    else:
        yield depth, head, str(value)


TREE_NODES = {
    (3, 1): "hash tree: a fork of two trees",
    (3, 2): "hash tree: a label and the tree below it",
    (2, 3): "hash tree: a leaf",
}
KNOWN = {
    GATEWAY.principal.raw: f"the gateway's principal {GATEWAY.principal}",
    CLIENT.principal.raw: f"the client's principal {CLIENT.principal}",
    CANISTER.raw: f"the canister {CANISTER}",
    CLIENT.public_key_der: "Ed25519 public key in DER",
    CLIENT_NONCE.to_bytes(8, "little"): f"client_nonce {CLIENT_NONCE}",
}


def blob(data: bytes, depth: int) -> Iterator[Line]:
    """Split the content of a byte string."""
    if data.startswith(b"DIDL"):
        yield from candid_message(data, depth)
    elif data in KNOWN:
        yield depth, data, KNOWN[data]
    elif len(data) == 64:
        yield depth, data, "Ed25519 signature"
    elif len(data) == 48:
        yield depth, data, "BLS signature"
    elif len(data) == 32:
        yield depth, data, "SHA-256"
    elif data.isascii() and data.decode().isprintable():
        yield depth, data, f"“{data.decode()}”"
    elif data[:3] == cbor.SELF_DESCRIBE:
        yield from items(data, 0, depth)
    else:
        yield depth, data, ""


def candid_message(data: bytes, depth: int) -> Iterator[Line]:
    """Split a Candid message into magic, type table, types and values; supports only what the example contains."""
    tables = {
        candid.encode_head([kind]): words
        for kind, words in (
            (
                candid.Record({"client_nonce": candid.Nat64, "gateway_principal": candid.PrincipalType}),
                "record { client_nonce : nat64; gateway_principal : principal }",
            ),
            (candid.Record({"text": candid.Text}), "record { text : text }"),
        )
    }
    head = next(head for head in tables if data.startswith(head))
    yield depth, data[:4], "Candid"
    yield depth, head[4:], f"types: {tables[head]}"
    rest = data[len(head) :]
    if "text : text" in tables[head]:
        yield depth, rest, f"text “{rest[1:].decode()}”"
        return
    at = rest.index(CLIENT_NONCE.to_bytes(8, "little"))
    parts = [rest[:at], rest[at : at + 8], rest[at + 8 :]] if at else [rest[:8], rest[8:]]
    for part in parts:
        if not part:
            continue
        if part in KNOWN:
            yield depth, part, KNOWN[part]
        else:
            yield depth, part, f"a principal, {part[1]} bytes: {Principal(part[2:])}"


def listing(data: bytes) -> str:
    """Return an annotated dump; the bytes of all lines, in order, are the message."""
    lines = []
    for depth, raw, words in items(data, 0, 0):
        text = raw.hex()
        rows = [text[i : i + 64] for i in range(0, len(text), 64)] or [""]
        for number, row in enumerate(rows):
            left = "  " * depth + row
            lines.append(f"{left:<72}  # {words}" if number == 0 and words else left)
    return "```text\n" + "\n".join(line.rstrip() for line in lines) + "\n```\n"


def open_call() -> bytes:
    """Return the client's first message: ``{envelope}`` with a signed call of ws_open."""
    content = envelope.call_content(
        CLIENT.principal,
        CANISTER,
        "ws_open",
        ws.encode_open_args(CLIENT_NONCE, GATEWAY.principal.raw),
        NOW_NS + 240 * 10**9,
        nonce=b"\xc3" * 16,
    )
    body = envelope.sign_request(CLIENT, content).body
    return cbor.SELF_DESCRIBE + b"\xa1\x68envelope" + body[len(cbor.SELF_DESCRIBE) :]


def canister_message() -> bytes:
    """Return a message from the canister to the client, certified in a separate tree by a root key for this example."""
    key = f"{GATEWAY.principal}_{1:020}".encode()
    message = {
        "client_key": {"client_principal": CLIENT.principal.raw, "client_nonce": CLIENT_NONCE},
        "sequence_num": 2,
        "timestamp": NOW_NS,
        "is_service_message": False,
        "content": candid.encode([candid.Record({"text": candid.Text})], [{"text": "hello"}]),
    }
    content = cbor.dumps_tagged(message)
    tree = hashtree.from_mapping({b"websocket": {key: sha256(content).digest()}})
    state = hashtree.from_mapping(
        {b"canister": {CANISTER.raw: {b"certified_data": hashtree.reconstruct(tree)}}, b"time": leb128(NOW_NS)}
    )
    cert = certificate.build_certificate(state, lambda words: bls.sign(ROOT_SECRET, words))
    return payload_of(BatchFramer(cert, hashtree.encode(tree)).frame(key, content))


def example() -> str:
    """Return the text for the section between the document's markers."""
    return "\n".join(
        (
            "The handshake message:\n",
            listing(handshake(GATEWAY.principal.raw)),
            "The client's first message, `ws_open`. The gateway relays everything behind `envelope` as it is, with the",
            "self-describe tag before it:\n",
            listing(open_call()),
            "A message of the canister, the second to this client:\n",
            listing(canister_message()),
        )
    )


def with_example(document: str) -> str:
    """Return the document with a newly generated example."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{example()}\n{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(with_example(DOCUMENT.read_text()))
