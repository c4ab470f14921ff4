"""Documents before the point of no return: short ones through the socket, long ones in a file."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest

from icwsgw.errors import FormatError
from icwsgw.handover import early_messages
from icwsgw.handover.channel import Channel
from icwsgw.handover.early_messages import MOST_EARLY_BYTES, read_early, send_early_overrides, send_early_request


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    ours, theirs = map(Channel, socket.socketpair())
    ours.socket.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("size", [0, MOST_EARLY_BYTES - 100, MOST_EARLY_BYTES, 5_000_000])
def test_a_document_of_any_length_is_sent_although_it_is_not_read_yet(
    ends: tuple[Channel, Channel], size: int, in_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not in_memory:
        monkeypatch.delattr(os, "memfd_create")
    ours, theirs = ends
    before = open_files()
    overrides: Any = {"denied": ["x" * size]}
    send_early_overrides(ours, overrides)
    send_early_request(ours, "reload")
    assert ours.socket.gettimeout() == 0.0, "others read it in the reactor"
    document, descriptors = theirs.receive(5.0)
    assert len(descriptors) == (size >= MOST_EARLY_BYTES)
    assert read_early(document, descriptors) == {"overrides": overrides}
    assert read_early(*theirs.receive(5.0)) == {"reload": True}
    assert open_files() == before


def test_nothing_is_raised_when_the_other_process_has_ended(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = ends
    theirs.close()
    send_early_overrides(ours, {"denied": []})
    send_early_overrides(ours, {"denied": ["x" * MOST_EARLY_BYTES]})
    send_early_request(ours, "rotate")


def test_a_message_that_does_not_fit_leaves_no_timeout(
    ends: tuple[Channel, Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, _ = ends
    with suppress(BlockingIOError):
        while True:
            ours.socket.send(bytes(4096))
    monkeypatch.setattr(early_messages, "SILENCE_SECONDS", 0.01)
    send_early_request(ours, "rotate")
    assert ours.socket.gettimeout() == 0.0, "others read it in the reactor"


def test_a_machine_without_room_for_the_file_costs_a_line(
    ends: tuple[Channel, Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> Any:
        raise OSError("no space left")

    monkeypatch.setattr(early_messages, "_file_in_memory", full)
    send_early_overrides(ends[0], {"denied": ["x" * MOST_EARLY_BYTES]})
    send_early_request(ends[0], "reload")
    assert ends[1].receive(5.0)[0] == {"reload": True}


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x01"])
def test_a_file_that_holds_no_document_is_refused_and_closed(content: bytes) -> None:
    before = open_files()
    with TemporaryFile() as file:
        file.write(content)
        file.flush()
        with pytest.raises(FormatError):
            read_early({"overrides_file": True}, [os.dup(file.fileno())])
    assert open_files() == before


def test_descriptors_that_are_not_expected_are_closed() -> None:
    before = open_files()
    assert read_early({"what": 1}, [os.open("/dev/null", os.O_RDONLY) for _ in range(3)]) == {"what": 1}
    assert read_early({"overrides_file": True}, []) == {"overrides_file": True}
    assert open_files() == before


def test_a_socket_in_place_of_a_file_is_refused() -> None:
    before = open_files()
    one, two = socket.socketpair()
    with one, two, pytest.raises(FormatError):
        read_early({"overrides_file": True}, [os.dup(one.fileno())])
    assert open_files() == before
