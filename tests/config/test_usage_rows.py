from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.python import usage

from icwsgw.config.option import ADDRESSES, FLAG, automatic, count, option, options_of
from icwsgw.config.usage_rows import flag_rows, given_values, parameter_rows


@dataclass(frozen=True)
class Some:
    number: int | None = option(3, automatic(count(0, 9)), "number", "A number.")
    on: bool = option(True, FLAG, "on", "A flag.")
    places: tuple[str, ...] = option((), ADDRESSES, "place", "Places.")


ENTRIES = options_of(Some)


def given(*words: str) -> dict[str, Any]:
    class Options(usage.Options):
        optParameters = parameter_rows(ENTRIES, lambda entry: entry.usage, {"number": "n"})
        optFlags = flag_rows(ENTRIES, lambda entry: entry.usage)

    options: Any = Options()
    options.parseOptions(list(words))
    return given_values(ENTRIES, options)


def test_what_is_not_given_is_left_to_other_sources() -> None:
    assert given() == {}


def test_a_value_may_be_none() -> None:
    assert given("--number=auto") == {"number": None}
    assert given("-n", "4") == {"number": 4}


def test_flags_and_their_opposites() -> None:
    assert given("--on") == {"on": True}
    assert given("--no-on") == {"on": False}
    assert given("--no-on", "--on") == {"on": True}


def test_options_that_may_be_repeated_are_the_plugins_own_matter() -> None:
    assert [row[0] for row in parameter_rows(ENTRIES, lambda entry: entry.usage)] == ["number"]
