"""What an attempt to deliver a call brings, and how long to wait before it is posted again.

The machine that these values drive is :mod:`icwsgw.core.client_calls`.

Why a call is posted again although the network has it: a synchronous call whose end is not known within ten seconds is
answered 202, and so is a repetition of one that is under way. Only the sender of a call may read its status, but
whoever posts the identical envelope gets the certificate once there is one (decision 0030).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

#: The reject code that invites to try again, and how often it is believed.
SYS_TRANSIENT = 2
TRANSIENT_ATTEMPTS = 4
#: So many refusals of repetitions in a row end the search for the end of a call.
REFUSED_REPETITIONS = 3
#: Seconds between two postings of a call that the network has, before jitter of a quarter either way.
RESUBMIT_SECONDS = 1.0
#: The longest, of a ws_open: they are as long as it has taken so far.
LONGEST_RESUBMIT_SECONDS = 10.0


class Answer(NamedTuple):
    """What an attempt brought, as far as it decides what follows.

    :ivar end: the call has ended, by a certificate or by ``accepted`` where nobody waits for more
    :ivar executed: it has ended and was executed, a certificate says so
    :ivar taken: the network has the call, its end is to come
    :ivar arrived: the attempt may have been taken
    :ivar again: the same envelope may be taken later
    :ivar transient: a reject that invites to try again a few times
    """

    end: bool = False
    taken: bool = False
    arrived: bool = False
    again: bool = False
    transient: bool = False
    executed: bool = False


ACCEPTED = Answer(end=True)
ENDED = Answer(end=True, executed=True)
TAKEN = Answer(taken=True)


def may_have_been_executed(code: int, error_code: str | None) -> bool:
    """Whether a certified reject leaves open if the canister has kept what it did: the client, the sequence number.

    A trap (5, CANISTER_ERROR) rolls the state back, so the next number would be the wrong one. An explicit reject (4,
    CANISTER_REJECT) keeps what was done before it: with Motoko's CDK, whose handler is awaited, an application's trap
    arrives as one, after the number was taken. So does the state of a call that ended without a reply (IC0506, though
    its code is 5). Then the canister decides at the client's next message: it refuses a wrong number in a certified
    answer.
    """
    return code == 4 or error_code == "IC0506"


def resubmit_delay(jitter: Callable[[], float], retry_after: float | None = None, took: float = 0.0) -> float:
    """Seconds until a call that the network has is posted again.

    :param jitter: a random number in [0, 1)
    :param retry_after: what the server asked for, if it did
    :param took: seconds since a call was first sent that is worth less the longer it takes; 0 for others
    """
    return max(min(max(took, RESUBMIT_SECONDS), LONGEST_RESUBMIT_SECONDS) * (0.75 + jitter() / 2), retry_after or 0.0)
