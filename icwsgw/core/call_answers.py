"""What the answer to a call shows about it, and how long to wait before the call is resubmitted.

The state machine that uses these values is :mod:`icwsgw.core.client_calls`.

A call is resubmitted even if the network has accepted it: a synchronous call that has no outcome within ten seconds is
answered 202, and so is each identical call while the first is in progress. Only the sender of a call may read its
status, but the answer to the identical envelope contains the certificate once there is one (decision 0030).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from icwsgw.errors import CanisterRefused, ConnectFailed, FormatError, HttpError, IcwsError, NotReady, TransportError
from icwsgw.ic.ws import decode_unit_result

#: The reject code that may be transient, and for how many attempts it counts as such.
SYS_TRANSIENT = 2
TRANSIENT_ATTEMPTS = 4
#: After so many refusals in a row, a call with unknown outcome is not resubmitted any more.
REFUSED_RESUBMISSIONS = 3
#: Seconds between two attempts of a call that the network has accepted, before jitter of a quarter either way.
RESUBMIT_SECONDS = 1.0
#: Attempts of a call that a boundary node's policy forbids; with their pauses they take a quarter of a minute.
FORBIDDEN_ATTEMPTS = 10
#: The longest such pause, of a ws_open: its pauses are as long as it has taken so far.
LONGEST_RESUBMIT_SECONDS = 10.0


class Answer(NamedTuple):
    """What an attempt has brought, as far as it decides what follows.

    :ivar end: the outcome is certified, or the call is ``accepted`` and no caller waits for more
    :ivar executed: a certificate shows that the call was executed
    :ivar accepted: the network has accepted the call; it has no outcome yet
    :ivar arrived: the attempt may have arrived
    :ivar retryable: the network may accept the same envelope later
    :ivar transient: the call was rejected with a code that may pass
    """

    end: bool = False
    accepted: bool = False
    arrived: bool = False
    retryable: bool = False
    transient: bool = False
    executed: bool = False


NOT_WAITED_FOR = Answer(end=True)
ENDED = Answer(end=True, executed=True)
IN_PROGRESS = Answer(accepted=True)


def after_failure(error: IcwsError, attempts: int) -> Answer:
    """What is known after a failed attempt: whether it may have arrived, and whether to try again.

    A 5xx of a proxy may hide a replica's answer that was lost.

    :param attempts: how often the call has been sent
    """
    if isinstance(error, HttpError):
        over = error.forbidden and attempts >= FORBIDDEN_ATTEMPTS
        return Answer(arrived=error.status >= 500 or error.resent, retryable=error.retryable and not over)
    if isinstance(error, TransportError):
        return Answer(arrived=not isinstance(error, ConnectFailed), retryable=error.retryable)
    return Answer(retryable=isinstance(error, NotReady))


def refusal_in(reply: bytes) -> CanisterRefused | None:
    """The canister's ``Err``, if the reply is one; None also for a reply that does not decode."""
    try:
        decode_unit_result(reply)
    except CanisterRefused as error:
        return error
    except FormatError:
        pass
    return None


def may_have_been_executed(code: int, error_code: str | None) -> bool:
    """Whether the canister may have kept what it did although the call was rejected: the client, the sequence number.

    A trap (reject code 5, CANISTER_ERROR) rolls the state back, so the next sequence number would be wrong. An explicit
    reject (4, CANISTER_REJECT) keeps what was done before: Motoko's CDK awaits the application's handler, so a trap
    there becomes such a reject after the sequence number was used. A call that ended without a reply (IC0506, though
    its code is 5) keeps the state as well. In these cases the client's next message decides: the canister refuses a
    wrong sequence number in a certified answer.
    """
    return code == 4 or error_code == "IC0506"


def resubmit_delay(jitter: Callable[[], float], retry_after: float | None = None, took: float = 0.0) -> float:
    """Seconds until a call that the network has accepted is resubmitted.

    :param jitter: a random number in [0, 1)
    :param retry_after: seconds that the server asked to wait, if it did
    :param took: seconds since the call was first sent, to resubmit it ever less often; 0: always at the same rate
    """
    return max(min(max(took, RESUBMIT_SECONDS), LONGEST_RESUBMIT_SECONDS) * (0.75 + jitter() / 2), retry_after or 0.0)
