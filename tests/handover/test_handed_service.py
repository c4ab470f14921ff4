"""Handing over a service of one process: to another single process, or to a worker of a supervisor."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest

from icwsgw.admin.control import Overrides
from icwsgw.handover import handed_service
from icwsgw.handover.channel import Channel
from icwsgw.handover.handed_service import HandedService, PassedTransfer
from icwsgw.handover.transfer import SILENCE_SECONDS, Transfer


class Inner:
    """A transfer to a worker."""

    def __init__(self, service: Any, channel: Channel, go: Any, done: Any, failed: Any) -> None:
        self.service, self.channel, self.go, self.done, self.fail = service, channel, go, done, failed
        self.begun: list[bool] = []
        self.documents: list[Any] = []
        self.begin = self.begun.append
        self.received = self.documents.append


def service() -> Any:
    readers: set[Any] = set()
    reactor = SimpleNamespace(addReader=readers.add, removeReader=readers.discard, readers=readers)
    return SimpleNamespace(
        reactor=reactor,
        config=1,
        draining=False,
        listening_services=[2],
        identity_numbers=[0, 1],
        factory=None,
        overrides=Overrides(denied=("aaaaa-aa",)),
    )


def test_it_sends_its_identities() -> None:
    handed = HandedService(service())
    assert handed.handover_facts == {"workers": [[0, 1]]}
    assert (handed.config, handed.draining, handed.listening_services) == (1, False, [2])


def test_a_process_like_it_takes_over_on_the_same_channel() -> None:
    ours, theirs = socket.socketpair()
    made = HandedService(service()).transfer(Channel(ours), [], {}, dict, print, print)
    assert isinstance(made, Transfer)
    ours.close()
    theirs.close()


@pytest.mark.parametrize("ends", ["done", "failed"])
def test_a_worker_takes_over_and_its_supervisor_is_notified(monkeypatch: pytest.MonkeyPatch, ends: str) -> None:
    monkeypatch.setattr(handed_service, "Transfer", Inner)
    of = service()
    ours, theirs = socket.socketpair()
    passed, worker = socket.socketpair()
    done: list[Any] = []
    failed: list[str] = []
    made = HandedService(of).transfer(
        Channel(ours), [passed.detach()], {}, lambda: {"pidfile": "/p"}, done.append, failed.append
    )
    assert isinstance(made, PassedTransfer)
    inner: Any = made._transfer
    assert (inner.service, inner.go()) == (of, {})
    made.begin(True)
    assert (inner.begun, len(of.reactor.readers)) == ([True], 1)
    assert Overrides.from_json(Channel(theirs).receive(5.0)[0]["overrides"]) == of.overrides, "in case it dies"
    made.pass_on("reload")  # the worker gets it with the last message
    inner.channel.send({"early": True})
    assert Channel(worker).receive(5.0)[0] == {"early": True}
    Channel(worker).send({"made": 3})
    next(iter(of.reactor.readers)).doRead()
    assert inner.documents == [{"made": 3}]
    if ends == "done":
        inner.done({"connections": 3})
        assert ours.gettimeout() == SILENCE_SECONDS, "a supervisor that reads nothing does not hold this process up"
        document = Channel(theirs).receive(5.0)[0]
        assert Overrides.from_json(document.pop("overrides")) == of.overrides
        assert document == {"go": True, "pidfile": "/p"}
    else:
        made.received({"at": "something else"})
        made.received({"failed": "worker 0 has ended"})
    assert (done, failed) == (([{"connections": 3}], []) if ends == "done" else ([], ["worker 0 has ended"]))
    assert of.reactor.readers == set()
    theirs.close()
    ours.close()


@pytest.mark.parametrize(
    ("words", "reason"),
    [(b"", "the new process has ended"), (b"x" * 10, "the other process sends no valid document")],
    ids=["has ended", "nonsense"],
)
def test_a_worker_that_ends_or_is_silent_ends_the_handover(
    monkeypatch: pytest.MonkeyPatch, words: bytes, reason: str
) -> None:
    monkeypatch.setattr(handed_service, "Transfer", Inner)
    of = service()
    ours, theirs = socket.socketpair()
    passed, worker = socket.socketpair()
    failed: list[str] = []
    made = HandedService(of).transfer(Channel(ours), [passed.detach()], {}, dict, print, failed.append)
    made.begin(False)
    worker.sendall(words)
    worker.shutdown(socket.SHUT_WR)
    next(iter(of.reactor.readers)).doRead()
    assert [each.partition(":")[0] for each in failed] == [reason]
    for each in (ours, theirs, worker):
        each.close()
