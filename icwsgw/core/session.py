"""The life of one client's session, as a table.

A session starts when the WebSocket is open and the handshake message has been sent (INIT). Its first envelope must
be a ``ws_open``; with it the client key is registered and the envelope leaves for the canister (SETUP). The first
message that the canister sends to this client key shows that the canister has accepted it (OPEN). CLOSED is the end,
from wherever: the client left, or it is told to.

    state   event            next     effects
    ------  ---------------  -------  -------------------------------------------------------------
    INIT    ENVELOPE         SETUP    register the client key, then relay ws_open
    SETUP   CANISTER_SPOKE   OPEN     release the envelopes held behind ws_open
    SETUP   OPEN_REFUSED     CLOSED   close; the canister never had the client, so it is not told
    any     CLIENT_LEFT      CLOSED   from SETUP on: unregister, tell the canister when all has left
    any     END              CLOSED   the same, and close the socket
    any     CANISTER_GONE    CLOSED   as END, but there is no canister (or no such life of it) to tell

Only what changes a session's life passes through the table. An ordinary message of an open session, in either
direction, costs no event and no effect: callers look at ``state`` and go on (decision 0013).

What the effects mean, in the order they are written: REGISTER and UNREGISTER are about the client key at the
canister's poller; RELAY sends the envelope at hand; RELEASE opens the gate that held envelopes back; CLOSE ends the
socket with the code and reason that came with the event; TELL queues ``ws_close`` behind what the client still has
to send.
"""

from __future__ import annotations

from enum import Enum, IntEnum


class State(IntEnum):
    """Where a session is. The order matters: whatever is below SETUP is unknown to any canister."""

    INIT = 0
    """The client has its handshake message and has sent no valid ws_open."""
    SETUP = 1
    """Its ws_open is on its way, or its outcome is not known."""
    OPEN = 2
    """The canister has sent its first message to the client."""
    CLOSED = 3
    """The session is over; what the client has sent, and ws_close, may still have to leave."""


class Opened(IntEnum):
    """What is known of a client's ws_open at its canister: the one thing to ask whether a session has opened.

    It only grows, and stays when the session is over. ``SETUP`` goes on to ``OPEN`` with the last step.
    """

    UNKNOWN = 0
    """Nothing, or nothing certain."""
    EXECUTED = 1
    """A certificate says that the canister has executed it."""
    SPOKE = 2
    """The canister has sent its first message to the client."""


class Event(Enum):
    """What can happen to a session's life."""

    ENVELOPE = "a valid ws_open came from the client"
    CANISTER_SPOKE = "the canister sent its first message to the client"
    OPEN_REFUSED = "ws_open was refused for good"
    CLIENT_LEFT = "the client's connection ended"
    END = "the gateway ends the session"
    CANISTER_GONE = "the canister was reset, so it does not know this client any more"


class Effect(Enum):
    """What the session's runtime has to do."""

    REGISTER = "register the client key"
    RELAY = "relay the envelope"
    RELEASE = "let held envelopes go"
    UNREGISTER = "forget the client key"
    TELL = "tell the canister with ws_close"
    CLOSE = "close the socket"


S, E, F = State, Event, Effect
_LEAVE = (F.UNREGISTER, F.TELL)
_END = (F.UNREGISTER, F.CLOSE, F.TELL)
_GONE = (F.UNREGISTER, F.CLOSE)

TABLE: dict[tuple[State, Event], tuple[State, tuple[Effect, ...]]] = {
    (S.INIT, E.ENVELOPE): (S.SETUP, (F.REGISTER, F.RELAY)),
    (S.INIT, E.CLIENT_LEFT): (S.CLOSED, ()),
    (S.INIT, E.END): (S.CLOSED, (F.CLOSE,)),
    (S.SETUP, E.CANISTER_SPOKE): (S.OPEN, (F.RELEASE,)),
    (S.SETUP, E.OPEN_REFUSED): (S.CLOSED, _GONE),
    (S.SETUP, E.CLIENT_LEFT): (S.CLOSED, _LEAVE),
    (S.SETUP, E.END): (S.CLOSED, _END),
    (S.SETUP, E.CANISTER_GONE): (S.CLOSED, _GONE),
    (S.OPEN, E.CLIENT_LEFT): (S.CLOSED, _LEAVE),
    (S.OPEN, E.END): (S.CLOSED, _END),
    (S.OPEN, E.CANISTER_GONE): (S.CLOSED, _GONE),
}
del S, E, F

_NOTHING: tuple[Effect, ...] = ()


def step(state: State, event: Event) -> tuple[State, tuple[Effect, ...]]:
    """The next state and the effects of an event.

    :raises LookupError: the event cannot happen in this state, which is a fault of the gateway. CLOSED is the
        exception: whatever is still under way when a session ends finds it closed, and nothing follows.
    """
    if state is State.CLOSED:
        return state, _NOTHING
    try:
        return TABLE[state, event]
    except KeyError:
        raise LookupError(f"{event.name} in {state.name}") from None
