from __future__ import annotations

import sys
import traceback

import pytest

from icwsgw.client.client_errors import ClientError, SessionEnded
from icwsgw.close_hints import REJECT_HINTS


def test_an_error_says_what_to_do() -> None:
    assert ClientError("no", "Do it.").explained() == "no. Do it."
    assert ClientError("no").explained() == "no"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exceptions have no notes (PEP 678)")
def test_a_traceback_says_what_to_do() -> None:
    assert traceback.format_exception(ClientError("no", "Do it."))[-1] == "Do it.\n"
    assert traceback.format_exception(ClientError("no"))[-1].endswith("ClientError: no\n")


@pytest.mark.parametrize("reject", REJECT_HINTS)
def test_the_networks_error_code_says_more_than_the_close_code(reject: str) -> None:
    assert SessionEnded(4111, f"ws_message refused: reject 5 {reject}: a-b [ab12]").hint == REJECT_HINTS[reject]


def test_a_close_code_has_words_and_advice_even_without_a_reason() -> None:
    ended = SessionEnded(4109, "")
    assert str(ended) == "a newer connection of yours took its place (4109)"
    assert ended.hint == "Do not reconnect automatically."
    refused = SessionEnded(4101, "the canister says no [ab12]")
    assert (str(refused), refused.code) == ("the canister says no [ab12] (4101)", 4101)
    assert str(SessionEnded(4999, "")) == "the connection was closed (4999)"
    assert SessionEnded(4105, "", "Other advice.").hint == "Other advice."
