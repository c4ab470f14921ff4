"""A client's messages between its socket and its relay: in turn, and not faster than the canister executes them.

Envelopes whose sequence number is ahead wait for the missing one (:mod:`icwsgw.core.turns`). Once a client's queue has
been full, the keep-alives that it owes its canister are watched (:mod:`icwsgw.core.keepalive`), and the session ends
with the reason before the canister ends it without one. Both need the argument of ``ws_message`` as the SDK makes it;
envelopes of another shape pass as they come (decision 0037).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from icwsgw.clock import Timer
from icwsgw.core.closing import CloseCode
from icwsgw.core.keepalive import KeepAliveWatch
from icwsgw.core.messages import is_acknowledgement
from icwsgw.core.turns import HOLD_SECONDS, Turns
from icwsgw.ic.ws import is_service_message, message_number, usual_message_head
from icwsgw.observe.logs import get_logger

if TYPE_CHECKING:
    from icwsgw.core.messages import ClientEnvelope
    from icwsgw.gateway.interfaces import Context
    from icwsgw.gateway.relay import Relay

_log = get_logger("session")


class StreamOwner:
    """What a stream tells its session. (A base class, as :class:`icwsgw.gateway.relay.RelayOwner` is.)"""

    __slots__ = ()

    def end(self, code: CloseCode, text: str) -> None:
        """The session cannot go on."""
        raise NotImplementedError


class Stream:
    """The messages of one client.

    :ivar watch: the keep-alives of a client that has sent faster than its calls were executed; None for others
    """

    __slots__ = ("_context", "_head", "_holding", "_looking", "_owner", "_relay", "_turns", "watch")

    def __init__(self, context: Context, relay: Relay, owner: StreamOwner) -> None:
        self._context = context
        self._relay = relay
        self._owner = owner
        self._head: bytes | None = None
        self._turns: Turns[ClientEnvelope] = Turns()
        self._holding: Timer | None = None
        self._looking: Timer | None = None
        self.watch: KeepAliveWatch | None = None

    def take(self, envelope: ClientEnvelope) -> None:
        """A message has come; it goes to the relay in its turn."""
        arg = envelope.arg
        head = self._head
        if head is None:
            head = self._head = usual_message_head(arg)
        # as message_number does, without a call: nearly every message comes by here
        if not head or not arg.startswith(head):
            self._relay.send(envelope)
            return
        at = len(head)
        number = int.from_bytes(arg[at : at + 8], "little")
        if self.watch is not None and is_service_message(arg):
            self.watch.came(self._context.clock.seconds(), self._wait())
        turns = self._turns
        if number == turns.following and not turns.held:
            turns.following = number + 1
            self._relay.send(envelope)
        elif message_number(head, arg) is None:
            self._relay.send(envelope)
        else:
            self._out_of_turn(number, envelope)

    def _out_of_turn(self, number: int, envelope: ClientEnvelope) -> None:
        turns = self._turns
        held = len(turns)
        gone = turns.take(number, envelope, len(envelope.body))
        let_go = held - len(turns)
        if let_go > 0:
            self._context.metrics.relay_out_of_turn.inc("came" if gone[0] is envelope else "missed", let_go)
        if turns.held and not held:
            self._holding = self._context.clock.callLater(HOLD_SECONDS, self._held_long_enough)
        elif held and not turns.held and self._holding is not None:
            self._holding.cancel()
            self._holding = None
        for one in gone:
            self._relay.send(one)

    def _held_long_enough(self) -> None:
        if self._relay.backlog.full:
            # the client is not read from: the missing one may be next
            self._holding = self._context.clock.callLater(HOLD_SECONDS, self._held_long_enough)
            return
        self._release()

    def _release(self) -> None:
        holding, self._holding = self._holding, None
        if holding is not None and holding.active():
            holding.cancel()
        gone = self._turns.release()
        if gone:
            self._context.metrics.relay_out_of_turn.inc("missed", len(gone))
        for one in gone:
            self._relay.send(one)

    def finish(self) -> None:
        """The client has left: what is held goes, nothing is watched."""
        self._release()
        self.stop()

    def stop(self) -> None:
        """Forget what is held."""
        for timer in (self._holding, self._looking):
            if timer is not None and timer.active():
                timer.cancel()
        self._holding = self._looking = self.watch = None
        self._turns = Turns()

    # the client sends faster than its calls are executed

    def fell_behind(self) -> None:
        """The client's queue is full."""
        if self.watch is None and self._head:
            self.watch = KeepAliveWatch()

    @property
    def behind(self) -> bool:
        """Whether what comes now has waited for the client's earlier messages."""
        return self.watch is not None and self._relay.queued > 0

    def why_late(self) -> str:
        """Say that the client is too fast, in words."""
        took = self._relay.backlog.took
        return f"messages come faster than the canister executes them ({took:.1f} s each)"

    def delivered(self, frames: list[bytes]) -> None:
        """Frames go to the client; to be told where there is a :attr:`watch`."""
        watch = self.watch
        if watch is not None and any(map(is_acknowledgement, frames)):
            now = self._context.clock.seconds()
            if watch.acknowledged(now):
                self._look()

    def executed(self, envelope: ClientEnvelope) -> None:
        """A message was executed; to be told where there is a :attr:`watch`."""
        if self.watch is not None and is_service_message(envelope.arg):
            self.watch.executed()

    def _wait(self) -> float:
        relay = self._relay
        return relay.backlog.wait(relay.under_way) + relay.backlog.took

    def _look(self) -> None:
        looking, self._looking = self._looking, None
        if looking is not None and looking.active():
            # of the round before, whose keep-alive came in time
            looking.cancel()
        watch = self.watch
        delay = None if watch is None else watch.verdict(self._context.clock.seconds())
        if delay is None:
            return
        if delay:
            self._looking = self._context.clock.callLater(delay, self._look)
            return
        self._owner.end(CloseCode.TOO_FAST, f"{self.why_late()}: the keep-alive comes too late")
