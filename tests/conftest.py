"""Settings for all tests."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Generator, Iterator

import pytest
from hypothesis import settings

from icwsgw.process import signals
from tests.support.log_state import reset_logs

# A slow machine is no failure: hypothesis measures each example against a deadline unless told not to.
settings.register_profile("icwsgw", deadline=None)
# For the versions of Python beside the first, which has run every example: --hypothesis-profile=few
settings.register_profile("few", deadline=None, max_examples=20)
settings.load_profile("icwsgw")


def pytest_collection_finish() -> None:
    """Leave what has been imported and collected out of garbage collection, which took a quarter of all tests' time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a long value by its length: whole, they made 40 MB of names, which each process of tests sends."""
    if isinstance(val, (str, bytes)) and len(val) > 100:
        return f"{argname} of {len(val)}"
    return None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests: one that begins last runs alone. The order of all others stays random."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Measure nothing in tests marked ``no_cover``, also in a process of several.

    There pytest-cov 7.1 measures twice, and when it pauses one measurement, the other continues: a scenario of the
    simulation took three times as long.
    """
    tracer = sys.gettrace()
    if item.get_closest_marker("no_cover") is None or tracer is None:
        return (yield)
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(tracer)


@pytest.fixture(autouse=True)
def _logs_of_a_new_process() -> None:
    """Take back the log levels, sinks and marks that the test before has set: they belong to the process."""
    reset_logs()


@pytest.fixture
def held_signals(monkeypatch: pytest.MonkeyPatch) -> Iterator[signals.HeldSignals]:
    """What holds signals while a process starts, for one test; afterwards each signal does again what it did."""
    known = (*signals.STOP, signal.SIGHUP, signal.SIGUSR1, *signals.UNUSED)
    before = {number: signal.getsignal(number) for number in known}
    held = signals.HeldSignals()
    monkeypatch.setattr(signals, "held", held)
    yield held
    for number, handler in before.items():
        signal.signal(number, handler)
