"""The life of one client's session, as a table.

A session starts when the WebSocket is open and the handshake message has been sent (INIT). Its first envelope must
be a ``ws_open``; with it the client key is registered and the envelope leaves for the canister (SETUP). The first
message that the canister sends to this client key shows that the canister has accepted it (OPEN). CLOSED is the end,
whether the client has left or the gateway ends the session.

In two states the gateway waits some seconds for the canister's next message before it ends the session: it is unknown
whether ``ws_open`` was executed (UNCERTAIN), or the canister has refused a message because it does not know the client
(DISMISSED) and may have queued a close message before.

    state      event           next       effects
    ---------  --------------  ---------  ---------------------------------------------------
    INIT       ENVELOPE        SETUP      REGISTER, RELAY
    INIT       CLIENT_LEFT     CLOSED     -
    INIT       END             CLOSED     CLOSE
    SETUP      CANISTER_SPOKE  OPEN       RELEASE
    SETUP      OPEN_UNCERTAIN  UNCERTAIN  WAIT
    SETUP      OPEN_REFUSED    CLOSED     UNREGISTER, CLOSE
    SETUP      CLIENT_LEFT     CLOSED     UNREGISTER, QUEUE_CLOSE_NOTICE
    SETUP      END             CLOSED     UNREGISTER, CLOSE, QUEUE_CLOSE_NOTICE
    SETUP      CANISTER_RESET  CLOSED     UNREGISTER, CLOSE
    UNCERTAIN  CANISTER_SPOKE  OPEN       STOP_WAITING, RELEASE
    UNCERTAIN  CLIENT_LEFT     CLOSED     STOP_WAITING, UNREGISTER, QUEUE_CLOSE_NOTICE
    UNCERTAIN  END             CLOSED     STOP_WAITING, UNREGISTER, CLOSE, QUEUE_CLOSE_NOTICE
    UNCERTAIN  CANISTER_RESET  CLOSED     STOP_WAITING, UNREGISTER, CLOSE
    OPEN       REFUSED         DISMISSED  WAIT
    OPEN       CLIENT_LEFT     CLOSED     UNREGISTER, QUEUE_CLOSE_NOTICE
    OPEN       END             CLOSED     UNREGISTER, CLOSE, QUEUE_CLOSE_NOTICE
    OPEN       CANISTER_RESET  CLOSED     UNREGISTER, CLOSE
    DISMISSED  CLIENT_LEFT     CLOSED     STOP_WAITING, UNREGISTER, QUEUE_CLOSE_NOTICE
    DISMISSED  END             CLOSED     STOP_WAITING, UNREGISTER, CLOSE, QUEUE_CLOSE_NOTICE
    DISMISSED  CANISTER_RESET  CLOSED     STOP_WAITING, UNREGISTER, CLOSE

The end of the wait is an END. No close notice follows if the canister never had the client (OPEN_REFUSED) or has
forgotten all clients (CANISTER_RESET).

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
    """It is unknown whether its ws_open was executed."""
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
#: The states as operators see them: those in which the gateway waits are not distinguished.
LABELS = tuple(dict.fromkeys(_LABEL_OF.values()))


class Opened(IntEnum):
    """What is known of a client's ws_open at its canister; it shows whether a session has opened.

    It only grows, and stays when the session is over. SETUP becomes OPEN with ``SPOKE``.
    """

    UNKNOWN = 0
    """Nothing, or nothing certain."""
    EXECUTED = 1
    """A certificate shows that the canister has executed it."""
    SPOKE = 2
    """The canister has sent its first message to the client."""
    CONFIRMED = 3
    """The canister has executed a message of the client, in a later block than its ws_open."""


class Event(Enum):
    """What can happen to a session's life."""

    ENVELOPE = "a valid ws_open came from the client"
    CANISTER_SPOKE = "the canister sent its first message to the client"
    OPEN_UNCERTAIN = "it is unknown whether ws_open was executed"
    OPEN_REFUSED = "ws_open was refused for good"
    REFUSED = "the canister refused a message because it does not know the client"
    CLIENT_LEFT = "the client's connection ended"
    END = "the gateway ends the session"
    CANISTER_RESET = "the canister was reset, so it does not know this client any more"


class Effect(Enum):
    """What the session's runtime has to do."""

    REGISTER = "register the client key at the canister's poller"
    RELAY = "relay ws_open"
    RELEASE = "relay the envelopes that were held behind ws_open"
    WAIT = "wait some seconds for the canister's next message, then END"
    STOP_WAITING = "cancel that wait"
    UNREGISTER = "forget the client key"
    QUEUE_CLOSE_NOTICE = "queue ws_close behind what the client still has to send"
    CLOSE = "close the socket with a code and a reason"


S, E, F = State, Event, Effect
_LEAVE = (F.UNREGISTER, F.QUEUE_CLOSE_NOTICE)
_END = (F.UNREGISTER, F.CLOSE, F.QUEUE_CLOSE_NOTICE)
_WITHOUT_NOTICE = (F.UNREGISTER, F.CLOSE)

TABLE: dict[tuple[State, Event], tuple[State, tuple[Effect, ...]]] = {
    (S.INIT, E.ENVELOPE): (S.SETUP, (F.REGISTER, F.RELAY)),
    (S.INIT, E.CLIENT_LEFT): (S.CLOSED, ()),
    (S.INIT, E.END): (S.CLOSED, (F.CLOSE,)),
    (S.SETUP, E.CANISTER_SPOKE): (S.OPEN, (F.RELEASE,)),
    (S.SETUP, E.OPEN_UNCERTAIN): (S.UNCERTAIN, (F.WAIT,)),
    (S.SETUP, E.OPEN_REFUSED): (S.CLOSED, _WITHOUT_NOTICE),
    (S.SETUP, E.CLIENT_LEFT): (S.CLOSED, _LEAVE),
    (S.SETUP, E.END): (S.CLOSED, _END),
    (S.SETUP, E.CANISTER_RESET): (S.CLOSED, _WITHOUT_NOTICE),
    (S.UNCERTAIN, E.CANISTER_SPOKE): (S.OPEN, (F.STOP_WAITING, F.RELEASE)),
    (S.UNCERTAIN, E.CLIENT_LEFT): (S.CLOSED, (F.STOP_WAITING, *_LEAVE)),
    (S.UNCERTAIN, E.END): (S.CLOSED, (F.STOP_WAITING, *_END)),
    (S.UNCERTAIN, E.CANISTER_RESET): (S.CLOSED, (F.STOP_WAITING, *_WITHOUT_NOTICE)),
    (S.OPEN, E.REFUSED): (S.DISMISSED, (F.WAIT,)),
    (S.OPEN, E.CLIENT_LEFT): (S.CLOSED, _LEAVE),
    (S.OPEN, E.END): (S.CLOSED, _END),
    (S.OPEN, E.CANISTER_RESET): (S.CLOSED, _WITHOUT_NOTICE),
    (S.DISMISSED, E.CLIENT_LEFT): (S.CLOSED, (F.STOP_WAITING, *_LEAVE)),
    (S.DISMISSED, E.END): (S.CLOSED, (F.STOP_WAITING, *_END)),
    (S.DISMISSED, E.CANISTER_RESET): (S.CLOSED, (F.STOP_WAITING, *_WITHOUT_NOTICE)),
}
del S, E, F

_NOTHING: tuple[Effect, ...] = ()


def step(state: State, event: Event) -> tuple[State, tuple[Effect, ...]]:
    """The next state and the effects of an event.

    :raises LookupError: the event cannot happen in this state, which is a fault of the gateway. CLOSED is the
        exception: whatever is still in progress when a session ends finds it closed, and nothing follows.
    """
    if state is State.CLOSED:
        return state, _NOTHING
    try:
        return TABLE[state, event]
    except KeyError:
        raise LookupError(f"{event.name} in {state.name}") from None
