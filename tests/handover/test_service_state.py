"""What comes from the former process, before anything is done with it."""

from __future__ import annotations

import pytest

from icwsgw.errors import FormatError
from icwsgw.handover.service_state import VERSION, Taken


def test_the_last_document_is_known() -> None:
    taken = Taken()
    assert not taken.add({"version": VERSION, "gateway": {}}, [])
    assert not taken.add({"connections": [{"stage": 0}, {}]}, [5, 6])
    assert taken.add({"end": True}, [])
    assert len(taken) == 2


def test_another_version_is_refused_with_both_numbers() -> None:
    with pytest.raises(FormatError, match=f"version {VERSION + 1}, this program reads {VERSION}"):
        Taken().add({"version": VERSION + 1}, [])


def test_an_end_without_a_beginning_is_refused() -> None:
    with pytest.raises(FormatError, match="state is missing"):
        Taken().add({"end": True}, [])


def test_each_connection_has_its_socket() -> None:
    with pytest.raises(FormatError, match="2 connections came with 1 sockets"):
        Taken().add({"connections": [{}, {}]}, [5])
