"""Targets of the IC's formats: CBOR, Candid, envelopes, answers (:mod:`icwsgw.ic`, :mod:`icwsgw.core.messages`).

Mutated bytes rarely have a valid signature, so ``signed_call`` signs the content of the fuzzer. So it also reaches the
code after the check of a signature.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import cbor2
import cbor_diag
import pytest

from icwsgw.agent.outcome import call_outcome, decoded, query_reply
from icwsgw.core.messages import (
    BatchFramer,
    is_acknowledgement,
    message_place,
    message_timestamp,
    parse_client_frame,
    payload_of,
)
from icwsgw.errors import CanisterRefused, CertificateInvalid, FormatError, Rejected, SignatureInvalid, TransportError
from icwsgw.ic import candid, cbor, hashtree, ws
from icwsgw.ic.call_signatures import Proof, check_call_signatures
from icwsgw.ic.certified import _check_contents
from icwsgw.ic.envelope import call_content, sign_request, verify_envelope
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import ANONYMOUS, Principal
from icwsgw.ic.query_signature import verify_query_response
from icwsgw.ic.request_id import IC_REQUEST_SEPARATOR, request_id
from icwsgw.ic.ws.batch import _parse_other
from tests.fuzz.certificate_targets import certificate_samples, tree_sample
from tests.fuzz.target import Target
from tests.support import certificates

#: Bytes of an input for the second parser of CBOR at most: it recurses.
MOST_NESTED = 512

ALICE = Ed25519Identity(b"\x01" * 32)
NOW_NS = certificates.NOW


def _cbor(data: bytes) -> None:
    """Compares with cbor_diag, a parser in Rust."""
    value: Any = None
    decoded_whole = False
    with contextlib.suppress(FormatError):
        value = cbor.loads(data)
        decoded_whole = True
        assert cbor.item_end(data) == len(data), "a decoded item has an end"
        with contextlib.suppress(FormatError):
            # the shortest form of an unassigned simple value is not known
            assert repr(cbor.loads(cbor.dumps(value))) == repr(value)
    end = -1
    with contextlib.suppress(FormatError):
        end = cbor.item_end(data, 0)
    if len(data) > MOST_NESTED:
        return
    wrong = ""
    try:
        cbor_diag.cbor2diag(data)
    except ValueError as error:
        wrong = str(error)
    except BaseException as error:
        # a panic in Rust for an unimplemented case: no result
        if type(error).__name__ != "PanicException":
            raise
        return
    assert not (decoded_whole and wrong), wrong
    # text that is not UTF-8 is well-formed, though not valid; cbor_diag has not read what follows
    if wrong and "UTF-8" not in wrong:
        assert end != len(data), wrong
    elif not wrong and end != len(data):
        # cbor_diag accepts some breaks in the place of an item
        with pytest.raises(cbor2.CBORError):
            cbor2.loads(data)


def _candid(data: bytes) -> None:
    with contextlib.suppress(FormatError):
        candid.decode(data)


def _batch(data: bytes) -> None:
    """Compares the fast parser with the general one."""
    try:
        general: Any = _parse_other(data)
    except (FormatError, CanisterRefused) as error:
        general = error
    batch: Any
    try:
        batch = ws.parse_get_messages(data)
    except (FormatError, CanisterRefused) as error:
        batch = error
    if isinstance(batch, Exception):
        assert type(general) is type(batch), (general, batch)
        return
    if not isinstance(general, FormatError):
        # the general parser has limits that the fast parser does not have
        assert (batch.messages, batch.cert, batch.tree, batch.end_of_queue) == (
            general.messages,
            general.cert,
            general.tree,
            general.end_of_queue,
        )
    with contextlib.suppress(FormatError):
        framer = BatchFramer(batch.cert, batch.tree)
        for _principal, _nonce, key, content in batch.messages:
            frame = framer.frame(key, content)
            assert payload_of(frame).endswith(batch.tree)
            message_place(content)
            message_timestamp(content)
            is_acknowledgement(frame)
            ws.nonce_of_key(key)
        with contextlib.suppress(CertificateInvalid):
            _check_contents(hashtree.decode(batch.tree), [(m[2], m[3]) for m in batch.messages])


def _arguments(data: bytes) -> None:
    for decode in (ws.decode_open_args, ws.decode_close_args, ws.decode_get_args, ws.decode_message_args):
        with contextlib.suppress(FormatError):
            decode(data)
    with contextlib.suppress(FormatError):
        ws.decode_service_message(data)
    with contextlib.suppress(FormatError, CanisterRefused):
        ws.decode_unit_result(data)
    head = ws.usual_message_head(data)
    if head:
        assert ws.message_number(head, data) == ws.decode_message_args(data).sequence_num
    ws.is_open_of_version_0_1(data)


def _client_frame(data: bytes) -> None:
    """Compares the fields that are read of an envelope with cbor2, which decodes all of it."""
    try:
        envelope = parse_client_frame(data)
    except FormatError:
        return
    assert envelope.body.startswith(cbor.SELF_DESCRIBE)
    assert len(envelope.sender) <= 29
    with contextlib.suppress(cbor2.CBORError):
        content = _untagged(cbor2.loads(_untagged_bytes(envelope.body)))["content"]
        names = ("sender", "canister_id", "method_name", "arg", "ingress_expiry")
        assert tuple(content[name] for name in names) == tuple(getattr(envelope, name) for name in names)
        whole = _untagged(cbor2.loads(_untagged_bytes(data)))
        assert _untagged(whole["envelope"])["content"]["arg"] == envelope.arg
    _envelope(envelope.body)
    if envelope.sender != ANONYMOUS.raw:
        _proof(envelope.body)
    _arguments(envelope.arg)


def _untagged_bytes(data: bytes) -> bytes:
    while data.startswith(cbor.SELF_DESCRIBE):
        data = data[3:]
    return data


def _untagged(value: Any) -> Any:
    while isinstance(value, cbor2.CBORTag):
        value = value.value
    return value


def _envelope(data: bytes) -> None:
    with contextlib.suppress(FormatError, SignatureInvalid):
        verify_envelope(data, NOW_NS)


def _proof(body: bytes) -> None:
    """Compares the check without the network with the whole verification, as replicas do it."""
    try:
        verify_envelope(body, NOW_NS, max_ttl_ns=1 << 64)
        wrong: Exception | None = None
    except (FormatError, SignatureInvalid) as error:
        wrong = error
    proof = None
    with contextlib.suppress(SignatureInvalid):
        proof = check_call_signatures(body, NOW_NS).proof
    assert proof is not None or wrong is not None
    if proof is Proof.HOLDS:
        assert wrong is None or isinstance(wrong, FormatError) or "expir" in str(wrong), wrong


def _signed_call(data: bytes) -> None:
    """Signs the content of the fuzzer."""
    try:
        content = cbor.loads(data)
    except FormatError:
        return
    if not isinstance(content, dict):
        return
    content["sender"] = ALICE.principal.raw
    try:
        signature = ALICE.sign(IC_REQUEST_SEPARATOR + request_id(content))
        envelope = {"content": content, "sender_pubkey": ALICE.public_key_der, "sender_sig": signature}
        body = cbor.dumps_tagged({"envelope": envelope})
    except FormatError:
        return
    _client_frame(body)


def _call_answer(data: bytes) -> None:
    with contextlib.suppress(TransportError):
        call_outcome(data)


def _query_answer(data: bytes) -> None:
    with contextlib.suppress(TransportError, Rejected):
        query_reply(decoded(data))
    with contextlib.suppress(TransportError, SignatureInvalid):
        verify_query_response(decoded(data), b"\x01" * 32, {b"\x02" * 29: ALICE.public_key_der}, now_ns=NOW_NS)


def _principal(data: bytes) -> None:
    with contextlib.suppress(FormatError):
        Principal.from_text(data.decode("latin-1"))
    with contextlib.suppress(FormatError):
        Principal(data)


def _envelope_sample() -> bytes:
    arg = ws.encode_open_args(7, ALICE.principal.raw)
    content = call_content(ALICE.principal, certificates.CANISTER, "ws_open", arg, NOW_NS + 10**11, b"nonce")
    return sign_request(ALICE, content).body


def _batch_samples() -> list[bytes]:
    key = Principal(b"\x07" * 29).text.encode() + b"_%020d"
    content = cbor.dumps_tagged({"sequence_num": 1, "timestamp": NOW_NS, "content": b"x"})
    messages = [(b"\x01" * 29, 5, key % number, content) for number in range(3)]
    return [
        ws.encode_batch(messages, b"cert", tree_sample(), False),
        ws.encode_batch([], b"", b"", True),
        ws.encode_batch_err("no"),
    ]


def _argument_samples() -> list[bytes]:
    message = ws.MessageArgs(ALICE.principal.raw, 5, 1, NOW_NS, False, b"DIDL\x00\x00")
    return [
        ws.encode_open_args(7, ALICE.principal.raw),
        ws.encode_close(ALICE.principal.raw, 5),
        ws.encode_get_messages(5),
        ws.encode_message_args(message),
        ws.encode_result_ok(),
        ws.encode_result_err("no"),
        ws.encode_service_message(ws.OpenMessage(ALICE.principal.raw, 5)),
        ws.encode_service_message(ws.AckMessage(5)),
        ws.encode_service_message(ws.CloseMessage("WrongSequenceNumber")),
    ]


def _content_samples() -> list[bytes]:
    """Return contents of calls, one of them with every field."""
    arg = ws.encode_open_args(7, ALICE.principal.raw)
    content: Mapping[str, Any] = call_content(
        ALICE.principal, certificates.CANISTER, "ws_open", arg, NOW_NS + 10**11, b"nonce"
    )
    info = {"info": b"i", "signer": b"\x01", "sig": b"s"}
    return [cbor.dumps(content), cbor.dumps({**content, "sender_info": info, "later": [1]})]


_WORDS = (b"sender", b"content", b"arg", b"canister_id", b"method_name", b"ingress_expiry", b"sender_delegation",
          b"delegation", b"targets", b"permissions", b"pubkey", b"request_type", cbor.SELF_DESCRIBE)  # fmt: skip


def make() -> dict[str, Target]:
    """Make the targets of this module, by name."""
    envelope, trees, certs = _envelope_sample(), [tree_sample()], certificate_samples()
    client_frame = cbor.SELF_DESCRIBE + b"\xa1\x68envelope" + envelope.removeprefix(cbor.SELF_DESCRIBE)
    query = {
        "status": "replied",
        "reply": {"arg": b"DIDL\x00\x00"},
        "signatures": [{"timestamp": NOW_NS, "signature": bytes(64), "identity": b"\x02" * 29}],
    }
    reject = {"status": "rejected", "reject_code": 4, "reject_message": "no", "error_code": "IC0406", "signatures": []}
    values = {"a": [1, -2, 3.5, None, True, b"b", "c"], "big": 2**64 - 1}
    types = [candid.Record({"a": candid.Opt(candid.Vec(candid.Nat)), "b": candid.Variant({"x": candid.Text})})]
    candids = [candid.encode(types, [{"a": [1, 2**70], "b": {"x": "y"}}]), *_batch_samples(), *_argument_samples()[:6]]
    return {
        "cbor": Target(_cbor, [cbor.dumps_tagged(values), envelope, b"\xbf\x61a\x9f\x01\x02\xff\xff", *trees]),
        "candid": Target(_candid, candids),
        "batch": Target(_batch, _batch_samples()),
        "arguments": Target(_arguments, _argument_samples()),
        "client_frame": Target(_client_frame, [client_frame], _WORDS),
        "envelope": Target(_envelope, [envelope], _WORDS),
        "signed_call": Target(_signed_call, _content_samples(), _WORDS),
        "call_answer": Target(
            _call_answer,
            [cbor.dumps_tagged({"status": "replied", "certificate": certs[0]}), cbor.dumps_tagged(reject), b""],
        ),
        "query_answer": Target(_query_answer, [cbor.dumps_tagged(query), cbor.dumps_tagged(reject)]),
        "principal": Target(_principal, [ALICE.principal.text.encode(), b"aaaaa-aa", b"2vxsx-fae"]),
    }
