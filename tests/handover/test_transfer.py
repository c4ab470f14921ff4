"""Both sides of a transfer at each step: a failure before the point of no return has no effect on clients."""

from __future__ import annotations

import gc
import socket
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock

from icwsgw.errors import FormatError
from icwsgw.handover import receiving, transfer
from icwsgw.handover.channel import Channel, ChannelClosed
from icwsgw.handover.receiving import NothingTaken, Receiving, Source
from icwsgw.handover.transfer import GIVE_WAY_SECONDS, Transfer, give_way, takes_early

#: The documents that a giver sends.
DOCUMENTS: list[dict[str, Any]] = [{"early": True}, {"early": True, "last": True}, {"rest": 1}, {"end": True}]


#: The function that lowers the process's priority; tests replace it, since it would slow them down.
GIVE_WAY = give_way


class Handed:
    """A state of three documents."""

    detached = 0
    gave_way: list[bool] = []
    connections = (1, 2)
    pause = 0.0

    def __init__(self, service: object) -> None:
        pass

    def early(self) -> Any:
        yield {"early": True}, []
        yield {"early": True, "last": True}, []

    def documents(self) -> Any:
        yield {"rest": 1}, []
        yield {"end": True}, []

    def detach(self) -> None:
        type(self).detached += 1


class Taken:
    """The documents that have arrived, and what has been made of them."""

    made: list[Taken] = []
    frozen: list[int] = []
    all: list[list[int]] = []

    def __init__(self, service: object, identities: object) -> None:
        self.documents: list[Any] = []
        self.begun = self.discarded = 0
        Taken.made.append(self)

    def add(self, document: Any, sockets: list[int]) -> bool:
        self.documents.append(document)
        if "bad" in document:
            raise FormatError("bad")
        return "end" in document

    def check(self) -> None:
        pass

    def begin(self) -> None:
        self.begun += 1

    def discard(self) -> None:
        self.discarded += 1

    def __len__(self) -> int:
        return 2


@pytest.fixture(autouse=True)
def states(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "Handed", Handed)
    monkeypatch.setattr(transfer, "give_way", lambda: Handed.gave_way.append(True))
    monkeypatch.setattr(receiving, "Taken", Taken)
    monkeypatch.setattr(transfer, "SILENCE_SECONDS", 5.0)
    monkeypatch.setattr(receiving, "SILENCE_SECONDS", 5.0)
    monkeypatch.setattr(gc, "freeze", lambda: Taken.frozen.append(Taken.made[0].begun))
    Handed.detached, Handed.gave_way, Taken.made, Taken.frozen, Taken.all = 0, [], [], [], []


class Giver:
    """The process that hands over."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.clock = Clock()
        self.service = SimpleNamespace(
            reactor=self.clock, draining=False, factory=SimpleNamespace(connections={1, 2, 3})
        )
        self.channel, self.other = Channel(ours), Channel(theirs)
        self.done: list[Any] = []
        self.failed: list[str] = []
        service: Any = self.service
        self.transfer: Any = Transfer(
            service, self.channel, lambda: {"pidfile": "/p"}, self.done.append, self.failed.append
        )

    def run(self, early: bool = True) -> None:
        """Hand over as the reactor would, until the transfer has ended."""
        self.transfer.begin(early)
        while not self.done and not self.failed:
            try:
                document, _ = self.channel.receive(5.0)
            except ChannelClosed as error:
                self.transfer.fail(str(error))
                return
            self.transfer.received(document)
            self.clock.advance(0)


def taker(*givers: Giver) -> Receiving:
    registry = SimpleNamespace(sessions=set(), taken_over=lambda: Taken.all.append([each.begun for each in Taken.made]))
    gateway, factory = SimpleNamespace(registry=registry, close_denied=bool), SimpleNamespace(close_denied=bool)
    service: Any = SimpleNamespace(reactor=Clock(), gateway=gateway, factory=factory)
    return Receiving(service, [Source(giver.other) for giver in givers])


def run(giver: Giver, early: bool = True) -> threading.Thread:
    thread = threading.Thread(target=giver.run, args=(early,))
    thread.start()
    return thread


@pytest.mark.parametrize("early", [True, False])
def test_everything_is_handed_over(early: bool) -> None:
    giver = Giver()
    thread = run(giver, early)
    receiving = taker(giver)
    receiving.run()
    thread.join()
    assert (giver.failed, Handed.detached) == ([], 1)
    assert (giver.done[0]["connections"], giver.done[0]["left"]) == (2, 1)
    assert (receiving.go, len(receiving)) == ({"go": True, "pidfile": "/p"}, 2)
    assert (Taken.made[0].begun, Taken.made[0].discarded) == (1, 0)
    assert ({"early": True} in Taken.made[0].documents) is early
    assert Taken.frozen == [1], "what has been made is never collected, not even once"


@pytest.mark.parametrize("left", [0, 1])
def test_a_process_that_only_cleans_up_lowers_its_priority(left: int) -> None:
    giver = Giver()
    giver.service.factory.connections = set(range(2 + left))
    thread = run(giver)
    taker(giver).run()
    thread.join()
    assert Handed.gave_way == [True] * (not left), "a process that drains clients does not"


@pytest.mark.parametrize("fault", ["go", "send", "give_way", "detach"])
def test_a_failure_after_the_point_of_no_return_keeps_no_client_here(
    monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    giver = Giver()
    giver.service.factory.connections = {1, 2}
    faults: list[str] = []

    def broken(*values: object) -> None:
        faults.append(fault)
        raise ValueError(fault)

    send = giver.channel.send
    if fault == "go":
        giver.transfer._go = broken
    elif fault == "send":
        monkeypatch.setattr(giver.channel, "send", lambda what, ends=(): broken() if "go" in what else send(what, ends))
    elif fault == "give_way":
        monkeypatch.setattr(transfer, "give_way", broken)
    else:
        giver.transfer._handed.detach = broken
    thread = run(giver)
    receiving = taker(giver)
    if fault == "send":
        # this process is silent then, as one that has crashed is
        monkeypatch.setattr("icwsgw.handover.receiving.SILENCE_SECONDS", 0.5)
    receiving.run()
    thread.join()
    assert (faults, giver.failed, len(giver.done)) == ([fault], [], 1)
    assert Handed.detached == (fault != "detach")
    assert receiving.go == {"send": {}, "go": {"go": True}}.get(fault, {"go": True, "pidfile": "/p"})


def test_several_processes_hand_over_to_one() -> None:
    givers = [Giver(), Giver(), Giver()]
    threads = [run(giver) for giver in givers]
    receiving = taker(*givers)
    receiving.run()
    for thread in threads:
        thread.join()
    assert [len(giver.done) for giver in givers] == [1, 1, 1]
    assert ([taken.begun for taken in Taken.made], len(receiving)) == ([1, 1, 1], 6)
    assert Taken.all == [[1, 1, 1]], "whatever did not come by then does not come any more"


def test_if_one_of_several_fails_all_continue() -> None:
    givers = [Giver(), Giver()]
    givers[1].service.draining = True
    threads = [run(giver) for giver in givers]
    with pytest.raises(NothingTaken, match="the other process continues"):
        taker(*givers).run()
    for giver in givers:
        giver.other.close()
    for thread in threads:
        thread.join()
    assert [len(giver.failed) for giver in givers] == [1, 1]
    assert (Handed.detached, [taken.discarded for taken in Taken.made]) == (0, [1, 1])


#: The number of messages that the taker receives before it is killed: of the early part, and of the rest.
@pytest.mark.parametrize("words", [0, 1, 2, 3, 4])
def test_the_taker_is_killed_before_it_has_taken_everything(words: int) -> None:
    giver = Giver()
    thread = run(giver)
    for number in range(words):
        giver.other.receive(5.0)
        if number < min(words - 1, 2):
            giver.other.send({"made": 2})
    giver.other.close()
    thread.join()
    assert (len(giver.failed), giver.done, Handed.detached) == (1, [], 0)


def test_the_taker_is_killed_when_it_has_taken_everything() -> None:
    """From then on the taker has the clients; the giver does not serve them as well."""
    giver = Giver()
    thread = run(giver, early=False)
    giver.other.receive(5.0)
    giver.other.receive(5.0)
    giver.other.send({"taken": 2})
    giver.other.close()
    thread.join()
    assert (giver.failed, len(giver.done), Handed.detached) == ([], 1, 1)


@pytest.mark.parametrize("words", [0, 1, 2, 3])
def test_the_giver_is_killed_before_it_has_given_everything(words: int) -> None:
    giver = Giver()
    for document in DOCUMENTS[:words]:
        giver.channel.send(document)
    giver.channel.close()
    with pytest.raises(NothingTaken, match="ended"):
        taker(giver).run()
    assert (Taken.made[0].begun, Taken.made[0].discarded) == (0, 1)


def test_the_giver_is_killed_when_it_has_given_everything() -> None:
    giver = Giver()
    for document in DOCUMENTS[:4]:
        giver.channel.send(document)
    giver.channel.socket.shutdown(socket.SHUT_WR)
    receiving = taker(giver)
    receiving.run()
    assert (Taken.made[0].begun, receiving.go) == (1, {}), "nobody else has the clients"


def test_invalid_data_after_the_point_of_no_return_changes_nothing() -> None:
    """The giver has released the clients, or is about to."""
    giver = Giver()
    for document in DOCUMENTS[:4]:
        giver.channel.send(document)
    giver.channel.socket.sendall(b"\0\0\0\1\xff")
    receiving = taker(giver)
    receiving.run()
    assert (Taken.made[0].begun, receiving.go) == (1, {})


def test_a_giver_that_continues_says_so_and_the_taker_does_not_serve() -> None:
    """The giver's end of the connection is not mistaken for a crash, even if both messages cross."""
    giver = Giver()
    for document in DOCUMENTS[:4]:
        giver.channel.send(document)
    giver.transfer.fail("too late")
    giver.channel.close()
    with pytest.raises(NothingTaken, match=r"continues|ended"):
        taker(giver).run()
    assert (Taken.made[0].begun, Taken.made[0].discarded, giver.failed) == (0, 1, ["too late"])
    assert Taken.frozen == []


@pytest.mark.parametrize("last", ["stop", "gone", "nonsense"])
def test_a_giver_that_has_released_its_clients_is_served_whatever_the_others_do(last: str) -> None:
    """The first ``taken`` is the point of no return."""
    first, second = Giver(), Giver()
    for giver in (first, second):
        for document in DOCUMENTS[:4]:
            giver.channel.send(document)
    first.channel.send({"go": True, "pidfile": "/p"})
    if last == "stop":
        second.transfer.fail("too late")
    elif last == "gone":
        send = second.other.send

        def too_late(document: Any, sockets: Any = ()) -> None:
            if "taken" in document:
                second.channel.close()
            send(document, sockets)

        second.other.send = too_late
    else:
        second.channel.socket.sendall(b"\0\0\0\1\1")
    receiving = taker(first, second)
    receiving.run()
    kept = [True, last == "nonsense"]
    assert [bool(taken.begun) for taken in Taken.made] == kept
    assert [bool(taken.discarded) for taken in Taken.made] == [not each for each in kept]
    assert (len(receiving), receiving.go) == (2 * sum(kept), {"go": True, "pidfile": "/p"})


@pytest.mark.parametrize("fault", [FormatError("bad"), ChannelClosed("bad"), ZeroDivisionError("bad")])
def test_only_unexpected_errors_are_logged_as_faults(monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    def broken(taken: Taken, document: Any, sockets: list[int]) -> bool:
        raise fault

    monkeypatch.setattr(Taken, "add", broken)
    failures: list[str] = []
    monkeypatch.setattr("icwsgw.handover.receiving._log", SimpleNamespace(failure=failures.append))
    giver = Giver()
    giver.channel.send({"early": True})
    with pytest.raises(NothingTaken, match="bad"):
        taker(giver).run()
    assert len(failures) == isinstance(fault, ZeroDivisionError)


def test_a_state_that_is_refused_stays() -> None:
    giver = Giver()
    giver.transfer._handed.documents = lambda: iter([({"bad": True}, [])])
    thread = run(giver)
    with pytest.raises(NothingTaken, match="bad"):
        taker(giver).run()
    thread.join()
    assert (giver.failed, Handed.detached) == (["bad"], 0)


def test_a_taker_that_cannot_continue_ends_it_with_its_reason() -> None:
    giver = Giver()
    giver.transfer.begin(True)
    giver.other.receive(5.0)
    giver.transfer.received({"failed": "no such option"})
    assert giver.failed == ["no such option"]
    assert giver.other.receive(5.0)[0] == {"stop": True}


def test_a_taker_that_has_ended_is_noticed_at_the_next_message() -> None:
    giver = Giver()
    giver.other.close()
    giver.transfer.begin(True)
    assert giver.failed == ["the other process has ended: Broken pipe"]


def test_between_two_parts_the_channel_blocks_nothing() -> None:
    """The reactor reads the channel, and serves clients meanwhile."""
    giver = Giver()
    giver.transfer.begin(True)
    with pytest.raises(BlockingIOError):
        giver.channel.read()


def test_both_sides_say_how_long_clients_have_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    giver = Giver()

    def documents() -> Any:
        giver.clock.advance(0.12345)
        yield {"end": True}, []

    giver.transfer._handed.documents = documents
    receiving = taker(giver)
    taking: Any = receiving._service.reactor
    monkeypatch.setattr(Taken, "begin", lambda taken: taking.advance(0.12345))
    logged: list[Any] = []
    info = lambda words, **fields: logged.append((words, fields))  # noqa: E731
    monkeypatch.setattr("icwsgw.handover.receiving._log", SimpleNamespace(info=info))
    thread = run(giver)
    receiving.run()
    thread.join()
    assert giver.done[0]["seconds"] == 0.123
    assert logged == [("taken over", {"connections": 2, "sessions": 0, "seconds": 0.123})]


def test_the_process_that_only_cleans_up_has_the_lowest_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[str, float]] = []
    monkeypatch.setattr("os.nice", lambda more: done.append(("nice", more)))
    monkeypatch.setattr("time.sleep", lambda seconds: done.append(("sleep", seconds)))
    GIVE_WAY()
    ((first, more), last) = done
    assert (first, more > 0, last) == ("nice", True, ("sleep", GIVE_WAY_SECONDS))


def test_a_pause_between_two_pieces_is_kept() -> None:
    giver = Giver()
    giver.transfer.begin(True)
    giver.transfer._handed.pause = 1.0
    assert giver.other.receive(5.0)[0] == {"early": True}
    giver.transfer.received({"made": 2})
    giver.clock.advance(0.9)
    giver.other.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        giver.other.read()
    giver.clock.advance(0.2)
    assert giver.other.receive(5.0)[0] == {"early": True, "last": True}


def test_silence_ends_it() -> None:
    giver = Giver()
    giver.transfer.begin(True)
    giver.clock.advance(5.0)
    assert giver.failed == ["the new process was silent for 5 s"]
    giver.transfer.fail("again")
    giver.transfer.received({"made": 1})
    giver.clock.advance(0)
    assert len(giver.failed) == 1


def test_a_state_that_cannot_be_written_ends_it() -> None:
    def broken() -> Any:
        raise ZeroDivisionError
        yield

    giver = Giver()
    giver.transfer._handed.early = broken
    giver.transfer.begin(True)
    assert giver.failed == ["the state cannot be written down; the log has the reason"]


def test_a_taker_of_early_documents_says_so() -> None:
    assert takes_early({"early": True})
    assert not takes_early({})
