"""The Internet Computer's HTTP interface, as far as the gateway needs it (interface spec, "HTTPS interface").

- :meth:`IcAgent.query` polls canisters, through treq. On mainnet it verifies the node signature of each answer.
- :meth:`IcAgent.call` sends a call's envelope, a client's or the gateway's own, through the transport alone. It
  verifies the outcome if the caller wants that.
- :meth:`IcAgent.read_state` reads certified state, :meth:`IcAgent.status` the replica's status.

Errors are those of :mod:`icwsgw.errors`: ``Rejected`` (the IC or the canister rejects the request), ``HttpError``,
``TransportError`` and its subclasses, ``SignatureInvalid``, ``CertificateInvalid``, ``NotReady``. The agent retries
nothing; pollers, relays and close notices decide when to retry.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.web.http_headers import Headers

from icwsgw.agent.delegation_replacer import TIMEOUT, DelegationReplacer
from icwsgw.agent.http.connection import ParsedResponse
from icwsgw.agent.http.protocols import NetworkTransport
from icwsgw.agent.http.treq_client import MinimalTreqClient, WholeResponse
from icwsgw.agent.http.url import Url
from icwsgw.agent.network_time_observer import NetworkTimeObserver
from icwsgw.agent.node_keys import NodeKeyCache, NodeKeys
from icwsgw.agent.outcome import (
    ACCEPTED,
    UNDER_WAY,
    CallOutcome,
    call_outcome,
    certified_outcome,
    decoded,
    http_error,
    query_reply,
)
from icwsgw.agent.root_subnet import RootSubnet
from icwsgw.agent.routes import Endpoint, Route, Routes, report_change
from icwsgw.agent.trust import Trust
from icwsgw.core.network_time import NetworkTime
from icwsgw.errors import AnswerMalformed, CertificateInvalid, NotReady, SignatureInvalid
from icwsgw.ic import bls
from icwsgw.ic.certificate import Certificate, verify_certificate
from icwsgw.ic.envelope import SignedRequest, anonymous_request, expiry_after, read_state_content
from icwsgw.ic.network_limits import REQUEST_TTL_SECONDS, SECOND_NS
from icwsgw.ic.principal import ANONYMOUS, Principal
from icwsgw.ic.query_signature import UnknownNode, verify_query_response
from icwsgw.reactor.clock import Clock

MAX_STATUS = 64 * 1024
TIME_TIMEOUT = 5.0

_HEADERS = Headers({b"Content-Type": [b"application/cbor"]})
_NO_HEADERS = Headers()
_MAX_CLIENTS = 16
_SYNC_CALL, _CALL = Route.SYNC_CALL, Route.CALL


class IcAgent:
    """The network, as the gateway sees it.

    :param reactor: source of monotonic time and timers
    :param transport: carries the requests; its owner closes it, after :meth:`stop`
    :param network_url: for example "https://icp-api.io"
    :param now_ns: the wall clock, ns since 1970
    :param rng: random numbers in [0, 1), for jitter
    :param root_key: the network's root key in DER; None: the agent fetches it from the network
    :param verify_query_signatures: verify node signatures on queries; None: if the root key is mainnet's
    :param own_time: the network runs on this machine, and its time may be set; see
        :class:`icwsgw.agent.network_time_observer.NetworkTimeObserver`
    :param charge: called for each of the agent's own requests and each repeated at an older endpoint (decision 0034)
    :raises ValueError: ``network_url`` is not a URL
    :ivar time_observer: estimates the network's time from answers
    :ivar time: the network's time
    :ivar delegations: verified delegations of subnets
    :ivar root_subnet: the canisters of the root subnet
    :ivar readable: replaces delegations in certificates that some clients cannot verify
    """

    def __init__(
        self,
        reactor: Clock,
        transport: NetworkTransport,
        network_url: str,
        *,
        now_ns: Callable[[], int],
        rng: Callable[[], float] = random.random,
        root_key: bytes | None = None,
        verify_query_signatures: bool | None = None,
        own_time: bool = False,
        charge: Callable[[], None] = lambda: None,
    ) -> None:
        self.reactor = reactor
        self.now_ns = now_ns
        base = Url.parse(network_url)
        self._verify_queries = verify_query_signatures
        self._charge = charge
        self._transport = transport
        self._routes = Routes(base)
        self._trust = Trust(reactor, rng, self.status, root_key)
        self._node_keys = NodeKeyCache(reactor, self._trust, self._read_subnet)
        self.delegations = self._trust.delegations
        self.readable = DelegationReplacer(
            reactor, self.network_ns, self._root_key, self.delegations, self._read_delegation, self._trust.doubt
        )
        self.root_subnet = RootSubnet(reactor, self._trust, self._read_subnet)
        self._clients: dict[float, MinimalTreqClient] = {}
        self.time_observer = NetworkTimeObserver(reactor, lambda: self.now_ns(), self._read_time, own_time)
        self.time: NetworkTime = self.time_observer.time

    @property
    def ready(self) -> bool:
        """Whether the root key is known."""
        return self._trust.root_key is not None

    @property
    def mainnet(self) -> bool:
        """Whether the network has mainnet's root key."""
        return self._trust.root_key == bls.MAINNET_ROOT_KEY_DER

    @property
    def verify_query_signatures(self) -> bool:
        """Whether the agent verifies node signatures on queries."""
        return self.mainnet if self._verify_queries is None else self._verify_queries

    @property
    def root_key(self) -> bytes | None:
        """The root key in DER; None while it is not known."""
        return self._trust.root_key

    @property
    def root_key_contradicted(self) -> bool:
        """Whether the network states another root key than the gateway was given."""
        return self._trust.contradicted

    @property
    def last_failure(self) -> str | None:
        """Why the last attempt to fetch the root key failed, as text; None if it did not."""
        return self._trust.last_failure

    @property
    def last_answer(self) -> float | None:
        """When the last answer came; see :class:`icwsgw.agent.network_time_observer.NetworkTimeObserver`."""
        return self.time_observer.last_answer

    @property
    def clock_skew_ns(self) -> int | None:
        """How far the network's clock is ahead of this machine's, to about a second; None until it is measured."""
        return self.time.measured_ns

    def network_ns(self) -> int:
        """The network's time as far as it is known, ns since 1970."""
        return self.time.now_ns(self.reactor.seconds(), self.now_ns())

    @property
    def root_key_fetches(self) -> dict[str, int]:
        """How often the agent has fetched the root key, by outcome."""
        return self._trust.fetches

    @property
    def node_key_fetches(self) -> dict[str, int]:
        """How often the agent has fetched node keys, by outcome."""
        return self._node_keys.fetches

    @property
    def api_versions(self) -> dict[str, int | None]:
        """The API version in use for each route, by the route's name; None if the network has none of them."""
        return {route.label: self._routes.versions.uses(route) for route in Route}

    @property
    def api_version_changes(self) -> dict[str, int]:
        """How often a version has disappeared or come back, by the route's name."""
        return {route.label: count for route, count in self._routes.versions.changes.items()}

    def start(self) -> None:
        """Start to fetch the root key, for as long as it takes; never fails."""
        self._trust.start()

    def stop(self) -> Deferred[None]:
        """Stop what :meth:`start` has started. Requests in flight continue.

        :return: has fired already
        """
        self._trust.stop()
        self.time_observer.stop()
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    def when_ready(self) -> Deferred[None]:
        """Fires when the root key is known; fails with NotReady if the agent is stopped before."""
        return self._trust.when_ready()

    def status(self, *, timeout: float = 5.0) -> Deferred[dict[str, Any]]:
        """Fetch the replica's status.

        :returns: its CBOR map; fails with HttpError or TransportError
        """
        self._charge()
        response: Deferred[Any] = self._client(timeout).request(
            "GET", self._routes.status, headers=_NO_HEADERS, data=b""
        )
        return response.addCallback(self._with_body, self._got_status)

    def query(self, canister: Principal, request: SignedRequest, *, timeout: float) -> Deferred[bytes]:
        """Send a signed query.

        :param timeout: seconds for the whole request, and as many again if an older endpoint has to be tried
        :returns: the reply in Candid; fails with Rejected, HttpError, TransportError, SignatureInvalid or NotReady
        """
        endpoints = self._routes.endpoints(Route.QUERY, canister, self.reactor.seconds())
        return self._query_at(endpoints, canister, request, timeout)

    def call(
        self, canister: Principal, body: bytes, *, wait: bool, timeout: float, request_id: bytes | None = None
    ) -> Deferred[CallOutcome]:
        """Send a call envelope.

        :param body: the envelope in CBOR, with its tag
        :param wait: use the synchronous endpoint, which waits up to 10 s for the call to be executed
        :param timeout: seconds for the whole request
        :param request_id: if it is given and the root key is known, the outcome is verified: the call has ended only if
            a valid certificate shows the outcome of this request
        :returns: the outcome as far as the answer shows it; fails with HttpError or TransportError, or if it is
            verified, with CertificateInvalid or as reading the state does
        """
        if self._routes.versions.complete:
            endpoints = self._routes.endpoints(_SYNC_CALL if wait else _CALL, canister, 0.0)
        else:
            endpoints = self._call_endpoints(canister, wait)
        answer = self._transport.fetch(b"POST", endpoints[0].url, body, timeout=timeout)
        return answer.addCallback(self._called, endpoints, body, timeout, request_id)

    def read_state(
        self, canister: Principal, paths: Sequence[Sequence[bytes]], *, timeout: float
    ) -> Deferred[Certificate]:
        """Read certified paths of the state tree anonymously, and verify the certificate.

        :param paths: what to read, for example ``[[b"time"]]``
        :returns: the verified certificate; fails with HttpError, TransportError, CertificateInvalid or NotReady
        """
        return self._read(Route.READ_STATE, canister, paths, timeout)

    def _read(
        self, route: Route, canister: Principal, paths: Sequence[Sequence[bytes]], timeout: float
    ) -> Deferred[Certificate]:
        if not self.ready:
            try:
                self._trust.require()
            except NotReady:
                return fail()
        return self._state(canister, paths, timeout, route).addCallback(self._verified, canister)

    def _http_error(self, answer: ParsedResponse) -> Exception:
        """The error for an answer to one of the gateway's own requests that is not 2xx.

        An answer that refuses an expiry also shows the replica's time.
        """
        error = http_error(answer, self.network_ns() / SECOND_NS)
        if answer.status == 400:
            self.time_observer.note_refusal(error.detail)
        return error

    def _verified(self, certificate: bytes, canister: Principal) -> Certificate:
        return self._verify(certificate, canister, self.network_ns())

    def _verify(self, certificate: bytes, canister: Principal, now_ns: int | None) -> Certificate:
        root_key, cache = self._trust.require(), self._trust.delegations
        try:
            return verify_certificate(
                certificate, root_key_der=root_key, canister_id=canister, now_ns=now_ns, cache=cache
            )
        except CertificateInvalid:
            self._trust.doubt()
            raise

    def doubt_root_key(self) -> None:
        """Something did not verify against the root key: a test network's key is fetched again."""
        self._trust.doubt()

    # Requests

    def _call_endpoints(self, canister: Principal, wait: bool) -> tuple[Endpoint, ...]:
        routes, now = self._routes, self.reactor.seconds()
        endpoints = routes.endpoints(Route.SYNC_CALL, canister, now) if wait else ()
        if not endpoints or routes.versions.uses(endpoints[0].route) is None:
            # the network seems to have no synchronous call; trying it may prove otherwise
            endpoints += routes.endpoints(Route.CALL, canister, now)
        return endpoints

    def _post(self, endpoints: tuple[Endpoint, ...], body: bytes, timeout: float) -> Deferred[ParsedResponse]:
        """Try endpoints one after the other while they answer 404."""
        self._charge()
        answer = self._transport.fetch(b"POST", endpoints[0].url, body, timeout=timeout)
        return answer.addCallback(self._posted, endpoints, body, timeout)

    def _posted(
        self, answer: ParsedResponse, endpoints: tuple[Endpoint, ...], body: bytes, timeout: float
    ) -> ParsedResponse | Deferred[ParsedResponse]:
        self._note(answer, endpoints[0])
        if answer.status == 404 and len(endpoints) > 1:
            return self._post(endpoints[1:], body, timeout)
        return answer

    def _note(self, answer: ParsedResponse, endpoint: Endpoint) -> None:
        if self.reactor.seconds() >= self.time_observer.due:
            self.time_observer.note(answer, endpoint.canister)
        if answer.status == 404 or not self._routes.versions.complete:
            self._learn(endpoint, answer.status, answer.body)

    def _called(
        self,
        answer: ParsedResponse,
        endpoints: tuple[Endpoint, ...],
        body: bytes,
        timeout: float,
        request_id: bytes | None,
    ) -> CallOutcome | Deferred[CallOutcome]:
        endpoint, status = endpoints[0], answer.status
        if self.reactor.seconds() >= self.time_observer.due:
            self.time_observer.note(answer, endpoint.canister)
        if status == 404 or not self._routes.versions.complete:
            self._learn(endpoint, status, answer.body)
        if status == 404 and len(endpoints) > 1:
            self._charge()
            older = self._transport.fetch(b"POST", endpoints[1].url, body, timeout=timeout)
            return older.addCallback(self._called, endpoints[1:], body, timeout, request_id)
        if status == 200:
            if not self._routes.versions.complete or not self.readable.flat.kept:
                self.readable.offer(answer.body)
            outcome = call_outcome(answer.body, answer.resent)
            if request_id is not None and outcome.answer.end and self.root_key is not None:
                return self._verified_outcome(answer.body, endpoint.canister, request_id)
            return outcome
        if status == 202:
            # to a synchronous call: not executed within 10 s, or resubmitted while it is in progress
            return UNDER_WAY if endpoint.route is _SYNC_CALL else ACCEPTED
        # not self.http_error: a client can make a replica quote its text, so this text shows no time
        raise http_error(answer, self.network_ns() / SECOND_NS)

    def _verified_outcome(self, body: bytes, canister: Principal, request_id: bytes) -> Deferred[CallOutcome]:
        """Read the outcome of a request from an answer with a certificate, and verify it."""
        certificate = self._verified(decoded(body)["certificate"], canister)
        return self.root_subnet.check(certificate, canister).addCallback(certified_outcome, request_id)

    def _learn(self, endpoint: Endpoint, status: int, body: bytes) -> None:
        """Learn from an answer which versions of the endpoints the network has."""
        change = self._routes.versions.answered(endpoint.route, endpoint.version, status, body, self.reactor.seconds())
        if change is not None:
            report_change(change)

    def _state(
        self, canister: Principal, paths: Sequence[Sequence[bytes]], timeout: float, route: Route = Route.READ_STATE
    ) -> Deferred[bytes]:
        content = read_state_content(ANONYMOUS, paths, expiry_after(self.network_ns(), REQUEST_TTL_SECONDS))
        endpoints = self._routes.endpoints(route, canister, self.reactor.seconds())
        answer = self._post(endpoints, anonymous_request(content).body, timeout)
        return answer.addCallback(self._got_state)

    def _got_state(self, answer: ParsedResponse) -> bytes:
        if answer.status != 200:
            raise self._http_error(answer)
        certificate = decoded(answer.body).get("certificate")
        if not isinstance(certificate, bytes):
            raise AnswerMalformed("read_state answered without a certificate")
        return certificate

    def _read_subnet(self, canister: Principal) -> Deferred[Certificate]:
        return self.read_state(canister, [[b"subnet"]], timeout=5.0)

    def _root_key(self) -> bytes | None:
        return self._trust.root_key

    def _read_delegation(self, canister: Principal) -> Deferred[Certificate]:
        return self._read(Route.DELEGATION, canister, [[b"time"]], TIMEOUT)

    # Through treq

    def _client(self, timeout: float) -> MinimalTreqClient:
        client = self._clients.get(timeout)
        if client is None:
            if len(self._clients) >= _MAX_CLIENTS:
                self._clients.clear()
            client = self._clients[timeout] = MinimalTreqClient(self._transport.agent(timeout))
        return client

    def _with_body(self, response: WholeResponse, then: Callable[..., Any], *args: Any) -> Any:
        # as response.content() does, without a Deferred for each answer
        return then(response.original.body, response, *args)

    def _got_status(self, body: bytes, response: Any) -> dict[str, Any]:
        if self.reactor.seconds() >= self.time_observer.due:
            self.time_observer.note_status(response.code)
        if response.code != 200:
            raise self._http_error(_answer(response, body))
        if len(body) > MAX_STATUS:
            raise AnswerMalformed("the status is too long")
        status = decoded(body)
        self._trust.note_status(status)
        return status

    def _query_at(
        self, endpoints: tuple[Endpoint, ...], canister: Principal, request: SignedRequest, timeout: float
    ) -> Deferred[bytes]:
        response: Deferred[Any] = self._client(timeout).request(
            "POST", endpoints[0].fixed, headers=_HEADERS, data=request.body
        )
        return response.addCallback(self._with_body, self._got_query, endpoints, canister, request, timeout)

    def _got_query(
        self,
        body: bytes,
        response: Any,
        endpoints: tuple[Endpoint, ...],
        canister: Principal,
        request: SignedRequest,
        timeout: float,
    ) -> bytes | Deferred[bytes]:
        code = response.code
        if self.reactor.seconds() >= self.time_observer.due:
            self.time_observer.note(_answer(response, b""), canister, request.ingress_expiry)
        if code == 404 or not self._routes.versions.complete:
            self._learn(endpoints[0], code, body)
        if code != 200:
            if code == 404 and len(endpoints) > 1:
                self._charge()
                return self._query_at(endpoints[1:], canister, request, timeout)
            raise self._http_error(_answer(response, body))
        answer = decoded(body)
        verifies = self._verify_queries
        if not (self.mainnet if verifies is None else verifies):
            return query_reply(answer)
        keys = self._node_keys.get(canister)
        if keys is None:
            return self._node_keys.fetch(canister).addCallback(self._checked, answer, request)
        try:
            return self._checked(keys, answer, request)
        except UnknownNode:
            return self._node_keys.fetch(canister).addCallback(self._checked, answer, request)

    def _checked(self, keys: NodeKeys, answer: dict[str, Any], request: SignedRequest) -> bytes:
        try:
            verify_query_response(answer, request.request_id, keys, now_ns=self.network_ns())
        except UnknownNode:
            raise
        except SignatureInvalid:
            self._trust.doubt()
            raise
        if self.reactor.seconds() >= self.time_observer.signed_due:
            self.time_observer.note_signed(min(entry["timestamp"] for entry in answer["signatures"]))
        return query_reply(answer)

    def _read_time(self, canister: Principal) -> Deferred[int]:
        return self._state(canister, [[b"time"]], TIME_TIMEOUT).addCallback(self._time_in, canister)

    def _time_in(self, certificate: bytes, canister: Principal) -> int:
        """The time of a valid certificate of any age, because its age is what is wanted."""
        return self._verify(certificate, canister, None).time_ns


def _answer(response: Any, body: bytes) -> ParsedResponse:
    headers = {name.lower(): b", ".join(values) for name, values in response.headers.getAllRawHeaders()}
    return ParsedResponse(response.code, headers, body)
