from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.close_reasons import MAX_REASON_BYTES, CloseCode, close_reason


@given(st.text(), st.text("0123456789abcdef-", min_size=1, max_size=20))
def test_a_reason_always_fits_a_close_frame_and_ends_in_the_session(text: str, session_id: str) -> None:
    reason = close_reason(text, session_id)
    assert len(reason.encode()) <= MAX_REASON_BYTES
    assert reason.endswith(f" [{session_id}]")
    assert reason.isprintable()


def test_short_reasons_stay_as_they_are_and_long_ones_say_that_they_were_cut() -> None:
    assert close_reason("replaced", "a-1") == "replaced [a-1]"
    assert close_reason("two\nlines\tand  blanks", "a-1") == "two lines and blanks [a-1]"
    assert close_reason("x" * 500, "a-1").endswith("xxx... [a-1]")
    assert close_reason("ä" * 500, "a-1").endswith("ä... [a-1]")


def test_a_reason_that_fits_just_so_is_not_cut_and_a_cut_one_fills_the_frame() -> None:
    fits = "x" * (MAX_REASON_BYTES - len(" [a-1]"))
    assert close_reason(fits, "a-1") == f"{fits} [a-1]"
    assert close_reason(fits + "x", "a-1") == f"{fits[:-3]}... [a-1]"
    # at the end of a word
    words = " ".join(["word"] * 40)
    assert close_reason(words, "a-1") == " ".join(["word"] * 23) + "... [a-1]"
    assert close_reason(f"a {words}", "a-1") == "a " + " ".join(["word"] * 22) + "... [a-1]"
    assert close_reason(f"x {'y' * 200}", "a-1").endswith("yyy... [a-1]")
    # neither half a character nor a blank before the dots
    assert close_reason("x" + "ä" * 500, "a-1") == "x" + "ä" * 56 + "... [a-1]"
    assert close_reason("x" * 113 + " " + "y" * 50, "a-1") == "x" * 113 + "... [a-1]"


def test_our_codes_are_in_the_private_range_and_not_the_sdks() -> None:
    ours = [code for code in CloseCode if code >= 4000]
    assert all(4100 <= code <= 4113 for code in ours)
    assert len(ours) == 14


def test_what_utf_8_cannot_hold_is_left_out() -> None:
    assert close_reason("half a \ud83d pair \x1b[0m", "a-1") == "half a pair [0m [a-1]"
    assert close_reason("", "a-1") == " [a-1]"
