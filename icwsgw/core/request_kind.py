"""The kinds of requests to the network, and the share of the request budget that each of them has.

    kind    share  requests
    ------  -----  ---------------------------------------------------------------------------------------------
    TICK    6/16   polls at the ticks of all pollers
    EXTRA   2/16   wakes, follow-ups, further polls of a long queue, reads of state
    CALL    4/16   messages of clients; each attempt counts
    CLOSE   1/16   ws_close
    OPEN    2/16   ws_open, which unauthenticated clients cause; it has a rate limit of its own besides
    EAGER   1/16   messages of clients that have sent within the last second
    OWN     -      the agent's own: status, keys, delegations, time, and what is resent at once to another endpoint

:mod:`icwsgw.core.request_budget` gives out the shares (decision 0034).
"""

from __future__ import annotations

from enum import IntEnum


class RequestKind(IntEnum):
    """The kinds of requests to the network."""

    TICK = 0
    EXTRA = 1
    CALL = 2
    CLOSE = 3
    OPEN = 4
    EAGER = 5
    OWN = 6

    @property
    def label(self) -> str:
        """The kind as metrics and the documents of a handover name it; a tick has kept its former name there."""
        return "beat" if self is RequestKind.TICK else self.name.lower()


#: Sixteenths of the budget by kind; OWN has none.
WEIGHTS = (6, 2, 4, 1, 2, 1)
#: Kinds that may wait, in order of precedence.
WAITING = (RequestKind.CALL, RequestKind.CLOSE, RequestKind.EAGER, RequestKind.OPEN)
