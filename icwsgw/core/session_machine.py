"""The life of one client's session, as a table.

A session starts when the WebSocket is open and the handshake message has been sent (INIT). Its first envelope must
be a ``ws_open``; with it the client key is registered and the envelope leaves for the canister (SETUP). The first
message that the canister sends to this client key shows that the canister has accepted it (OPEN). CLOSED is the end,
from wherever: the client left, or it is told to.

In two states the gateway waits some seconds for the canister's next message before it ends the session: nobody can tell
whether ``ws_open`` was executed (UNCERTAIN), or the canister has refused a message because it does not know the client
(DISMISSED) and may have queued a close message before.

    state      event           next       effects
    ---------  --------------  ---------  ----------------------------------
    INIT       ENVELOPE        SETUP      REGISTER, RELAY
    INIT       CLIENT_LEFT     CLOSED     -
    INIT       END             CLOSED     CLOSE
    SETUP      CANISTER_SPOKE  OPEN       RELEASE
    SETUP      OPEN_UNCERTAIN  UNCERTAIN  WAIT
    SETUP      OPEN_REFUSED    CLOSED     UNREGISTER, CLOSE
    SETUP      CLIENT_LEFT     CLOSED     UNREGISTER, TELL
    SETUP      END             CLOSED     UNREGISTER, CLOSE, TELL
    SETUP      CANISTER_GONE   CLOSED     UNREGISTER, CLOSE
    UNCERTAIN  CANISTER_SPOKE  OPEN       STOP_WAITING, RELEASE
    UNCERTAIN  CLIENT_LEFT     CLOSED     STOP_WAITING, UNREGISTER, TELL
    UNCERTAIN  END             CLOSED     STOP_WAITING, UNREGISTER, CLOSE, TELL
    UNCERTAIN  CANISTER_GONE   CLOSED     STOP_WAITING, UNREGISTER, CLOSE
    OPEN       REFUSED         DISMISSED  WAIT
    OPEN       CLIENT_LEFT     CLOSED     UNREGISTER, TELL
    OPEN       END             CLOSED     UNREGISTER, CLOSE, TELL
    OPEN       CANISTER_GONE   CLOSED     UNREGISTER, CLOSE
    DISMISSED  CLIENT_LEFT     CLOSED     STOP_WAITING, UNREGISTER, TELL
    DISMISSED  END             CLOSED     STOP_WAITING, UNREGISTER, CLOSE, TELL
    DISMISSED  CANISTER_GONE   CLOSED     STOP_WAITING, UNREGISTER, CLOSE

The end of the wait is an END. The canister is not told where it never had the client (OPEN_REFUSED) or has forgotten
all clients (CANISTER_GONE).

Only what changes a session's life passes through the table. An ordinary message of an open session, in either
direction, costs no event and no effect: callers look at ``state`` and continue (decision 0013).
"""

from __future__ import annotations

from enum import Enum, IntEnum


class State(IntEnum):
    """Where a session is. The order matters: a session only moves to a greater one."""

    INIT = 0
    """The client has its handshake message and has sent no valid ws_open."""
    SETUP = 1
    """Its ws_open is on its way, or was executed."""
    UNCERTAIN = 2
    """Nobody can tell whether its ws_open was executed."""
    OPEN = 3
    """The canister has sent its first message to the client."""
    DISMISSED = 4
    """The canister has refused a message of the client because it does not know the client (any more)."""
    CLOSED = 5
    """The session is over; what the client has sent, and ws_close, may still have to leave."""

    @property
    def label(self) -> str:
        """The state in one of :data:`LABELS`, as operators see it."""
        return _LABEL_OF[self]


_LABEL_OF = {
    State.INIT: "init",
    State.SETUP: "setup",
    State.UNCERTAIN: "setup",
    State.OPEN: "open",
    State.DISMISSED: "open",
    State.CLOSED: "closed",
}
#: The states as operators see them: those in which the gateway waits are not told apart.
LABELS = tuple(dict.fromkeys(_LABEL_OF.values()))


class Opened(IntEnum):
    """What is known of a client's ws_open at its canister: the one thing to ask whether a session has opened.

    It only grows, and stays when the session is over. SETUP becomes OPEN with ``SPOKE``.
    """

    UNKNOWN = 0
    """Nothing, or nothing certain."""
    EXECUTED = 1
    """A certificate says that the canister has executed it."""
    SPOKE = 2
    """The canister has sent its first message to the client."""
    CONFIRMED = 3
    """The canister has executed a message of the client, in a later block than its ws_open."""


class Event(Enum):
    """What can happen to a session's life."""

    ENVELOPE = "a valid ws_open came from the client"
    CANISTER_SPOKE = "the canister sent its first message to the client"
    OPEN_UNCERTAIN = "nobody can tell whether ws_open was executed"
    OPEN_REFUSED = "ws_open was refused for good"
    REFUSED = "the canister refused a message because it does not know the client"
    CLIENT_LEFT = "the client's connection ended"
    END = "the gateway ends the session"
    CANISTER_GONE = "the canister was reset, so it does not know this client any more"


class Effect(Enum):
    """What the session's runtime has to do."""

    REGISTER = "register the client key at the canister's poller"
    RELAY = "relay ws_open"
    RELEASE = "let the envelopes go that were held behind ws_open"
    WAIT = "wait some seconds for the canister's next message, then END"
    STOP_WAITING = "cancel that wait"
    UNREGISTER = "forget the client key"
    TELL = "queue ws_close behind what the client still has to send"
    CLOSE = "close the socket with a code and a reason"


S, E, F = State, Event, Effect
_LEAVE = (F.UNREGISTER, F.TELL)
_END = (F.UNREGISTER, F.CLOSE, F.TELL)
_GONE = (F.UNREGISTER, F.CLOSE)

TABLE: dict[tuple[State, Event], tuple[State, tuple[Effect, ...]]] = {
    (S.INIT, E.ENVELOPE): (S.SETUP, (F.REGISTER, F.RELAY)),
    (S.INIT, E.CLIENT_LEFT): (S.CLOSED, ()),
    (S.INIT, E.END): (S.CLOSED, (F.CLOSE,)),
    (S.SETUP, E.CANISTER_SPOKE): (S.OPEN, (F.RELEASE,)),
    (S.SETUP, E.OPEN_UNCERTAIN): (S.UNCERTAIN, (F.WAIT,)),
    (S.SETUP, E.OPEN_REFUSED): (S.CLOSED, _GONE),
    (S.SETUP, E.CLIENT_LEFT): (S.CLOSED, _LEAVE),
    (S.SETUP, E.END): (S.CLOSED, _END),
    (S.SETUP, E.CANISTER_GONE): (S.CLOSED, _GONE),
    (S.UNCERTAIN, E.CANISTER_SPOKE): (S.OPEN, (F.STOP_WAITING, F.RELEASE)),
    (S.UNCERTAIN, E.CLIENT_LEFT): (S.CLOSED, (F.STOP_WAITING, *_LEAVE)),
    (S.UNCERTAIN, E.END): (S.CLOSED, (F.STOP_WAITING, *_END)),
    (S.UNCERTAIN, E.CANISTER_GONE): (S.CLOSED, (F.STOP_WAITING, *_GONE)),
    (S.OPEN, E.REFUSED): (S.DISMISSED, (F.WAIT,)),
    (S.OPEN, E.CLIENT_LEFT): (S.CLOSED, _LEAVE),
    (S.OPEN, E.END): (S.CLOSED, _END),
    (S.OPEN, E.CANISTER_GONE): (S.CLOSED, _GONE),
    (S.DISMISSED, E.CLIENT_LEFT): (S.CLOSED, (F.STOP_WAITING, *_LEAVE)),
    (S.DISMISSED, E.END): (S.CLOSED, (F.STOP_WAITING, *_END)),
    (S.DISMISSED, E.CANISTER_GONE): (S.CLOSED, (F.STOP_WAITING, *_GONE)),
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
