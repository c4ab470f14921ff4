"""What to do about the end of a session."""

from __future__ import annotations

import pytest

from icwsgw.close_codes import CLOSE_CODES, CloseCode
from icwsgw.close_hints import FIRST_MESSAGE, LATER_MESSAGE, OF_GATEWAY, OF_SDK, REJECT_HINTS, what_to_do
from icwsgw.server.factory import FIRST_MESSAGE_BYTES

NETWORK = "http://127.0.0.1:4943"


def hint(code: int, reason: str, *, by_client: bool = False, delivered: int = 0) -> str:
    return what_to_do(code, reason, by_client=by_client, delivered=delivered, network=NETWORK)


def test_what_a_client_could_not_verify_depends_on_which_message_it_was() -> None:
    first = hint(4000, "Error receiving message", by_client=True, delivered=1)
    assert first == FIRST_MESSAGE.replace("{network}", NETWORK)
    assert NETWORK in first
    assert hint(4000, "Error receiving message", by_client=True, delivered=2) == LATER_MESSAGE


@pytest.mark.parametrize("phrase", [each.phrase for each in OF_SDK])
def test_each_reason_of_the_sdk_has_a_hint_of_its_own(phrase: str) -> None:
    assert hint(4000, phrase, by_client=True) == next(each.text for each in OF_SDK if each.phrase == phrase)


def test_who_leaves_by_itself_has_no_hint() -> None:
    assert hint(1000, "", by_client=True) == hint(4101, "anonymous", by_client=True) == ""
    assert hint(4000, "something else", by_client=True) == ""


def test_the_first_words_that_fit_are_meant() -> None:
    trap = hint(CloseCode.MESSAGE_REFUSED, "ws_message refused: reject 5 IC0503: Canister a-b trapped: no")
    assert trap == REJECT_HINTS["IC0503"]
    unknown = hint(CloseCode.OPEN_REFUSED, "ws_open refused: HTTP 400 error: canister_not_found details: x")
    assert NETWORK in unknown
    assert "canister id" in unknown
    assert hint(CloseCode.OPEN_REFUSED, "ws_open refused: quota") == OF_GATEWAY[CloseCode.OPEN_REFUSED][-1].text


def test_the_bound_of_the_first_message_is_no_option() -> None:
    reason = "received WebSocket message size {} exceeds payload limit of {} octets"
    assert "ws_open" in hint(CloseCode.TOO_BIG, reason.format(3145728, FIRST_MESSAGE_BYTES))
    assert "--max-message-bytes" in hint(CloseCode.TOO_BIG, reason.format(3145728, 2162688))


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (CloseCode.NOT_OPENED, "the canister does not answer polls: the delegation's signature does not verify"),
        (CloseCode.CANISTER_SILENT, "a node's signature on the query's answer does not verify"),
    ],
)
def test_what_does_not_verify_is_not_the_canisters_fault(code: int, reason: str) -> None:
    assert "--root-key" in hint(code, reason)
    assert NETWORK in hint(code, reason)


@pytest.mark.parametrize("code", list(OF_GATEWAY))
def test_each_code_that_needs_action_says_what_to_do_whatever_the_reason(code: int) -> None:
    assert hint(code, "words that nobody has thought of").endswith(".")
    assert code in {info.code for info in CLOSE_CODES}


def test_codes_without_a_hint_need_no_action() -> None:
    codes = {int(code) for code in CloseCode} - set(OF_GATEWAY)
    assert codes == {1000, 1001, 1008, 4100, 4105}
    assert hint(CloseCode.DRAINING, "the gateway is shutting down") == ""
