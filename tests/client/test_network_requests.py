from __future__ import annotations

import time

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


@pytest.mark.parametrize("url", ["ftp://a", "a", "http://", "http://[::1", "http://a:b", "http://a:99999"])
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(ClientError, match="not the URL of a network") as wrong:
        NetworkRequests(url)
    assert wrong.value.hint
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
def test_the_time_of_a_request_ends_whatever_arrives(status: int) -> None:
    def drip(exchange: HttpExchange) -> None:
        exchange.link.sendall(b"HTTP/1.1 %d Reason\r\nContent-Length: 900\r\n\r\n" % status)
        exchange.drip(b"x")

    with scripted_http(drip) as url:
        network = NetworkRequests(url, timeout=0.3)
        for ask in (network.status, lambda: network.query(ID, "a", b"", SIGNER)):
            with pytest.raises(ClientError, match="has not answered: timed out"):
                ask()
        with pytest.raises(ClientError, match="has not answered: timed out"):
            fetch_root_key(url, timeout=0.3)


class Adding(Canister):
    def update(self, method: str, caller: Principal, arg: bytes) -> bytes:
        if method == "trap":
            raise Trap("as asked")
        return method.encode() + arg


class InMemory(NetworkRequests):
    """Requests to a replica in memory, in the real time."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1")
        self.clock = Clock()
        self.replica = Replica(self.clock, time.time_ns, b"calls")
        self.replica.install(ID, Adding)
        self.sent: list[str] = []

    def _send(self, path: str, body: bytes | None) -> HttpAnswer:
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


def test_a_call_that_takes_longer_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    network = InMemory()
    network.replica.ingress.latency = 1.0
    monkeypatch.setattr(network_requests, "CALL_VERSIONS", ("v2",))
    monkeypatch.setattr("icwsgw.client.network_requests.time.sleep", network.clock.advance)
    assert network.ask("do") == b"do it"
    assert network.sent == ["call", "read_state", "read_state"]


def test_a_call_whose_outcome_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    network = InMemory()
    network.replica.ingress.latency = 1000.0
    monkeypatch.setattr(network_requests, "CALL_VERSIONS", ("v2",))
    monkeypatch.setattr(network_requests, "_TTL_NS", 50_000_000)
    monkeypatch.setattr(network_requests, "_LOOK_S", 0.01)
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


class Answering(NetworkRequests):
    """A network that answers each request alike."""

    def __init__(self, answer: HttpAnswer, *, check_time: bool = True) -> None:
        super().__init__("http://127.0.0.1:1", check_time=check_time)
        self._answer = answer

    def _send(self, path: str, body: bytes | None) -> HttpAnswer:
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
