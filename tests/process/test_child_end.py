from __future__ import annotations

import signal
import sys

import pytest
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.python.failure import Failure

from icwsgw.process.child_end import how_it_ended


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ProcessDone(0), "exit status 0"),
        (ProcessTerminated(3), "exit status 3"),
        (ProcessTerminated(signal=9), "killed by SIGKILL"),
        (ProcessTerminated(None, signal.SIGSEGV), "killed by SIGSEGV"),
    ],
)
def test_an_end_is_a_status_or_a_signal(error: Exception, text: str) -> None:
    assert how_it_ended(Failure(error)) == text


@pytest.mark.skipif(sys.platform != "linux", reason="numbers of Linux")
def test_a_signal_without_a_name_has_its_number() -> None:
    assert how_it_ended(Failure(ProcessTerminated(signal=40))) == "killed by signal 40"
