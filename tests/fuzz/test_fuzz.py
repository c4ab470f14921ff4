"""Parsers of foreign bytes raise nothing but the errors that they document; see targets.py.

``ICWS_FUZZ_EXAMPLES`` is the number of inputs for each target. ``corpus/<target>`` has inputs that once broke something
or that increase coverage, which run each time; ``python -m tests.fuzz`` adds to them.
"""

from __future__ import annotations

import os
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import corpus
from tests.fuzz.mutations import inputs
from tests.fuzz.targets import MODULES, MOST_SECONDS, every

NAMES = [name for names in MODULES.values() for name in names]
EXAMPLES = int(os.environ.get("ICWS_FUZZ_EXAMPLES", "150"))


# Not measured, as all that is random: the parsers have tests that aim at their lines.
@pytest.mark.no_cover
@pytest.mark.parametrize("name", NAMES)
def test_mutated_samples(name: str) -> None:
    target = every()[name]

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def attack(data: st.DataObject) -> None:
        target.run(data.draw(inputs(target.samples)))

    attack()


@pytest.mark.parametrize("name", NAMES)
def test_valid_samples_and_the_corpus(name: str) -> None:
    target = every()[name]
    for data in [*target.samples, *(path.read_bytes() for path in corpus.kept(name))]:
        started = time.process_time()
        target.run(data)
        assert time.process_time() - started < MOST_SECONDS, data[:100]


def test_each_folder_of_the_corpus_has_its_target() -> None:
    assert {path.name for path in corpus.FOLDER.iterdir()} <= set(NAMES)
    assert list(every()) == NAMES
    assert sum(path.stat().st_size for name in NAMES for path in corpus.kept(name)) < 1 << 20


BOMBS = {
    "nested arrays": b"\x81" * 100_000 + b"\x00",
    "nested maps": b"\xa1\x61a" * 100_000 + b"\x00",
    "nested tags": b"\xc6" * 100_000 + b"\x00",
    "a long array": b"\x9b\x00\x00\x00\xff\xff\xff\xff\xff",
    "a long text": b"\x7b\x7f\xff\xff\xff\xff\xff\xff\xff",
    "endless parts": b"\x5f" + b"\x41a" * 50_000,
    "a vector of nothing": b"DIDL\x01\x6d\x7f\x01\x00\xff\xff\xff\xff\x0f",
    "a vector of empty records": b"DIDL\x02\x6d\x01\x6c\x00\x01\x00\xff\xff\xff\xff\x0f",
    "nested options": b"DIDL\x01\x6e\x00\x01\x00" + b"\x01" * 100_000,
    "a chain of types": b"DIDL\x80\x40" + b"".join(b"\x6e" + bytes((i & 127 | 128, i >> 7)) for i in range(1, 8193)),
    "nested forks": b"\x83\x01" * 50_000 + b"\x81\x00" * 50_001,
    "nested labels": b"\x83\x02\x41a" * 50_000 + b"\x81\x00",
    "a long LEB128": b"DIDL" + b"\x80" * 100_000 + b"\x01",
    "a long head": b"\x00HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 60_000,
    "a long chunk extension": b"\x00HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"a" * 300_000,
    "small chunks": b"\x00HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 60_000,
}


# Hundreds of thousands of rounds through lines that the samples reach too: coverage would only slow them down.
@pytest.mark.no_cover
@pytest.mark.parametrize("what", BOMBS)
def test_bombs(what: str) -> None:
    for name, target in every().items():
        started = time.process_time()
        target.run(BOMBS[what])
        assert time.process_time() - started < MOST_SECONDS, name
