"""What became of a relayed call: accepted, executed with a reply, or rejected, and by whom.

A call's answer comes in one of these shapes (interface spec, "Request: Call" and "Synchronous call"):

====================================================  ================================================
answer                                                outcome
====================================================  ================================================
202, empty                                            accepted; its end is not known (yet)
200 ``status: replied`` with a certificate            replied, or a certified reject found inside it
200 ``status: non_replicated_rejection``              rejected before it was executed
200 from v2, a map with ``reject_code``               the same
4xx, 5xx                                              :class:`~icwsgw.errors.HttpError`
====================================================  ================================================

The certificate is read, not verified: nobody downstream acts on a relayed call's reply (design 3.5).
The gateway's own calls are verified, in :mod:`icwsgw.agent.client`.
"""

from __future__ import annotations

from enum import Enum

from icwsgw.errors import Rejected


class OutcomeKind(Enum):
    """How far a call came."""

    ACCEPTED = "accepted"
    REPLIED = "replied"
    REJECTED = "rejected"


class CallOutcome:
    """The end of a relayed call as far as its answer tells.

    :ivar kind: accepted (end unknown), replied, or rejected
    :ivar reply: the Candid reply when ``kind`` is REPLIED, else None
    :ivar reject: the reject when ``kind`` is REJECTED, else None
    """

    __slots__ = ("kind", "reject", "reply")

    def __init__(self, kind: OutcomeKind, reply: bytes | None = None, reject: Rejected | None = None) -> None:
        self.kind = kind
        self.reply = reply
        self.reject = reject

    def __repr__(self) -> str:
        if self.reject is not None:
            return f"<CallOutcome rejected: {self.reject}>"
        return f"<CallOutcome {self.kind.value}>"


ACCEPTED = CallOutcome(OutcomeKind.ACCEPTED)
