from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from twisted.internet.task import Clock

from icwsgw.blocking_http import HttpAnswer
from icwsgw.client import network_requests
from icwsgw.client.client_errors import ClientError
from icwsgw.client.network_requests import NetworkRequests
from icwsgw.client.root_key import fetch_root_key
from icwsgw.devnet.canisters import Canister
from icwsgw.devnet.cdk_types import Trap
from icwsgw.devnet.faults import InjectedFault
from icwsgw.devnet.replica import Replica
from icwsgw.errors import CertificateInvalid, Rejected
from icwsgw.ic import cbor
from icwsgw.ic.bls import MAINNET_ROOT_KEY_DER
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from tests.acceptance.processes import free_port
from tests.client.test_root_key import answering
from tests.support.certificates import IVG37, VECTORS
from tests.support.devnet import result_of
from tests.support.scripted_http import HttpExchange, scripted_http

ID = Principal.from_text("bkyz2-fmaaa-aaaaa-qaaaq-cai")
SIGNER = Ed25519Identity(b"\1" * 32)


def test_a_status() -> None:
    with answering(cbor.dumps_tagged({"impl_version": "1"})) as url:
        assert NetworkRequests(url + "/").status() == {"impl_version": "1"}
    for status, body in ((200, b"hello"), (500, cbor.dumps({})), (200, cbor.dumps([1]))):
        with answering(body, status) as url, pytest.raises(ClientError, match=f"answers HTTP {status} instead"):
            NetworkRequests(url).status()


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://a", "a", "http://", "http://[::1", "http://a:b", "http://a:99999"),
        *("http://a?b", "http://a/#b", "http://user:secret@a", "http://user:secret@a:b"),
    ],
)
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(ClientError, match="not the URL of a network") as wrong:
        NetworkRequests(url)
    assert wrong.value.hint
    assert "secret" not in str(wrong.value)
    with pytest.raises(ClientError, match="not the URL of a network"):
        fetch_root_key(url)


def test_networks_that_are_none() -> None:
    for url in ("http://a..b", f"http://{'x' * 70}.test", "http://127.0.0.1:0"):
        with pytest.raises(ClientError, match="cannot be reached"):
            NetworkRequests(url).status()
    silent = NetworkRequests(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ClientError, match="cannot be reached"):
        silent.query(ID, "a", b"", SIGNER)
    with answering(b"") as url:
        # this server has no other path than that of the status
        other = NetworkRequests(url)
        with pytest.raises(ClientError, match="answers HTTP 501"):
            other.query(ID, "a", b"", SIGNER)
        with pytest.raises(ClientError, match="answers HTTP 501"):
            other.metadata(ID, b"candid:service", MAINNET_ROOT_KEY_DER)


def test_a_redirect_is_not_followed() -> None:
    """It would turn the POST of a query into a GET without a body."""
    lines: list[str] = []

    def move(exchange: HttpExchange) -> None:
        lines.append(exchange.line)
        exchange.answer(status=302, headers="Location: http://elsewhere.test/\r\n")

    with scripted_http(move) as url:
        for ask in (NetworkRequests(url).status, lambda: NetworkRequests(url).query(ID, "a", b"", SIGNER)):
            with pytest.raises(ClientError, match="answers HTTP 302") as moved:
                ask()
            assert moved.value.hint == "It redirects to http://elsewhere.test/: give the URL where the network is."
    assert lines == ["GET /api/v2/status", f"POST /api/v2/canister/{ID}/query"]


@pytest.mark.parametrize("status", [200, 503])
def test_a_request_ends_in_time_even_if_bytes_arrive(status: int) -> None:
    def drip(exchange: HttpExchange) -> None:
        exchange.link.sendall(b"HTTP/1.1 %d Reason\r\nContent-Length: 900\r\n\r\n" % status)
        exchange.drip(b"x")

    with scripted_http(drip) as url:
        # long enough to connect on a busy machine
        network = NetworkRequests(url, timeout=2.0)
        for ask in (network.status, lambda: network.query(ID, "a", b"", SIGNER)):
            with pytest.raises(ClientError, match="has not answered: timed out"):
                ask()
        with pytest.raises(ClientError, match="has not answered: timed out"):
            fetch_root_key(url, timeout=2.0)


class Adding(Canister):
    """Counts its executions."""

    executions = 0

    def update(self, method: str, caller: Principal, arg: bytes) -> bytes:
        type(self).executions += 1
        if method == "trap":
            raise Trap("as asked")
        return method.encode() + arg


class InMemory(NetworkRequests):
    """Requests to a replica in memory, in the real time."""

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__("http://127.0.0.1:1")
        self.replica = Replica(clock or Clock(), time.time_ns, b"calls")
        self.replica.install(ID, Adding)
        self.sent: list[str] = []

    def _send(self, path: str, body: bytes | None, timeout: float | None = None) -> HttpAnswer:
        self.sent.append(path.rpartition("/")[2])
        status, _, answer = result_of(self.replica.handle("GET" if body is None else "POST", path, body or b""))
        return HttpAnswer(status, answer)

    def ask(self, method: str) -> bytes:
        return self.call(ID, method, b" it", SIGNER, self.replica.root_key_der)


def test_a_call_that_is_answered_at_once() -> None:
    network = InMemory()
    assert network.ask("do") == b"do it"
    assert network.sent == ["call"]
    with pytest.raises(Rejected, match="as asked"):
        network.ask("trap")
    with pytest.raises(CertificateInvalid):
        network.call(ID, "do", b"", SIGNER, MAINNET_ROOT_KEY_DER)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time that passes between two looks, and nowhere else."""
    clock = Clock()
    own = SimpleNamespace(time_ns=time.time_ns, monotonic=clock.seconds, sleep=clock.advance)
    monkeypatch.setattr(network_requests, "time", own)
    return clock


def test_a_call_that_takes_longer_is_looked_at_again(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    network = InMemory(clock)
    network.replica.ingress.latency = 1.0
    monkeypatch.setattr(network_requests, "CALL_VERSIONS", ("v2",))
    assert network.ask("do") == b"do it"
    assert network.sent == ["call", "read_state", "read_state"]


def test_a_call_whose_outcome_is_not_known(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    network = InMemory(clock)
    network.replica.ingress.latency = 1000.0
    monkeypatch.setattr(network_requests, "CALL_VERSIONS", ("v2",))
    monkeypatch.setattr(network_requests, "_LOOK_S", 50.0)
    with pytest.raises(ClientError, match="the outcome of do is not known") as unknown:
        network.ask("do")
    assert unknown.value.hint == "It may have been executed."


def test_a_call_that_the_network_refuses() -> None:
    network = InMemory()
    nobody = Principal.from_text("bnz7o-iuaaa-aaaaa-qaaaa-cai")
    with pytest.raises(Rejected, match="IC0301"):
        network.call(nobody, "do", b"", SIGNER, network.replica.root_key_der)
    network.replica.faults.add(InjectedFault("http", on="call"))
    with pytest.raises(ClientError, match="answers HTTP 503"):
        network.ask("do")


class Served:
    """A replica behind HTTP on loopback, of which each answer may be replaced.

    :param answers: for each request, what answers it instead of the replica; None, and at the end: the replica
    :ivar asked: the last part of the path of each request
    """

    def __init__(self, *answers: Callable[[Served, HttpExchange], object] | None) -> None:
        self.replica = Replica(Clock(), time.time_ns, b"calls")
        self.answers = list(answers)
        self.asked: list[str] = []

        class Counting(Adding):
            executions = 0

        self.canister = Counting
        self.replica.install(ID, Counting)

    def handle(self, exchange: HttpExchange) -> None:
        method, path = exchange.line.split(" ")
        self.asked.append(path.rpartition("/")[2])
        special = self.answers.pop(0) if self.answers else None
        if special is not None:
            special(self, exchange)
            return
        status, _, body = result_of(self.replica.handle(method, path, exchange.body))
        exchange.answer(body, status)

    def call(self, method: str = "do", timeout: float = 60.0, root_key: bytes | None = None) -> bytes:
        key = self.replica.root_key_der if root_key is None else root_key
        with scripted_http(self.handle) as url:
            return NetworkRequests(url, timeout).call(ID, method, b" it", SIGNER, key)


def executed(served: Served, exchange: HttpExchange) -> None:
    """The network executes the call, and its answer is lost."""
    result_of(served.replica.handle("POST", exchange.line.split(" ")[1], exchange.body))


def accepted(served: Served, exchange: HttpExchange) -> None:
    executed(served, exchange)
    exchange.answer(status=202)


def lost(_: Served, exchange: HttpExchange) -> None:
    exchange.link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")


def answers(status: int, body: bytes = b"", headers: str = "") -> Callable[[Served, HttpExchange], object]:
    return lambda _, exchange: exchange.answer(body, status, headers)


def test_a_call_may_take_longer_than_other_requests() -> None:
    """The network answers after 10 seconds if a call takes longer."""

    def slowly(served: Served, exchange: HttpExchange) -> None:
        exchange.over.wait(0.6)
        status, _, body = result_of(served.replica.handle("POST", exchange.line.split(" ")[1], exchange.body))
        exchange.answer(body, status)

    served = Served(slowly)
    assert served.call(timeout=0.3) == b"do it"
    assert served.asked == ["call"]
    assert network_requests.SUBMIT_TIMEOUT > 10


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("way", [lost, answers(502), answers(504)], ids=["cut", "502", "504"])
def test_a_call_whose_answer_is_lost_is_sent_again_unchanged(way: Callable[[Served, HttpExchange], object]) -> None:
    def lose(served: Served, exchange: HttpExchange) -> None:
        executed(served, exchange)
        way(served, exchange)

    served = Served(lose)
    assert served.call() == b"do it"
    assert (served.asked, served.canister.executions) == (["call", "call"], 1)
    # the network never had it
    served = Served(lost)
    assert served.call() == b"do it"
    assert (served.asked, served.canister.executions) == (["call", "call"], 1)


REFUSALS = [
    *(answers(400), answers(429), answers(503)),
    answers(200, cbor.dumps({"status": "non_replicated_rejection", "reject_code": 2, "reject_message": "stopped"})),
]


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("refusal", REFUSALS, ids=["400", "429", "503", "reject"])
def test_a_copy_of_a_call_that_is_refused_tells_nothing_about_the_call(
    refusal: Callable[[Served, HttpExchange], object],
) -> None:
    served = Served(executed, refusal)
    assert served.call() == b"do it"
    assert (served.asked, served.canister.executions) == (["call", "call", "read_state"], 1)


@pytest.mark.usefixtures("clock")
def test_a_look_at_an_accepted_call_may_fail() -> None:
    failures = [answers(503), answers(429), answers(404), answers(404), lost, answers(200, b"<html>"), answers(302)]
    served = Served(accepted, *failures)
    assert served.call() == b"do it"
    assert (served.asked, served.canister.executions) == (["call", *["read_state"] * 8], 1)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("first", [lost, accepted])
def test_a_network_that_goes_away_after_it_accepted_a_call(first: Callable[[Served, HttpExchange], object]) -> None:
    def leave(served: Served, exchange: HttpExchange) -> None:
        network.url = f"http://127.0.0.1:{free_port()}"
        first(served, exchange)

    served = Served(leave)
    with scripted_http(served.handle) as url:
        network = NetworkRequests(url)
        with pytest.raises(ClientError, match=r"outcome of do is not known: .* cannot be reached") as unknown:
            network.call(ID, "do", b" it", SIGNER, served.replica.root_key_der)
    assert unknown.value.hint == "It may have been executed."


@pytest.mark.parametrize("status", [500, 503])
def test_an_error_within_the_network_tells_nothing_about_a_call(status: int) -> None:
    served = Served(answers(status))
    with pytest.raises(ClientError, match=f"answers HTTP {status}") as unknown:
        served.call()
    assert unknown.value.hint == "It may have been executed."
    served = Served(accepted, answers(400, b"no"))
    with pytest.raises(ClientError, match="answers HTTP 400: no") as unknown:
        served.call()
    assert unknown.value.hint == "It may have been executed."


def test_what_was_refused_was_not_executed() -> None:
    for status in (302, 400, 413, 429):
        with pytest.raises(ClientError, match=f"answers HTTP {status}") as refused:
            Served(answers(status)).call()
        assert "executed" not in refused.value.explained()
    with pytest.raises(ClientError, match="cannot be reached") as unreached:
        NetworkRequests(f"http://127.0.0.1:{free_port()}").call(ID, "do", b"", SIGNER, MAINNET_ROOT_KEY_DER)
    assert unreached.value.hint == "Is the network running there?"


def test_an_outcome_that_cannot_be_verified_may_be_one() -> None:
    with pytest.raises(CertificateInvalid, match="the call may have been executed"):
        Served().call(root_key=MAINNET_ROOT_KEY_DER)


@pytest.mark.usefixtures("clock")
def test_a_call_whose_trap_is_certified_after_its_answer_was_lost() -> None:
    with pytest.raises(Rejected, match="as asked"):
        Served(executed, answers(503)).call("trap")


def test_the_reason_why_an_outcome_is_not_known(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr(network_requests, "_LOOK_S", 50.0)
    served = Served(*[lost] * 4)
    with pytest.raises(ClientError, match=r"outcome of do is not known: .* the connection ended within") as unknown:
        served.call()
    assert unknown.value.hint == "It may have been executed."
    assert (served.asked, clock.seconds()) == (["call", "call", "read_state", "call"], 150.0)


class Answering(NetworkRequests):
    """A network that answers each request alike."""

    def __init__(self, answer: HttpAnswer, *, check_time: bool = True) -> None:
        super().__init__("http://127.0.0.1:1", check_time=check_time)
        self._answer = answer

    def _send(self, path: str, body: bytes | None, timeout: float | None = None) -> HttpAnswer:
        return self._answer


def test_certified_state_is_of_this_time() -> None:
    answer = HttpAnswer(200, (VECTORS / "ivg37_time.bin").read_bytes())
    network = Answering(answer)
    with pytest.raises(CertificateInvalid, match=r"the certificate is \d+ s old"):
        network.read_state(IVG37, [[b"time"]], MAINNET_ROOT_KEY_DER)
    network = Answering(answer, check_time=False)
    assert network.read_state(IVG37, [[b"time"]], MAINNET_ROOT_KEY_DER).time_ns < time.time_ns()
    with pytest.raises(CertificateInvalid, match="may not speak for"):
        network.read_state(ID, [[b"time"]], MAINNET_ROOT_KEY_DER)


def test_a_certificate_that_is_none() -> None:
    network = Answering(HttpAnswer(200, cbor.dumps({"certificate": b"x"})))
    with pytest.raises(CertificateInvalid):
        network.read_state(ID, [[b"time"]], MAINNET_ROOT_KEY_DER)


REJECT = {"reject_code": 3, "reject_message": "no such canister", "error_code": "IC0301"}


@pytest.mark.parametrize(
    "fields",
    [REJECT, {"status": "non_replicated_rejection", **REJECT}],
    ids=["v2", "v3"],
)
def test_a_call_that_is_rejected_before_it_is_executed(fields: dict[str, object]) -> None:
    network = Answering(HttpAnswer(200, cbor.dumps(fields)))
    with pytest.raises(Rejected, match="no such canister") as raised:
        network.call(ID, "set", b"", SIGNER, MAINNET_ROOT_KEY_DER)
    assert (raised.value.code, raised.value.error_code) == (3, "IC0301")


@pytest.mark.parametrize("code", ["3", None, True])
def test_a_reject_that_is_none(code: object) -> None:
    network = Answering(HttpAnswer(200, cbor.dumps({"status": "rejected", "reject_code": code})))
    with pytest.raises(ClientError, match="an unknown answer"):
        network.query(ID, "get", b"", SIGNER)
    with pytest.raises(ClientError, match="an unknown answer"):
        network.call(ID, "set", b"", SIGNER, MAINNET_ROOT_KEY_DER)


def test_a_reject_without_a_message() -> None:
    network = Answering(HttpAnswer(200, cbor.dumps({"status": "rejected", "reject_code": 5, "error_code": 1})))
    with pytest.raises(Rejected) as raised:
        network.query(ID, "get", b"", SIGNER)
    assert (raised.value.code, raised.value.error_code) == (5, None)


NO_REPLIES: list[object] = [None, b"x", [], {}, {"arg": 3}, {"arg": "x"}, {"arg": []}]


@pytest.mark.parametrize("fields", [{"status": "rejected"}, *({"reply": reply} for reply in NO_REPLIES)])
def test_a_query_without_a_reply(fields: dict[str, object]) -> None:
    network = Answering(HttpAnswer(200, cbor.dumps(fields)))
    with pytest.raises(ClientError, match="an unknown answer"):
        network.query(ID, "get", b"", SIGNER)
