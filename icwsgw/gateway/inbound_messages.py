"""Passes a client's messages to its relay: in order of their sequence numbers, and watches the client's keep-alive.

Envelopes that arrive ahead of their sequence number wait for the missing one (:mod:`icwsgw.core.sequence_buffer`).
Their bytes count together with those in the relay queues of all clients. If a client's relay queue is full, its
keep-alives may reach the canister too late; then the gateway ends the session with a reason before the canister removes
the client without one (:mod:`icwsgw.core.keepalive_deadline`). Both need the argument of ``ws_message`` as the SDK
encodes it; other envelopes are relayed as they arrive (decision 0037).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.keepalive_deadline import AFTER_WAIT_SECONDS, KeepAliveDeadline
from icwsgw.core.messages import is_acknowledgement, parse_waiting
from icwsgw.core.sequence_buffer import HOLD_SECONDS, SequenceBuffer
from icwsgw.core.written_state import Document, read_as
from icwsgw.ic.ws import is_service_message, message_number, usual_message_head
from icwsgw.observe.logs import get_logger
from icwsgw.reactor.clock import Timer

if TYPE_CHECKING:
    from icwsgw.core.messages import ClientEnvelope
    from icwsgw.gateway.calls.relay import Relay
    from icwsgw.gateway.interfaces import Context

_log = get_logger("session")

#: The end of a hold that has not ended.
NOT_ENDED = float("inf")


class HeldBy(IntEnum):
    """What a client's messages wait for, if they wait."""

    RELAY_QUEUE = 0
    """Its relay queue, as for its earlier messages."""
    QUOTA = 1
    """Its canister's quota: the client is held because of it, or was until a moment ago."""


class InboundMessagesOwner:
    """The session, as its inbound messages see it; a base class for the reason that :class:`RelayOwner` is one."""

    __slots__ = ()

    def end(self, code: CloseCode, text: str) -> None:
        """End the session."""
        raise NotImplementedError


class InboundMessages:
    """The messages of one client.

    :ivar held_by: what the client's messages wait for, if they wait
    :ivar watch: the keep-alive of a client that has to wait, or had to a moment ago; None for others
    """

    __slots__ = (
        *("_context", "_head", "_hold_ended", "_holding", "_looking", "_owner", "_relay", "_sequence_buffer"),
        *("held_by", "watch"),
    )

    def __init__(self, context: Context, relay: Relay, owner: InboundMessagesOwner) -> None:
        self._context = context
        self._relay = relay
        self._owner = owner
        self._head: bytes | None = None
        # Seconds when the hold because of a quota has ended.
        self._hold_ended = NOT_ENDED
        self._sequence_buffer: SequenceBuffer[ClientEnvelope] = SequenceBuffer()
        self._holding: Timer | None = None
        self._looking: Timer | None = None
        self.held_by = HeldBy.RELAY_QUEUE
        self.watch: KeepAliveDeadline | None = None

    def take(self, envelope: ClientEnvelope) -> None:
        """Relay a message, or keep it until the ones before it have arrived."""
        arg = envelope.arg
        head = self._head
        if head is None:
            head = self._head = usual_message_head(arg)
        # As message_number, inlined: nearly every message comes by here.
        if not head or not arg.startswith(head):
            self._relay.send(envelope)
            return
        at = len(head)
        number = int.from_bytes(arg[at : at + 8], "little")
        if self.watch is not None and is_service_message(arg):
            self.watch.came(self._context.clock.seconds(), self._wait())
        sequence_buffer = self._sequence_buffer
        if number == sequence_buffer.following and not sequence_buffer.held:
            sequence_buffer.following = number + 1
            self._relay.send(envelope)
        elif message_number(head, arg) is None:
            self._relay.send(envelope)
        else:
            self._out_of_turn(number, envelope)

    def _out_of_turn(self, number: int, envelope: ClientEnvelope) -> None:
        sequence_buffer, context = self._sequence_buffer, self._context
        waiting, held, octets = context.waiting, len(sequence_buffer), sequence_buffer.octets
        envelope.shrink()
        size = len(envelope.body)
        room = waiting.octets + size <= context.config.max_waiting_bytes
        ready = sequence_buffer.take(number, envelope, size, room)
        # what is ready is counted again if it waits in the relay queue
        waiting.octets += sequence_buffer.octets - octets
        released = held - len(sequence_buffer)
        if released > 0:
            context.metrics.relay_out_of_turn.inc("came" if ready[0] is envelope else "missed", released)
        if sequence_buffer.held and not held:
            self._holding = self._context.clock.callLater(HOLD_SECONDS, self._held_long_enough)
        elif held and not sequence_buffer.held and self._holding is not None:
            self._holding.cancel()
            self._holding = None
        for one in ready:
            self._relay.send(one)

    def _held_long_enough(self) -> None:
        if self._relay.relay_queue.full:
            # The client's socket is not read, so the missing one may be next.
            self._holding = self._context.clock.callLater(HOLD_SECONDS, self._held_long_enough)
            return
        self._release()

    def _release(self) -> None:
        holding, self._holding = self._holding, None
        if holding is not None and holding.active():
            holding.cancel()
        self._context.waiting.octets -= self._sequence_buffer.octets
        released = self._sequence_buffer.release()
        if released:
            self._context.metrics.relay_out_of_turn.inc("missed", len(released))
        for one in released:
            self._relay.send(one)

    # the handover to another process

    @property
    def idle(self) -> bool:
        """Whether nothing waits, and no keep-alive is watched."""
        return self.watch is None and not self._sequence_buffer.held

    def written(self) -> Document:
        """The state as plain values."""
        return {
            "head": self._head,
            "following": self._sequence_buffer.following,
            "held": [(number, item.body) for number, (item, _) in self._sequence_buffer.held.items()],
            "watch": self.watch and self.watch.written(),
        }

    def read(self, document: Mapping[str, Any]) -> None:
        """Take the state of a document; :meth:`resume` starts its timers.

        :raises FormatError: a value is of the wrong kind
        """
        head, watch = document.get("head"), document.get("watch")
        self._head = None if head is None else read_as(bytes, head, "head")
        self._sequence_buffer.following = read_as(int, document.get("following", 1), "following")
        for number, body in document.get("held", ()):
            self._sequence_buffer.hold(number, parse_waiting(body), len(body))
            self._context.waiting.octets += len(body)
        if watch is not None:
            self.watch = KeepAliveDeadline()
            self.watch.read(watch)

    def resume(self) -> None:
        """Continue after a handover."""
        if self._sequence_buffer.held:
            self._holding = self._context.clock.callLater(HOLD_SECONDS, self._held_long_enough)
        if self.watch is not None:
            self._look()

    def finish(self) -> None:
        """The client has left: relay what waits."""
        self._release()
        self.stop()

    def stop(self) -> None:
        """Drop what waits."""
        for timer in (self._holding, self._looking):
            if timer is not None and timer.active():
                timer.cancel()
        self._holding = self._looking = self.watch = None
        self._context.waiting.octets -= self._sequence_buffer.octets
        self._sequence_buffer = SequenceBuffer()

    # clients that send faster than their calls are executed

    def keep_alive_late(self) -> None:
        """The client is not read for a while: its keep-alives may come too late."""
        if self.watch is not None:
            self.watch.waits()
        elif self._head:
            self.watch = KeepAliveDeadline()

    def hold(self) -> None:
        """The client is held because of its canister's quota."""
        self.held_by, self._hold_ended = HeldBy.QUOTA, NOT_ENDED
        self.keep_alive_late()

    def hold_ended(self) -> None:
        """The client is not held any more. What it sends next may have waited."""
        if self.held_by is HeldBy.QUOTA:
            self._hold_ended = now = self._context.clock.seconds()
            self._end_watch(now)

    @property
    def behind(self) -> bool:
        """Whether a message that arrives now has waited for the quota, or for the client's earlier messages."""
        if self.watch is None:
            return False
        return self._relay.queued > 0 or (
            self.held_by is HeldBy.QUOTA and not self._hold_is_over(self._context.clock.seconds())
        )

    def _hold_is_over(self, now: float) -> bool:
        """Whether a hold because of a quota has ended, and all that has waited for its end has arrived."""
        return now > self._hold_ended + AFTER_WAIT_SECONDS

    def why_late(self) -> str:
        """The reason for a client that sends too fast."""
        if self.held_by is HeldBy.QUOTA and not self._relay.queued:
            return "the clients of this canister send more than its quota"
        took = self._relay.relay_queue.took
        return f"messages come faster than the canister executes them ({took:.1f} s each)"

    def delivered(self, frames: list[bytes]) -> None:
        """Frames are sent to the client. Only called if there is a :attr:`watch`."""
        watch = self.watch
        if watch is not None and any(map(is_acknowledgement, frames)):
            now = self._context.clock.seconds()
            if watch.due is None and self._hold_is_over(now):
                # The quota does not delay the answer to this acknowledgement.
                self.held_by, self._hold_ended = HeldBy.RELAY_QUEUE, NOT_ENDED
            if not self._end_watch(now) and watch.acknowledged(now):
                self._look()

    def executed(self, envelope: ClientEnvelope) -> None:
        """A message was executed. Only called if there is a :attr:`watch`."""
        watch = self.watch
        if watch is None:
            return
        if is_service_message(envelope.arg):
            watch.executed()
        self._end_watch(self._context.clock.seconds())

    def _end_watch(self, now: float) -> bool:
        """End the watch if the client has not waited for a while; whether there is none from now on."""
        watch = self.watch
        if watch is None:
            return True
        held = self.held_by is HeldBy.QUOTA and self._hold_ended == NOT_ENDED
        if not watch.over(now, held or self._relay.relay_queue.full):
            return False
        looking, self._looking, self.watch = self._looking, None, None
        if looking is not None and looking.active():
            looking.cancel()
        return True

    def _wait(self) -> float:
        relay = self._relay
        return relay.relay_queue.wait(relay.under_way) + relay.relay_queue.took

    def _look(self) -> None:
        looking, self._looking = self._looking, None
        if looking is not None and looking.active():
            # The timer of the acknowledgement before, whose keep-alive was in time.
            looking.cancel()
        watch = self.watch
        delay = None if watch is None else watch.verdict(self._context.clock.seconds())
        if delay is None:
            return
        if delay:
            self._looking = self._context.clock.callLater(delay, self._look)
            return
        self._owner.end(CloseCode.TOO_FAST, f"{self.why_late()}: the keep-alive comes too late")
