"""How a command line reads, shows and compares messages.

==========  =======================================================================================
``json``    a JSON value for each message, by the canister's message type
``candid``  Candid's text, by the canister's message type
``text``    UTF-8
``hex``     hex digits
==========  =======================================================================================

Whatever a canister sends is one line of visible characters, because it goes to a terminal, a pipe or a recording. A
message that does not fit the type is shown as hex digits.
"""

from __future__ import annotations

import json
from typing import Any, Final

from icwsgw.errors import FormatError
from icwsgw.escaping import escape_invisible
from icwsgw.ic.candid import Type, decode_as, encode
from icwsgw.ic.candid.json_values import value_from_json, value_to_json
from icwsgw.ic.candid.printing import format_values
from icwsgw.ic.candid.text_values import parse_values

#: The formats by name, and whether they need a type.
FORMATS: Final = {"json": True, "candid": True, "text": False, "hex": False}


class MessageFormat:
    """One of the formats.

    :param name: its name
    :param kind: the canister's message type; None: it is not known
    :raises FormatError: the format needs a type
    """

    def __init__(self, name: str, kind: Type | None) -> None:
        if FORMATS[name] and kind is None:
            raise FormatError(f"the format {name} needs the canister's message type")
        self._name = name
        self._kind = kind

    def read(self, line: str) -> bytes:
        """Return the message that a line stands for.

        :raises FormatError: it stands for none
        """
        if self._name == "text":
            return _text(line)
        if self._name == "hex":
            return _bytes(line)
        assert self._kind is not None
        return encode([self._kind], [self._value(line)])

    def show(self, content: bytes) -> str:
        """Return a message as one line."""
        try:
            if self._name == "text":
                return escape_invisible(content.decode())
            if self._kind is not None and self._name != "hex":
                (value,) = decode_as(content, [self._kind])
                if self._name == "candid":
                    return format_values([value], [self._kind])
                return escape_invisible(json.dumps(value_to_json(value, self._kind), ensure_ascii=False))
        except (FormatError, UnicodeDecodeError):
            pass
        return content.hex()

    def line(self, content: bytes) -> str | None:
        """Return the line that stands for a message; None: there is none, :meth:`show` is only for people.

        Spaces around a line do not count.
        """
        line = self.show(content).strip()
        try:
            return line if self.matches(line, content) else None
        except FormatError:
            return None

    def matches(self, expected: str, content: bytes) -> bool:
        """Return whether a message is what a line expects.

        A JSON object expects its own fields alone: the message may have others.

        :raises FormatError: the line expects nothing that can be
        """
        if not FORMATS[self._name]:
            return self.read(expected) == content
        assert self._kind is not None
        wanted = _json(expected) if self._name == "json" else self._value(expected)
        try:
            (value,) = decode_as(content, [self._kind])
        except FormatError:
            return False
        if self._name == "json":
            return is_part_of(wanted, value_to_json(value, self._kind))
        return bool(value == wanted)

    def _value(self, line: str) -> Any:
        assert self._kind is not None
        if self._name == "json":
            return value_from_json(_json(line), self._kind)
        return parse_values(_text(line), [self._kind])[0]


def is_part_of(wanted: Any, value: Any) -> bool:
    """Return whether a JSON value has all that another one names; elements of lists have their places."""
    if isinstance(wanted, dict):
        return isinstance(value, dict) and all(key in value and is_part_of(wanted[key], value[key]) for key in wanted)
    if isinstance(wanted, list):
        return (
            isinstance(value, list)
            and len(wanted) == len(value)
            and all(is_part_of(part, other) for part, other in zip(wanted, value, strict=True))
        )
    return type(wanted) is type(value) and bool(wanted == value)


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"not JSON: {error}") from None


def _text(line: str) -> bytes:
    try:
        return line.encode()
    except UnicodeEncodeError:
        # surrogates stand for bytes of the input
        raise FormatError("not UTF-8") from None


def _bytes(line: str) -> bytes:
    try:
        return bytes.fromhex(line.strip().removeprefix("0x"))
    except ValueError:
        raise FormatError("not hex digits") from None
