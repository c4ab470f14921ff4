from __future__ import annotations

from typing import Any, cast

import pytest
from twisted.logger import ILogObserver, Logger, LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from icwsgw.observe.logs import Fields, get_logger
from icwsgw.observe.recent_warnings import MAX_TEXT, RecentWarnings


@pytest.fixture
def recent() -> Any:
    recent = RecentWarnings(keep=3).listen()
    yield recent
    globalLogPublisher.removeObserver(cast(ILogObserver, recent))


def test_warnings_and_errors_are_kept_the_latest_first(recent: RecentWarnings) -> None:
    verifyObject(ILogObserver, recent)
    log = get_logger("poller")
    log.info("polling starts")
    log.warn("poll failed", canister="a-b", error="timed out")
    log.error("canister does not answer", clients=3)
    newest, older = recent.entries()
    assert (newest["level"], newest["component"]) == ("error", "poller")
    assert (newest["text"], newest["details"], newest["count"]) == ("canister does not answer", "clients=3", 1)
    assert (older["details"], older["workers"]) == ('canister=a-b error="timed out"', [])
    assert 1e9 < older["first"] == older["at"] <= newest["at"]


def test_what_comes_again_is_one_entry_for_each_canister(recent: RecentWarnings) -> None:
    for number in range(5):
        event = {
            "log_level": LogLevel.warn,
            "log_namespace": "icwsgw.poller",
            "log_time": 100.0 + number,
            "icws_message": "poll failed",
            "icws_fields": Fields(canister="ab"[number % 2], failures=number, worker=3),
        }
        recent(event)
    (one, other) = recent.entries()
    assert (one["count"], one["first"], one["at"]) == (3, 100.0, 104.0)
    assert (other["count"], other["first"], other["at"]) == (2, 101.0, 103.0)
    assert (one["details"], one["workers"]) == ("canister=a failures=4", [3]), "the last time's"


def test_the_number_of_entries_and_their_length_are_bounded(recent: RecentWarnings) -> None:
    log = get_logger("agent")
    for number in range(10):
        log.warn(f"{number}" + "x" * 1000, text="y" * 1000)
    entries = recent.entries()
    assert [entry["text"][0] for entry in entries] == ["9", "8", "7"]
    assert {len(entry[what]) for entry in entries for what in ("text", "details")} == {MAX_TEXT}


def test_what_others_log(recent: RecentWarnings) -> None:
    get_logger("server").failure("a connection failed", Failure(ValueError("broken <b>")))
    Logger(namespace="twisted.web").critical("two\nlines {what}", what="here")
    recent({"log_level": LogLevel.critical, "log_failure": Failure(KeyError("k")), "log_format": ""})
    failed, twisted, ours = recent.entries()
    assert (ours["text"], ours["details"]) == ("a connection failed", "ValueError: broken <b>")
    assert (twisted["component"], twisted["text"], twisted["level"]) == ("twisted.web", "two", "critical")
    assert (failed["component"], failed["text"], failed["details"]) == ("twisted", "'k'", "KeyError: 'k'")


def test_the_entries_of_a_former_process_come_before(recent: RecentWarnings) -> None:
    log = get_logger("agent")
    log.warn("one", canister="a")
    log.warn("two")
    former = recent.written()
    own = RecentWarnings(keep=3)
    recent({"log_level": LogLevel.warn, "log_namespace": "agent", "icws_message": "two", "log_time": 9.0})
    own({"log_level": LogLevel.warn, "log_namespace": "icwsgw.agent", "icws_message": "two", "log_time": 9.0})
    own({"log_level": LogLevel.warn, "log_namespace": "icwsgw.agent", "icws_message": "three", "log_time": 10.0})
    own.continue_from(former)
    assert [(entry["text"], entry["count"]) for entry in own.entries()] == [("three", 1), ("two", 2), ("one", 1)]
    assert own.entries()[1]["at"] == 9.0
    own.continue_from(RecentWarnings(keep=9).written())
    assert len(own.entries()) == 3
    small = RecentWarnings(keep=1)
    small.continue_from(former)
    assert [entry["text"] for entry in small.entries()] == ["two"]
