from __future__ import annotations

from types import SimpleNamespace

import pytest

from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.session_machine import Opened, State
from icwsgw.errors import HttpError, IcwsError, Rejected, RequestTimeout
from icwsgw.gateway.calls.relay import Expired
from icwsgw.gateway.reasons import reason_of, why_not_open, why_overdue, wrong_expiry
from tests.support.fake_network import envelope


@pytest.mark.parametrize(
    ("method", "error", "code", "text"),
    [
        ("ws_open", Rejected(4, "no", "IC0406"), CloseCode.OPEN_REFUSED, "ws_open refused: reject 4 IC0406: no"),
        ("ws_message", Rejected(5, "no"), CloseCode.MESSAGE_REFUSED, "ws_message refused: reject 5: no"),
        ("ws_message", HttpError(400, "bad"), CloseCode.MESSAGE_REFUSED, "ws_message refused: HTTP 400 bad"),
        ("ws_message", HttpError(413), CloseCode.MESSAGE_REFUSED, "ws_message refused: HTTP 413"),
        ("ws_open", Expired("it expired"), CloseCode.EXPIRED, "ws_open: it expired"),
        ("ws_message", RequestTimeout("late"), CloseCode.MESSAGE_REFUSED, "ws_message refused: late"),
    ],
)
def test_the_reason_that_a_client_gets(method: str, error: IcwsError, code: CloseCode, text: str) -> None:
    assert reason_of(envelope(1, method), error) == (code, text)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "Error from Canister bkyz2-fmaaa-aaaaa-qaaaq-cai: Canister called `ic0.trap` with message: 'no'",
            "the canister trapped: 'no'",
        ),
        ("Error from Canister aaaaa-aa: Canister trapped explicitly: no", "the canister trapped: no"),
        ("Canister bkyz2-fmaaa-aaaaa-qaaaq-cai is stopped", "Canister bkyz2-fmaaa-aaaaa-qaaaq-cai is stopped"),
    ],
)
def test_a_canisters_own_words_come_first(message: str, expected: str) -> None:
    _, text = reason_of(envelope(1, "ws_message"), Rejected(5, message, "IC0503"))
    assert text == f"ws_message refused: reject 5 IC0503: {expected}"


def test_why_a_session_was_not_opened_in_time() -> None:
    lost, fine = SimpleNamespace(last_error=RequestTimeout("no answer")), SimpleNamespace(last_error=IcwsError(""))
    refused, good = (
        SimpleNamespace(backoff=SimpleNamespace(failures=failures, last_error="no such method")) for failures in (1, 0)
    )
    nothing = "the canister did not answer ws_open in time"
    assert why_overdue(Opened.UNKNOWN, lost, refused) == f"{nothing}: no answer"
    assert why_overdue(Opened.UNKNOWN, fine, good) == why_overdue(Opened.UNKNOWN, None, None) == nothing
    assert why_overdue(Opened.EXECUTED, lost, refused) == "the canister does not answer polls: no such method"
    assert "no message to the client" in why_overdue(Opened.EXECUTED, lost, good)


def test_the_metric_label_of_an_end() -> None:
    assert why_not_open(CloseCode.NOT_OPENED, State.INIT) == "silent"
    assert why_not_open(CloseCode.NOT_OPENED, State.SETUP) == "timeout"
    assert why_not_open(1234, State.SETUP) == "failed"


def test_only_faults_of_the_gateway_count_as_such() -> None:
    """Alerts page for them, so nothing that a client or a canister can cause may be among them."""
    failed = {code for code in CloseCode if why_not_open(code, State.SETUP) == "failed"}
    assert failed == {CloseCode.NORMAL, CloseCode.GOING_AWAY, CloseCode.INTERNAL}
    assert why_not_open(CloseCode.CANISTER_SILENT, State.SETUP) == "canister"


def test_how_wrong_an_expiry_is() -> None:
    now = 1_700_000_000 * 10**9
    assert wrong_expiry(now, now + 1) is None
    assert wrong_expiry(now, now + 330 * 10**9) is None
    assert str(wrong_expiry(now, now)).startswith("the envelope expired 0.0 s ago")
    assert str(wrong_expiry(now, now - 3_500_000_000)).startswith("the envelope expired 3.5 s ago")
    assert str(wrong_expiry(now, now + 840 * 10**9)).startswith("the envelope expires in 840 s, at most 330")
