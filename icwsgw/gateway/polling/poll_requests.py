"""The queries of one poller: those in flight, and signed requests that are used again while they are valid.

An idle canister gets the same query at every tick, which then costs no signature.
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
#: A request is signed again if less time is left, so that it does not expire on its way; and if more time is left than
#: it was given: the clock was set back or was wrong, and replicas would refuse the request as too far in the future.
MIN_LEFT_NS = 90_000_000_000


class InFlightPoll:
    """One query in flight."""

    __slots__ = ("_slot_queue", "anchor", "deferred", "nonce", "sent", "trace")

    def __init__(self, nonce: int, sent: float, anchor: LastMessage | None) -> None:
        self.nonce = nonce
        self.sent = sent
        #: of a probe, or a look at the start: the message by which a reset is detected
        self.anchor = anchor
        self.deferred: Deferred[bytes] | None = None
        #: where its slot is
        self._slot_queue: SlotQueue | None = None
        #: its span, if there is one (icwsgw.gateway.spans)
        self.trace: PollTrace | None = None

    def take(self, slot_queue: SlotQueue) -> None:
        """Take a slot: the query is sent."""
        # As SlotQueue.take, inlined: each poll comes by here.
        slot_queue.busy += 1
        slot_queue.call_slots.busy += 1
        self._slot_queue = slot_queue

    def leave(self) -> None:
        """Give the slot back: the query has ended or was given up."""
        slot_queue, self._slot_queue = self._slot_queue, None
        if slot_queue is not None:
            # As SlotQueue.leave.
            call_slots = slot_queue.call_slots
            slot_queue.busy -= 1
            call_slots.busy -= 1
            if call_slots.line:
                call_slots.grant(slot_queue)


class PollRequests:
    """Signs queries. It keeps the last two: usually the one at the cursor, and the probe just before it."""

    __slots__ = ("_canister", "_identity", "_recent")

    def __init__(self, identity: Ed25519Identity, canister: Principal) -> None:
        self._identity = identity
        self._canister = canister
        self._recent: dict[int, SignedRequest] = {}

    def get(self, nonce: int, now_ns: int) -> SignedRequest:
        """A signed query for the messages from ``nonce`` on.

        :param now_ns: the network's time, ns since 1970
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
