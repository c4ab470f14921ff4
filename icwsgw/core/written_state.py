"""State as data: what a process hands over to its successor (decision 0069).

A class names the fields that make up its state, each with the function that reads it. A document is a map from the
names to plain values. Fields that a document does not have keep their initial values, and unknown fields are ignored,
so that neighbouring versions understand each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any, ClassVar

from icwsgw.errors import FormatError

#: The plain values of a document.
Document = dict[str, Any]


#: Names of fields, each with the type or function that reads its value; None is read as None.
Fields = Mapping[str, Callable[[Any], Any]]


def write_fields(owner: object, fields: Fields) -> Document:
    """The fields of an object, as plain values."""
    return {name: value if type(value := getattr(owner, name)) in _PLAIN else _plain_value(value) for name in fields}


def read_fields(owner: object, fields: Fields, document: Mapping[str, Any]) -> None:
    """Set those fields of an object that a document has.

    :raises FormatError: a value is of the wrong kind
    """
    for name, kind in fields.items():
        if name in document:
            value = document[name]
            setattr(owner, name, None if value is None else read_as(kind, value, name))


class Written:
    """A class whose state can be written down and read.

    :cvar WRITTEN: the fields of the state
    """

    __slots__ = ()
    WRITTEN: ClassVar[Fields] = {}

    def written(self) -> Document:
        """The state, as plain values."""
        return write_fields(self, self.WRITTEN)

    def read(self, document: Mapping[str, Any]) -> None:
        """Take the state of a document.

        :raises FormatError: a value is of the wrong kind
        """
        read_fields(self, self.WRITTEN, document)


def read_as(kind: Callable[[Any], Any], value: Any, name: str) -> Any:
    """Read one value.

    :param kind: a type, or a function that reads the value
    :param name: of the field, for the error
    :raises FormatError: the value is of the wrong kind
    """
    try:
        if kind in _EXACT and type(value) is not kind and not (kind is float and type(value) is int):
            raise TypeError(f"{type(value).__name__} instead of {kind.__name__}")
        return kind(value)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise FormatError(f"{name}: {error}") from None


_EXACT: frozenset[Any] = frozenset((bool, int, float, bytes, str))
_PLAIN: frozenset[Any] = _EXACT | {type(None)}


def _plain_value(value: Any) -> Any:
    if isinstance(value, set):
        return sorted(value)
    return int(value) if isinstance(value, IntEnum) else value
