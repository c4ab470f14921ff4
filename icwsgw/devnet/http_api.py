"""Serves the endpoints below ``/api/``: checks each request, answers it, and applies injected faults."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from icwsgw._version import __version__
from icwsgw.devnet.cdk import QueueView, WebSocketCdk
from icwsgw.devnet.cdk_types import Page
from icwsgw.devnet.faults import Answer, Dropped, InjectedFault
from icwsgw.devnet.hosting import CanisterHost, Host, PageFilter
from icwsgw.devnet.read_permissions import Reader, check_paths
from icwsgw.devnet.request_admission import CBOR_TYPE, TEXT, RequestRefused, Target, boundary_error, target_of
from icwsgw.devnet.state_tree import Block
from icwsgw.devnet.submitted_call import Execute, SubmittedCall
from icwsgw.devnet.system_canisters import SystemCanister
from icwsgw.errors import FormatError, Rejected, SignatureInvalid
from icwsgw.ic import cbor, ws
from icwsgw.ic.envelope import VerifiedRequest, verify_envelope
from icwsgw.ic.network_limits import AROUND_BYTES, MAX_INGRESS_BYTES
from icwsgw.ic.principal import Principal
from icwsgw.ic.query_signature import signed_message
from icwsgw.ic.verifier import Verifier

if TYPE_CHECKING:
    from icwsgw.devnet.network_state import NetworkState

SYNC_CALL_TIMEOUT = 10.0
#: The longest envelope in bytes: 2 MiB of ingress, the limit of application subnets, and what surrounds it.
MAX_BODY = MAX_INGRESS_BYTES + AROUND_BYTES
_CBOR = {"Content-Type": CBOR_TYPE}
#: A real replica returns the SHA-256 of its binary here.
_IMPL_HASH = hashlib.sha256(f"icwsgw {__version__} devnet".encode()).hexdigest()
_METHODS = frozenset(("ws_open", "ws_close", "ws_message", "ws_get_messages"))


class Endpoints:
    """The IC's HTTP interface to a replica."""

    def __init__(self, replica: NetworkState) -> None:
        self._replica = replica
        self._verifier = Verifier(replica.root_key_der)

    def answer(self, method: str, parts: list[str], body: bytes, content_type: str = CBOR_TYPE) -> Deferred[Answer]:
        """Answer a request; see :meth:`icwsgw.devnet.replica.Replica.handle`.

        :param parts: the segments of the path
        """
        try:
            answer = self._serve(method, parts, body, content_type)
        except RequestRefused as refused:
            self._replica.stats[f"http:{refused.answer[0]}"] += 1
            answer = succeed(refused.answer)
        return answer.addCallback(self._at_the_edge) if self._replica.edge_headers else answer

    def _at_the_edge(self, answer: Answer) -> Answer:
        """Change an answer's headers as the HTTP gateway in front of the network does (dfinity/ic-gateway)."""
        status, headers, body = answer
        kept = {name: value for name, value in headers.items() if not name.startswith("x-ic-")}
        kept["x-request-id"] = self._replica.new_request_id()
        return status, kept, body

    def _serve(self, method: str, parts: list[str], body: bytes, content_type: str) -> Deferred[Answer]:
        if parts == ["api", "v2", "status"]:
            if method not in ("GET", "HEAD"):
                raise RequestRefused(405, "GET only")
            self._replica.stats["status"] += 1
            return self._with_fault(
                self._replica.faults.meet("status", None, None, None), lambda: succeed(self._status())
            )
        target = target_of(self._replica, parts)
        if method != "POST":
            raise RequestRefused(405, "POST only")
        if len(body) > MAX_BODY:
            raise RequestRefused(413, f"more than {MAX_BODY} bytes", "payload_too_large")
        self._replica.stats[target.on] += 1
        if content_type.lower() != CBOR_TYPE:
            raise RequestRefused(400, f"Unexpected content-type, expected {CBOR_TYPE}.")
        request = self._verified(target, body)
        name = request.content.get("method_name")
        self._replica.stats[name if name in _METHODS else f"{target.on}:other"] += 1
        fault = self._replica.faults.meet(target.on, target.canister, name, target.state.subnet.id)
        if target.on == "query":
            return self._with_fault(fault, lambda: self._query(target, request, fault))
        if target.on == "call":
            return self._with_fault(fault, lambda: self._call(target, request, fault))
        return self._with_fault(fault, lambda: succeed(self._read_state(target, request)))

    def _verified(self, target: Target, body: bytes) -> VerifiedRequest:
        try:
            request = verify_envelope(body, self._replica.now_ns(), verifier=self._verifier)
        except FormatError as error:
            raise RequestRefused(400, str(error), "unable_to_parse_cbor") from error
        except SignatureInvalid as error:
            self._replica.stats["invalid_envelopes"] += 1
            raise RequestRefused(400, str(error)) from error
        content = request.content
        if content["request_type"] != target.on:
            raise RequestRefused(
                400, f"a {content['request_type']} at the endpoint for {target.on}", "malformed_request"
            )
        if (
            target.on != "read_state"
            and target.canister is not None
            and content["canister_id"] not in (target.canister.raw, b"")
        ):
            asked = Principal(content["canister_id"])
            raise RequestRefused(
                400, f"Specified CanisterId {asked} does not match effective canister id in URL {target.canister}"
            )
        return request

    def _status(self) -> Answer:
        fields = {
            "ic_api_version": "0.50.0",
            "impl_version": f"icwsgw {__version__} devnet",
            "impl_hash": _IMPL_HASH,
            "certified_height": max(map(self._replica.ingress.height, self._replica.states)),
            "replica_health_status": "healthy",
            "root_key": self._replica.root_key_der,
        }
        return 200, dict(_CBOR), cbor.dumps_tagged(fields)

    # -- faults ---------------------------------------------------------------------------------------------------

    def _with_fault(self, fault: InjectedFault | None, serve: Callable[[], Deferred[Answer]]) -> Deferred[Answer]:
        """Serve a request and apply a fault of the network, as opposed to one of the canister."""
        if fault is None:
            return serve()
        self._replica.stats[f"fault:{fault.kind}"] += 1
        if fault.kind == "delay":
            return self._later(fault.delay).addCallback(lambda _: serve())
        if fault.kind == "unavailable":
            return succeed(boundary_error(fault.status, fault.cause or "no_healthy_nodes", fault.message))
        if fault.kind == "date":
            return serve().addCallback(self._dated, fault.offset)
        if fault.kind == "cached":
            return serve().addCallback(self._cached, fault.age)
        if fault.kind == "http":
            headers = {"Content-Type": "text/plain; charset=utf-8"}
            if fault.retry_after is not None:
                headers["Retry-After"] = f"{fault.retry_after:g}"
            if fault.cause is not None:
                headers["x-ic-error-cause"] = fault.cause
            return succeed((fault.status, headers, fault.message.encode()))
        if fault.kind == "garbage":
            return succeed((200, dict(_CBOR), self._replica.faults.garbage()))
        if fault.kind == "hang":
            hanging: Deferred[Answer] = Deferred(self._replica.hanging.discard)
            self._replica.hanging.add(hanging)
            return hanging
        if fault.kind == "half_body":
            return serve().addCallback(_drop_halfway)
        if fault.kind == "reset":
            return serve().addCallback(_drop) if fault.after else _fail(Dropped())
        return serve()

    def _dated(self, answer: Answer, offset: float) -> Answer:
        status, headers, body = answer
        date = formatdate(self._replica.now_ns() / 1e9 + offset, usegmt=True)
        return status, {**headers, "Date": date}, body

    def _cached(self, answer: Answer, age: float) -> Answer:
        status, headers, body = self._dated(answer, -age)
        return status, {**headers, "Age": str(int(age)), "Via": "1.1 cache"}, body

    def _later(self, delay: float) -> Deferred[None]:
        later: Deferred[None] = Deferred(lambda _: timer.cancel())
        timer = self._replica.clock.callLater(delay, later.callback, None)
        return later

    # -- queries --------------------------------------------------------------------------------------------------

    def _query(self, target: Target, request: VerifiedRequest, fault: InjectedFault | None) -> Deferred[Answer]:
        half = self._replica.query_latency / 2
        if not half:
            return succeed(self._query_answer(target, request, fault))
        answer: Deferred[Answer] = self._later(half).addCallback(lambda _: self._query_answer(target, request, fault))

        def hold(result: Answer) -> Deferred[Answer]:
            return self._later(half).addCallback(lambda _: result)

        return answer.addCallback(hold)

    def _query_answer(self, target: Target, request: VerifiedRequest, fault: InjectedFault | None) -> Answer:
        answer: dict[str, Any]
        try:
            reply = self._query_reply(target, request, fault)
            answer = {"status": "replied", "reply": {"arg": reply}}
            inspector = self._replica.inspector
            if inspector is not None and request.content["method_name"] == "ws_get_messages":
                assert target.canister is not None
                inspector.polled(target.canister, reply, self._replica.now_ns())
        except Rejected as reject:
            answer = {"status": "rejected", "reject_code": reject.code, "reject_message": reject.message}
            if reject.error_code is not None:
                answer["error_code"] = reject.error_code
        block = self._replica.ingress.certified(target.state, target.node)
        time, node = self._replica.now_ns() if block is None else block.time_ns, target.node.key
        signature = node.sign(signed_message(answer, request.request_id, time))
        answer["signatures"] = [{"timestamp": time, "signature": signature, "identity": node.principal.raw}]
        return 200, dict(_CBOR), cbor.dumps_tagged(answer)

    def _query_reply(self, target: Target, request: VerifiedRequest, fault: InjectedFault | None) -> bytes:
        assert target.canister is not None
        reject = fault.reject(target.canister) if fault is not None else None
        if reject is not None:
            raise reject
        if fault is not None and fault.kind == "garbage_candid":
            return self._replica.faults.garbage()
        if fault is not None and fault.kind == "cdk_err":
            return ws.encode_batch_err(fault.message)
        content = request.content
        if not content["canister_id"]:
            return self._replica.canisters.query_management(content["method_name"], request.sender, content["arg"])
        host = self._host_or_reject(target.canister)
        block = self._replica.ingress.certified(target.state, target.node)
        view = None if block is None else block.views.get(target.canister)
        if view is None and block is not None and not isinstance(host, SystemCanister):
            raise _not_found(target.canister)
        return host.query(
            content["method_name"],
            request.sender,
            content["arg"],
            lambda canister: target.state.data_certificate(
                canister, self._replica.now_ns(), target.node, target.shown(), block=block
            ),
            self._page_filter(host.id, view or host.ws, request.sender) if isinstance(host, Host) else None,
            view,
        )

    def _page_filter(self, canister: Principal, queues: WebSocketCdk | QueueView, caller: Principal) -> PageFilter:
        def change(page: Page, nonce: int) -> Page:
            if self._replica.faults.has_page_faults():
                early = queues.ws_get_messages(caller, max(nonce - 1, 0))
                page = self._replica.faults.change_page(canister, page, early)
            self._replica.stats["messages_out"] += len(page.messages)
            return page

        return change

    def _host_or_reject(self, canister: Principal) -> CanisterHost:
        try:
            return self._replica.canister(canister)
        except KeyError:
            raise _not_found(canister) from None

    # -- calls ----------------------------------------------------------------------------------------------------

    def _call(self, target: Target, request: VerifiedRequest, fault: InjectedFault | None) -> Deferred[Answer]:
        ingress = self._replica.ingress
        known = ingress.get(request.request_id)
        if known is not None:
            self._replica.stats["calls_again"] += 1
        inspector = self._replica.inspector
        if inspector is not None:
            inspector.relayed(request.request_id, request.content, self._replica.now_ns())
        try:
            # A known call passes the same checks as a new one (dfinity/ic, call.rs): its canister may have stopped.
            call = self._admitted(target, request, fault)
        except Rejected as reject:
            if inspector is not None and known is None:
                inspector.ended(request.request_id, reject, self._replica.now_ns())
            return succeed(_not_taken(reject, target.version))
        except RequestRefused as refused:
            return succeed(refused.answer)
        if known is not None:
            call = known
        if target.version == "v2":
            ingress.accept(call, target.node)
            return succeed((202, {}, b""))
        if known is not None and self._block(target).status(call.request_id) is not None:
            return succeed(self._call_answer(True, target, call))
        again = target.node.number in call.awaited_at
        ingress.accept(call, target.node)
        if again:
            return succeed(_accepted("Duplicate request. Message is already being tracked and executed."))
        waiting = ingress.wait(call, SYNC_CALL_TIMEOUT, target.node)
        return waiting.addCallback(self._call_answer, target, call)

    def _block(self, target: Target) -> Block:
        """Return the newest certified state that the target node has."""
        block = self._replica.ingress.certified(target.state, target.node)
        return target.state.block(self._replica.now_ns()) if block is None else block

    def _admitted(self, target: Target, request: VerifiedRequest, fault: InjectedFault | None) -> SubmittedCall:
        canister = target.canister
        assert canister is not None
        reject = fault.reject(canister) if fault is not None else None
        certified = fault is not None and (fault.certified or fault.kind == "trap")
        if reject is not None and not certified:
            raise reject
        content, sender = request.content, request.sender
        if not content["canister_id"]:
            return self._management_call(target, request)
        host = self._host_or_reject(canister)
        host.check_running()
        host.inspect(content["method_name"], sender, content["arg"])

        def execute() -> bytes | Deferred[bytes]:
            if reject is not None:
                raise reject
            if fault is not None and fault.kind == "garbage_candid":
                return self._replica.faults.garbage()
            if fault is not None and fault.kind == "cdk_err":
                return ws.encode_result_err(fault.message)
            self._replica.stats["calls_executed"] += 1
            return host.update(content["method_name"], sender, content["arg"])

        run = execute if self._replica.inspector is None else self._inspected(request.request_id, execute)
        return SubmittedCall(target.state, request.request_id, sender, canister, content["ingress_expiry"], run)

    def _inspected(self, call: bytes, execute: Execute) -> Execute:
        """Return a call's execution that reports its outcome to the inspector."""

        def report(outcome: bytes | BaseException) -> None:
            inspector = self._replica.inspector
            if inspector is not None:
                inspector.ended(call, outcome, self._replica.now_ns())

        def reported(outcome: Any) -> Any:
            report(cast(BaseException, outcome.value) if isinstance(outcome, Failure) else outcome)
            return outcome

        def run() -> bytes | Deferred[bytes]:
            try:
                outcome = execute()
            except Rejected as reject:
                report(reject)
                raise
            if isinstance(outcome, Deferred):
                return outcome.addBoth(reported)
            report(outcome)
            return outcome

        return run

    def _management_call(self, target: Target, request: VerifiedRequest) -> SubmittedCall:
        """Admit a call to the management canister; its effective canister id determines the subnet."""
        content, sender, canisters = request.content, request.sender, self._replica.canisters
        method, argument = content["method_name"], content["arg"]
        assert target.canister is not None
        try:
            canisters.management.check(method, sender, argument, target.canister)
        except ValueError as error:
            raise RequestRefused(400, f"Specified effective canister id is wrong: {error}") from None

        def execute() -> bytes | Deferred[bytes]:
            self._replica.stats["calls_executed"] += 1
            return canisters.call_management(method, sender, argument, subnet=target.state.subnet.id)

        expiry = content["ingress_expiry"]
        return SubmittedCall(target.state, request.request_id, sender, Principal(b""), expiry, execute)

    def _call_answer(self, done: bool, target: Target, call: SubmittedCall) -> Answer:
        if not done:
            return _accepted("Message did not complete execution and certification within the replica defined timeout.")
        certificate = self._certificate(target, [(b"request_status", call.request_id)])
        return 200, dict(_CBOR), cbor.dumps_tagged({"status": "replied", "certificate": certificate})

    # -- state ----------------------------------------------------------------------------------------------------

    def _read_state(self, target: Target, request: VerifiedRequest) -> Answer:
        reader = Reader(
            request.sender,
            request.targets,
            target.canister or target.state.subnet.id,
            target.canister is not None,
            target.state.subnet.id,
            target.version,
            self._replica.topology.root.id,
        )
        refusal = check_paths(
            *(request.content["paths"], reader, self._replica.ingress, self._replica.canisters.may_read_metadata)
        )
        if refusal is not None:
            return RequestRefused(*refusal).answer
        if target.canister is not None and self._replica.echo_any:
            with suppress(KeyError):
                self._replica.canister(target.canister)
        paths = request.content["paths"]
        certificate = self._certificate(target, paths)
        return 200, dict(_CBOR), cbor.dumps_tagged({"certificate": certificate})

    def _certificate(self, target: Target, paths: Sequence[Sequence[bytes]]) -> bytes:
        now = self._replica.now_ns()
        return target.state.certificate(paths, now, target.node, target.shown(), block=self._block(target))


def _not_found(canister: Principal) -> Rejected:
    return Rejected(3, f"Canister {canister} not found", "IC0301")


def _not_taken(reject: Rejected, version: str) -> Answer:
    """Return the answer to a call that is not accepted; the asynchronous endpoint's answer has no status."""
    fields: dict[str, Any] = {"reject_code": reject.code, "reject_message": reject.message}
    if version != "v2":
        fields["status"] = "non_replicated_rejection"
    if reject.error_code is not None:
        fields["error_code"] = reject.error_code
    return 200, dict(_CBOR), cbor.dumps_tagged(fields)


def _accepted(why: str) -> Answer:
    return 202, dict(TEXT), why.encode()


def _drop_halfway(answer: Answer) -> Answer:
    raise Dropped(*answer)


def _drop(answer: Answer) -> Answer:
    raise Dropped


def _fail(error: Dropped) -> Deferred[Answer]:
    failed: Deferred[Answer] = Deferred()
    failed.errback(error)
    return failed
