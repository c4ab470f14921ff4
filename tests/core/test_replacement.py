"""Which of a principal's connections lives: the tables, and scripts of what is accepted, received and answered."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core import replacement
from icwsgw.core.replacement import ELSEWHERE, HERE, Order, Others, Replacement, ReplacementEffect, Sign, Verdict
from icwsgw.core.session_machine import Opened, State
from icwsgw.errors import FormatError
from tests.support.machine_script import MachineScript

KEY = (b"canister", b"principal")


@dataclass(eq=False)
class Connection:
    name: str
    opened_at_ns: int = 0
    opened: Opened = Opened.SPOKE
    state: State = State.OPEN
    identity_index: int = 0
    watched: bool = field(default=False, init=False)


class Script(MachineScript):
    """The connections of a principal in this process, in an identity each, and what was decided since the last look."""

    def __init__(self) -> None:
        super().__init__()
        self.machine: Replacement[Connection] = Replacement()
        self.all: dict[str, Connection] = {}

    @property
    def living(self) -> list[Connection]:
        return [one for one in self.all.values() if State.OPEN <= one.state < State.CLOSED]

    def accepts(self, name: str, at_ns: int, confirmed: bool = False) -> Script:
        one = self.all.setdefault(name, Connection(name))
        one.opened_at_ns, one.state, one.opened = at_ns, State.OPEN, Opened.CONFIRMED if confirmed else Opened.SPOKE
        one.identity_index = list(self.all).index(name)
        return self._note(self.machine.accepted(KEY, one, self.living))

    def waits(self, name: str, opened: Opened = Opened.UNKNOWN) -> Script:
        """A connection whose ws_open has left."""
        self.all[name] = Connection(name, state=State.SETUP, opened=opened, identity_index=len(self.all))
        return self

    def announces_elsewhere(self, at_ns: int, later: bool = False) -> Script:
        return self._note(self.machine.accepted_elsewhere(KEY, at_ns, later, self.living))

    def leaves_elsewhere(self, at_ns: int, later: bool = False) -> Script:
        """The canister knew a connection of another process that has left before its first message."""
        waiting = [one for one in self.all.values() if one.state is State.SETUP]
        return self._note(self.machine.left_elsewhere(at_ns, later, self.living, waiting))

    def is_confirmed(self, name: str) -> Script:
        self.all[name].opened = Opened.CONFIRMED
        return self

    def is_dismissed(self, name: str) -> Script:
        self.all[name].state = State.DISMISSED
        return self

    def receives(self, name: str, at_ns: int | None) -> Script:
        return self._note(self.machine.received(KEY, self.all[name], at_ns, self.living))

    def is_answered(self, name: str, known: bool | None, at_ns: int = 0) -> Script:
        """The ws_close of a connection that left has ended."""
        rest = [one for one in self.all.values() if one.name != name]
        others = Others(
            [one for one in rest if one.opened],
            [one for one in rest if not one.opened],
            at_ns,
        )
        return self._note(self.machine.answered(KEY, self.all[name], known, others))

    def is_gone(self, name: str) -> Script:
        return self._note(self.machine.left(KEY, self.all[name]))

    def is_over(self, name: str) -> Script:
        self.machine.forget(KEY, self.all[name])
        return self

    def _note(self, steps: list[replacement.Step[Connection]]) -> Script:
        for effect, one, at_ns in steps:
            if one is None:
                assert effect in (ReplacementEffect.ANNOUNCE, ReplacementEffect.ANNOUNCE_LEFT)
                self.recorded.append(f"{effect.name} {at_ns}")
                continue
            assert at_ns == 0
            self.recorded.append(f"{effect.name} {one.name}")
            if effect is ReplacementEffect.REPLACE:
                one.state = State.CLOSED
            else:
                one.watched = effect is ReplacementEffect.WATCH
        return self


def pair() -> Script:
    """Two with one time, of which nothing was decided."""
    return Script().accepts("a", 70).shows().accepts("b", 70).shows("WATCH a", "WATCH b")


# here


def test_the_newer_one_stays_in_whatever_order_they_are_announced() -> None:
    Script().accepts("a", 70).accepts("b", 80).shows("REPLACE a")
    Script().accepts("a", 80).accepts("b", 70).shows("REPLACE b")


def test_where_no_times_are_given_the_last_one_stays() -> None:
    Script().accepts("a", 0).accepts("b", 0).shows("REPLACE a")


def test_of_two_with_one_time_the_one_that_is_spoken_to_later_lives() -> None:
    script = pair().receives("a", 70).receives("a", None).shows()
    script.receives("a", 71).shows("UNWATCH a", "UNWATCH b", "REPLACE b", "ANNOUNCE 71")
    assert script.machine.undecided == {}


def test_one_that_was_confirmed_before_lives_at_once() -> None:
    Script().accepts("a", 70, confirmed=True).accepts("b", 70).shows(
        *("WATCH a", "WATCH b", "UNWATCH a", "UNWATCH b", "REPLACE b", "ANNOUNCE 71")
    )


def test_one_that_the_canister_has_dismissed_does_not_wait_for_a_sign() -> None:
    Script().accepts("a", 70).is_dismissed("a").accepts("b", 70).shows("REPLACE a")


def test_a_third_with_a_later_time_replaces_both() -> None:
    pair().accepts("c", 80).shows("REPLACE a", "REPLACE b")


def test_a_third_with_the_same_time_is_watched_too() -> None:
    pair().accepts("c", 70).shows("WATCH c").receives("c", 90).shows(
        *("UNWATCH a", "UNWATCH b", "UNWATCH c", "REPLACE a", "REPLACE b", "ANNOUNCE 71")
    )


def test_the_order_in_which_they_have_come_does_not_matter() -> None:
    Script().waits("a").accepts("b", 70).accepts("a", 80).shows("REPLACE b")


def test_only_older_ones_are_replaced_when_the_canister_is_known_to_know_one() -> None:
    ours, *others = (Connection(str(number), number) for number in (70, 69, 70, 71, 72))
    machine: Replacement[Connection] = Replacement()
    steps = machine.known(KEY, ours, [ours, *others])
    replaced = [one.name for effect, one, _ in steps if effect is ReplacementEffect.REPLACE and one is not None]
    assert (replaced, ours.opened_at_ns) == (["69", "70"], 71)


# elsewhere


@pytest.mark.parametrize(
    ("mine", "theirs", "later", "decided"),
    [
        (70, 80, False, ["REPLACE a"]),
        (70, 60, True, ["ANNOUNCE 70"]),
        (70, 70, True, ["WATCH a", "ANNOUNCE 70"]),
        (70, 0, True, ["REPLACE a"]),
        (70, 0, False, []),
        (0, 80, True, ["REPLACE a"]),
        (0, 80, False, []),
        (0, 0, True, ["REPLACE a"]),
    ],
)
def test_what_another_process_announces(mine: int, theirs: int, later: bool, decided: list[str]) -> None:
    Script().accepts("a", mine).shows().announces_elsewhere(theirs, later).shows(*decided)


def test_one_time_in_two_processes_is_announced_once() -> None:
    script = Script().accepts("a", 70).announces_elsewhere(70).shows("WATCH a", "ANNOUNCE 70")
    script.announces_elsewhere(70).shows().receives("a", 90).shows("UNWATCH a", "ANNOUNCE 71")


def test_a_sign_that_has_come_decides_when_the_other_process_announces_the_same_time() -> None:
    Script().accepts("a", 70).is_confirmed("a").announces_elsewhere(70).shows("ANNOUNCE 71")
    Script().accepts("a", 70).is_dismissed("a").announces_elsewhere(70).shows("REPLACE a")


# those that leave


@pytest.mark.parametrize(("opened", "decided"), [(Opened.EXECUTED, ["REPLACE a", "ANNOUNCE_LEFT 80"]), (0, [])])
def test_where_the_order_is_unknown_a_ws_open_that_was_executed_counts(opened: Opened, decided: list[str]) -> None:
    Script().accepts("a", 70).waits("b", opened).shows().is_answered("b", known=None, at_ns=80).shows(*decided)


def test_one_unknown_to_the_canister_ends_no_other() -> None:
    Script().accepts("a", 70).waits("b", Opened.EXECUTED).shows().is_answered("b", known=False, at_ns=80).shows()


def test_the_answer_that_the_canister_knew_it_ends_those_that_were_opened_before() -> None:
    script = Script().accepts("a", 70).waits("late", Opened.EXECUTED).waits("c").waits("d").shows()
    script.is_answered("late", known=True, at_ns=80).shows("REPLACE a", "ANNOUNCE_LEFT 80")
    # the others are decided when their first messages come
    script.accepts("c", 80).shows("REPLACE c").accepts("d", 81).shows()
    assert script.machine.outlived == {}


def test_one_that_left_another_process_unanswered_ends_those_that_were_opened_before() -> None:
    script = Script().accepts("a", 80).waits("b").waits("c", Opened.EXECUTED).waits("d").shows()
    script.leaves_elsewhere(80).shows("REPLACE a")
    script.leaves_elsewhere(70).accepts("b", 80).shows("REPLACE b")
    script.accepts("c", 81).shows().accepts("d", 82).shows("REPLACE c")
    assert script.machine.outlived == {}


@pytest.mark.parametrize(
    ("mine", "later", "decided"), [(81, True, []), (0, True, ["REPLACE a"]), (0, False, []), (79, False, ["REPLACE a"])]
)
def test_where_no_time_is_given_the_order_of_announcements_decides(mine: int, later: bool, decided: list[str]) -> None:
    Script().accepts("a", mine).shows().leaves_elsewhere(80, later).shows(*decided)


def test_one_that_has_opened_meanwhile_is_judged_by_its_time() -> None:
    for at_ns, decided in ((80, ["REPLACE b", "ANNOUNCE_LEFT 80"]), (81, ["ANNOUNCE_LEFT 80"])):
        script = Script().waits("late", Opened.EXECUTED).waits("b")
        others = Others([], [script.all["b"]], 80)
        script.accepts("b", at_ns).shows()
        script._note(script.machine.answered(KEY, script.all["late"], True, others)).shows(*decided)


def test_when_the_known_one_leaves_the_others_are_over_here_and_elsewhere() -> None:
    script = pair().is_answered("a", known=True).shows()
    script.is_gone("a").shows("UNWATCH a", "UNWATCH b", "REPLACE b", "ANNOUNCE 71")


def test_when_the_other_one_leaves_nothing_happens() -> None:
    pair().is_answered("a", known=False).is_gone("a").shows()


def test_what_is_over_leaves_nothing_behind() -> None:
    script = pair().is_over("a").is_over("b")
    assert (script.machine.undecided, script.machine.outlived) == ({}, {})
    script = Script().waits("late", Opened.EXECUTED).waits("c").is_answered("late", known=True)
    assert len(script.machine.outlived) == 1
    script.machine.forget(None, script.all["c"])
    assert script.machine.outlived == {}


def test_one_that_is_over_leaves_the_others_undecided() -> None:
    script = pair().waits("c").is_over("c").is_over("a")
    assert script.machine.undecided == {KEY: {script.all["b"]: None}}


def test_one_without_a_time_is_not_taken_for_one_that_was_outlived() -> None:
    script = Script().waits("a").waits("b").leaves_elsewhere(70)
    script.machine.forget(None, script.all["b"])
    script.accepts("b", 0).shows()


# documents


def test_an_empty_document_leaves_nothing_undecided() -> None:
    machine: Replacement[Connection] = Replacement()
    assert machine.read({}, dict[str, Connection]().get) == []
    assert (machine.undecided, machine.outlived) == ({}, {})
    assert Others.from_document({}, dict[str, Connection]().get) == Others([], [], 0)


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ({"undecided": [["a", b"p", []]]}, "canister: str instead of bytes"),
        ({"undecided": [[b"c", 5, []]]}, "principal: int instead of bytes"),
        ({"undecided": [[b"c", b"p", [5]]]}, "connection: int instead of str"),
        ({"outlived": {"a": "70"}}, "outlived: str instead of int"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(document: dict[str, object], text: str) -> None:
    machine: Replacement[Connection] = Replacement()
    with pytest.raises(FormatError, match=f"^{text}$"):
        machine.read(document, {"a": Connection("a")}.get)


def test_a_wrong_time_of_other_connections_is_named() -> None:
    with pytest.raises(FormatError, match=r"^at_ns: str instead of int$"):
        Others.from_document({"at_ns": "70"}, dict[str, Connection]().get)


# the tables


def test_the_tables_decide_every_case() -> None:
    timed = (Order.EARLIER, Order.SAME, Order.LATER)
    assert set(HERE) == set(itertools.product((*timed, Order.NO_TIME), Sign))
    assert set(ELSEWHERE) == set(itertools.product((*timed, Order.NO_TIME_LATER, Order.NO_TIME_EARLIER), Sign))
    assert set(HERE.values()) | set(ELSEWHERE.values()) == set(Verdict)


def test_two_processes_agree_on_different_times() -> None:
    """One of both lives, whichever is notified of the other: where the times differ, signs do not count."""
    for sign in Sign:
        assert HERE[Order.LATER, sign] is ELSEWHERE[Order.LATER, sign] is Verdict.OTHER_STAYS
        assert (HERE[Order.EARLIER, sign], ELSEWHERE[Order.EARLIER, sign]) == (
            Verdict.THIS_STAYS,
            Verdict.ANNOUNCE_TIME,
        )


def test_the_module_shows_its_tables() -> None:
    assert replacement.__doc__ is not None
    rows = [line.split() for line in replacement.__doc__.splitlines() if line.startswith("    ")][2:]
    for order, sign, here, elsewhere in rows:
        for each in Sign if sign == "any" else [Sign[sign]]:
            for table, verdict in ((HERE, here), (ELSEWHERE, elsewhere)):
                found = table.get((Order[order], each))
                assert ("-" if found is None else found.name) == verdict, (order, each)


@given(st.permutations([("a", 70), ("b", 80), ("c", 80), ("d", 90)]))
def test_the_newest_stays_in_whatever_order_they_are_announced(order: list[tuple[str, int]]) -> None:
    script = Script()
    for name, at_ns in order:
        if script.all.get(name) is None:
            script.accepts(name, at_ns)
    assert [one.name for one in script.living] == ["d"]
