"""The values of metric labels, and the buckets of histograms.

Every label has a fixed list of values here, so that no client, canister or network can add a series to a scrape. A
value outside its list counts as ``other`` (:mod:`icwsgw.observe.meters`). Only canister ids have no list; a scrape
shows a limited number of them (:class:`icwsgw.observe.meters.Ranking`).
"""

from __future__ import annotations

from icwsgw import close_codes

# fmt: off
#: ``cause`` of every class in :mod:`icwsgw.errors`.
CAUSES = (
    "internal", "config", "format", "signature", "certificate", "transport", "connect", "connection_lost", "timeout",
    "answer_too_large", "answer_malformed", "http", "rejected", "canister_refused", "not_ready",
)
#: Every known close code; "other" stands for the rest.
CLOSE_CODES = tuple(str(int(info.code)) for info in close_codes.CLOSE_CODES)
STATES = ("init", "setup", "open", "closed")
#: Each session counts once: when it is open, or when it ends before it was open.
OPEN_OUTCOMES = (
    "opened", "refused", "timeout", "silent", "expired", "wrong_gateway", "not_allowed", "overloaded", "malformed",
    "left", "draining", "canister", "failed",
)
#: unknown: the kind of key is not checked here (canister signatures, WebAuthn).
OPEN_SIGNATURES = ("holds", "unknown", "wrong")
#: unknown: refused or expired after an attempt whose answer was lost; the call may have been executed.
#: done: executed, and the network no longer has the reply. under_way is not in the list: such a call has not ended.
RELAY_OUTCOMES = ("accepted", "replied", "done", "expired", "unknown", "abandoned", *CAUSES)
OUT_OF_TURN = ("came", "missed")
RELAY_STATES = ("waiting", "sent")
QUERY_OUTCOMES = ("ok", "empty", "abandoned", *CAUSES)
REFUSALS = (
    "connections", "pending", "accept_rate", "connections_per_ip", "accept_rate_per_ip", "connections_per_canister",
    "connections_per_principal", "newcomers", "opens", "origin", "denied", "no_allow_list", "draining", "bad_request",
    "header_size", "header_timeout", "proxy_header", "tls", "tls_records", "tls_timeout",
)
PUSHBACKS = ("frames", "bytes", "unfinished", "canister_messages", "canister_bytes")
#: What of its canister's quota a poller has used up.
POLL_QUOTAS = ("polls", "messages", "bytes")
#: Who has caused a failure: :class:`icwsgw.core.failure_source.FailureSource`.
FAILURE_SOURCES = ("network", "canister")
POLLER_STATES = ("answered", *FAILURE_SOURCES, "opening")
WS_CLOSE_OUTCOMES = ("done", "refused", "abandoned", *CAUSES)
#: Why a poll does not wait for the next tick: a call was taken, a drain found something, an answer left a gap.
WAKES = ("call", "follow_up", "gap")
#: What the request budget delays: a tick, a wake, a query of the send window.
HELD = ("beat", "wake", "window")
#: Requests to the network that have an API version (:class:`icwsgw.agent.versions.Route`).
ROUTES = ("query", "read_state", "delegation", "sync_call", "call")
LOOKUPS = ("hit", "miss")
#: Requests to the network by their share of the request budget; the kinds of calls that may wait.
TRAFFIC = ("beat", "extra", "call", "close", "open", "eager", "own")
CALLS = ("call", "close", "open", "eager")
CONNECTION_STATES = ("busy", "idle", "connecting")
#: Of access lists from URLs.
LIST_OUTCOMES = ("changed", "unchanged", "failed")
#: Of certificates: :class:`icwsgw.server.certificates.RenewalState`.
RENEWAL_STATES = ("timely", "overdue", "urgent")
FETCH_OUTCOMES = RELOAD_OUTCOMES = ORDER_OUTCOMES = ("ok", "failed")
LINE_LEVELS = ("debug", "info", "warn", "error", "critical")
#: Why a line is not in the log: the log rate limit, a log whose reader has stopped, or a write error.
LINE_LOSSES = ("repeated", "unread", "unwritable")

#: Network round trips in seconds: fine-grained in the usual range of queries and calls.
ROUND_TRIP = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 2.0, 3.5, 5.0, 10.0, 30.0)
OPENING = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.5, 5.0, 10.0, 20.0, 30.0, 60.0)
HANDSHAKE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LIFETIME = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0, 86400.0)
LAG = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
#: Seconds. A block of a subnet takes about a second; a lag of over a minute needs no fine resolution.
QUEUE_LAG = (0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0)
# fmt: on
