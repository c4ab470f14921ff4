"""A replica with a test clock, and helpers that send requests to it as a client, gateway or other principal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from icwsgw.devnet.canisters import ECHO_ID, app_message
from icwsgw.devnet.faults import Answer
from icwsgw.devnet.replica import Replica
from icwsgw.errors import Rejected
from icwsgw.ic import cbor, envelope, ws
from icwsgw.ic.certificate import Certificate, check_messages, decode_certificate, request_status, verify_certificate
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal

START_NS = 1_790_000_000 * 10**9

T = TypeVar("T")


def identity(number: int) -> Ed25519Identity:
    """The n-th test identity."""
    return Ed25519Identity(number.to_bytes(32, "big"))


GATEWAY = identity(1000)
OTHER_GATEWAY = identity(1001)


def result_of(deferred: Deferred[T]) -> T:
    """The result of a Deferred that has fired; raises its exception."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    assert results, "no result yet"
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


def pending(deferred: Deferred[Any]) -> bool:
    """Whether a Deferred has no result yet: it has not fired, or waits for another one."""
    return not deferred.called or bool(deferred.paused)


class Net:
    """A replica with a clock that the test advances."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.replica = Replica(self.clock, self.now_ns, b"test", **options)
        self._nonce = 0

    def now_ns(self) -> int:
        return START_NS + round(self.clock.seconds() * 1e9)

    def advance(self, seconds: float, step: float | None = None) -> None:
        """Advance the time, in steps, so that timers fire at their times."""
        left = seconds
        while step is not None and left > step:
            self.clock.advance(step)
            left -= step
        self.clock.advance(left)

    def handle(self, method: str, path: str, body: bytes = b"") -> Deferred[Answer]:
        return self.replica.handle(method, path, body)

    def signed(self, who: Ed25519Identity | None, content: dict[str, Any]) -> envelope.SignedRequest:
        return envelope.anonymous_request(content) if who is None else envelope.sign_request(who, content)

    def call_request(
        self, who: Ed25519Identity, method: str, arg: bytes, canister: Principal = ECHO_ID, *, ttl: float = 240
    ) -> envelope.SignedRequest:
        self._nonce += 1
        expiry = self.now_ns() + int(ttl * 1e9)
        nonce = self._nonce.to_bytes(8, "big")
        return self.signed(who, envelope.call_content(who.principal, canister, method, arg, expiry, nonce))

    def submit(
        self, request: envelope.SignedRequest, canister: Principal = ECHO_ID, version: str = "v4"
    ) -> Deferred[Answer]:
        return self.handle("POST", f"/api/{version}/canister/{canister}/call", request.body)

    def call(
        self, who: Ed25519Identity, method: str, arg: bytes, canister: Principal = ECHO_ID, version: str = "v4"
    ) -> bytes:
        """Call and return the certified reply; raises on a reject."""
        request = self.call_request(who, method, arg, canister)
        return self.outcome(result_of(self.submit(request, canister, version)), request, canister)

    def outcome(self, answer: Answer, request: envelope.SignedRequest, canister: Principal = ECHO_ID) -> bytes:
        """The certified reply in the answer to a synchronous call; raises on a reject."""
        status, headers, body = answer
        assert (status, headers["Content-Type"]) == (200, "application/cbor"), answer
        fields = cbor.loads(body)
        if fields["status"] == "non_replicated_rejection":
            raise Rejected(fields["reject_code"], fields["reject_message"], fields.get("error_code"))
        assert fields["status"] == "replied"
        certificate = self.verified(fields["certificate"], canister)
        outcome = request_status(certificate, request.request_id)
        if outcome.status == "rejected":
            assert outcome.reject_code is not None
            assert outcome.reject_message is not None
            raise Rejected(outcome.reject_code, outcome.reject_message, outcome.error_code)
        assert outcome.status == "replied"
        assert outcome.reply is not None
        return outcome.reply

    def verified(self, certificate: bytes, canister: Principal = ECHO_ID) -> Certificate:
        return verify_certificate(
            certificate, root_key_der=self.replica.root_key_der, canister_id=canister, now_ns=self.now_ns()
        )

    def ask(
        self,
        who: Ed25519Identity | None,
        method: str,
        arg: bytes,
        canister: Principal = ECHO_ID,
        version: str = "v3",
    ) -> Deferred[Answer]:
        sender = Principal(b"\x04") if who is None else who.principal
        content = envelope.query_content(sender, canister, method, arg, self.now_ns() + 240 * 10**9)
        return self.handle("POST", f"/api/{version}/canister/{canister}/query", self.signed(who, content).body)

    def query(self, who: Ed25519Identity | None, method: str, arg: bytes, canister: Principal = ECHO_ID) -> bytes:
        """Query and return the reply; raises on a reject."""
        status, _, body = result_of(self.ask(who, method, arg, canister))
        assert status == 200, body
        fields = cbor.loads(body)
        if fields["status"] == "rejected":
            raise Rejected(fields["reject_code"], fields["reject_message"], fields.get("error_code"))
        return fields["reply"]["arg"]

    def query_management(self, who: Ed25519Identity | None, method: str, arg: bytes, effective: Principal) -> bytes:
        """Query the management canister about a canister; raises on a reject."""
        sender = Principal(b"\x04") if who is None else who.principal
        content = envelope.query_content(sender, Principal(b""), method, arg, self.now_ns() + 240 * 10**9)
        path = f"/api/v3/canister/{effective}/query"
        status, _, body = result_of(self.handle("POST", path, self.signed(who, content).body))
        assert status == 200, body
        fields = cbor.loads(body)
        if fields["status"] == "rejected":
            raise Rejected(fields["reject_code"], fields["reject_message"], fields.get("error_code"))
        return fields["reply"]["arg"]

    def read_state(
        self, who: Ed25519Identity | None, paths: Sequence[Sequence[bytes]], canister: Principal = ECHO_ID
    ) -> Certificate:
        sender = Principal(b"\x04") if who is None else who.principal
        content = envelope.read_state_content(sender, paths, self.now_ns() + 240 * 10**9)
        path = f"/api/v3/canister/{canister}/read_state"
        status, _, body = result_of(self.handle("POST", path, self.signed(who, content).body))
        assert status == 200, body
        return self.verified(cbor.loads(body)["certificate"], canister)

    # -- the CDK's methods ----------------------------------------------------------------------------------------

    def open(
        self,
        who: Ed25519Identity,
        nonce: int = 0,
        canister: Principal = ECHO_ID,
        gateway: Ed25519Identity = GATEWAY,
    ) -> None:
        ws.decode_unit_result(self.call(who, "ws_open", ws.encode_open_args(nonce, gateway.principal.raw), canister))

    def send_message(
        self,
        who: Ed25519Identity,
        number: int,
        content: bytes | str,
        *,
        nonce: int = 0,
        service: bool = False,
        canister: Principal = ECHO_ID,
    ) -> None:
        raw = app_message(content) if isinstance(content, str) else content
        args = ws.MessageArgs(who.principal.raw, nonce, number, self.now_ns(), service, raw)
        ws.decode_unit_result(self.call(who, "ws_message", ws.encode_message_args(args), canister))

    def leave(
        self,
        who: Ed25519Identity,
        nonce: int = 0,
        canister: Principal = ECHO_ID,
        gateway: Ed25519Identity = GATEWAY,
    ) -> None:
        ws.decode_unit_result(self.call(gateway, "ws_close", ws.encode_close(who.principal.raw, nonce), canister))

    def poll(
        self, nonce: int = 0, canister: Principal = ECHO_ID, gateway: Ed25519Identity = GATEWAY, *, check: bool = True
    ) -> ws.Batch:
        """Poll, and verify the answer as a client would."""
        batch = ws.parse_get_messages(self.query(gateway, "ws_get_messages", ws.encode_get_messages(nonce), canister))
        if batch.messages and check:
            check_messages(
                self.verified(batch.cert, canister),
                batch.tree,
                [(key, content) for _, _, key, content in batch.messages],
                canister_id=canister,
            )
        return batch

    def received(self, nonce: int = 0, **where: Any) -> list[Any]:
        """Poll, and return for each message the service message or the application's bytes."""
        return [content_of(message) for message in self.poll(nonce, **where).messages]


def content_of(message: ws.Message) -> Any:
    """The service message in a message, or the application's bytes."""
    fields = cbor.loads(message[3])
    return ws.decode_service_message(fields["content"]) if fields["is_service_message"] else fields["content"]


def unverified(certificate: bytes) -> Certificate:
    return decode_certificate(certificate)
