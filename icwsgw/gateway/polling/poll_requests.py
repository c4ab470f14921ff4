"""The queries of one poller: those in flight, and signed requests, reused while their number and expiry allow.

An idle canister is asked the same question every tick, so it costs no signature (design 3.7).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from icwsgw.core.call_slots import SlotQueue
from icwsgw.core.cursor import LastMessage
from icwsgw.ic.envelope import SignedRequest, expiry_after, query_content, sign_request
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.network_limits import REQUEST_TTL_SECONDS, SECOND_NS
from icwsgw.ic.principal import Principal
from icwsgw.ic.ws import encode_get_messages

if TYPE_CHECKING:
    from icwsgw.observe.tracing import PollTrace

METHOD = "ws_get_messages"
_TTL_NS = int(REQUEST_TTL_SECONDS * SECOND_NS)
#: A request with less time left is signed anew, so that it is still valid wherever it arrives; so is one with more than
#: it was given: the clock was set back since, or found to be wrong, and replicas would refuse it as too far ahead.
MIN_LEFT_NS = 90_000_000_000


class InFlightPoll:
    """One query in flight."""

    __slots__ = ("_slot_queue", "anchor", "deferred", "nonce", "sent", "trace")

    def __init__(self, nonce: int, sent: float, anchor: LastMessage | None) -> None:
        self.nonce = nonce
        self.sent = sent
        #: for a probe or a look at the start: the message that the life is recognised by
        self.anchor = anchor
        self.deferred: Deferred[bytes] | None = None
        #: its place among the queries in flight
        self._slot_queue: SlotQueue | None = None
        #: its span, if there is one (icwsgw.gateway.spans)
        self.trace: PollTrace | None = None

    def take(self, slot_queue: SlotQueue) -> None:
        """It leaves, and takes a place."""
        # as Lane.take does, without a call: each poll comes by here
        slot_queue.busy += 1
        slot_queue.call_slots.busy += 1
        self._slot_queue = slot_queue

    def leave(self) -> None:
        """It has ended, or is given up."""
        slot_queue, self._slot_queue = self._slot_queue, None
        if slot_queue is not None:
            # as Lane.leave does
            call_slots = slot_queue.call_slots
            slot_queue.busy -= 1
            call_slots.busy -= 1
            if call_slots.line:
                call_slots.grant()


class PollRequests:
    """Two requests at most are remembered: the one at the cursor and the probe just before it."""

    __slots__ = ("_canister", "_identity", "_recent")

    def __init__(self, identity: Ed25519Identity, canister: Principal) -> None:
        self._identity = identity
        self._canister = canister
        self._recent: dict[int, SignedRequest] = {}

    def get(self, nonce: int, now_ns: int) -> SignedRequest:
        """A signed query for the messages from ``nonce`` on.

        :param now_ns: the network's time
        """
        request = self._recent.get(nonce)
        if request is not None and MIN_LEFT_NS < request.ingress_expiry - now_ns <= _TTL_NS:
            return request
        content = query_content(
            self._identity.principal,
            self._canister,
            METHOD,
            encode_get_messages(nonce),
            expiry_after(now_ns, REQUEST_TTL_SECONDS),
        )
        request = sign_request(self._identity, content)
        recent = self._recent
        recent.pop(nonce, None)
        while len(recent) >= 2:
            del recent[next(iter(recent))]
        recent[nonce] = request
        return request
