"""What the operator has changed at run time, as another version has written it down.

An override that this version does not take costs a line in the log, and no other override: a version with one kind
less must still keep denied clients out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from icwsgw.admin.control import Overrides
from icwsgw.config.running import read_settable
from icwsgw.errors import FormatError
from icwsgw.ic.principal import Principal
from icwsgw.observe.logs import get_logger

_log = get_logger("handover")

T = TypeVar("T")


class OverriddenService(Protocol):
    """A service of one process, or the supervisor of several."""

    def override(self, overrides: Overrides) -> object:
        """Apply these overrides."""


def take_overrides(service: OverriddenService, value: object) -> None:
    """Apply those overrides of another version that this one takes, and log the others.

    :param value: as :meth:`icwsgw.admin.control.Overrides.to_json` gives it
    """
    overrides, left_out = fitting_overrides(value)
    for reason in left_out:
        _log.error("what was set at run time does not fit this version", reason=reason)
    service.override(overrides)


def fitting_overrides(value: object) -> tuple[Overrides, list[str]]:
    """Read the overrides of another version.

    :return: those that this one takes, and why it does not take the others
    """
    fields = dict(value) if isinstance(value, Mapping) else {"overrides": value}
    left_out: list[str] = []

    def taken(kind: str, read: Callable[[Any], T]) -> list[T]:
        found: Any = fields.pop(kind, None) or ()
        kept: list[T] = []
        try:
            entries = list(found.items() if isinstance(found, Mapping) else found)
        except TypeError as error:
            left_out.append(f"{kind}: {error}")
            return kept
        for entry in entries:
            try:
                kept.append(read(entry))
            except Exception as error:
                left_out.append(f"{kind}: {entry!r:.80}: {error}")
        return kept

    def option(entry: Any) -> tuple[str, tuple[str, ...]]:
        name, texts = entry
        read_settable({name: texts})
        return name, tuple(texts)

    overrides = Overrides(
        denied=tuple(taken("denied", _canister)),
        bans=tuple(taken("bans", _ban)),
        levels=dict(taken("levels", _level)),
        options=dict(taken("options", option)),
        maintenance=fields.pop("maintenance", False) is True,
    )
    left_out += [f"{kind}: unknown" for kind, found in fields.items() if found]
    return overrides, left_out


def _canister(text: str) -> str:
    Principal.from_text(text)
    return text


def _ban(entry: Any) -> tuple[str | None, str | None, float]:
    canister, principal, until = entry
    for text in (canister, principal):
        if text is not None:
            Principal.from_text(text)
    return canister, principal, float(until)


def _level(entry: Any) -> tuple[str, int]:
    component, level = entry
    if type(level) is not int:
        raise FormatError("a level is a number")
    return component, level
