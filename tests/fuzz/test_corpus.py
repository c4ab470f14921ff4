"""The choice of inputs for the corpus, and the accounts of the command; the fuzzer itself is not needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from icwsgw.core.rate_limit import Rate, TokenBucket
from icwsgw.errors import FormatError
from icwsgw.ic.principal import Principal
from tests.fuzz import corpus
from tests.fuzz.__main__ import Ledger, executions_in, main


def read(data: bytes) -> None:
    """A target of a few lines."""
    if data == b"broken":
        raise RuntimeError
    try:
        Principal.from_text(data.decode("latin-1"))
    except FormatError:
        return
    TokenBucket(Rate(1, 1), 0.0)


GOOD = b"2vxsx-fae"


def test_only_steps_of_the_gateways_code_count() -> None:
    steps = corpus.steps_of(read, GOOD)
    assert steps
    assert {Path(file).name for file, _, _ in steps} == {"principal.py", "rate_limit.py"}
    assert corpus.steps_of(read, b"broken") is None


def test_the_smallest_inputs_that_cover_every_step_are_kept() -> None:
    short, same, checksum = b"aa", b"bb", b"2vxsx-fab"
    chosen = corpus.worth_keeping(read, [b"x" * 64, GOOD, same, short, checksum, b"broken", b"y" * 5000])
    assert GOOD in chosen
    assert same not in chosen, "another input of the same length covers the same steps"
    assert b"broken" not in chosen
    every = frozenset().union(*(corpus.steps_of(read, data) or () for data in (b"x" * 64, GOOD, short, checksum)))
    assert frozenset().union(*(corpus.steps_of(read, data) or () for data in chosen)) == every
    assert corpus.worth_keeping(read, [GOOD, short, b"x" * 64], most=1) == [GOOD]


def test_crashes_are_kept_and_redundant_inputs_removed(tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    folder.mkdir()
    (folder / "crash-1").write_bytes(b"long ago")
    (folder / "0123456789ab").write_bytes(b"bb")
    corpus.keep("reader", read, [b"aa", GOOD], tmp_path)
    left = {path.name: path.read_bytes() for path in corpus.kept("reader", tmp_path)}
    assert left.pop("crash-1") == b"long ago"
    assert GOOD in left.values()
    assert b"bb" not in left.values()
    assert corpus.keep("reader", read, [], tmp_path) == len(left) + 1, "a second time changes nothing"
    assert {path.name for path in corpus.kept("reader", tmp_path)} == {*left, "crash-1"}


def test_the_target_with_the_least_time_is_next_in_another_run_too(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "work" / "ledger.json")
    ledger.add("cbor", 120, 5000)
    ledger.add("frame", 60, 10)
    ledger.add("cbor", 30, 5)
    again = Ledger(tmp_path / "work" / "ledger.json")
    assert (again.accounts["cbor"].seconds, again.accounts["cbor"].executions) == (150, 5005)
    assert again.least(["cbor", "frame"]) == "frame"
    assert again.least(["cbor", "frame", "url"]) == "url"


@pytest.mark.parametrize(
    ("output", "count"),
    [
        ("#2\tINITED\n#8192\tpulse\nDone 9000 runs\nstat::number_of_executed_units: 9000\n", 9000),
        ("#2\tINITED\n#77\tNEW cov: 3\n== ERROR: libFuzzer: deadly signal\n", 77),
        ("ModuleNotFoundError\n", 0),
    ],
)
def test_the_number_of_inputs_is_read_from_the_fuzzers_output(output: str, count: int) -> None:
    assert executions_in(output) == count


def test_an_unknown_target_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["cbor", "nothing"])
    assert "no such target: nothing" in capsys.readouterr().err
