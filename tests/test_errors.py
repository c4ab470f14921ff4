from __future__ import annotations

import inspect

import pytest

from icwsgw import errors
from icwsgw.errors import HttpError, IcwsError, Rejected

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, IcwsError)]


def test_each_failure_has_a_cause_of_its_own() -> None:
    causes = [cls.cause for cls in CLASSES]
    assert len(set(causes)) == len(causes)
    assert all(cause.replace("_", "").isalpha() and cause.islower() for cause in causes)


@pytest.mark.parametrize(
    ("status", "retryable"),
    [(400, False), (403, False), (404, False), (408, True), (413, False), (429, True), (500, True), (503, True)],
)
def test_which_statuses_are_worth_another_try(status: int, retryable: bool) -> None:
    assert HttpError(status).retryable is retryable


def test_what_they_say() -> None:
    assert str(HttpError(503, "no healthy nodes", 2.0)) == "HTTP 503: no healthy nodes"
    assert str(HttpError(503)) == "HTTP 503"
    assert str(Rejected(5, "trapped", "IC0503")) == "reject 5 IC0503: trapped"
    assert str(Rejected(4, "no")) == "reject 4: no"
