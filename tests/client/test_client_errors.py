from __future__ import annotations

from icwsgw.client.client_errors import ClientError, SessionEnded


def test_an_error_says_what_to_do() -> None:
    assert ClientError("no", "Do it.").explained() == "no. Do it."
    assert ClientError("no").explained() == "no"


def test_a_close_code_has_words_and_advice_even_without_a_reason() -> None:
    ended = SessionEnded(4109, "")
    assert str(ended) == "a newer connection of yours took its place (4109)"
    assert ended.hint == "Do not reconnect automatically."
    told = SessionEnded(4101, "the canister says no [ab12]")
    assert (str(told), told.code) == ("the canister says no [ab12] (4101)", 4101)
    assert str(SessionEnded(4999, "")) == "the connection was closed (4999)"
    assert SessionEnded(4105, "", "Other advice.").hint == "Other advice."
