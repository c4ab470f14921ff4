"""The table of close codes, and what is made from it."""

from __future__ import annotations

import json
import re

from icwsgw.close_codes import CLOSE_CODES, CloseCode, Reconnect
from icwsgw.observe.labels import CLOSE_CODES as LABELS
from tests.support.scripts import load_script


def test_the_table_has_each_code_once_and_in_order() -> None:
    codes = [info.code for info in CLOSE_CODES]
    assert codes == sorted(set(codes))
    assert set(CloseCode) <= set(codes)
    assert tuple(str(int(code)) for code in codes) == LABELS


def test_the_summaries_and_messages_are_phrases_and_the_rest_sentences() -> None:
    for info in CLOSE_CODES:
        for phrase in (info.summary, info.message):
            assert phrase
            assert not phrase.endswith(".")
        for sentences in (info.when, info.action):
            assert not sentences or sentences.endswith("."), sentences
            assert "|" not in sentences


def test_the_document_and_the_clients_table_are_what_the_table_makes() -> None:
    made = load_script("close_codes")
    assert made.DOCUMENT.read_text() == made.page(), "run scripts/close_codes.py"
    assert made.SCRIPT.read_text() == made.script(), "run scripts/close_codes.py"
    entries = re.findall(r"^  (\d{4}): (\{.*\}),$", made.SCRIPT.read_text(), re.M)
    read = {int(code): json.loads(entry) for code, entry in entries}
    assert {code: entry["message"] for code, entry in read.items()} == {info.code: info.message for info in CLOSE_CODES}


def test_the_documented_action_is_what_a_client_does() -> None:
    for info in CLOSE_CODES:
        if info.action.startswith("Connect again"):
            assert info.reconnect in (Reconnect.AGAIN, Reconnect.LATER), info.code
        if "Do not reconnect" in info.action:
            assert info.reconnect is Reconnect.NEVER, info.code
