"""What --print-config prints is the same configuration again, whatever the values."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from icwsgw.config.dump import as_file, describe
from icwsgw.config.option import Option
from icwsgw.config.schema import BY_NAME, OPTIONS, GatewayConfig
from icwsgw.config.sources import Sourced, load
from icwsgw.errors import ConfigError
from tests.support.strategies import principals

WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=20)  # type: ignore[arg-type]
DIGITS = st.decimals(0, 4000, places=9).map(lambda number: f"{number:f}")
PORTS = st.integers(1, 65535)
ADDRESSES = st.one_of(
    PORTS.map(str),
    PORTS.map("[::1]:{}".format),
    PORTS.map("0.0.0.0:{}".format),
    st.tuples(PORTS, st.text(r"\:=/k#\"'é", max_size=8)).map(
        lambda words: f"ssl:{words[0]}:privateKey={escape(words[1])}"
    ),
    st.text("abc/\"#'", min_size=1).map("unix:{}".format),
)

#: Texts as operators may write them, by the unit of the option's kind.
TEXTS: dict[str, Any] = {
    "seconds": DIGITS,
    "milliseconds": DIGITS,
    "bytes": st.integers(0, 1 << 32).map(str),
    "number": st.integers(0, 10_000_000).map(str),
    "0 to 1": st.floats(0, 1).map(repr),
    "true | false": st.sampled_from(["true", "no"]),
    "path": st.one_of(WORDS, st.just("none"), st.just('a "b" \\c\t#')),
    "address": st.one_of(ADDRESSES, st.just(""), st.sampled_from(["grpc://127.0.0.1", "https://[::1]:4318"])),
    "addresses": st.lists(ADDRESSES, min_size=1, max_size=3).map(" ".join),
    "URL": st.sampled_from(["http://127.0.0.1:1/a", "https://icp0.io", "http://[::1]:4943"]),
    "origins": st.lists(st.sampled_from(["null", "https://A.example", "http://b.example:1"])).map(",".join),
    "canister ids": st.lists(principals().map(lambda principal: principal.text), max_size=3).map(",".join),
    "networks": st.lists(st.sampled_from(["unix", "10.0.0.0/8", "::1"])).map(",".join),
    "levels": st.sampled_from(["info", 'warn, a"b=debug', "off,x\\y=trace"]),
    "level": st.sampled_from(["info", "trace", "warning"]),
}


def escape(word: str) -> str:
    return word.replace("\\", "\\\\").replace(":", "\\:").replace("=", "\\=")


def values(entry: Option) -> st.SearchStrategy[Any]:
    """Values that the option may have: what it makes of texts that it takes."""
    unit = entry.kind.unit
    texts = TEXTS[unit] if unit in TEXTS else st.sampled_from(unit.split(" | "))
    taken = st.sampled_from([entry.kind.show(entry.default), entry.example or entry.kind.example])
    return st.one_of(texts, taken).flatmap(lambda text: parsed(entry, text))


def parsed(entry: Option, text: str) -> st.SearchStrategy[Any]:
    try:
        return st.just(entry.kind.parse(text))
    except ConfigError:
        return st.just(entry.kind.parse(entry.kind.show(entry.default)))


VALUES = {entry.name: values(entry) for entry in OPTIONS}
# a few options at a time: many contradict each other
CONFIGURATIONS = st.sets(st.sampled_from(sorted(VALUES)), max_size=10).flatmap(
    lambda names: st.fixed_dictionaries({name: VALUES[name] for name in names})
)


@given(given_=CONFIGURATIONS, lines=st.sampled_from([as_file, describe]))
@settings(
    max_examples=2 * settings.default.max_examples,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_printed_and_read_again_is_the_same(given_: dict[str, Any], lines: Any, tmp_path: Path) -> None:
    try:
        sourced = load(given_, {})
    except ConfigError:
        assume(False)
    file = tmp_path / "icws.toml"
    file.write_text("\n".join(lines(sourced)) + "\n", encoding="utf-8")
    again = load({}, {}, file)
    assert again.config == sourced.config
    # and a second time nothing changes but where the values are from
    assert [line.partition("  # ")[0] for line in lines(again)] == [
        line.partition("  # ")[0] for line in lines(sourced)
    ]


@pytest.mark.parametrize("entry", OPTIONS, ids=lambda entry: entry.name)
@given(data=st.data())
@settings(max_examples=30)
def test_every_value_is_shown_so_that_it_is_read_as_the_same(entry: Option, data: st.DataObject) -> None:
    value = data.draw(values(entry))
    assert entry.kind.parse(entry.kind.show(value)) == value


@given(st.floats(0.001, 60), st.floats(0, 3600))
def test_times_are_shown_exactly(interval: float, window: float) -> None:
    for name, value in (("polling-interval", interval), ("drain-window", window)):
        kind = BY_NAME[name].kind
        assert kind.parse(kind.show(value)) == value
        assert "e" not in kind.show(value)


def test_times_are_shown_short() -> None:
    show = BY_NAME["polling-interval"].kind.show
    assert [show(float(Decimal(ms) / 1000)) for ms in (1, 100, 333, 1500)] == ["1", "100", "333", "1500"]
    assert BY_NAME["drain-window"].kind.show(0.1) == "0.1"


def test_where_each_value_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "icws\n.toml"
    file.write_text("call-timeout = 20\n")
    sourced = load(
        {"polling-interval": 0.05, "devnet": True},
        {"ICWS_QUERY_TIMEOUT": "2", "RUST_LOG_STDOUT": "debug"},
        file,
    )
    lines = list(as_file(sourced))
    for line in (
        "polling-interval = 50  # command line; milliseconds",
        "query-timeout = 2  # environment ICWS_QUERY_TIMEOUT; seconds",
        f"call-timeout = 20  # file {tmp_path}/icws?.toml; seconds",
        'log-level = "debug"  # environment RUST_LOG_STDOUT',
        'ic-network-url = "http://127.0.0.1:4943"  # --devnet',
        "outbox-bytes = 33554432  # default; bytes",
        "max-connections = 50000  # default",
        "# -- Timeouts of clients --",
    ):
        assert line in lines
    assert lines[0].startswith("# The effective configuration of icwsgw ")
    values_ = [line for line in lines if line and not line.startswith("#")]
    assert [line.split(" ")[0] for line in values_] == [entry.name for entry in OPTIONS]
    assert list(describe(sourced)) == values_
    assert max(len(line) for line in lines if line.startswith("#")) <= 110


def test_a_path_that_no_file_can_hold() -> None:
    sourced = Sourced(GatewayConfig(data_dir=Path("/a\udcff")), dict.fromkeys((e.field for e in OPTIONS), "default"))
    with pytest.raises(ConfigError, match=r"^--data-dir: .* is not Unicode"):
        list(as_file(sourced))
