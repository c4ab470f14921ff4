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
    [
        *((status, False) for status in (400, 401, 403, 405, 409, 410, 413, 415)),
        # what a proxy says that is being set up, and a host that was asked by another's connection
        *((status, True) for status in (301, 302, 307, 308, 404, 421, 425)),
        *((status, True) for status in (408, 429, 500, 502, 503, 504)),
    ],
)
def test_which_statuses_are_worth_another_try(status: int, retryable: bool) -> None:
    assert HttpError(status).retryable is retryable


def test_what_they_say() -> None:
    assert str(HttpError(503, "no healthy nodes", 2.0)) == "HTTP 503: no healthy nodes"
    assert str(HttpError(503)) == "HTTP 503"
    assert str(Rejected(5, "trapped", "IC0503")) == "reject 5 IC0503: trapped"
    assert str(Rejected(4, "no")) == "reject 4: no"
