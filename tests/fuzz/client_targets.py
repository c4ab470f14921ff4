"""Targets of input that clients, developers and canisters write for the programs of the client and the devnet.

Interfaces and values in Candid's text form, JSON lines and scripts of ``icws``, the gateway's messages as the Python
client reads them, keys and delegations in files, modules in WebAssembly, project files and access lists.
"""

from __future__ import annotations

import contextlib
import json

from icwsgw.cli.frame_trace import FrameTrace
from icwsgw.cli.gateway_probe import read_head
from icwsgw.cli.message_format import MessageFormat
from icwsgw.cli.message_script import ExpectStep, PauseStep, SendStep, parse_script
from icwsgw.cli.sdk_releases import parse_release
from icwsgw.client.client_errors import MessageInvalid
from icwsgw.client.client_session import CanisterSession
from icwsgw.client.message_verifier import MessageVerifier, parse_certified, parse_content
from icwsgw.close_codes import CLOSE_CODES
from icwsgw.close_hints import what_to_do
from icwsgw.config.access_list import parse_access_list
from icwsgw.config.project_networks import read_networks
from icwsgw.core.close_reasons import MAX_REASON_BYTES, close_reason
from icwsgw.devnet.canisters import app_message
from icwsgw.devnet.inspector import Inspector
from icwsgw.devnet.wasm.binary import read_module
from icwsgw.errors import ConfigError, FormatError
from icwsgw.ic import ws
from icwsgw.ic.candid import Blob, Bool, Int, Nat, Nat64, Opt, Record, Text, Variant, Vec
from icwsgw.ic.candid.did import message_type, parse_did
from icwsgw.ic.candid.json_values import value_from_json, value_to_json
from icwsgw.ic.candid.printing import format_values
from icwsgw.ic.candid.text_values import parse_values
from icwsgw.ic.delegated_identity import DelegatedIdentity
from icwsgw.ic.ecdsa_identity import identity_of_pem
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from tests.fuzz.target import Target

_KIND = Record(
    {
        "text": Text,
        "count": Nat,
        "at": Int,
        "id": Nat64,
        "ok": Bool,
        "raw": Blob,
        "more": Opt(Vec(Text)),
        "kind": Variant({"A": Text, "B": Opt(Nat)}),
    }
)
_SIGNER = Ed25519Identity(b"\x07" * 32)
_CANISTER = Principal(b"\x01\x02")


def _did(data: bytes) -> None:
    """An interface is read or refused; one that is read has a type of messages or none."""
    with contextlib.suppress(FormatError):
        message_type(parse_did(data))


def _candid_text(data: bytes) -> None:
    """A value that is read is printed, and read again as the same."""
    with contextlib.suppress(FormatError):
        values = parse_values(data, [_KIND])
        assert parse_values(format_values(values, [_KIND]), [_KIND]) == values


def _json_line(data: bytes) -> None:
    """A message that is read from JSON is shown as JSON, and read again as the same bytes; it matches itself."""
    form = MessageFormat("json", _KIND)
    with contextlib.suppress(FormatError):
        content = form.read(data.decode("utf-8", "replace"))
        shown = form.show(content)
        # lone surrogates are not valid text in Candid, so the value has none
        assert form.read(shown) == content
        assert form.matches(shown, content)
    with contextlib.suppress(FormatError, ValueError, RecursionError):
        value = value_from_json(json.loads(data), _KIND)
        assert value_from_json(value_to_json(value, _KIND), _KIND) == value
    with contextlib.suppress(FormatError):
        form.matches(data.decode("utf-8", "replace"), app_message("x"))
    form.show(data)


def _script(data: bytes) -> None:
    with contextlib.suppress(FormatError):
        for step in parse_script(data.decode("utf-8", "replace")):
            assert isinstance(step, (SendStep, ExpectStep, PauseStep))


def _gateway_message(data: bytes) -> None:
    """The session accepts or refuses a gateway's message; a trace and the inspector describe any message."""
    verifier = MessageVerifier(_CANISTER, b"\0" * 133)
    session = CanisterSession(_CANISTER, _SIGNER, 7, verifier)
    for _ in range(2):
        with contextlib.suppress(MessageInvalid):
            session.receive(data, 1)
    with contextlib.suppress(MessageInvalid):
        parse_content(parse_certified(data).content)
    trace = FrameTrace(MessageFormat("json", _KIND), verifier)
    for line in (trace.received(data, 1), trace.sent(data, 1)):
        assert line[:2] in ("<-", "->")
    inspector = Inspector(2)
    inspector.arrived(data, "s", 1)
    inspector.polled(_CANISTER, data, 1)
    json.dumps(inspector.rows(lambda canister: "service : {}", b"\0" * 133))


def _identity_file(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(FormatError):
        identity_of_pem(data)
    with contextlib.suppress(FormatError):
        DelegatedIdentity.from_json(_SIGNER, text)


def _wasm_module(data: bytes) -> None:
    """A module is read or refused; one that is read keeps the bytes of its sections."""
    with contextlib.suppress(FormatError):
        read_module(data)


def _project_file(data: bytes) -> None:
    with contextlib.suppress(FormatError):
        read_networks(data.decode("utf-8", "replace"))


def _access_list(data: bytes) -> None:
    with contextlib.suppress(ConfigError):
        parse_access_list(data.decode("utf-8", "replace"))


def _words(data: bytes) -> None:
    """Foreign text in the end of a session: each code has a reason that fits into a close frame, and a hint or none."""
    text = data.decode("utf-8", "replace")
    assert len(close_reason(text, "3f2a-1c").encode()) <= MAX_REASON_BYTES
    for info in CLOSE_CODES:
        for by_client in (True, False):
            hint = what_to_do(int(info.code), text, by_client=by_client, delivered=1, network="http://n")
            assert not hint or hint.endswith(".")
    read_head(data, 0.0)
    with contextlib.suppress(FormatError):
        parse_release(text)


_DID = b"""type T = record { text : text; 5 : opt nat; next : opt T };
type V = variant { A; B : vec nat8; "c d" : func (T) -> (text) query };
service : (V) -> { ws_message : (record { msg : blob }, opt T) -> (variant { Ok; Err : text }); }"""
_VALUE = b"""(record { text = "a\\u{2764}\\n"; count = 1_000; at = -5; id = 7 : nat64; ok = true; raw = blob "\\00\\ff";
more = opt vec { "x"; "y" }; kind = variant { B = opt 3 } })"""
_LINE = b"""{"text": "a", "count": 5, "at": -1, "id": "7", "ok": false, "raw": "0x00ff",
"more": ["x"], "kind": {"A": "b"}}"""
_PEM = b"""-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH
-----END PRIVATE KEY-----
"""
_CHAIN = (
    b'{"delegations": [{"delegation": {"expiration": "175b", "pubkey": "302a", "targets": ["0001"]}, '
    b'"signature": "00"}], "publicKey": "302a300506032b6570032100"}'
)
_WASM = b"\0asm\1\0\0\0\1\4\1\x60\0\0\3\2\1\0\7\x11\1\x0dcanister_init\0\0\x0a\4\1\2\0\x0b"
_NETWORKS = (
    b"networks:\n  - name: local\n    mode: managed\n    gateway:\n      port: 8000\n  - {name: a, url: 'http://x'}\n"
)
_LIST = b"# who may not\n192.0.2.0/24\n2001:db8::/32\norigin https://a.example\naaaaa-aa\n"


def make() -> dict[str, Target]:
    """Make the targets of this module, by name."""
    gateway = _SIGNER.principal
    message = b"\xa4\x63key\x61k\x67content\x41\x00\x64cert\x40\x64tree\x40"
    script = b'# talk\n> {"text": "hi"}\n< {"text": "hi"}\nwait 1.5\n'
    tokens = (b"text", b"count", b"kind", b"more", b"opt ", b"vec {", b"record {", b"variant {", b'blob "')
    return {
        "did": Target(
            _did, [_DID], (b"service", b"import", b"oneway", b"composite_query", b"principal", b"//", b"/*", *tokens)
        ),
        "candid_text": Target(_candid_text, [_VALUE], (b"\\u{", b"0x", b"null", b" : nat8", b"1e5", *tokens)),
        "json_line": Target(_json_line, [_LINE], (b'"text": ', b"null", b"1e400", b'"\\ud800"', b"true", b"{}")),
        "script": Target(_script, [script], (b"wait ", b"> ", b"< ", b"nan", b"1e9")),
        "gateway_message": Target(
            _gateway_message,
            [b"\xa1\x71gateway_principal\x44" + gateway.raw[:4], message, ws.encode_batch((), b"", b"", True)],
            (b"\x71gateway_principal", b"\x67content", b"\x64cert", b"\x64tree", b"\xd9\xd9\xf7"),
        ),
        "identity_file": Target(_identity_file, [_PEM, _CHAIN], (b'"targets"', b'"pubkey"', b"EC PRIVATE KEY")),
        "wasm_module": Target(_wasm_module, [_WASM], (b"\0asm", b"icp:public candid:service", b"canister_query x")),
        "project_file": Target(
            _project_file, [_NETWORKS], (b"networks:", b"- ", b"url: ", b"port: ", b"{", b"&a", b"|")
        ),
        "access_list": Target(_access_list, [_LIST], (b"origin ", b"/0", b"::", b"#", b"-cai")),
        "words": Target(
            _words, [b"ws_open refused: reject 5 IC0536", b"HTTP/1.1 403 No\r\n\r\nx", b"@icp-sdk/core@6.1.0"]
        ),
    }
