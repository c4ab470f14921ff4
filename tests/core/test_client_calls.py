"""The machine of one client's calls, in scripts: what is given, what happens, and what follows."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.backoff import LONGEST_RETRY_AFTER
from icwsgw.core.call_answers import ENDED, IN_PROGRESS, REFUSED_RESUBMISSIONS, TRANSIENT_ATTEMPTS, Answer
from icwsgw.core.call_table import TABLE, CallEffect, CallEvent, CallState, Effects, OutcomeKnowledge, SendGate
from icwsgw.core.client_calls import MIN_LIFE_NS, ClientCalls, RequestedPause, WaitingBytes
from icwsgw.ic.network_limits import MAX_INGRESS_TTL_NS
from tests.support.machine_script import MachineScript

LOST = Answer(arrived=True, retryable=True)
BUSY = Answer(retryable=True)
REFUSED = Answer()
TRANSIENT = Answer(transient=True)


@dataclass
class Envelope:
    name: str
    method_name: str = "ws_message"
    ingress_expiry: int = 1000 * 10**9
    size: int = 1
    body: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.body = bytes(self.size)


@dataclass
class Bounds:
    relay_queue_messages: int = 10
    relay_queue_bytes: int = 1000
    relay_queue_time: float = 60.0
    max_waiting_bytes: int = 5000


class Script(MachineScript):
    """A client's calls, and all effects that the machine has requested.

    Methods that begin a call are actions of the client and its canister; :meth:`receives` ends an attempt. NEXT is
    followed at once, as the relay does; all other effects are noted with the envelope that they are about.
    """

    def __init__(self, waiting: WaitingBytes | None = None, **bounds: float) -> None:
        super().__init__(now=1000.0)
        self.bounds = Bounds(**bounds)  # type: ignore[arg-type]
        self.calls: ClientCalls[Envelope] = ClientCalls(waiting or WaitingBytes())

    # given and when

    def opens(self, name: str = "open", **options: int) -> Script:
        return self._note(lambda: self.calls.launch(Envelope(name, "ws_open", **options), self.now))

    def sends(self, *names: str, size: int = 1) -> Script:
        for name in names:
            self._note(lambda name=name: self.calls.send(Envelope(name, size=size), self.now, self.bounds))
        return self

    def gets_a_place(self, network_ns: int = 0) -> Script:
        return self._note(lambda: self.calls.granted(self.now, network_ns))

    def receives(self, *answers: Answer, requested: RequestedPause | None = None) -> Script:
        """Attempts end so, one after the other; the pauses between them end, and places are there."""
        for one in answers:
            if self.calls.state in (CallState.RETRYING, CallState.RESUBMITTING):
                self._note(lambda: self.calls.step(CallEvent.PAUSE_OVER))
            if self.calls.state is CallState.WAITING:
                self.gets_a_place()
            if one.end:
                self._note(lambda: self.calls.ended(self.now))
            else:
                self._note(lambda one=one: self.calls.not_ended(one, self.now, lambda: 0.5, requested))
        return self

    def spoken_to(self) -> Script:
        return self._note(self.calls.spoke)

    def leaves(self) -> Script:
        return self._note(self.calls.left)

    def is_dropped(self) -> Script:
        return self._note(self.calls.drop)

    # then

    def is_in(self, state: CallState, gate: SendGate, doubt: OutcomeKnowledge = OutcomeKnowledge.NONE) -> Script:
        assert (self.calls.state, self.calls.gate, self.calls.doubt) == (state, gate, doubt)
        return self

    def _note(self, act: object) -> Script:
        assert callable(act)
        about = self.calls.current
        self.effects: Effects = act()
        effects = deque(self.effects)
        while effects:
            effect = effects.popleft()
            if effect is CallEffect.NEXT:
                assert not effects, "the next call starts when everything else is done"
                about = None
                effects.extend(self.calls.next(self.now, self.bounds))
                continue
            one = self.calls.current or about
            self.recorded.append(f"{effect.name} {one.name}" if one is not None else effect.name)
        return self


def opened() -> Script:
    """A client that its canister has spoken to, with nothing under way."""
    return Script().opens().receives(ENDED).spoken_to().discards_effects()


def in_flight() -> Script:
    return opened().sends("a").gets_a_place().discards_effects()


# the order of calls


def test_messages_wait_at_the_gate_until_the_canister_has_spoken() -> None:
    script = Script().opens().sends("a", "b").shows("ENTER open")
    script.gets_a_place().shows("SUBMIT open")
    script.receives(ENDED).shows("NOTIFY_OUTCOME open").is_in(CallState.IDLE, SendGate.SHUT)
    script.spoken_to().shows("ENTER a").is_in(CallState.WAITING, SendGate.OPEN)
    script.receives(ENDED).shows("SUBMIT a", "NOTIFY_OUTCOME a", "ENTER b")


def test_the_canister_may_speak_before_the_answer_to_ws_open_comes() -> None:
    script = Script().opens().gets_a_place().sends("a").discards_effects()
    script.spoken_to().shows().is_in(CallState.IN_FLIGHT, SendGate.OPEN)
    script.receives(ENDED).shows("NOTIFY_OUTCOME open", "ENTER a")


def test_a_message_of_an_idle_client_starts_at_once() -> None:
    opened().sends("a").shows("ENTER a").is_in(CallState.WAITING, SendGate.OPEN)


def test_a_client_is_notified_of_an_end_before_the_next_call_starts() -> None:
    """The owner may drop what waits: a message after one that was refused would have the wrong number."""
    calls = in_flight().sends("b").calls
    assert calls.not_ended(REFUSED, 0.0, lambda: 0.5)[-2:] == (CallEffect.NOTIFY_FAILED, CallEffect.NEXT)
    calls.drop()
    assert calls.next(0.0, Bounds()) == ()


# what attempts mean


@pytest.mark.parametrize(
    ("answers", "effects"),
    [
        ([ENDED], ["NOTIFY_OUTCOME"]),
        ([BUSY, ENDED], ["RETRY", "NOTIFY_OUTCOME"]),
        ([LOST, IN_PROGRESS, IN_PROGRESS, ENDED], ["RETRY", "RESUBMIT", "RESUBMIT", "NOTIFY_OUTCOME"]),
        ([REFUSED], ["NOTIFY_FAILED"]),
        ([BUSY, REFUSED], ["RETRY", "NOTIFY_FAILED"]),
        # a refusal of a repetition reveals nothing of the first attempt
        ([LOST, REFUSED, ENDED], ["RETRY", "RESUBMIT", "NOTIFY_OUTCOME"]),
        ([IN_PROGRESS, REFUSED, REFUSED, REFUSED], ["RESUBMIT", "RESUBMIT", "RESUBMIT", "NOTIFY_UNKNOWN"]),
        ([IN_PROGRESS, REFUSED, IN_PROGRESS, REFUSED, ENDED], ["RESUBMIT"] * 4 + ["NOTIFY_OUTCOME"]),
        # four in all, but not three in a row
        ([IN_PROGRESS, REFUSED, REFUSED, IN_PROGRESS, REFUSED, REFUSED, ENDED], ["RESUBMIT"] * 6 + ["NOTIFY_OUTCOME"]),
        # the network that has it may be busy when asked for its end
        ([IN_PROGRESS, BUSY, LOST, ENDED], ["RESUBMIT", "RESUBMIT", "RESUBMIT", "NOTIFY_OUTCOME"]),
        ([Answer(arrived=True), ENDED], ["RESUBMIT", "NOTIFY_OUTCOME"]),
        # a transient reject counts as such a few times
        ([TRANSIENT] * TRANSIENT_ATTEMPTS, ["RETRY"] * (TRANSIENT_ATTEMPTS - 1) + ["NOTIFY_FAILED"]),
    ],
)
def test_what_attempts_mean(answers: list[Answer], effects: list[str]) -> None:
    script = in_flight().receives(*answers)
    assert [
        effect for effect in (one.split()[0] for one in script.recorded) if effect not in ("ENTER", "SUBMIT")
    ] == effects


def test_the_next_call_does_not_inherit_an_unknown_outcome() -> None:
    script = in_flight().sends("b").receives(IN_PROGRESS, REFUSED, ENDED).is_in(CallState.WAITING, SendGate.OPEN)
    assert (script.calls.attempts, script.calls.refused) == (0, 0)
    script.discards_effects().receives(REFUSED).shows("SUBMIT b", "NOTIFY_FAILED b")


def test_pauses_grow_between_retries_and_stay_at_a_second_between_repetitions() -> None:
    script = in_flight()
    pauses = []
    for answer in (BUSY, BUSY, BUSY, IN_PROGRESS, IN_PROGRESS):
        script.receives(answer)
        pauses.append(round(script.calls.pause, 3))
    assert pauses == [0.075, 0.15, 0.3, 1.0, 1.0]


def test_repetitions_of_ws_open_are_as_far_apart_as_it_has_taken() -> None:
    script = Script().opens().receives(IN_PROGRESS)
    assert script.calls.pause == 1.0
    script.after(4.0).receives(IN_PROGRESS)
    assert script.calls.pause == 4.0
    # only while the network says that it has the call
    script.receives(REFUSED)
    assert script.calls.pause == 1.0


# expiry


@pytest.mark.parametrize(
    ("before", "effects", "doubt"),
    [
        ([], ["NOTIFY_EXPIRED a"], OutcomeKnowledge.NONE),
        ([BUSY], ["NOTIFY_EXPIRED a"], OutcomeKnowledge.NONE),
        ([LOST], ["NOTIFY_EXPIRED_UNKNOWN a"], OutcomeKnowledge.LOST),
        ([IN_PROGRESS], ["NOTIFY_EXPIRED_UNKNOWN a"], OutcomeKnowledge.ACCEPTED),
    ],
)
def test_a_call_that_expires_while_it_waits_gives_its_place_back(
    before: list[Answer], effects: list[str], doubt: OutcomeKnowledge
) -> None:
    script = opened().sends("a").receives(*before)
    if before:
        assert script.calls.step(CallEvent.PAUSE_OVER) == (CallEffect.ENTER,)
    script.discards_effects().gets_a_place(network_ns=1000 * 10**9 - MIN_LIFE_NS + 1)
    script.shows("RELEASE_SLOT a", *effects).is_in(CallState.IDLE, SendGate.OPEN, doubt)


def test_a_call_leaves_with_the_least_life_that_it_needs() -> None:
    opened().sends("a").discards_effects().gets_a_place(network_ns=1000 * 10**9 - MIN_LIFE_NS).shows("SUBMIT a")


def test_no_call_is_tried_for_longer_than_an_envelope_may_live_whatever_the_time_is() -> None:
    script = in_flight().receives(BUSY)
    script.calls.step(CallEvent.PAUSE_OVER)
    script.after(MAX_INGRESS_TTL_NS / 1e9).discards_effects().gets_a_place().shows("SUBMIT a")
    script.receives(BUSY).calls.step(CallEvent.PAUSE_OVER)
    script.after(0.1).discards_effects().gets_a_place().shows("RELEASE_SLOT a", "NOTIFY_EXPIRED a")


def test_a_call_that_has_not_been_sent_may_have_waited_for_long() -> None:
    opened().sends("a").after(2 * MAX_INGRESS_TTL_NS / 1e9).discards_effects().gets_a_place().shows("SUBMIT a")


@pytest.mark.parametrize(
    ("requested", "first", "effect"),
    [
        (RequestedPause(30.0, 40.0, 40.0), BUSY, "RETRY a"),
        (RequestedPause(30.0, 20.0, 30.0), BUSY, "RETRY a"),
        (RequestedPause(30.0, 20.0, 29.9), BUSY, "NOTIFY_EXPIRED a"),
        (RequestedPause(30.0, 20.0, 29.9), LOST, "NOTIFY_EXPIRED_UNKNOWN a"),
        # nobody waits for longer than this, however long the network asks to
        (RequestedPause(900.0, LONGEST_RETRY_AFTER, LONGEST_RETRY_AFTER), BUSY, "RETRY a"),
    ],
)
def test_a_call_that_expires_before_it_may_be_sent_again_is_given_up_at_once(
    requested: RequestedPause, first: Answer, effect: str
) -> None:
    in_flight().receives(first, requested=requested).shows(effect)


def test_a_repetition_waits_as_long_as_the_network_asks() -> None:
    script = in_flight().receives(IN_PROGRESS, requested=RequestedPause(20.0, 200.0, 200.0))
    assert script.calls.pause == 20.0


def test_jitter_does_not_let_an_envelope_expire() -> None:
    script = in_flight().receives(BUSY, requested=RequestedPause(30.0, 31.5, 31.5))
    assert script.calls.pause == 30.5


# ws_open that is not needed any more


@pytest.mark.parametrize(
    ("before", "effects"),
    [
        ([], ["COUNT_UNKNOWN open", "LEAVE_QUEUE open"]),
        ([BUSY], ["COUNT_UNKNOWN open", "CANCEL_PAUSE open"]),
        ([LOST], ["COUNT_UNKNOWN open", "CANCEL_PAUSE open"]),
        ([IN_PROGRESS], ["COUNT_UNKNOWN open", "CANCEL_PAUSE open"]),
    ],
)
def test_ws_open_is_not_sent_again_when_the_canister_has_spoken(before: list[Answer], effects: list[str]) -> None:
    script = Script().opens().receives(*before).sends("a").discards_effects().spoken_to()
    # the next call is the current one when the effects are noted, but for those before NEXT
    assert [one.split()[0] for one in script.recorded] == [one.split()[0] for one in effects] + ["ENTER"]
    assert script.calls.current is not None
    assert script.calls.current.name == "a"


@pytest.mark.parametrize("answer", [BUSY, LOST, IN_PROGRESS])
def test_an_attempt_that_fails_after_the_canister_has_spoken_is_the_last(answer: Answer) -> None:
    script = Script().opens().gets_a_place().sends("a").spoken_to().discards_effects()
    script.receives(answer).shows("COUNT_UNKNOWN open", "ENTER a")


@pytest.mark.parametrize(
    ("before", "effects", "gate"),
    [
        ([], ["COUNT_ABANDONED", "LEAVE_QUEUE"], SendGate.WITHDRAWN),
        ([BUSY], ["COUNT_ABANDONED", "CANCEL_PAUSE"], SendGate.WITHDRAWN),
        ([LOST], ["COUNT_ABANDONED", "CANCEL_PAUSE"], SendGate.LEFT),
    ],
)
def test_ws_open_that_was_not_taken_is_given_up_with_all_behind_it_when_its_client_leaves(
    before: list[Answer], effects: list[str], gate: SendGate
) -> None:
    script = Script().opens().receives(*before).sends("a", "b").discards_effects().leaves()
    assert [one.split()[0] for one in script.recorded] == [*effects, "ALL_SENT"]
    assert (script.calls.abandoned, script.calls.waiting.octets) == (3, 0)
    assert script.calls.gate is gate


@pytest.mark.parametrize(("answer", "gate"), [(BUSY, SendGate.WITHDRAWN), (LOST, SendGate.LEFT)])
def test_an_attempt_that_fails_after_the_client_has_left_is_the_last(answer: Answer, gate: SendGate) -> None:
    script = Script().opens().gets_a_place().sends("a").leaves().discards_effects().receives(answer)
    assert [one.split()[0] for one in script.recorded] == ["COUNT_ABANDONED", "CANCEL_CALL", "ALL_SENT"]
    assert script.calls.gate is gate


def test_ws_open_that_the_network_has_is_waited_for_when_its_client_has_left() -> None:
    script = Script().opens().sends("a").receives(IN_PROGRESS).discards_effects().leaves().shows()
    script.is_in(CallState.RESUBMITTING, SendGate.LEFT, OutcomeKnowledge.ACCEPTED)
    script.receives(BUSY, ENDED).shows(
        *("ENTER open", "SUBMIT open", "RESUBMIT open", "ENTER open", "SUBMIT open", "NOTIFY_OUTCOME open", "ENTER a")
    )
    script.receives(ENDED).shows("SUBMIT a", "NOTIFY_OUTCOME a", "ALL_SENT")


def test_a_message_is_never_unneeded() -> None:
    in_flight().receives(BUSY).shows("RETRY a").leaves().shows().is_in(CallState.RETRYING, SendGate.OPEN)


# the end


def test_all_is_sent_is_reported_once_and_after_the_last_call() -> None:
    script = in_flight().sends("b").leaves().shows()
    script.receives(ENDED).shows("NOTIFY_OUTCOME a", "ENTER b").receives(ENDED).shows(
        "SUBMIT b", "NOTIFY_OUTCOME b", "ALL_SENT"
    )
    assert script.calls.next(0.0, script.bounds) == ()


def test_an_idle_client_has_nothing_left_to_send() -> None:
    opened().leaves().shows("ALL_SENT")


def test_what_waits_for_the_canister_to_speak_is_sent_when_the_client_leaves() -> None:
    script = Script().opens().receives(ENDED).sends("a").discards_effects().leaves().shows("ENTER a")
    script.receives(ENDED).shows("SUBMIT a", "NOTIFY_OUTCOME a", "ALL_SENT")


@pytest.mark.parametrize(
    ("script", "effects"),
    [
        (opened, []),
        (lambda: opened().sends("a"), ["LEAVE_QUEUE"]),
        (in_flight, ["CANCEL_CALL"]),
        (lambda: in_flight().receives(BUSY), ["CANCEL_PAUSE"]),
        (lambda: in_flight().receives(IN_PROGRESS), ["CANCEL_PAUSE"]),
    ],
)
def test_what_is_dropped_leaves_nothing_under_way(script: object, effects: list[str]) -> None:
    assert callable(script)
    dropped: Script = script()
    busy = dropped.calls.current is not None
    dropped.sends("x", "y") if busy else None
    dropped.leaves().discards_effects().is_dropped()
    assert [one.split()[0] for one in dropped.recorded] == ["COUNT_ABANDONED", *effects]
    assert dropped.calls.abandoned == (3 if busy else 0)
    assert dropped.calls.waiting.octets == 0
    # nobody waits for ALL_SENT any more
    assert dropped.calls.next(0.0, dropped.bounds) == ()


# bounds


def test_a_client_is_pushed_back_at_a_bound_and_read_again_when_half_has_drained() -> None:
    script = in_flight().sends(*"bcdefghij").shows()
    script.sends("k").shows("FULL a").sends("l").shows()
    for _ in range(6):
        script.discards_effects().receives(ENDED)
    assert script.recorded[-2:] == ["DRAINED g", "ENTER g"]
    # what comes while it is read again waits behind the call that has started
    assert script.calls.state is CallState.WAITING
    script.discards_effects().sends(*"mnopqr").shows("FULL g").receives(ENDED)
    assert "DRAINED h" not in script.recorded


def test_as_much_as_may_wait_in_all_is_not_too_much() -> None:
    waiting = WaitingBytes()
    waiting.octets = 4998
    script = Script(waiting).opens().receives(ENDED).spoken_to().sends("a", "b", "c").discards_effects()
    assert waiting.octets == 5000
    script.sends("d").shows("FULL a").receives(ENDED).shows("SUBMIT a", "NOTIFY_OUTCOME a", "DRAINED b", "ENTER b")


def test_when_too_much_waits_in_all_each_may_have_one_message_that_waits() -> None:
    waiting = WaitingBytes()
    waiting.octets = 10_000
    script = Script(waiting).opens().receives(ENDED).spoken_to().sends("a").discards_effects()
    script.sends("b").shows("FULL a").receives(ENDED).shows("SUBMIT a", "NOTIFY_OUTCOME a", "DRAINED b", "ENTER b")
    assert waiting.octets == 10_000


def test_two_that_wait_are_one_too_many_while_too_much_waits_in_all() -> None:
    waiting = WaitingBytes()
    waiting.octets = 10_000
    script = Script(waiting).opens().receives(ENDED).spoken_to().sends("a", "b", "c").discards_effects()
    script.receives(ENDED).shows("SUBMIT a", "NOTIFY_OUTCOME a", "ENTER b")
    script.receives(ENDED).shows("SUBMIT b", "NOTIFY_OUTCOME b", "DRAINED c", "ENTER c")


def test_how_long_calls_take_is_counted_from_their_turn() -> None:
    script = opened().sends("a").after(1.0).receives(IN_PROGRESS).after(2.0).receives(ENDED)
    assert script.calls.took == 3.0
    # a refusal at once reveals nothing of it; one that has taken longer does
    script.sends("b").receives(REFUSED)
    assert script.calls.took == 3.0
    script.sends("c").gets_a_place().after(7.0).receives(REFUSED)
    assert script.calls.took == 4.0
    # the last ones count most
    script.sends("d").gets_a_place().after(8.0).receives(ENDED)
    assert script.calls.took == 5.0
    script.sends("e").gets_a_place().after(1.0).receives(ENDED)
    assert script.calls.took == 4.0


# the ways through the table that need no look-up


@pytest.mark.parametrize("state", list(CallState))
def test_the_short_ways_are_those_of_the_table(state: CallState) -> None:
    ways = {
        CallEvent.LAUNCH: lambda calls: calls.launch(Envelope("a"), 0.0),
        CallEvent.GRANTED: lambda calls: calls.granted(0.0, 0),
        CallEvent.ENDED: lambda calls: calls.ended(0.0),
    }
    for event, way in ways.items():
        calls: ClientCalls[Envelope] = ClientCalls(WaitingBytes())
        calls.state, calls.current = state, Envelope("b")
        if (state, event) in TABLE:
            assert way(calls) == TABLE[state, event][1]
            assert calls.state is TABLE[state, event][0]
            assert (calls.current is None) is (calls.state is CallState.IDLE)
        else:
            with pytest.raises(LookupError, match=f"{event.name} in {state.name}"):
                way(calls)


def test_the_gate_opens_once() -> None:
    opened().leaves().is_in(CallState.IDLE, SendGate.OPEN)
    Script().opens().receives(ENDED).leaves().spoken_to().is_in(CallState.IDLE, SendGate.LEFT)


# whatever happens

_WORDS = ["send", "spoke", "left", "place", "ended", "lost", "busy", "refused", "taken", "transient", "drop", "wait"]


@given(st.lists(st.sampled_from(_WORDS), max_size=80))
def test_order_and_account_hold_and_all_can_be_written_down(words: list[str]) -> None:
    script = Script().opens("0")
    calls = script.calls
    answers = {
        "lost": LOST,
        "busy": BUSY,
        "refused": REFUSED,
        "taken": IN_PROGRESS,
        "transient": TRANSIENT,
        "ended": ENDED,
    }
    sent = 0
    for word in words:
        copy: ClientCalls[Envelope] = ClientCalls(WaitingBytes())
        copy.read(json.loads(json.dumps(calls.written())))
        copy.take_over(calls.current, calls.queue or ())
        assert copy.written() == calls.written()
        assert (copy.octets, copy.waiting.octets) == (calls.octets, calls.octets)
        if word == "send":
            sent += 1
            script.sends(str(sent))
        elif word == "spoke":
            script.spoken_to()
        elif word == "left":
            script.leaves()
        elif word == "drop":
            script.is_dropped()
        elif word == "wait":
            script.after(100.0)
        elif word == "place" and calls.state is CallState.WAITING:
            script.gets_a_place()
        elif word in answers and calls.state is CallState.IN_FLIGHT:
            answer = answers[word]
            script.receives(answer)
            if not answer.end:
                assert script.effects == copy.not_ended(answer, script.now, lambda: 0.5)
        assert calls.waiting.octets == calls.octets == sum(len(one.body) for one in calls.queue or ())
        assert (calls.current is None) is (calls.state is CallState.IDLE)
        assert calls.refused <= REFUSED_RESUBMISSIONS
        if calls.state is CallState.IDLE and calls.gate:
            assert calls.queue is None, "nothing waits for nothing"
    posted = [int(one.split()[1]) for one in script.recorded if one.startswith("SUBMIT")]
    assert posted == sorted(posted)


# the handover to another process


def handed_over(script: Script) -> Script:
    """The machine in another process, which goes on."""
    after = Script()
    after.now, after.bounds = script.now, script.bounds
    after.calls.read(json.loads(json.dumps(script.calls.written())))
    after.calls.take_over(script.calls.current, script.calls.queue or ())
    return after.note(after.calls.resume())


def test_an_attempt_in_flight_is_made_again_and_may_have_arrived() -> None:
    script = opened().sends("1").gets_a_place()
    assert script.calls.state is CallState.IN_FLIGHT
    after = handed_over(script).shows("ENTER")
    assert (after.calls.state, after.calls.doubt) == (CallState.WAITING, OutcomeKnowledge.LOST)
    # the network says no to the second attempt, which reveals nothing of the first
    after.gets_a_place().discards_effects().receives(REFUSED)
    assert after.calls.state is CallState.RESUBMITTING


def test_a_call_that_waits_waits_again() -> None:
    after = handed_over(opened().sends("1")).shows("ENTER")
    assert (after.calls.state, after.calls.doubt) == (CallState.WAITING, OutcomeKnowledge.NONE)


def test_a_pause_begins_again() -> None:
    script = opened().sends("1").gets_a_place().receives(IN_PROGRESS)
    after = handed_over(script).shows("RESUBMIT")
    assert (after.calls.state, after.calls.doubt) == (CallState.RESUBMITTING, OutcomeKnowledge.ACCEPTED)
    assert after.calls.pause == script.calls.pause > 0


def test_without_a_current_call_the_next_one_begins() -> None:
    handed_over(opened()).shows("NEXT")
