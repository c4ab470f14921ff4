"""The Internet Computer's HTTP interface as the gateway needs it (interface spec, "HTTPS interface").

- :meth:`IcAgent.query` polls canisters, through treq. On mainnet each answer's node signature is checked.
- :meth:`IcAgent.call` relays a client's ready envelope, through the transport alone.
- :meth:`IcAgent.update` makes a call of the gateway's own, and believes only a verified certificate.
- :meth:`IcAgent.read_state` reads certified state, :meth:`IcAgent.status` what the replica says of itself.

Failures are those of :mod:`icwsgw.errors`: ``Rejected`` (the IC or the canister said no), ``HttpError``,
``TransportError`` and its kinds, ``SignatureInvalid`` and ``CertificateInvalid``, ``NotReady``. The agent retries
nothing but its own updates: when to try again is the pollers' and relays' business.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.web.http_headers import Headers

from icwsgw.agent.connection import Answer
from icwsgw.agent.interfaces import NetworkTransport
from icwsgw.agent.lean import LeanClient
from icwsgw.agent.outcome import ACCEPTED, CallOutcome, call_outcome, decoded, http_date, http_error, reject_of
from icwsgw.agent.routes import Endpoint, Route, Routes
from icwsgw.agent.trust import NodeKeyCache, NodeKeys, Trust
from icwsgw.agent.update import run_update
from icwsgw.agent.url import Url
from icwsgw.clock import Clock
from icwsgw.errors import AnswerMalformed, CertificateInvalid, NotReady, SignatureInvalid
from icwsgw.ic import bls
from icwsgw.ic.certificate import Certificate, verify_certificate
from icwsgw.ic.envelope import SignedRequest, anonymous_request, expiry_after, read_state_content, sign_request
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import ANONYMOUS, Principal
from icwsgw.ic.query_signature import UnknownNode, verify_query_response

MAINNET_HOSTS = ("icp0.io", "icp-api.io")
MAX_STATUS = 64 * 1024
READ_STATE_SECONDS = 240.0
NOTE_INTERVAL = 10.0
"""Seconds between two answers that are taken note of: that they came, and their Date header, for the clock skew."""

SKEW_STEP_NS = 2_500_000_000
"""A Date that differs from the clock skew so far by more than this is believed when it is the third in a row: by one of
a machine whose clock is wrong all clients' envelopes would look expired."""

_HEADERS = Headers({b"Content-Type": [b"application/cbor"]})
_NO_HEADERS = Headers()
_MAX_CLIENTS = 16
_WITNESSES = 3
_SECOND = 1_000_000_000


class IcAgent:
    """The network as the gateway sees it.

    :param reactor: source of monotonic time and timers
    :param transport: carries the requests; whoever made it closes it, after :meth:`stop`
    :param network_url: for example "https://icp-api.io"
    :param now_ns: the wall clock, ns since 1970
    :param rng: random numbers in [0, 1), for jitter
    :param random_bytes: for the nonces of updates
    :param root_key: the network's root key in DER if it is known; mainnet's is built in
    :param verify_query_signatures: check node signatures on queries; None: on mainnet only
    :raises ValueError: not a URL
    :ivar mainnet: whether this is mainnet
    :ivar clock_skew_ns: how far the network's clock is ahead of ours, to about a second; None until measured
    :ivar heard: when an answer came last that was no fault of a server (5xx), on the reactor's clock and within
        :data:`NOTE_INTERVAL`; None before the first
    """

    def __init__(
        self,
        reactor: Clock,
        transport: NetworkTransport,
        network_url: str,
        *,
        now_ns: Callable[[], int],
        rng: Callable[[], float] = random.random,
        random_bytes: Callable[[int], bytes] = os.urandom,
        root_key: bytes | None = None,
        verify_query_signatures: bool | None = None,
    ) -> None:
        self.reactor = reactor
        self.now_ns = now_ns
        self.rng = rng
        self.random_bytes = random_bytes
        base = Url.parse(network_url)
        self.mainnet = is_mainnet(base)
        if root_key is None and self.mainnet:
            root_key = bls.MAINNET_ROOT_KEY_DER
        self.clock_skew_ns: int | None = None
        self.verify_query_signatures = self.mainnet if verify_query_signatures is None else verify_query_signatures
        self._transport = transport
        self._routes = Routes(base)
        self._trust = Trust(reactor, rng, self.status, root_key)
        self._node_keys = NodeKeyCache(reactor, self._trust, self._read_subnet)
        self._clients: dict[float, LeanClient] = {}
        self.heard: float | None = None
        self._next_note = reactor.seconds()
        self._odd_skew_ns = 0
        self._odd_in_a_row = 0

    @property
    def ready(self) -> bool:
        """Whether there is a root key to trust."""
        return self._trust.root_key is not None

    @property
    def root_key(self) -> bytes | None:
        """The root key in DER, or None as long as it is not known."""
        return self._trust.root_key

    @property
    def last_failure(self) -> str | None:
        """Why the last attempt to fetch the root key failed, in words; None if it did not."""
        return self._trust.last_failure

    @property
    def root_key_fetches(self) -> dict[str, int]:
        """How often the root key was asked for, by outcome."""
        return self._trust.fetches

    @property
    def node_key_fetches(self) -> dict[str, int]:
        """How often nodes' keys were asked for, by outcome."""
        return self._node_keys.fetches

    def start(self) -> None:
        """Begin to fetch the root key, for as long as it takes; never fails."""
        self._trust.start()

    def stop(self) -> Deferred[None]:
        """Stop what :meth:`start` began; fires when all is quiet (at once). Requests under way go on."""
        self._trust.stop()
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    def when_ready(self) -> Deferred[None]:
        """Fire when there is a root key; fails with NotReady if the agent is stopped before."""
        return self._trust.when_ready()

    def status(self, *, timeout: float = 5.0) -> Deferred[dict[str, Any]]:
        """Ask for the replica's status.

        :returns: its CBOR map; fails with HttpError or TransportError
        """
        asked: Deferred[Any] = self._client(timeout).request("GET", self._routes.status, headers=_NO_HEADERS, data=b"")
        return asked.addCallback(self._with_body, self._got_status)

    def query(self, canister: Principal, request: SignedRequest, *, timeout: float) -> Deferred[bytes]:
        """Send a signed query.

        :param timeout: seconds for all of it (each of two, where an older endpoint has to be tried)
        :returns: the reply's Candid; fails with Rejected, HttpError, TransportError, SignatureInvalid or NotReady
        """
        endpoint = self._routes.endpoint(Route.QUERY, canister)
        assert endpoint is not None
        return self._query_at(endpoint, canister, request, timeout)

    def call(self, canister: Principal, body: bytes, *, wait: bool, timeout: float) -> Deferred[CallOutcome]:
        """Relay a ready call envelope.

        :param body: the envelope with its tag
        :param wait: ask by the synchronous endpoint, which waits up to 10 s for the end
        :param timeout: seconds for all of it
        :returns: what became of it as far as the answer tells; fails with HttpError or TransportError
        """
        route = Route.SYNC_CALL if wait else Route.CALL
        endpoint = self._routes.endpoint(route, canister)
        if endpoint is None:
            return self.submit(canister, body, wait=wait, timeout=timeout).addCallback(self._to_outcome)
        answer = self._transport.fetch(b"POST", endpoint.url, body, timeout=timeout)
        return answer.addCallback(self._called, route, endpoint, canister, body, timeout)

    def update(
        self, identity: Ed25519Identity, canister: Principal, method: str, arg: bytes, *, timeout: float
    ) -> Deferred[bytes]:
        """Make a call of our own and wait for its certified end.

        Transient failures are retried within ``timeout`` with the same envelope.

        :param timeout: seconds, at most 240 (the envelope's life)
        :returns: the reply's Candid; fails with Rejected, HttpError, TransportError, CertificateInvalid or NotReady
        """
        return Deferred.fromCoroutine(run_update(self, identity, canister, method, arg, timeout))

    def read_state(
        self,
        canister: Principal,
        paths: Sequence[Sequence[bytes]],
        *,
        timeout: float,
        identity: Ed25519Identity | None = None,
    ) -> Deferred[Certificate]:
        """Read certified paths of the state tree, and verify the certificate.

        :param paths: what to read, for example ``[[b"time"]]``
        :param identity: who asks; None: anonymous
        :returns: the verified certificate; fails with HttpError, TransportError, CertificateInvalid or NotReady
        """
        if not self.ready:
            try:
                self._trust.require()
            except NotReady:
                return fail()
        sender = ANONYMOUS if identity is None else identity.principal
        content = read_state_content(sender, paths, expiry_after(self.now_ns(), READ_STATE_SECONDS))
        request = anonymous_request(content) if identity is None else sign_request(identity, content)
        endpoint = self._routes.endpoint(Route.READ_STATE, canister)
        assert endpoint is not None
        answer = self._post(Route.READ_STATE, endpoint, canister, request.body, timeout)
        return answer.addCallback(self._got_state, canister)

    # For icwsgw.agent.update

    def submit(self, canister: Principal, body: bytes, *, wait: bool, timeout: float) -> Deferred[Answer]:
        """Send a call envelope; the answer of any status, from the newest endpoint there is."""
        route = Route.SYNC_CALL if wait else Route.CALL
        endpoint = self._routes.endpoint(route, canister)
        if endpoint is None:
            route = Route.CALL
            endpoint = self._routes.endpoint(route, canister)
            assert endpoint is not None
        return self._post(route, endpoint, canister, body, timeout)

    def http_error(self, answer: Answer) -> Exception:
        """Make the error for an answer that is not 2xx."""
        return http_error(answer, self.now_ns() / _SECOND)

    def verified(self, certificate: bytes, canister: Principal) -> Certificate:
        """Verify a certificate for a canister.

        :raises CertificateInvalid: it does not hold
        :raises NotReady: no root key yet
        """
        root_key = self._trust.require()
        try:
            return verify_certificate(
                certificate,
                root_key_der=root_key,
                canister_id=canister,
                now_ns=self.now_ns(),
                cache=self._trust.delegations,
            )
        except CertificateInvalid:
            self._trust.doubt()
            raise

    def doubt_root_key(self) -> None:
        """Something that the root key should vouch for did not verify; a test network is asked for its key again."""
        self._trust.doubt()

    # Requests

    def _post(
        self, route: Route, endpoint: Endpoint, canister: Principal, body: bytes, timeout: float
    ) -> Deferred[Answer]:
        answer = self._transport.fetch(b"POST", endpoint.url, body, timeout=timeout)
        return answer.addCallback(self._posted, route, endpoint, canister, body, timeout)

    def _posted(
        self, answer: Answer, route: Route, endpoint: Endpoint, canister: Principal, body: bytes, timeout: float
    ) -> Answer | Deferred[Answer]:
        if self.reactor.seconds() >= self._next_note:
            self._note(answer)
        if answer.status != 404:
            self._settle(route, endpoint)
            return answer
        older = self._routes.older(route, canister, endpoint.version)
        if older is not None:
            return self._post(route, older, canister, body, timeout)
        if route is Route.SYNC_CALL:
            accepted = self.submit(canister, body, wait=False, timeout=timeout)
            return accepted.addCallback(self._only_asynchronous)
        return answer

    def _called(
        self, answer: Answer, route: Route, endpoint: Endpoint, canister: Principal, body: bytes, timeout: float
    ) -> CallOutcome | Deferred[CallOutcome]:
        posted = self._posted(answer, route, endpoint, canister, body, timeout)
        return posted.addCallback(self._to_outcome) if isinstance(posted, Deferred) else self._to_outcome(posted)

    def _to_outcome(self, answer: Answer) -> CallOutcome:
        if answer.status == 202:
            return ACCEPTED
        if answer.status == 200:
            return call_outcome(answer.body)
        raise self.http_error(answer)

    def _only_asynchronous(self, answer: Answer) -> Answer:
        if answer.status != 404:
            self._routes.settle(Route.SYNC_CALL, None)
        return answer

    def _settle(self, route: Route, endpoint: Endpoint) -> None:
        if endpoint.version != self._routes.version(route):
            self._routes.settle(route, endpoint.version)

    def _got_state(self, answer: Answer, canister: Principal) -> Certificate:
        if answer.status != 200:
            raise self.http_error(answer)
        certificate = decoded(answer.body).get("certificate")
        if not isinstance(certificate, bytes):
            raise AnswerMalformed("read_state answered without a certificate")
        return self.verified(certificate, canister)

    def _read_subnet(self, canister: Principal) -> Deferred[Certificate]:
        return self.read_state(canister, [[b"subnet"]], timeout=5.0)

    # Through treq

    def _client(self, timeout: float) -> LeanClient:
        client = self._clients.get(timeout)
        if client is None:
            if len(self._clients) >= _MAX_CLIENTS:
                self._clients.clear()
            client = self._clients[timeout] = LeanClient(self._transport.agent(timeout))
        return client

    def _with_body(self, response: Any, then: Callable[..., Any], *args: Any) -> Deferred[Any]:
        body: Deferred[bytes] = response.content()
        return body.addCallback(then, response, *args)

    def _got_status(self, body: bytes, response: Any) -> dict[str, Any]:
        if self.reactor.seconds() >= self._next_note:
            self._note(_answer(response, b""))
        if response.code != 200:
            raise self.http_error(_answer(response, body))
        if len(body) > MAX_STATUS:
            raise AnswerMalformed("the status is too long")
        return decoded(body)

    def _query_at(
        self, endpoint: Endpoint, canister: Principal, request: SignedRequest, timeout: float
    ) -> Deferred[bytes]:
        asked: Deferred[Any] = self._client(timeout).request(
            "POST", endpoint.fixed, headers=_HEADERS, data=request.body
        )
        return asked.addCallback(self._with_body, self._got_query, endpoint, canister, request, timeout)

    def _got_query(
        self,
        body: bytes,
        response: Any,
        endpoint: Endpoint,
        canister: Principal,
        request: SignedRequest,
        timeout: float,
    ) -> bytes | Deferred[bytes]:
        code = response.code
        if self.reactor.seconds() >= self._next_note:
            self._note(_answer(response, b""))
        if code != 200:
            if code == 404:
                older = self._routes.older(Route.QUERY, canister, endpoint.version)
                if older is not None:
                    return self._query_at(older, canister, request, timeout)
            raise self.http_error(_answer(response, body))
        self._settle(Route.QUERY, endpoint)
        answer = decoded(body)
        if not self.verify_query_signatures:
            return _reply(answer)
        keys = self._node_keys.get(canister)
        if keys is None:
            return self._node_keys.fetch(canister).addCallback(self._checked, answer, request)
        try:
            return self._checked(keys, answer, request)
        except UnknownNode:
            return self._node_keys.fetch(canister).addCallback(self._checked, answer, request)

    def _checked(self, keys: NodeKeys, answer: dict[str, Any], request: SignedRequest) -> bytes:
        try:
            verify_query_response(answer, request.request_id, keys, now_ns=self.now_ns())
        except UnknownNode:
            raise
        except SignatureInvalid:
            self._trust.doubt()
            raise
        return _reply(answer)

    def _note(self, answer: Answer) -> None:
        now = self.reactor.seconds()
        self._next_note = now + NOTE_INTERVAL
        if answer.status < 500:
            self.heard = now
        value = answer.headers.get(b"date")
        date = None if value is None else http_date(value)
        if date is not None:
            # The header has whole seconds, rounded down: half a second is the best guess for the rest.
            self._note_skew(int((date + 0.5) * _SECOND) - self.now_ns())

    def _note_skew(self, skew_ns: int) -> None:
        if self.clock_skew_ns is not None and abs(skew_ns - self.clock_skew_ns) > SKEW_STEP_NS:
            if not self._odd_in_a_row or abs(skew_ns - self._odd_skew_ns) > SKEW_STEP_NS:
                self._odd_skew_ns = skew_ns
                self._odd_in_a_row = 0
            self._odd_in_a_row += 1
            if self._odd_in_a_row < _WITNESSES:
                # ask the very next answer
                self._next_note = self.reactor.seconds()
                return
        self._odd_in_a_row = 0
        self.clock_skew_ns = skew_ns


def is_mainnet(url: Url) -> bool:
    """Say whether a URL leads to mainnet: icp0.io, icp-api.io and what is below them."""
    return any(url.host == host or url.host.endswith("." + host) for host in MAINNET_HOSTS)


def _reply(answer: dict[str, Any]) -> bytes:
    status = answer.get("status")
    if status == "replied":
        reply = answer.get("reply")
        arg = reply.get("arg") if isinstance(reply, dict) else None
        if isinstance(arg, bytes):
            return arg
    elif status == "rejected":
        raise reject_of(answer)
    raise AnswerMalformed("a query's answer has neither a reply nor a reject")


def _answer(response: Any, body: bytes) -> Answer:
    headers = {name.lower(): b", ".join(values) for name, values in response.headers.getAllRawHeaders()}
    return Answer(response.code, headers, body)
