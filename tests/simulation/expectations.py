"""Which sessions may be closed with which code, and by when: a model of the documentation, not of the gateway's code.

``docs/protocol.md`` gives the cause of each close code. :func:`unexplained` checks that the cause occurred in the
recorded events of canisters, clients, links and the network. :func:`overdue` returns what should have ended by now: it
applies the gateway's deadlines, each with a tolerance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from icwsgw.core.close_reasons import MAX_REASON_BYTES, CloseCode
from icwsgw.core.request_budget import LEAST_OPEN_QUEUE, OPEN_QUEUE_SECONDS
from icwsgw.core.session_machine import State
from icwsgw.ic.ws import nonce_of_key
from tests.simulation.estimates import too_early

if TYPE_CHECKING:
    from tests.simulation.oracle import SimSession
    from tests.simulation.world import SimWorld

#: Seconds by which a visit of the timer wheel may be late: its slots are a second wide.
WHEEL = 2.1
#: Tolerance for sums of floats.
EPSILON = 0.002
#: The longest Retry-After; an envelope that expires sooner than that may be given up early.
LONGEST_ASKED = 65.0
#: Seconds within which a reset is found if the canister answers.
RESET_FOUND = 5.0
#: Seconds after a canister's grace period within which its clients are closed: the longest pause between two polls,
#: and a poll that hangs.
SILENCE_FOUND = 12.0
#: Seconds within which a change of this machine's clock is found.
CLOCK_FOUND = 30.0
#: More frames in one read than a well-behaved client sends.
FLOOD_FRAMES = 256

#: The close code that follows each of these faults of a client at once.
AT_ONCE: dict[str, int] = {
    "text": CloseCode.NOT_BINARY,
    "garbage": CloseCode.UNDECODABLE,
    "sender": CloseCode.PROTOCOL_ERROR,
    "canister": CloseCode.PROTOCOL_ERROR,
    "wrong method": CloseCode.PROTOCOL_ERROR,
    "forged": CloseCode.OPEN_REFUSED,
}

#: Close codes by which a client itself ends the session.
OWN_CODES = frozenset((1000, 1001, 1005, 4000, 4001))


def unexplained(world: SimWorld, session: SimSession, code: int) -> str:
    """Why a session should not have been closed with a code; empty if it may."""
    if code == CloseCode.INTERNAL:
        return "that is never right"
    if code in session.owner.provoked or code in session.owner.doomed:
        return ""
    if code == CloseCode.OVERLOADED and session.owner.link in doors(world):
        return ""
    if code in OWN_CODES:
        return "" if session.owner.left else "the client had not left"
    rule = RULES.get(code)
    return "no client did anything to deserve it" if rule is None else rule(world, session)


def _abnormal(world: SimWorld, session: SimSession) -> str:
    owner = session.owner
    return "" if owner.left or owner.was_slow or owner.provoked else "the connection was sound"


def _missed(world: SimWorld, session: SimSession) -> str:
    troubles = world.oracle.troubles
    return "" if troubles["hole"] or troubles["large"] else "no message was left out"


def _not_allowed(world: SimWorld, session: SimSession) -> str:
    return "" if session.owner.canister in world.unserved else "its canister is served"


def _draining(world: SimWorld, session: SimSession) -> str:
    process = session.owner.process
    if world.oracle.taking and process.merges_queues:
        # two processes have read its queue up to different messages (decision 0070)
        return ""
    return "" if process.gateway.draining else "nobody drains"


def _replaced(world: SimWorld, session: SimSession) -> str:
    oracle, key = world.oracle, session.client_key
    if key is None:
        return "it had named no client key"
    others = [
        other
        for other, (where, _) in oracle.opened.items()
        if other != key and other[0] == key[0] and where == session.owner.canister
    ]
    if not others:
        return "it was the principal's only one"
    mine = oracle.opened_at.get(key)
    newest = max(oracle.opened_at[other] for other in others)
    if mine is not None and newest == mine and oracle.is_current(session.owner.canister, key) and not oracle.troubles:
        return "it came in the same block as another one, and is the one that its canister knows"
    if mine is None or newest >= mine:
        return ""
    if oracle.reset_at.get(session.owner.canister, float("-inf")) > session.started - RESET_FOUND:
        return ""
    # the time of an opening is unknown if its client left early; other clients may receive nothing since then
    without_time = [
        other
        for other in oracle.sessions
        if State.INIT < other.ended_in < State.OPEN
        and other.client_key in others
        and other.identity_index != session.identity_index
    ]
    return (
        "" if without_time and oracle.troubles else f"it was the newest, opened {mine - newest:.3f} s after the others"
    )


def _too_slow(world: SimWorld, session: SimSession) -> str:
    owner, bounds = session.owner, world.plan
    if not owner.link.wire:
        return "nothing can wait for it"
    waiting, age = session.waited
    if waiting > min(bounds.outbox_bytes, 1 << 16 if bounds.crowded else bounds.outbox_bytes) - EPSILON:
        return ""
    if not owner.was_slow:
        return f"the client kept up, {waiting} bytes waited"
    if age >= session.owner.process.config.outbox_age - EPSILON:
        return ""
    return f"{waiting} bytes waited, and the last 64 KiB had been read {age:.2f} s before"


def _reset(world: SimWorld, session: SimSession) -> str:
    oracle, canister = world.oracle, session.owner.canister
    # a fault that hides messages can also hide those by which a reset is recognised
    if oracle.troubles["lagging"] or oracle.troubles["hole"]:
        return ""
    if oracle.troubles["query gap"] and not session.messages_down:
        # its first message may have been missing in the first answer to its poller
        return ""
    gateway = session.context.identities[session.identity_index].principal
    if session.client_key in oracle.gone and oracle.removed_queues[canister, gateway]:
        # its canister had removed it, and then the queue with its close message, which looks the same
        return ""
    at = oracle.reset_at.get(canister)
    if at is None:
        return "there was no reset"
    # a reset is not found while lagging nodes hide it
    seen_at = world.clock.seconds() if canister in world.replica.behind else oracle.caught_up.get(canister, at)
    late = session.started - max(at, seen_at)
    poller: Any = session.poller
    if poller is not None:
        # it cannot be found while the network asks not to poll, and such a pause is up to a quarter longer
        late -= max(0.0, 1.25 * (poller.asked_until - at) + 1.0)
    # a client that connects before it is found may have missed its first messages
    return "" if late <= RESET_FOUND else f"the reset was {late:.2f} s before it connected"


def _too_fast(world: SimWorld, session: SimSession) -> str:
    if "keep-alive" in session.end_text:
        return too_early(session, world.clock.seconds())
    if session.owner.count <= 5:
        return "the client hardly sent anything"
    if session.waited_up or session.was_held or session.owner.was_slow:
        return ""
    return "all that it had sent was executed"


def _not_opened(world: SimWorld, session: SimSession) -> str:
    config, owner = session.owner.process.config, session.owner
    lasted = world.clock.seconds() - session.started
    if session.client_key is None:
        if lasted < config.first_message_timeout - EPSILON:
            return f"it had {config.first_message_timeout} s for its ws_open, not {lasted:.2f}"
        # messages signed in the same moment were still in flight
        on_its_way = world.clock.seconds() - owner.signed_at < 0.5
        return "" if owner.provoked or owner.was_slow or on_its_way else "it had sent ws_open"
    lasted = world.clock.seconds() - session.registered
    if lasted < config.open_timeout - EPSILON:
        return f"its canister had {config.open_timeout} s, not {lasted:.2f}"
    few = world.plan.opens_per_second or world.plan.crowd
    return "" if world.oracle.troubles or few or _far_behind(world, session) else "the world is calm"


def _far_behind(world: SimWorld, session: SimSession) -> bool:
    """Whether its first message is far behind others in a queue that was read without a pause all the time."""
    poller: Any = session.poller
    if poller is None:
        return False
    plan, registered = world.plan, session.registered
    identity = session.context.identities[poller.identity_index].principal
    gateway = world.replica.host(poller.canister).ws._gateways.get(identity)
    queue = gateway.queue if gateway is not None else ()
    numbers = [nonce_of_key(each.key) for each in queue if (each.principal, each.nonce) == session.client_key]
    round_trip = 2 * (plan.query_latency + 2 * plan.network_jitter) + plan.polling_interval
    pages = (world.clock.seconds() - registered) / round_trip
    waits = bool(numbers) and numbers[0] - poller.cursor.next >= plan.page
    return waits and poller.read_since(registered) >= plan.page * pages


def _open_refused(world: SimWorld, session: SimSession) -> str:
    if session.was_open:
        return "its session was open"
    bad = ("ws_open", session.client_key) in session.owner.process.agent.bad
    return "" if bad else "no answer refused its ws_open"


def _message_refused(world: SimWorld, session: SimSession) -> str:
    key = session.client_key
    if ("ws_message", key) in session.owner.process.agent.refusals or key in world.oracle.gone:
        return ""
    return "no message of it was refused"


def _expired(world: SimWorld, session: SimSession) -> str:
    since = world.clock.seconds() - session.owner.process.clock_set_at
    if world.plan.clocks and (session.owner.process.wall_offset or since < CLOCK_FOUND):
        # this machine's clock is wrong; `clocks` checks whether the gateway can know
        return ""
    if world.oracle.troubles["persuaded"]:
        # a node with a wrong clock has answered several times in a row
        return ""
    if world.dates_were_wrong and world.replica.wrong_nodes:
        # a proxy and a node that agree on a wrong time are trusted for a while
        return ""
    left = session.owner.earliest_expiry - world.clock.seconds()
    return "" if left < LONGEST_ASKED else f"its first envelope to expire had {left:.0f} s left"


def _silent(world: SimWorld, session: SimSession) -> str:
    if session.poller is None:
        return "it had no canister"
    agent, config = session.owner.process.agent, session.owner.process.config
    place = session.poller.canister, session.poller.identity_index
    if "network" in session.end_text:
        grace, silence = config.network_grace, agent.silence(*place, asked=False)
    elif agent.only_the_network(*place):
        return "only the network had failed"
    else:
        grace, silence = config.canister_grace, agent.silence(*place, asked=True)
    # a requested pause is a little longer than the longest one that is not counted
    return "" if silence >= grace - 0.5 else f"it had been silent for {silence:.2f} s of {grace:.0f}"


def _too_many(world: SimWorld, session: SimSession) -> str:
    bounds, owner = world.plan, session.owner
    most = bounds.max_connections_per_canister
    others = [
        other
        for other in world.oracle.sessions
        if other is not session and State.INIT < other.state < State.CLOSED and other.owner.canister == owner.canister
    ]
    if most and len(others) >= most:
        return ""
    most = bounds.max_connections_per_principal
    mine = owner.identity.principal.raw
    accepted = [
        other
        for other in world.oracle.sessions
        if other is not session
        and State.OPEN <= other.state < State.CLOSED
        and other.client_key is not None
        and other.client_key[0] == mine
    ]
    if most and len(accepted) >= most:
        return ""
    return "" if _many_open(world, session) else "there was room"


def _many_open(world: SimWorld, session: SimSession) -> bool:
    """Whether the queue of ws_open is full for its address."""
    if not world.plan.opens_per_second:
        return False
    process = session.owner.process
    in_flight = process.agent.openings_in_flight
    waiting = [
        other
        for other in process.gateway.registry.sessions
        if State.INIT < other.state < State.OPEN and other.client_key not in in_flight
    ]
    near = sum(other.group == session.group for other in waiting)
    return len(waiting) + near >= max(LEAST_OPEN_QUEUE, int(world.plan.opens_per_second * OPEN_QUEUE_SECONDS))


def _policy(world: SimWorld, session: SimSession) -> str:
    since = session.owner.link.half_since
    if since is None:
        return "all of its messages were whole"
    bounds = world.plan
    took = world.clock.seconds() - since
    if took >= bounds.message_timeout - EPSILON or bounds.crowded:
        return ""
    return f"its message had {bounds.message_timeout} s, not {took:.2f}"


def _flood(world: SimWorld, session: SimSession) -> str:
    return "" if session.owner.link.frames_up > FLOOD_FRAMES else "the client hardly sent anything"


def doors(world: SimWorld) -> set[Any]:
    """The connections that were evicted."""
    return {link for process in world.processes for link in process.door.crowded_out}


RULES: dict[int, Callable[[Any, Any], str]] = {
    1006: _abnormal,
    CloseCode.POLICY: _policy,
    CloseCode.OVERLOADED: _too_many,
    CloseCode.CANISTER_NOT_ALLOWED: _not_allowed,
    CloseCode.MESSAGES_MISSED: _missed,
    CloseCode.DRAINING: _draining,
    CloseCode.OPEN_REFUSED: _open_refused,
    CloseCode.EXPIRED: _expired,
    CloseCode.TOO_SLOW: _too_slow,
    CloseCode.CANISTER_RESET: _reset,
    CloseCode.CANISTER_SILENT: _silent,
    CloseCode.NOT_OPENED: _not_opened,
    CloseCode.RATE_LIMIT: _flood,
    CloseCode.REPLACED: _replaced,
    CloseCode.MESSAGE_REFUSED: _message_refused,
    CloseCode.TOO_FAST: _too_fast,
}


def bad_reason(session: SimSession, code: int, reason: str) -> str:
    """What is wrong with the reason in a close frame; empty if nothing is."""
    if not reason.endswith(f" [{session.id}]"):
        return f"the reason of {code} does not end in the session's id: {reason!r}"
    if len(reason.encode()) > MAX_REASON_BYTES:
        return f"the reason of {code} is too long: {reason!r}"
    return "" if reason[: -len(session.id) - 3].strip() else f"{code} has no reason"


def overdue(world: SimWorld) -> Iterator[str]:
    """What should have ended by now."""
    now = world.clock.seconds()
    for session in world.oracle.sessions:
        if session.state is State.CLOSED:
            continue
        config = session.owner.process.config
        # a client that is due to be pinged is examined when that is due
        late = now - session.started - config.first_message_timeout - config.pong_timeout - WHEEL
        if session.state is State.INIT and late > 0 and not session.owner.process.gateway.draining:
            yield f"session {session.id} has had {late:.1f} s too long for its ws_open"
        if State.INIT < session.state < State.OPEN:
            late = now - session.registered - config.open_timeout - config.pong_timeout - WHEEL
            if late > 0:
                yield f"session {session.id} has had {late:.1f} s too long to open"
        poller: Any = session.poller
        if poller is not None:
            failing = session.owner.process.agent.failing_for(poller)
            beat = poller.poll_budget.poll_schedule.interval
            late = failing - max(config.canister_grace, 3 * beat) - SILENCE_FOUND
            if late > 0:
                yield f"session {session.id} is connected to a canister that has been silent {late:.1f} s too long"
    yield from _beyond_limits(world)
    for client in world.clients:
        if client.link.wire:
            for what, late in client.link.overdue(now):
                if late > 0:
                    yield f"client {client.number} {what} for {late:.1f} s too long"


def _beyond_limits(world: SimWorld) -> Iterator[str]:
    """More sessions of one canister, or of one principal, than the options allow."""
    plan = world.plan
    if not plan.max_connections_per_canister and not plan.max_connections_per_principal:
        return
    living = [session for session in world.oracle.sessions if State.INIT < session.state < State.CLOSED]
    canisters = Counter(session.owner.canister.text for session in living)
    principals = Counter(session.client_key[0] for session in living if session.was_open and session.client_key)
    for what, counts, most in (
        ("canister", canisters, plan.max_connections_per_canister),
        ("principal", principals, plan.max_connections_per_principal),
    ):
        if most and counts and max(counts.values()) > most:
            yield f"a {what} has {max(counts.values())} sessions, {most} may be"
