"""What clients, polls and messages cost, as measured: docs/performance.md and docs/scaling.md have the figures.

They come from one small machine. A plan doubles the CPU time, so that there is headroom for others.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import exp, log

#: Memory in bytes ("The figures" of docs/scaling.md).
PROCESS_BYTES, SUPERVISOR_BYTES = 66e6, 61e6
CLIENT_BYTES, TLS_CLIENT_BYTES = 6.7e3, 26e3
CANISTER_BYTES = 24e3

#: CPU seconds: a session that is opened and closed, a ping with its pong ("The figures" of docs/scaling.md).
OPEN_SECONDS, PING_SECONDS = 850e-6, 40e-6

#: (rate a second, CPU microseconds each) of one process; between two rates the cost changes by a power of the rate.
#: "Canisters with an idle client each": polls a second, CPU a poll.
POLL_COSTS = ((10, 764), (100, 485), (300, 329), (1_000, 189), (2_999, 150), (8_462, 117))
#: "Canister messages to 200 clients": delivered a second, CPU a message.
DELIVERY_COSTS = ((1.3, 8_211), (10.4, 1_477), (100, 252), (304, 90.5), (1_011, 52), (3_031, 35.9), (9_945, 36.6))
#: "Beside the Rust gateway": a client's message, 200 a second and in a flood, calls answered by certificates.
CALL_COSTS = ((200, 462), (5_000, 56))

#: Requests a second of one address ("Limits of others" of docs/scaling.md): what a gateway allows itself, and what it
#: may need while another one is down.
BUDGET, MOST_REQUESTS = 250, 300
#: Seconds between two acknowledgements of a canister to all its clients, and within which they must be answered.
ACKNOWLEDGEMENT_SECONDS, KEEP_ALIVE_SECONDS = 300, 60
#: Seconds between two pings (--ping-interval).
PING_INTERVAL = 25
#: Clients of one canister under one identity, before the next is used (--identities).
IDENTITY_CLIENTS = 1_000
#: Calls a second that a canister executes, together with its subnet's other load.
CANISTER_CALLS = 500
#: File descriptors of a process besides those of its clients ("Formulas" of docs/scaling.md).
OTHER_DESCRIPTORS = 2_688
#: Sessions a second that come back after a drain, for each address (decision 0072).
REOPENED = 125


def cost(figures: Sequence[tuple[float, float]], rate: float) -> float:
    """CPU seconds of one request or message, at a rate.

    :param figures: (rate a second, CPU microseconds each), by rate
    :param rate: a second; beyond the measured rates the nearest one counts
    """
    if rate <= figures[0][0]:
        return figures[0][1] / 1e6
    for (low, dear), (high, cheap) in pairwise(figures):
        if rate <= high:
            part = log(rate / low) / log(high / low)
            return exp(log(dear) + part * (log(cheap) - log(dear))) / 1e6
    return figures[-1][1] / 1e6


def time_of(figures: Sequence[tuple[float, float]], rate: float) -> float:
    """Part of a core that so many requests or messages a second take."""
    return rate * cost(figures, rate)
