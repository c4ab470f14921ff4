"""Candid types as Python objects (Candid spec, sections Type Structure and Binary Format/Types).

Each type is a node that refers directly to the nodes of its parts, so a recursive type is a cyclic graph. Such a type
is made with :class:`Recursive`, a placeholder that is defined afterwards::

    int_list = Recursive()
    int_list.define(Opt(Record({"head": Int, "tail": int_list})))

Each node has a ``code``, its opcode in the binary format, on which encoder and decoder branch. Types from a message's
type table are the same kinds of nodes, but their fields have numbers instead of names, because a message contains only
the hashes of names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from icwsgw.errors import FormatError

# Opcodes (spec, section Types).
NULL, BOOL, NAT, INT = -1, -2, -3, -4
NAT8, NAT16, NAT32, NAT64 = -5, -6, -7, -8
INT8, INT16, INT32, INT64 = -9, -10, -11, -12
FLOAT32, FLOAT64, TEXT, RESERVED, EMPTY = -13, -14, -15, -16, -17
OPT, VEC, RECORD, VARIANT, FUNC, SERVICE = -18, -19, -20, -21, -22, -23
PRINCIPAL = -24

_NULLABLE = frozenset((NULL, RESERVED, OPT))


class Type:
    """A node of a type graph. Nodes are compared by identity."""

    __slots__ = ("code",)
    code: int

    def __repr__(self) -> str:
        return f"<candid {type(self).__name__.lower()}>"


class Primitive(Type):
    """A type without parts. This module has the only instance of each, for example ``Nat64``."""

    __slots__ = ("name",)

    def __init__(self, name: str, code: int) -> None:
        self.name = name
        self.code = code

    def __repr__(self) -> str:
        return self.name


class Opt(Type):
    """``opt inner``."""

    __slots__ = ("inner",)

    def __init__(self, inner: Type) -> None:
        self.code = OPT
        self.inner = inner


class Vec(Type):
    """``vec inner``. A ``vec nat8`` is a blob, whose values are ``bytes``."""

    __slots__ = ("inner",)

    def __init__(self, inner: Type) -> None:
        self.code = VEC
        self.inner = inner


#: A field: its id (hash of its name), its key in Python values (the name, or the id if the name is unknown), its type.
Field = tuple[int, "str | int", Type]


class Record(Type):
    """``record { ... }``: fields by name or number.

    :raises FormatError: two names with one hash, or a number outside 32 bits
    """

    __slots__ = ("fields",)

    def __init__(self, fields: Mapping[str, Type] | Mapping[int, Type] | Mapping[str | int, Type]) -> None:
        self.code = RECORD
        self.fields: tuple[Field, ...] = sort_fields(fields.items())


class Variant(Type):
    """``variant { ... }``: alternatives by name or number.

    :raises FormatError: two names with one hash, or a number outside 32 bits
    """

    __slots__ = ("fields",)

    def __init__(self, fields: Mapping[str, Type] | Mapping[int, Type] | Mapping[str | int, Type]) -> None:
        self.code = VARIANT
        self.fields: tuple[Field, ...] = sort_fields(fields.items())


class Func(Type):
    """``func (args) -> (results) annotations``; the annotations are query, oneway and composite_query.

    :raises FormatError: an unknown annotation
    """

    __slots__ = ("annotations", "args", "results")

    def __init__(
        self, args: Iterable[Type] = (), results: Iterable[Type] = (), annotations: Iterable[str] = ()
    ) -> None:
        self.code = FUNC
        self.args = tuple(args)
        self.results = tuple(results)
        self.annotations = frozenset(annotations)
        if not self.annotations.issubset(ANNOTATIONS):
            raise FormatError(f"candid: unknown function annotation in {sorted(self.annotations)}")


class Service(Type):
    """``service { name : func; ... }``."""

    __slots__ = ("methods",)

    def __init__(self, methods: Mapping[str, Type] | None = None) -> None:
        self.code = SERVICE
        self.methods: dict[str, Type] = dict(sorted((methods or {}).items(), key=lambda item: item[0].encode()))


class Future(Type):
    """A type with an opcode below -24, unknown to this version. Its values are skipped by their length prefix."""

    __slots__ = ()

    def __init__(self, code: int) -> None:
        self.code = code


class Recursive(Type):
    """A placeholder for a type that contains itself. :meth:`define` sets the type that it stands for."""

    __slots__ = ("meaning",)

    def __init__(self) -> None:
        self.code = 0
        self.meaning: Type | None = None

    def define(self, meaning: Type) -> Type:
        """Set the type that the placeholder stands for, and return that type."""
        self.meaning = meaning
        return meaning


def resolve(kind: Type) -> Type:
    """Return the type that ``kind`` stands for, which is ``kind`` itself unless it is a :class:`Recursive`.

    :raises FormatError: a placeholder is undefined, or placeholders only refer to each other
    """
    seen = 0
    while isinstance(kind, Recursive):
        seen += 1
        if kind.meaning is None or seen > 1000:
            raise FormatError("candid: a recursive type without meaning")
        kind = kind.meaning
    return kind


def nullable(kind: Type) -> bool:
    """Return whether ``null`` is a value of the type (``null <: t`` in the spec): null, reserved and every opt."""
    return kind.code in _NULLABLE or (kind.code == 0 and resolve(kind).code in _NULLABLE)


def hash_name(name: str) -> int:
    """Return the id of a field name, a hash of 32 bits (spec, section Symbolic Field Ids)."""
    value = 0
    for byte in name.encode():
        value = (value * 223 + byte) & 0xFFFFFFFF
    return value


def sort_fields(fields: Iterable[tuple[str | int, Type]]) -> tuple[Field, ...]:
    """Return fields in ascending order of their ids.

    :raises FormatError: two fields have the same id, or an id is outside 32 bits
    """
    out: list[Field] = [(hash_name(key) if isinstance(key, str) else key, key, kind) for key, kind in fields]
    out.sort(key=lambda field: field[0])
    for i, (number, key, _) in enumerate(out):
        if not 0 <= number < 1 << 32:
            raise FormatError(f"candid: field id {number} is outside 32 bits")
        if i and out[i - 1][0] == number:
            raise FormatError(f"candid: fields {out[i - 1][1]!r} and {key!r} have the same id")
    return tuple(out)


def Tuple(*kinds: Type) -> Record:  # noqa: N802 - reads as the type it makes
    """Return a record with the fields 0, 1, 2 and so on."""
    return Record(dict(enumerate(kinds)))


Null = Primitive("null", NULL)
Bool = Primitive("bool", BOOL)
Nat = Primitive("nat", NAT)
Int = Primitive("int", INT)
Nat8 = Primitive("nat8", NAT8)
Nat16 = Primitive("nat16", NAT16)
Nat32 = Primitive("nat32", NAT32)
Nat64 = Primitive("nat64", NAT64)
Int8 = Primitive("int8", INT8)
Int16 = Primitive("int16", INT16)
Int32 = Primitive("int32", INT32)
Int64 = Primitive("int64", INT64)
Float32 = Primitive("float32", FLOAT32)
Float64 = Primitive("float64", FLOAT64)
Text = Primitive("text", TEXT)
Reserved = Primitive("reserved", RESERVED)
Empty = Primitive("empty", EMPTY)
PrincipalType = Primitive("principal", PRINCIPAL)
Blob = Vec(Nat8)

PRIMITIVES: dict[int, Primitive] = {
    kind.code: kind
    for kind in (
        *(Null, Bool, Nat, Int, Nat8, Nat16, Nat32, Nat64, Int8, Int16, Int32, Int64),
        *(Float32, Float64, Text, Reserved, Empty, PrincipalType),
    )
}
#: Function annotations by their byte on the wire.
ANNOTATIONS: dict[str, int] = {"query": 1, "oneway": 2, "composite_query": 3}
