"""The values of metric labels, and the buckets of histograms.

Every label has a list here, so that no client, canister or network can add a series to a scrape; see
:mod:`icwsgw.observe.meters` for what becomes of a word that is in no list. The one exception are canisters
(:class:`icwsgw.observe.meters.Ranking`), of which a scrape has so many and no more.
"""

from __future__ import annotations

from icwsgw import close_codes

# fmt: off
#: ``cause`` of every class in :mod:`icwsgw.errors`.
CAUSES = (
    "internal", "config", "format", "signature", "certificate", "transport", "connect", "connection_lost", "timeout",
    "answer_too_large", "answer_malformed", "http", "rejected", "canister_refused", "not_ready",
)
#: Every close code that is known; "other" stands for the rest.
CLOSE_CODES = tuple(str(int(info.code)) for info in close_codes.CLOSE_CODES)
STATES = ("init", "setup", "open", "closed")
#: One of them for each session, when it is open or has ended without that.
OPEN_OUTCOMES = (
    "opened", "refused", "timeout", "silent", "expired", "wrong_gateway", "not_allowed", "overloaded", "malformed",
    "left", "draining", "failed",
)
#: unknown: a key of a kind that is not checked here (canister signatures, WebAuthn).
OPEN_SIGNATURES = ("holds", "unknown", "wrong")
#: unknown: refused, or expired, after an attempt whose answer was lost; it may have been executed.
#: done: executed, the reply is forgotten; under_way is none of a call's end.
RELAY_OUTCOMES = ("accepted", "replied", "done", "expired", "unknown", "abandoned", *CAUSES)
OUT_OF_TURN = ("came", "missed")
RELAY_STATES = ("waiting", "sent")
QUERY_OUTCOMES = ("ok", "empty", "abandoned", *CAUSES)
REFUSALS = (
    "connections", "pending", "accept_rate", "connections_per_ip", "accept_rate_per_ip", "connections_per_canister",
    "connections_per_principal", "newcomers", "opens", "origin", "draining", "bad_request", "header_size",
    "header_timeout", "proxy_header", "tls", "tls_timeout",
)
PUSHBACKS = ("frames", "bytes", "unfinished")
WS_CLOSE_OUTCOMES = ("done", "refused", "abandoned", *CAUSES)
#: Why a poll does not wait for the next tick: a call was taken, a drain found something, an answer left a gap.
WAKES = ("call", "follow_up", "gap")
#: What the budget of queries holds back: a tick, a wake, a query for a deep queue.
HELD = ("beat", "wake", "window")
#: What the network is asked by version (:class:`icwsgw.agent.versions.Route`).
ROUTES = ("query", "read_state", "delegation", "sync_call", "call")
LOOKUPS = ("hit", "miss")
#: What leaves for the network, by the share of the budget it has; the kinds of which calls may wait.
TRAFFIC = ("beat", "extra", "call", "close", "open", "eager", "own")
CALLS = ("call", "close", "open", "eager")
CONNECTION_STATES = ("busy", "idle", "connecting")
FETCH_OUTCOMES = RELOAD_OUTCOMES = ("ok", "failed")
LINE_LEVELS = ("debug", "info", "warn", "error", "critical")
#: Why a line is not in the log: there were too many like it in a minute, nobody read the log, or writing has failed.
LINE_LOSSES = ("repeated", "unread", "unwritable")

#: Seconds. Network round trips: fine where queries and calls live.
ROUND_TRIP = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 2.0, 3.5, 5.0, 10.0, 30.0)
OPENING = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.5, 5.0, 10.0, 20.0, 30.0, 60.0)
HANDSHAKE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LIFETIME = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0, 86400.0)
LAG = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
#: A block of a subnet takes about a second; beyond a minute nobody waits for a message any more.
QUEUE_LAG = (0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0)
# fmt: on
