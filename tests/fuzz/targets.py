"""What is fuzzed: each decoder of bytes from outside, valid samples of them, and what may come out.

A target takes any bytes. It may raise the errors that its decoder documents, which the target swallows; anything else
that comes out is a bug. Beyond decoding it does with the result what the gateway does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from icwsgw.agent.client import _reply
from icwsgw.agent.connection import Answer, Exchange, HttpConnection
from icwsgw.agent.deadlines import Deadlines
from icwsgw.agent.outcome import call_outcome, decoded, http_date, http_error, retry_after
from icwsgw.agent.pool import HostPool
from icwsgw.core.messages import BatchFramer, message_place, parse_client_frame, payload_of
from icwsgw.errors import CanisterRefused, CertificateInvalid, FormatError, Rejected, SignatureInvalid, TransportError
from icwsgw.ic import candid, cbor, hashtree, ws
from icwsgw.ic.certificate import verify_certificate
from icwsgw.ic.certificate_format import decode_certificate
from icwsgw.ic.certified import _check_contents, certified_data, node_keys, request_status
from icwsgw.ic.envelope import call_content, sign_request, verify_envelope
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from icwsgw.ic.query_signature import verify_query_response
from icwsgw.ic.signatures import verify_signature
from icwsgw.server.frames import read_binary_frame
from tests.support import certificates
from tests.support.ws_wire import masked

#: CPU seconds that an input of some kilobytes may cost: far above what any takes, far below what a bomb would.
MOST_SECONDS = 5.0


class Target(NamedTuple):
    """A decoder under attack."""

    run: Callable[[bytes], None]
    samples: list[bytes]


ALICE = Ed25519Identity(b"\x01" * 32)
NOW_NS = certificates.NOW


def _cbor(data: bytes) -> None:
    with contextlib.suppress(FormatError):
        cbor.dumps(cbor.loads(data))
    with contextlib.suppress(FormatError):
        cbor.item_end(data, 0)


def _candid(data: bytes) -> None:
    with contextlib.suppress(FormatError):
        candid.decode(data)


def _batch(data: bytes) -> None:
    try:
        batch = ws.parse_get_messages(data)
        framer = BatchFramer(batch.cert, batch.tree)
        for _principal, _nonce, key, content in batch.messages:
            assert payload_of(framer.frame(key, content)).endswith(batch.tree)
            message_place(content)
            ws.nonce_of_key(key)
        with contextlib.suppress(CertificateInvalid):
            _check_contents(hashtree.decode(batch.tree), [(m[2], m[3]) for m in batch.messages])
    except (FormatError, CanisterRefused):
        pass


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
    try:
        envelope = parse_client_frame(data)
    except FormatError:
        return
    assert envelope.body.startswith(cbor.SELF_DESCRIBE)
    assert len(envelope.sender) <= 29
    _envelope(envelope.body)
    _arguments(envelope.arg)


def _envelope(data: bytes) -> None:
    with contextlib.suppress(FormatError, SignatureInvalid):
        verify_envelope(data, NOW_NS)


def _tree(data: bytes) -> None:
    try:
        tree = hashtree.decode(data)
    except FormatError:
        return
    assert len(hashtree.reconstruct(tree)) == 32
    for path in ([b"websocket", b"a"], [b"time"], []):
        with contextlib.suppress(FormatError):
            hashtree.lookup(tree, path)
        with contextlib.suppress(FormatError):
            hashtree.list_labels(tree, path)


def _certificate(data: bytes) -> None:
    with contextlib.suppress(FormatError, CertificateInvalid):
        certificate = decode_certificate(data)
        for look in (
            lambda: certified_data(certificate, certificates.CANISTER),
            lambda: request_status(certificate, b"\x01" * 32),
            lambda: node_keys(certificate, certificates.SUBNET),
            lambda: certificate.time_ns,
        ):
            with contextlib.suppress(FormatError, CertificateInvalid):
                look()
    with contextlib.suppress(FormatError, CertificateInvalid):
        verify_certificate(
            data, root_key_der=certificates.ROOT_KEY_DER, canister_id=certificates.CANISTER, now_ns=NOW_NS
        )


def _call_answer(data: bytes) -> None:
    with contextlib.suppress(TransportError):
        call_outcome(data)


def _query_answer(data: bytes) -> None:
    with contextlib.suppress(TransportError, Rejected):
        _reply(decoded(data))
    with contextlib.suppress(TransportError, SignatureInvalid):
        verify_query_response(decoded(data), b"\x01" * 32, {b"\x02" * 29: ALICE.public_key_der}, now_ns=NOW_NS)


def _principal(data: bytes) -> None:
    with contextlib.suppress(FormatError):
        Principal.from_text(data.decode("latin-1"))
    with contextlib.suppress(FormatError):
        Principal(data)


def _keys(data: bytes) -> None:
    with contextlib.suppress(SignatureInvalid, FormatError):
        verify_signature(data, b"message", b"\x01" * 64)
    with contextlib.suppress(SignatureInvalid, FormatError):
        verify_signature(ALICE.public_key_der, b"message", data)
    with contextlib.suppress(FormatError):
        Ed25519Identity.from_pkcs8_der(data)


def _frame(data: bytes) -> None:
    at = 0
    while (read := read_binary_frame(data, at)) is not None:
        payload, end = read
        assert at < end <= len(data)
        assert len(payload) < end - at
        at = end


class _Wire(StringTransport):
    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def abortConnection(self) -> None:
        pass


def _http(data: bytes) -> None:
    """The first byte says at which pieces the answer comes."""
    if not data:
        return
    size, answer = data[0] or len(data), data[1:]
    clock = Clock()
    pool = HostPool(clock, None, "host:80", False, Deadlines(clock), 4, 4)
    connection = HttpConnection(pool, False)
    connection.makeConnection(_Wire())
    exchange = Exchange(pool, b"request", False, 10_000)
    results: list[Any] = []
    assert exchange.deferred is not None
    exchange.deferred.addBoth(results.append)
    connection.send(exchange)
    for at in range(0, len(answer), size):
        if connection.closing:
            break
        connection.dataReceived(answer[at : at + size])
    connection.connectionLost(Failure(ConnectionDone()))
    (result,) = results
    if isinstance(result, Failure):
        assert isinstance(result.value, TransportError), result.value
        return
    assert isinstance(result, Answer)
    assert len(result.body) <= 10_000
    http_error(result, 1.7e9)
    for value in result.headers.values():
        http_date(value)
        retry_after(value, 1.7e9)


def _envelope_sample() -> bytes:
    arg = ws.encode_open_args(7, ALICE.principal.raw)
    content = call_content(ALICE.principal, certificates.CANISTER, "ws_open", arg, NOW_NS + 10**11, b"nonce")
    return sign_request(ALICE, content).body


def _tree_sample() -> bytes:
    return hashtree.encode(
        hashtree.from_mapping({b"websocket": {b"a": b"1", b"b": b"2", b"c": b"3"}, b"time": b"\x01"})
    )


def _certificate_samples() -> list[bytes]:
    from icwsgw.ic.certificate_format import build_certificate

    tree = certificates.state(
        canister={certificates.CANISTER.raw: {b"certified_data": bytes(32)}},
        request_status={b"\x01" * 32: {b"status": b"replied", b"reply": b"DIDL\x00\x00"}},
    )
    return [
        build_certificate(tree, certificates.sign_as_root),
        build_certificate(tree, certificates.sign_as_subnet, certificates.delegate()),
        build_certificate(tree, certificates.sign_as_subnet, certificates.delegate(sharded=False)),
    ]


def _batch_samples() -> list[bytes]:
    key = Principal(b"\x07" * 29).text.encode() + b"_%020d"
    content = cbor.dumps_tagged({"sequence_num": 1, "timestamp": NOW_NS, "content": b"x"})
    messages = [(b"\x01" * 29, 5, key % number, content) for number in range(3)]
    return [
        ws.encode_batch(messages, b"cert", _tree_sample(), False),
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


def _make() -> dict[str, Target]:
    envelope, trees, certs = _envelope_sample(), [_tree_sample()], _certificate_samples()
    client_frame = cbor.SELF_DESCRIBE + b"\xa1\x68envelope" + envelope.removeprefix(cbor.SELF_DESCRIBE)
    query = {
        "status": "replied",
        "reply": {"arg": b"DIDL\x00\x00"},
        "signatures": [{"timestamp": NOW_NS, "signature": bytes(64), "identity": b"\x02" * 29}],
    }
    reject = {"status": "rejected", "reject_code": 4, "reject_message": "no", "error_code": "IC0406", "signatures": []}
    values = {"a": [1, -2, 3.5, None, True, b"b", "c"], "big": 2**64 - 1}
    http = [
        b"\x00HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: application/cbor\r\n\r\nhello",
        b"\x07HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\nT: u\r\n\r\n",
        b"\x01HTTP/1.1 429 Slow\r\nRetry-After: 5\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\nContent-Length: 0\r\n\r\n",
        b"\x20HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 503 No\r\nx-ic-error-cause: no_healthy_nodes\r\n\r\nbody",
    ]
    types = [candid.Record({"a": candid.Opt(candid.Vec(candid.Nat)), "b": candid.Variant({"x": candid.Text})})]
    candids = [candid.encode(types, [{"a": [1, 2**70], "b": {"x": "y"}}]), *_batch_samples(), *_argument_samples()[:6]]
    return {
        "cbor": Target(_cbor, [cbor.dumps_tagged(values), envelope, b"\xbf\x61a\x9f\x01\x02\xff\xff", *trees]),
        "candid": Target(_candid, candids),
        "batch": Target(_batch, _batch_samples()),
        "arguments": Target(_arguments, _argument_samples()),
        "client_frame": Target(_client_frame, [client_frame]),
        "envelope": Target(_envelope, [envelope]),
        "tree": Target(_tree, trees),
        "certificate": Target(_certificate, certs),
        "call_answer": Target(
            _call_answer,
            [cbor.dumps_tagged({"status": "replied", "certificate": certs[0]}), cbor.dumps_tagged(reject), b""],
        ),
        "query_answer": Target(_query_answer, [cbor.dumps_tagged(query), cbor.dumps_tagged(reject)]),
        "principal": Target(_principal, [ALICE.principal.text.encode(), b"aaaaa-aa", b"2vxsx-fae"]),
        "keys": Target(_keys, [ALICE.public_key_der, ALICE.to_pkcs8_der(), bytes(64)]),
        "frame": Target(_frame, [masked(2, b"x"), masked(2, b"y" * 300) + masked(2, b"z")]),
        "http": Target(_http, http),
    }


TARGETS = _make()
