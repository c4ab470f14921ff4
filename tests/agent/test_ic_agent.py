"""The agent against the local replica in memory, against answers made up, and once over loopback."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from typing import Any

import pytest
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase
from twisted.web.server import Request

from icwsgw.agent.http.transport import Transport
from icwsgw.agent.ic_agent import IcAgent
from icwsgw.agent.outcome import OutcomeKind
from icwsgw.agent.root_subnet import RootSubnet
from icwsgw.agent.trust import DOUBT_INTERVAL
from icwsgw.agent.versions import LOOK_AGAIN, SPAN
from icwsgw.devnet.canisters import ECHO_ID
from icwsgw.devnet.replica import Replica
from icwsgw.devnet.resource import ReplicaSite
from icwsgw.errors import (
    AnswerMalformed,
    CanisterRefused,
    CertificateInvalid,
    ConnectionLost,
    HttpError,
    NotReady,
    Rejected,
    RequestTimeout,
    SignatureInvalid,
)
from icwsgw.ic import bls, cbor, ws
from icwsgw.ic.certificate import build_certificate
from icwsgw.ic.envelope import SignedRequest, call_content, query_content, sign_request
from icwsgw.ic.hashtree import Found, from_mapping
from icwsgw.ic.request_id import leb128
from tests.support.certificates import sign_as_subnet
from tests.support.devnet import GATEWAY, Net, identity, pending, result_of
from tests.support.memory_transport import MemoryTransport, Reply

reactor: Any = _reactor

POLL = ws.encode_get_messages(0)
CLOSE = ws.encode_close(identity(3).principal.raw, 4)


@contextmanager
def logged() -> Iterator[list[str]]:
    """The messages that the log takes meanwhile."""
    lines: list[str] = []

    def record(event: Any) -> None:
        if "icws_message" in event:
            lines.append(event["icws_message"])

    globalLogPublisher.addObserver(record)  # type: ignore[arg-type]
    try:
        yield lines
    finally:
        globalLogPublisher.removeObserver(record)  # type: ignore[arg-type]


def mainnet_status(method: str, path: str, body: bytes) -> Any:
    assert path == "/api/v2/status"
    return (200, {}, cbor.dumps({"root_key": bls.MAINNET_ROOT_KEY_DER}))


class Rig:
    """An agent before a replica; a test may get between them."""

    def __init__(
        self,
        ready: bool = True,
        net: dict[str, Any] | None = None,
        url: str = "http://127.0.0.1:4943",
        **options: Any,
    ) -> None:
        self.net = Net(**(net or {}))
        self.clock = self.net.clock
        self.handler: Callable[[str, str, bytes], Any] = self.net.handle
        self.transport = MemoryTransport(self.clock, lambda *request: self.handler(*request))
        self.agent = IcAgent(self.clock, self.transport, url, now_ns=self.net.now_ns, rng=lambda: 0.5, **options)
        if ready:
            self.agent.start()
            assert self.agent.ready
            self.transport.requests.clear()

    def poll(self) -> SignedRequest:
        content = query_content(
            GATEWAY.principal, ECHO_ID, "ws_get_messages", POLL, self.net.now_ns() + 200 * 10**9, b"n"
        )
        return sign_request(GATEWAY, content)

    def query(self) -> Any:
        return self.agent.query(ECHO_ID, self.poll(), timeout=5.0)

    def call(self, wait: bool = True, method: str = "ws_close", arg: bytes = CLOSE) -> Any:
        request = self.net.call_request(GATEWAY, method, arg)
        d = self.agent.call(ECHO_ID, request.body, wait=wait, timeout=15.0)
        self.clock.pump([0.1] * 20)
        return d

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self.handler = lambda *request: (status, names, body)

    def only(self, *versions: str) -> None:
        """Let the network have no endpoints but of these versions (as "v2/query")."""

        def handler(method: str, path: str, body: bytes) -> Any:
            parts = path.split("/")
            if len(parts) > 4 and f"{parts[2]}/{parts[-1]}" not in versions:
                return (404, {}, b"not found")
            return self.net.handle(method, path, body)

        self.handler = handler

    @property
    def paths(self) -> list[str]:
        return [path.replace(ECHO_ID.text, "C") for _, path, _ in self.transport.requests]


@pytest.mark.parametrize("url", ["https://icp-api.io", "https://bn.example"])
def test_what_goes_by_the_root_key_follows_it_whatever_the_name(url) -> None:
    key = bls.MAINNET_ROOT_KEY_DER
    agent = IcAgent(Clock(), MemoryTransport(Clock(), Net().handle), url, now_ns=lambda: 0, root_key=key)
    assert agent.ready
    assert agent.root_key == bls.MAINNET_ROOT_KEY_DER
    assert agent.mainnet
    assert agent.verify_query_signatures
    assert not Rig().agent.verify_query_signatures
    # a key that was fetched is mainnet's if it is that
    agent = IcAgent(Clock(), MemoryTransport(Clock(), mainnet_status), url, now_ns=lambda: 0)
    assert not agent.mainnet
    agent.start()
    assert agent.mainnet
    assert agent.verify_query_signatures


def test_a_wrong_url() -> None:
    with pytest.raises(ValueError, match="URL"):
        IcAgent(Clock(), MemoryTransport(Clock(), Net().handle), "icp0.io", now_ns=lambda: 0)


def test_not_ready_until_the_replica_is_there() -> None:
    rig = Rig(ready=False)

    def absent(*request: Any) -> Reply:
        raise ConnectionLost("nobody there")

    rig.handler = absent
    rig.agent.start()
    ready = rig.agent.when_ready()
    rig.clock.pump([0.5] * 20)
    assert not rig.agent.ready
    assert rig.agent.root_key is None
    assert rig.agent.last_failure == "nobody there"
    with pytest.raises(NotReady, match="nobody there"):
        result_of(rig.agent.read_state(ECHO_ID, [[b"time"]], timeout=1))
    rig.handler = rig.net.handle
    rig.clock.pump([0.5] * 20)
    assert result_of(ready) is None
    assert rig.agent.root_key == rig.net.replica.root_key_der
    assert result_of(rig.agent.stop()) is None


# a container's name may have an underscore, which is no name of IDNA
@pytest.mark.parametrize("url", ["http://[::1]:4943", "http://ic_replica:4943"])
def test_any_host_that_a_url_names_is_asked(url) -> None:
    rig = Rig(url=url)
    assert rig.agent.ready
    assert result_of(rig.query())
    assert result_of(rig.call()).kind is OutcomeKind.REPLIED


def test_status() -> None:
    rig = Rig()
    status = result_of(rig.agent.status())
    assert status["root_key"] == rig.net.replica.root_key_der
    rig.answer(503, b"starting", Retry_After="2")
    with pytest.raises(HttpError) as caught:
        result_of(rig.agent.status())
    assert (caught.value.retry_after, caught.value.detail) == (2.0, "starting")
    rig.answer(200, b"<html>")
    with pytest.raises(AnswerMalformed):
        result_of(rig.agent.status())
    rig.answer(200, cbor.dumps({"x": b"y" * 70_000}))
    with pytest.raises(AnswerMalformed):
        result_of(rig.agent.status())


def test_query() -> None:
    rig = Rig()
    assert ws.parse_get_messages(result_of(rig.query())).messages == []
    assert rig.paths == ["/api/v2/canister/C/query"]


def test_query_rejected() -> None:
    rig = Rig()
    rig.answer(200, cbor.dumps_tagged({"status": "rejected", "reject_code": 5, "reject_message": "trapped"}))
    with pytest.raises(Rejected) as caught:
        result_of(rig.query())
    assert (caught.value.code, caught.value.message) == (5, "trapped")


@pytest.mark.parametrize(
    "body",
    [b"", b"garbage", cbor.dumps(1), cbor.dumps({}), cbor.dumps({"status": "replied", "reply": {"arg": "text"}}),
     cbor.dumps({"status": "replied", "reply": b"x"}), cbor.dumps({"status": "rejected"})],
)  # fmt: skip
def test_query_malformed(body) -> None:
    rig = Rig()
    rig.answer(200, body)
    with pytest.raises(AnswerMalformed):
        result_of(rig.query())


@pytest.mark.parametrize(("status", "retryable"), [(429, True), (500, True), (503, True), (400, False), (403, False)])
def test_query_http_errors(status, retryable) -> None:
    rig = Rig()
    rig.answer(status, b"because", x_ic_error_cause="a_cause", Retry_After="3")
    with pytest.raises(HttpError) as caught:
        result_of(rig.query())
    assert (caught.value.status, caught.value.retryable, caught.value.retry_after) == (status, retryable, 3.0)
    assert caught.value.detail == "a_cause: because"


def test_a_retry_after_that_is_a_date_is_compared_with_the_networks_time() -> None:
    rig = Rig()
    moment = formatdate(rig.net.now_ns() // 10**9 + 30, usegmt=True)
    rig.handler = lambda *_: (429, {"Retry-After": moment}, b"")
    with pytest.raises(HttpError) as error:
        result_of(rig.agent.query(ECHO_ID, rig.poll(), timeout=5))
    assert error.value.retry_after == pytest.approx(30, abs=2)


def test_a_certificate_that_does_not_verify_has_a_test_networks_root_key_asked_for_again() -> None:
    rig = Rig()
    rig.clock.advance(60)
    rig.transport.requests.clear()
    with pytest.raises(CertificateInvalid):
        rig.agent._verified(b"none", ECHO_ID)
    assert [path for _, path, _ in rig.transport.requests] == ["/api/v2/status"]


def test_query_too_late_and_lost() -> None:
    rig = Rig()
    rig.handler = lambda *request: Deferred()
    d = rig.query()
    rig.clock.advance(5.0)
    with pytest.raises(RequestTimeout):
        result_of(d)

    def lost(*request: Any) -> Reply:
        raise ConnectionLost("gone")

    rig.handler = lost
    with pytest.raises(ConnectionLost):
        result_of(rig.query())


def test_a_query_goes_on_where_v2_is_gone_and_leaves_it_out_when_that_is_certain() -> None:
    rig = Rig()
    rig.only("v3/query", "v2/call")
    for _ in range(3):
        result_of(rig.query())
        rig.clock.advance(SPAN / 2)
    result_of(rig.query())
    assert [path.split("/")[2] for path in rig.paths] == ["v2", "v3"] * 3 + ["v3"]
    assert rig.agent.api_versions == {"query": 3, "read_state": 3, "delegation": 2, "sync_call": 3, "call": 2}
    assert rig.agent.api_version_changes["query"] == 1
    rig.clock.advance(LOOK_AGAIN)
    rig.handler = rig.net.handle
    result_of(rig.query())
    result_of(rig.query())
    assert [path.split("/")[2] for path in rig.paths[-2:]] == ["v2", "v2"]
    assert rig.agent.api_versions["query"] == 2


def test_what_leaves_besides_queries_and_calls_is_charged() -> None:
    charged = []
    rig = Rig(ready=False, charge=lambda: charged.append(rig.transport.requests[-1:]))  # type: ignore[has-type]
    rig.agent.start()
    assert (len(charged), len(rig.transport.requests)) == (1, 1), "the status"
    result_of(rig.query())
    assert result_of(rig.call()).kind is OutcomeKind.REPLIED
    assert len(charged) == 1
    rig.only("v3/query", "v4/call", "v3/read_state", "v2/call")
    result_of(rig.query())
    result_of(rig.call())
    # one more for each 404
    assert len(charged) == 3
    before = len(rig.transport.requests)
    result_of(rig.agent.read_state(ECHO_ID, [[b"time"]], timeout=5.0))
    assert len(charged) - 3 == len(rig.transport.requests) - before >= 1
    own = len(rig.transport.requests) - 4
    assert len(charged) == own, "all but the two queries and the two calls"


def test_a_query_without_v3_never_needs_it() -> None:
    rig = Rig()
    rig.only("v2/query")
    for _ in range(20):
        result_of(rig.query())
        rig.clock.advance(SPAN)
    assert {path.split("/")[2] for path in rig.paths} == {"v2"}


def test_query_404_everywhere_is_not_remembered() -> None:
    rig = Rig()
    rig.answer(404, b"no such canister")
    for _ in range(5):
        with pytest.raises(HttpError, match="no such canister"):
            result_of(rig.query())
        rig.clock.advance(SPAN)
    rig.handler = rig.net.handle
    result_of(rig.query())
    assert [path.split("/")[2] for path in rig.paths] == ["v2", "v3"] * 5 + ["v2"]


class TestQuerySignatures:
    @pytest.mark.parametrize("delegation", ["none", "legacy", "sharded"])
    def test_checked(self, delegation) -> None:
        rig = Rig(net={"delegation": delegation}, verify_query_signatures=True)
        one, two = rig.query(), rig.query()
        assert result_of(one) == result_of(two)
        assert sum(path.endswith("/read_state") for path in rig.paths) == 1

    def changed(self, rig: Rig, change: Callable[[dict[str, Any]], object]) -> None:
        def handler(method: str, path: str, body: bytes) -> Any:
            answer = rig.net.handle(method, path, body)
            if not path.endswith("/query"):
                return answer

            def altered(result: Reply) -> Reply:
                fields = cbor.loads(result[2])
                change(fields)
                return result[0], dict(result[1]), cbor.dumps_tagged(fields)

            return answer.addCallback(altered)

        rig.handler = handler

    @pytest.mark.parametrize(
        "change",
        [
            lambda fields: fields["reply"].update(arg=b"DIDL\0\0"),
            lambda fields: fields.pop("signatures"),
            lambda fields: fields["signatures"][0].update(timestamp=1),
            lambda fields: fields.update(status="rejected", reject_code=3, reject_message="stop"),
            lambda fields: fields["signatures"][0].update(identity=b"unknown"),
        ],
    )
    def test_a_lie_is_found(self, change) -> None:
        rig = Rig(verify_query_signatures=True)
        self.changed(rig, change)
        with pytest.raises(SignatureInvalid):
            result_of(rig.query())

    def test_an_unknown_node_costs_one_fetch_in_a_while(self) -> None:
        rig = Rig(verify_query_signatures=True)
        result_of(rig.query())
        self.changed(rig, lambda fields: fields["signatures"][0].update(identity=b"unknown"))
        rig.clock.advance(60)
        for _ in range(5):
            with pytest.raises(SignatureInvalid):
                result_of(rig.query())
        assert sum(path.endswith("/read_state") for path in rig.paths) == 2

    def test_not_ready(self) -> None:
        rig = Rig(ready=False, verify_query_signatures=True)
        with pytest.raises(NotReady):
            result_of(rig.query())


def test_call_accepted() -> None:
    rig = Rig()
    assert result_of(rig.call(wait=False)).kind is OutcomeKind.ACCEPTED
    assert rig.paths == ["/api/v2/canister/C/call"]


def test_call_replied() -> None:
    rig = Rig()
    outcome = result_of(rig.call())
    assert outcome.kind is OutcomeKind.REPLIED
    with pytest.raises(CanisterRefused):
        ws.decode_unit_result(outcome.reply)
    assert rig.paths == ["/api/v3/canister/C/call"]


def test_call_rejected() -> None:
    outcome = result_of(Rig().call(method="no_such_method"))
    assert outcome.kind is OutcomeKind.REJECTED
    assert outcome.reject.code == 5


def test_call_refused_by_http() -> None:
    rig = Rig()
    rig.answer(429, b"slow down", Retry_After="1")
    for wait in (False, True):
        with pytest.raises(HttpError) as caught:
            result_of(rig.call(wait=wait))
        assert caught.value.retry_after == 1.0


def test_call_malformed() -> None:
    rig = Rig()
    rig.answer(200, b"garbage")
    with pytest.raises(AnswerMalformed):
        result_of(rig.call())


def test_a_call_goes_on_where_v3_is_gone() -> None:
    rig = Rig()
    rig.only("v4/call")
    for _ in range(2):
        assert result_of(rig.call()).kind is OutcomeKind.REPLIED
    assert rig.paths == [f"/api/{v}/canister/C/call" for v in ("v3", "v4") * 2]


def test_a_synchronous_call_becomes_an_asynchronous_one_only_when_certain_and_with_a_log_line() -> None:
    rig = Rig()
    rig.only("v2/call", "v2/query")
    with logged() as lines:
        for _ in range(3):
            with pytest.raises(HttpError) as caught:
                result_of(rig.call())
            assert caught.value.retryable
            result_of(rig.query())
            rig.clock.advance(SPAN / 2)
        assert result_of(rig.call()).kind is OutcomeKind.ACCEPTED
    assert [path.split("/")[2] for path in rig.paths if path.endswith("call")] == ["v3", "v4"] * 3 + ["v2"]
    assert rig.agent.api_versions["sync_call"] is None
    assert "whatever --relay-order says" in str(lines)
    # it is looked for again, by a call that loses nothing by it
    rig.clock.advance(LOOK_AGAIN)
    assert result_of(rig.call()).kind is OutcomeKind.ACCEPTED
    rig.handler = rig.net.handle
    rig.clock.advance(LOOK_AGAIN)
    assert result_of(rig.call()).kind is OutcomeKind.REPLIED
    assert result_of(rig.call()).kind is OutcomeKind.REPLIED
    assert [path.split("/")[2] for path in rig.paths][-5:] == ["v3", "v4", "v2", "v3", "v3"]


def test_two_404s_while_a_client_opens_leave_the_synchronous_call_on() -> None:
    rig = Rig()
    left = [2]

    def handler(method: str, path: str, body: bytes) -> Any:
        if path.endswith("/call") and left[0]:
            left[0] -= 1
            return (404, {}, b"")
        return rig.net.handle(method, path, body)

    rig.handler = handler
    with pytest.raises(HttpError) as caught:
        result_of(rig.call())
    assert caught.value.retryable
    rig.clock.advance(SPAN)
    for _ in range(3):
        assert result_of(rig.call()).kind is OutcomeKind.REPLIED
    assert rig.agent.api_versions["sync_call"] == 3


def test_call_404_everywhere() -> None:
    rig = Rig()
    rig.only()
    for _ in range(5):
        with pytest.raises(HttpError):
            result_of(rig.call())
        rig.clock.advance(SPAN)
    assert [path.split("/")[2] for path in rig.paths] == ["v3", "v4"] * 5
    assert rig.agent.api_versions["sync_call"] == 3


def test_call_can_be_cancelled() -> None:
    rig = Rig()
    rig.handler = lambda *request: Deferred()
    d = rig.call(wait=False)
    assert pending(d)
    d.cancel()
    assert rig.transport.in_flight == 0
    d.addErrback(lambda _: None)


class TestVerifiedOutcomes:
    """Outcomes of calls that count only if a certificate shows them."""

    def call(self, rig: Rig, method: str = "ws_close", request: SignedRequest | None = None) -> Any:
        request = request or rig.net.call_request(GATEWAY, method, CLOSE)
        d = rig.agent.call(ECHO_ID, request.body, wait=True, timeout=15.0, request_id=request.request_id)
        rig.clock.pump([0.1] * 20)
        return d

    def signed_anew(self, rig: Rig, request: SignedRequest, sign: Callable[[bytes], bytes]) -> None:
        """Let the network report the call as executed in a certificate that somebody else has signed."""
        fields = {b"status": b"replied", b"reply": ws.UNIT_OK}
        tree = from_mapping({b"request_status": {request.request_id: fields}, b"time": leb128(rig.net.now_ns())})
        rig.answer(200, cbor.dumps({"status": "replied", "certificate": build_certificate(tree, sign)}))

    def test_a_valid_certificate_decides(self) -> None:
        rig = Rig()
        outcome = result_of(self.call(rig))
        assert outcome.kind is OutcomeKind.REPLIED
        assert outcome.reply.startswith(b"DIDL")
        outcome = result_of(self.call(rig, "no_such_method"))
        assert (outcome.kind, outcome.certified, outcome.reject.code) == (OutcomeKind.REJECTED, True, 5)
        assert rig.paths == ["/api/v3/canister/C/call"] * 2

    def test_without_a_certificate_nothing_has_ended(self) -> None:
        rig = Rig()
        rig.answer(200, cbor.dumps({"status": "non_replicated_rejection", "reject_code": 3, "reject_message": "no"}))
        outcome = result_of(self.call(rig))
        assert (outcome.reject.code, outcome.certified, outcome.answer.end) == (3, False, False)
        rig.answer(202)
        assert result_of(self.call(rig)).kind is OutcomeKind.UNDER_WAY

    def test_only_the_subnet_s_signature_is_accepted(self) -> None:
        rig = Rig()
        request = rig.net.call_request(GATEWAY, "ws_close", CLOSE)
        rig.clock.advance(DOUBT_INTERVAL)
        for sign in (lambda _: b"\x80" * 48, sign_as_subnet):
            self.signed_anew(rig, request, sign)
            assert result_of(rig.agent.call(ECHO_ID, request.body, wait=True, timeout=15.0)).reply == ws.UNIT_OK
            with pytest.raises(CertificateInvalid):
                result_of(self.call(rig, request=request))
        assert "/api/v2/status" in rig.paths, "a test network may have another key by now"

    def test_the_certificate_of_another_call_is_refused(self) -> None:
        rig = Rig()
        other: list[Any] = []
        rig.net.submit(rig.net.call_request(GATEWAY, "ws_close", CLOSE)).addCallback(other.append)
        rig.clock.pump([0.1] * 20)
        rig.handler = lambda *_: other[0]
        with pytest.raises(CertificateInvalid):
            result_of(self.call(rig))

    def test_an_answer_of_the_root_subnet_needs_its_canister_ranges(self, monkeypatch: pytest.MonkeyPatch) -> None:
        rig = Rig(net={"delegation": "none"})
        for _ in range(2):
            assert result_of(self.call(rig)).kind is OutcomeKind.REPLIED
        assert [path.split("/")[-1] for path in rig.paths] == ["call", "read_state", "call"], "read once"
        monkeypatch.setattr(RootSubnet, "holds", lambda *_: False)
        with pytest.raises(CertificateInvalid, match="not one of its canisters"):
            result_of(self.call(rig))

    def test_without_a_root_key_there_is_nothing_to_verify_by(self) -> None:
        rig = Rig(ready=False)
        assert result_of(self.call(rig)).kind is OutcomeKind.REPLIED


def test_read_state() -> None:
    rig = Rig()
    certificate = result_of(rig.agent.read_state(ECHO_ID, [[b"time"]], timeout=5))
    assert certificate.time_ns == rig.net.now_ns()
    path = (b"canister", ECHO_ID.raw, b"module_hash")
    certificate = result_of(rig.agent.read_state(ECHO_ID, [path], timeout=5))
    assert isinstance(certificate.lookup(path), Found)
    rig.only("v2/read_state")
    result_of(rig.agent.read_state(ECHO_ID, [[b"time"]], timeout=5))
    assert [p.split("/")[2] for p in rig.paths] == ["v3", "v3", "v3", "v2"]


def test_read_state_verifies_the_certificate() -> None:
    rig = Rig(root_key=bls.MAINNET_ROOT_KEY_DER)
    with pytest.raises(CertificateInvalid):
        result_of(rig.agent.read_state(ECHO_ID, [[b"time"]], timeout=5))
    rig = Rig()
    rig.answer(200, cbor.dumps({}))
    with pytest.raises(AnswerMalformed):
        result_of(rig.agent.read_state(ECHO_ID, [[b"time"]], timeout=5))
    rig.answer(403)
    with pytest.raises(HttpError):
        result_of(rig.agent.read_state(ECHO_ID, [[b"time"]], timeout=5))


class Transformed(Request):
    """As a transforming proxy passes an answer on (RFC 9110, section 7.7)."""

    def setResponseCode(self, code: int, message: bytes | None = None) -> None:
        """Say that it was changed."""
        super().setResponseCode(203 if code == 200 else code)

    def write(self, data: bytes) -> None:
        """Send, with another status if nobody has set one."""
        if not self.startedWriting:
            self.setResponseCode(self.code)
        super().write(data)


class OverLoopback(TestCase):
    """All of it once through sockets, treq, our transport and twisted.web's server."""

    timeout = 20

    @inlineCallbacks
    def test_everything(self) -> Generator[Any, Any, None]:
        yield self.everything(Request)

    @inlineCallbacks
    def test_everything_through_a_proxy_that_changes_answers(self) -> Generator[Any, Any, None]:
        yield self.everything(Transformed)

    @inlineCallbacks
    def everything(self, request_factory: type[Request]) -> Generator[Any, Any, None]:
        replica = Replica(reactor, time.time_ns, b"loopback")
        site = ReplicaSite(replica)
        site.requestFactory = request_factory
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        transport = Transport(reactor)
        url = f"http://127.0.0.1:{port.getHost().port}"
        agent = IcAgent(reactor, transport, url, now_ns=time.time_ns, verify_query_signatures=True)
        try:
            agent.start()
            yield agent.when_ready()
            content = query_content(
                GATEWAY.principal, ECHO_ID, "ws_get_messages", POLL, time.time_ns() + 60 * 10**9, b"n"
            )
            reply = yield agent.query(ECHO_ID, sign_request(GATEWAY, content), timeout=5.0)
            self.assertEqual(ws.parse_get_messages(reply).messages, [])
            state = yield agent.read_state(ECHO_ID, [[b"time"]], timeout=5.0)
            self.assertIsInstance(state.lookup((b"time",)), Found)
            expiry = time.time_ns() + 60 * 10**9
            call = call_content(GATEWAY.principal, ECHO_ID, "ws_close", CLOSE, expiry, b"c")
            outcome = yield agent.call(ECHO_ID, sign_request(GATEWAY, call).body, wait=True, timeout=15.0)
            self.assertIs(outcome.kind, OutcomeKind.REPLIED)
            close = sign_request(GATEWAY, {**call, "nonce": b"d"})
            outcome = yield agent.call(ECHO_ID, close.body, wait=True, timeout=15.0, request_id=close.request_id)
            self.assertRaises(CanisterRefused, ws.decode_unit_result, outcome.reply)
            self.assertLess(abs(agent.clock_skew_ns), 5e9)  # type: ignore[arg-type]
        finally:
            yield agent.stop()
            yield transport.close()
            yield port.stopListening()
            replica.close()
