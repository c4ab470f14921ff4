"""Detects canister resets (upgrade or reinstall).

A canister that is upgraded or reinstalled loses the CDK's state: its queue begins again at nonce 0 while the poller
polls from n. Its answers are then empty for ever or, once the new queue has grown beyond n, continue as if nothing had
happened. The certificate, which is always fresh, does not show it, and an empty answer proves nothing, since a replica
may lag behind the one that gave the last message. So a *probe* polls from the *anchor*, a delivered message. When it
finds the anchor in place, the newest delivered message of the same answer becomes the anchor. The last delivered one
would be wrong: another replica may have sent it, from a new queue that the probed replica does not have yet.

    the same message there            no reset; the newest message becomes the anchor
    another message there             a reset
    an older message there or beyond  nothing: a replica that lags behind still has the queue before the last reset. If
                                      probes show this for ``OLDER_SECONDS`` and never the anchor, it is a reset: the
                                      canister's clock has gone back
    nothing from the anchor on        look at the start (poll from 0): messages there that are newer than the anchor
                                      prove a reset; if they have no time, those to a client that waits for its first
                                      message do (a client key that is used again has old ones as well). If the
                                      start is empty too, time decides: while a gateway has clients the CDK never
                                      deletes its newest message, so a queue that looks empty in ``ABSENT_PROBES``
                                      probes over ``ABSENT_SECONDS``, none of them contradicted, has lost its state and
                                      not merely fallen behind.

What shows a reset is verified before it counts (:mod:`icwsgw.gateway.polling.reset_proof`): one altered byte looks
like one.

At rest the anchor is the last message, and a probe takes the place of an ordinary poll: probing costs no query, only
the decoding of one message more. In a busy queue it costs one query every one and a half seconds.
"""

from __future__ import annotations

from collections.abc import Container
from enum import Enum

from icwsgw.core.cursor import Cursor, LastMessage, Message
from icwsgw.core.messages import message_timestamp
from icwsgw.core.written_state import Written
from icwsgw.ic.ws import nonce_of_key

PROBE_SECONDS = 1.5
WAITING_PROBE_SECONDS = 0.25
ABSENT_PROBES = 4
ABSENT_SECONDS = 2.5
OLDER_PROBES = 4
OLDER_SECONDS = 60.0


def former_message(anchor: LastMessage | None, last: LastMessage | None, proof: list[Message]) -> LastMessage | None:
    """The last message that is known to be of the queue before a reset; None if ages show nothing.

    It is the last delivered one, but not if the new queue has grown beyond it before the reset was found. Then messages
    of the new queue were delivered as if they followed those of the old one.

    :param anchor: the message that was looked for
    :param last: the last delivered message
    :param proof: the answer that has shown the reset; empty if the queue was absent
    """
    if anchor is None or last is None or not proof:
        return last
    content = proof[0][3]
    if anchor.is_newer_than(content):
        # The canister's clock has gone back.
        return None
    began = message_timestamp(content)
    return last if began is None or last.timestamp is None or last.timestamp < began else anchor


class ResetState(Enum):
    """What a probe or a look at the start of the queue shows."""

    SAME = "not reset"
    NEW = "reset"
    LOOK = "nothing there: look at the start"
    UNSURE = "nothing proven"


class ResetDetector(Written):
    """The evidence about one queue.

    :ivar anchor: the message that a probe looks for; None until a message was delivered
    """

    __slots__ = ("_absent", "_absent_since", "_next_probe", "_older", "_older_since", "anchor")
    # without the anchor, which is beside the cursor in the state of a poller
    WRITTEN = {"_absent": int, "_absent_since": float, "_next_probe": float, "_older": int, "_older_since": float}

    def __init__(self, anchor: LastMessage | None = None) -> None:
        self.anchor = anchor
        self._absent = 0
        self._absent_since = 0.0
        self._older = 0
        self._older_since = 0.0
        self._next_probe = 0.0

    def begin(self, anchor: LastMessage | None, now: float) -> None:
        """The first message since the start or a reset was delivered."""
        self.anchor = anchor
        self._next_probe = now + PROBE_SECONDS

    def due(self, now: float) -> bool:
        """Whether a probe is due."""
        return self.anchor is not None and now >= self._next_probe

    def sent(self, now: float, waiting: bool) -> None:
        """A probe was sent; ``waiting``: a client waits for its first message."""
        self._next_probe = now + (WAITING_PROBE_SECONDS if waiting or self._absent else PROBE_SECONDS)

    def probe_now(self) -> None:
        """Probe with the next poll: a client waits although its ``ws_open`` was executed, or polls had failed."""
        self._next_probe = 0.0

    def restart(self) -> None:
        """The canister was reset: nothing is known of its new queue."""
        self.anchor = None
        self._absent = 0
        self._older = 0
        self._next_probe = 0.0

    def probed(self, anchor: LastMessage, messages: list[Message], now: float) -> ResetState:
        """Judge the answer to a probe.

        :param anchor: the anchor when the probe was sent
        :param messages: the answer, polled from ``anchor.nonce``
        """
        if not messages:
            if self._absent == 0:
                self._absent_since = now
            self._absent += 1
            return ResetState.LOOK
        self._absent = 0
        first = messages[0]
        in_place = nonce_of_key(first[2]) == anchor.nonce
        same = in_place and anchor.is_same(first[3])
        if same or not anchor.is_newer_than(first[3]):
            if in_place and not same:
                return ResetState.NEW
            self._older = 0
            return ResetState.SAME
        if self._older == 0:
            self._older_since = now
        self._older += 1
        enough = self._older >= OLDER_PROBES and now - self._older_since >= OLDER_SECONDS
        return ResetState.NEW if enough else ResetState.UNSURE

    def confirmed(self, messages: list[Message], cursor: Cursor, end_of_queue: bool | None) -> None:
        """A probe has found its anchor, and its answer was handled: choose the next anchor.

        :param messages: the answer
        :param end_of_queue: whether no messages follow; None: the canister does not say
        """
        last = cursor.last
        newest = next((message for message in reversed(messages) if nonce_of_key(message[2]) < cursor.next), None)
        if newest is None or self.anchor is None or last is None:
            return
        nonce, content = nonce_of_key(newest[2]), newest[3]
        if nonce == last.nonce and last.is_same(content):
            self.anchor = last
        elif nonce > self.anchor.nonce:
            self.anchor = LastMessage(nonce, content)
        elif end_of_queue is False:
            # The anchor alone fills a page: no answer has a newer message beside it.
            self.anchor = last

    def looked(
        self, anchor: LastMessage, messages: list[Message], waiting: Container[tuple[bytes, int]], now: float
    ) -> ResetState:
        """Judge the answer from nonce 0.

        :param anchor: the anchor when the query was sent
        :param messages: the start of the queue
        :param waiting: client keys that wait for their first message
        """
        delivered_at = anchor.timestamp
        for principal, client_nonce, key, content in messages:
            if nonce_of_key(key) > anchor.nonce:
                break
            timestamp = message_timestamp(content)
            if delivered_at is None or timestamp is None:
                if (principal, client_nonce) in waiting:
                    return ResetState.NEW
            elif timestamp > delivered_at:
                return ResetState.NEW
        if messages:
            self._absent = 0
        elif self._absent >= ABSENT_PROBES and now - self._absent_since >= ABSENT_SECONDS:
            return ResetState.NEW
        return ResetState.UNSURE
