"""Makes a call of the gateway's own, from its submission to its certified outcome.

The envelope is signed once, and sent again unchanged while the network fails: the IC executes the same call only once.
The synchronous endpoint mostly answers with a certificate. If it does not (202: not executed within 10 s, or there is
no synchronous endpoint), ``request_status`` is read until it shows the outcome: after 0.5 s at first, later each
second, as agents do. An outcome counts only after its certificate is verified.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred

from icwsgw.agent.outcome import decoded, reject_of
from icwsgw.errors import AnswerMalformed, HttpError, Rejected, RequestTimeout, TransportError
from icwsgw.ic.certificate import Certificate, request_status
from icwsgw.ic.envelope import SignedRequest, call_content, expiry_after, sign_request
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.network_limits import REQUEST_TTL_SECONDS
from icwsgw.ic.principal import Principal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from icwsgw.agent.http.response_parser import ParsedResponse
    from icwsgw.agent.root_subnet import RootSubnet
    from icwsgw.reactor.clock import Clock

SUBMIT_TIMEOUT = 15.0
"""Seconds for one submission: the synchronous endpoint answers after 10 at the latest."""

READ_TIMEOUT = 5.0
RETRY_PAUSE, MAX_RETRY_PAUSE = 0.25, 4.0
POLL_PAUSE, MAX_POLL_PAUSE, POLL_GROWTH = 0.5, 1.0, 1.4


class UpdateAgent(Protocol):
    """What a call needs of the agent: :class:`icwsgw.agent.ic_agent.IcAgent`.

    :ivar rng: random numbers in [0, 1)
    """

    reactor: Clock
    rng: Callable[[], float]
    random_bytes: Callable[[int], bytes]
    root_subnet: RootSubnet

    def network_ns(self) -> int:
        """The network's time as far as it is known, ns since 1970."""

    def verified(self, certificate: bytes, canister: Principal) -> Certificate:
        """Verify a certificate for a canister."""

    def read_state(
        self,
        canister: Principal,
        paths: Sequence[Sequence[bytes]],
        *,
        timeout: float,
        identity: Ed25519Identity | None = None,
    ) -> Deferred[Certificate]:
        """Read a part of the certified state."""

    def submit(self, canister: Principal, body: bytes, *, wait: bool, timeout: float) -> Deferred[ParsedResponse]:
        """Send a call envelope."""

    def http_error(self, answer: ParsedResponse) -> Exception:
        """Make the error for an answer that is not 2xx."""


class _Deadline:
    __slots__ = ("_agent", "_end", "_seconds")

    def __init__(self, agent: UpdateAgent, seconds: float) -> None:
        self._agent = agent
        self._seconds = seconds
        self._end = agent.reactor.seconds() + seconds

    def left(self, most: float) -> float:
        """The seconds that are left, at most ``most``.

        :raises RequestTimeout: none are left
        """
        left = self._end - self._agent.reactor.seconds()
        if left <= 0:
            raise RequestTimeout(f"the call has no certified end after {self._seconds:g} s")
        return min(left, most)

    def allows(self, seconds: float) -> bool:
        return self._agent.reactor.seconds() + seconds < self._end

    def pause(self, seconds: float) -> Deferred[None]:
        """Wait between three quarters of ``seconds`` and all of them."""
        return _sleep(self._agent, seconds * (0.75 + 0.25 * self._agent.rng()))


async def run_update(
    agent: UpdateAgent, identity: Ed25519Identity, canister: Principal, method: str, arg: bytes, timeout: float
) -> bytes:
    """Make a call and return its certified reply; see :meth:`icwsgw.agent.ic_agent.IcAgent.update`."""
    deadline = _Deadline(agent, min(timeout, REQUEST_TTL_SECONDS))
    content = call_content(
        identity.principal,
        canister,
        method,
        arg,
        expiry_after(agent.network_ns(), REQUEST_TTL_SECONDS),
        agent.random_bytes(16),
    )
    request = sign_request(identity, content)
    encoded = await _submit(agent, canister, request, deadline)
    if encoded is not None:
        certificate = await agent.root_subnet.check(agent.verified(encoded, canister), canister)
        end = _end_of(certificate, request)
        if end is not None:
            return end
    paths = [[b"request_status", request.request_id]]
    pause = POLL_PAUSE
    while True:
        await deadline.pause(deadline.left(pause))
        pause = min(pause * POLL_GROWTH, MAX_POLL_PAUSE)
        try:
            read = agent.read_state(canister, paths, timeout=deadline.left(READ_TIMEOUT), identity=identity)
            certificate = await agent.root_subnet.check(await read, canister)
        except (TransportError, HttpError) as error:
            if not error.retryable:
                raise
            continue
        end = _end_of(certificate, request)
        if end is not None:
            return end


async def _submit(agent: UpdateAgent, canister: Principal, request: SignedRequest, deadline: _Deadline) -> bytes | None:
    """Send the call until the network accepts it; returns the certificate, or None if there is none yet."""
    pause = RETRY_PAUSE
    while True:
        try:
            answer = await agent.submit(canister, request.body, wait=True, timeout=deadline.left(SUBMIT_TIMEOUT))
            if answer.status == 202:
                return None
            if answer.status == 200:
                return _certificate_in(answer.body)
            raise agent.http_error(answer)
        except (TransportError, HttpError) as error:
            requested = error.retry_after if isinstance(error, HttpError) else None
            wait = max(pause, requested or 0.0)
            if not error.retryable or not deadline.allows(wait):
                raise
        await deadline.pause(wait)
        pause = min(pause * 2, MAX_RETRY_PAUSE)


def _certificate_in(body: bytes) -> bytes | None:
    if not body:
        return None
    answer = decoded(body)
    certificate = answer.get("certificate")
    if answer.get("status") == "replied" and isinstance(certificate, bytes):
        return certificate
    if "reject_code" in answer:
        raise reject_of(answer)
    raise AnswerMalformed("a call's answer has neither a certificate nor a reject")


def _end_of(certificate: Certificate, request: SignedRequest) -> bytes | None:
    """The reply; None if the certificate has neither a reply nor a reject, which is raised."""
    status = request_status(certificate, request.request_id)
    if status.status == "replied":
        return status.reply or b""
    if status.status == "rejected":
        raise Rejected(status.reject_code or 0, status.reject_message or "", status.error_code)
    if status.status == "done":
        raise RequestTimeout("the call was executed, but its reply is no longer available")
    return None


def _sleep(agent: UpdateAgent, seconds: float) -> Deferred[None]:
    done: Deferred[None] = Deferred(lambda _: timer.cancel())
    timer = agent.reactor.callLater(seconds, done.callback, None)
    return done
