"""What to do next for a certificate that was ordered by ACME (RFC 8555, section 7.1.6), and how long to wait.

The authority owns the states of orders and authorizations, and reports them on request. These tables show what
each means for the client. A state that is in no table ends the order: another one is made later.
"""

from __future__ import annotations

from enum import Enum, auto

#: Seconds for a whole order: validation from several places and issuance take seconds, for busy authorities minutes.
ORDER_SECONDS = 300.0
#: Seconds for which an order is continued that has not brought its certificate into a file.
ORDER_KEPT_SECONDS = 86_400.0
#: Seconds between two questions about the same thing: the first pause, and the longest.
FIRST_POLL, LONGEST_POLL = 0.5, 15.0


class OrderStep(Enum):
    """What an order needs next."""

    AUTHORIZE = auto()
    """The authority wants proof of the name."""
    FINALIZE = auto()
    """It wants the request with the public key."""
    WAIT = auto()
    """It is issuing the certificate."""
    DOWNLOAD = auto()
    """The certificate is there."""
    FAIL = auto()
    """There will be no certificate."""


class AuthorizationStep(Enum):
    """What an authorization needs next."""

    ANSWER = auto()
    """A challenge has to be answered, or is being validated."""
    DONE = auto()
    """The name is proved."""
    FAIL = auto()
    """The name is not proved, or not any more."""


ORDER_STEPS = {
    "pending": OrderStep.AUTHORIZE,
    "ready": OrderStep.FINALIZE,
    "processing": OrderStep.WAIT,
    "valid": OrderStep.DOWNLOAD,
    "invalid": OrderStep.FAIL,
}
AUTHORIZATION_STEPS = {
    "pending": AuthorizationStep.ANSWER,
    "valid": AuthorizationStep.DONE,
    "invalid": AuthorizationStep.FAIL,
    "deactivated": AuthorizationStep.FAIL,
    "expired": AuthorizationStep.FAIL,
    "revoked": AuthorizationStep.FAIL,
}


def order_step(status: str) -> OrderStep:
    """Return what an order of this status needs."""
    return ORDER_STEPS.get(status, OrderStep.FAIL)


def authorization_step(status: str) -> AuthorizationStep:
    """Return what an authorization of this status needs."""
    return AUTHORIZATION_STEPS.get(status, AuthorizationStep.FAIL)


def poll_pause(polls: int, retry_after: float | None = None) -> float:
    """Return how long to wait before the next poll, in seconds.

    :param polls: how often it was polled already
    :param retry_after: seconds that the authority asks to wait; at most :data:`LONGEST_POLL` of them count, because an
        order is not worth waiting for longer while another can follow
    """
    pause = min(FIRST_POLL * 2.0 ** min(polls, 16), LONGEST_POLL)
    return min(max(pause, retry_after or 0.0), LONGEST_POLL)
