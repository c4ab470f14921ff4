"""Encodes and decodes the binary format of Candid, the Internet Computer's interface language.

:func:`decode` decodes a message by its own type table. :func:`decode_as` decodes it as expected types, with the
coercions of the spec. :func:`encode` encodes a message. Types are made with :class:`Record`, :class:`Opt`, ``Nat64``
and so on. :mod:`icwsgw.ic.candid.values` describes how Python represents values. Source: dfinity/candid,
spec/Candid.md.
"""

from __future__ import annotations

from icwsgw.ic.candid.decode import decode, decode_as
from icwsgw.ic.candid.encode import encode, encode_head, encode_values
from icwsgw.ic.candid.limits import DEFAULT_LIMITS, Limits
from icwsgw.ic.candid.types import (
    Blob,
    Bool,
    Empty,
    Float32,
    Float64,
    Func,
    Int,
    Int8,
    Int16,
    Int32,
    Int64,
    Nat,
    Nat8,
    Nat16,
    Nat32,
    Nat64,
    Null,
    Opt,
    PrincipalType,
    Record,
    Recursive,
    Reserved,
    Service,
    Text,
    Tuple,
    Type,
    Variant,
    Vec,
    hash_name,
)
from icwsgw.ic.candid.values import FuncRef, FutureValue, ServiceRef, Some

__all__ = [
    "DEFAULT_LIMITS",
    "Blob",
    "Bool",
    "Empty",
    "Float32",
    "Float64",
    "Func",
    "FuncRef",
    "FutureValue",
    "Int",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "Limits",
    "Nat",
    "Nat8",
    "Nat16",
    "Nat32",
    "Nat64",
    "Null",
    "Opt",
    "PrincipalType",
    "Record",
    "Recursive",
    "Reserved",
    "Service",
    "ServiceRef",
    "Some",
    "Text",
    "Tuple",
    "Type",
    "Variant",
    "Vec",
    "decode",
    "decode_as",
    "encode",
    "encode_head",
    "encode_values",
    "hash_name",
]
