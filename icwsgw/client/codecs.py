"""How an application's messages become bytes: as they are, or as Candid values of a type."""

from __future__ import annotations

from typing import Any, Final, Protocol, TypeVar

from icwsgw.errors import FormatError
from icwsgw.ic.candid import Null, Type, decode_as, encode
from icwsgw.ic.candid.did import message_type, parse_did

T = TypeVar("T")


class Codec(Protocol[T]):
    """Encodes and decodes messages.

    :ivar message_type: the Candid type that the canister declares for its messages; Null: any
    """

    message_type: Type

    def encode(self, value: T) -> bytes:
        """Return the bytes of a message.

        :raises FormatError: the value does not fit
        """

    def decode(self, content: bytes) -> T:
        """Return the message that bytes contain.

        :raises FormatError: they contain none
        """


def decode_message(codec: Codec[T], content: bytes) -> T:
    """Return the message that bytes contain; an application's codec may raise any exception.

    :raises FormatError: they contain none, or the codec has raised another exception, which is the cause
    """
    try:
        return codec.decode(content)
    except FormatError:
        raise
    except Exception as error:
        raise FormatError(f"the codec failed: {error!r}") from error


class RawCodec:
    """Messages are bytes."""

    message_type: Type = Null

    def encode(self, value: bytes) -> bytes:
        """Return the bytes.

        :raises FormatError: not bytes
        """
        if not isinstance(value, bytes):
            raise FormatError(f"a message is bytes, not {type(value).__name__}; or give the client a CandidCodec")
        return value

    def decode(self, content: bytes) -> bytes:
        """Return the bytes."""
        return content


class CandidCodec:
    """Messages are Candid values, as :mod:`icwsgw.ic.candid.values` describes.

    :param kind: their type
    """

    def __init__(self, kind: Type) -> None:
        self.message_type = kind

    @classmethod
    def from_did(cls, source: str, name: str | None = None) -> CandidCodec:
        """Make a codec from a ``.did`` file.

        :param name: the name of the type; None: the type of the second argument of ``ws_message``
        :raises FormatError: not a ``.did`` file, or it has no such type
        """
        interface = parse_did(source)
        kind = interface.types.get(name) if name is not None else message_type(interface)
        if kind is None:
            missing = f"type {name}" if name is not None else "ws_message with an opt of a message type"
            raise FormatError(f"the interface has no {missing}; it has {', '.join(interface.types) or 'no types'}")
        return cls(kind)

    def encode(self, value: Any) -> bytes:
        """Return the Candid of a value.

        :raises FormatError: it is not of the type
        """
        return encode([self.message_type], [value])

    def decode(self, content: bytes) -> Any:
        """Return the value in Candid.

        :raises FormatError: malformed, or of another type
        """
        (value,) = decode_as(content, [self.message_type])
        return value


RAW: Final = RawCodec()
