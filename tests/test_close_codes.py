"""The table of close codes, and what is made from it."""

from __future__ import annotations

import json
import re

from icwsgw.close_codes import CLOSE_CODES, CloseCode
from icwsgw.observe.labels import CLOSE_CODES as LABELS
from tests.support.scripts import load_script
from tests.test_layering import ROOT


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


def test_the_document_and_the_demo_page_are_what_the_table_makes() -> None:
    made = load_script("close_codes")
    assert made.DOCUMENT.read_text() == made.page(), "run scripts/close_codes.py"
    assert made.SCRIPT.read_text() == made.script(), "run scripts/close_codes.py"


def test_the_demo_page_reads_the_table() -> None:
    static = ROOT / "icwsgw" / "devnet" / "static"
    assert 'import { CLOSE_CODES } from "./close_codes.js";' in (static / "demo.js").read_text()
    entries = re.findall(r"^  (\d{4}): (\".*\"),$", (static / "close_codes.js").read_text(), re.M)
    assert {int(code): json.loads(text) for code, text in entries} == {info.code: info.message for info in CLOSE_CODES}
