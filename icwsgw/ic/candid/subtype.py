"""The subtype relation (Candid spec, section Rules), for decoding references.

Only the types of function and service references are compared, because other data is coerced by value. The relation is
coinductive: a pair that is already being compared is assumed to hold. It has no alternatives to try, because ``opt`` is
a supertype of every type. Therefore a work list of pairs, all of which must hold, is sufficient, without recursion.
"""

from __future__ import annotations

from icwsgw.errors import FormatError
from icwsgw.ic.candid.types import (
    EMPTY,
    INT,
    NAT,
    OPT,
    PRINCIPAL,
    RESERVED,
    SERVICE,
    Func,
    Record,
    Service,
    Type,
    Variant,
    Vec,
    nullable,
    resolve,
)

_Pairs = list[tuple[Type, Type]]


def is_subtype(sub: Type, sup: Type, max_pairs: int) -> bool:
    """Return whether ``sub`` is a subtype of ``sup``: every value of ``sub`` is valid where ``sup`` is expected.

    :param max_pairs: the most pairs of types to compare
    :raises FormatError: there are more pairs
    """
    todo: _Pairs = [(sub, sup)]
    seen: set[tuple[int, int]] = set()
    while todo:
        left, right = todo.pop()
        left, right = resolve(left), resolve(right)
        pair = (id(left), id(right))
        if left is right or pair in seen:
            continue
        seen.add(pair)
        if len(seen) > max_pairs:
            raise FormatError("candid: the types of a reference are too large to compare")
        if not _step(left, right, todo):
            return False
        if len(todo) > max_pairs:
            raise FormatError("candid: the types of a reference are too large to compare")
    return True


def _step(left: Type, right: Type, todo: _Pairs) -> bool:
    """Compare two types without their parts. Add the pairs of parts that must hold to ``todo``."""
    if right.code in (OPT, RESERVED) or left.code == EMPTY:
        return True
    if left.code != right.code:
        return (left.code, right.code) in ((NAT, INT), (SERVICE, PRINCIPAL))
    if isinstance(left, Vec) and isinstance(right, Vec):
        todo.append((left.inner, right.inner))
        return True
    if isinstance(left, Record) and isinstance(right, Record):
        return _record(left, right, todo)
    if isinstance(left, Variant) and isinstance(right, Variant):
        kinds = {number: kind for number, _, kind in right.fields}
        if any(number not in kinds for number, _, _ in left.fields):
            return False
        todo.extend((kind, kinds[number]) for number, _, kind in left.fields)
        return True
    if isinstance(left, Func) and isinstance(right, Func):
        return (
            left.annotations == right.annotations
            and _tuple(right.args, left.args, todo)
            and _tuple(left.results, right.results, todo)
        )
    if isinstance(left, Service) and isinstance(right, Service):
        if any(name not in left.methods for name in right.methods):
            return False
        todo.extend((left.methods[name], kind) for name, kind in right.methods.items())
        return True
    # Each primitive type has only one node. Two different future types are not subtypes of each other.
    return left is right


def _record(left: Record, right: Record, todo: _Pairs) -> bool:
    kinds = {number: kind for number, _, kind in left.fields}
    for number, _, kind in right.fields:
        if number in kinds:
            todo.append((kinds[number], kind))
        elif not nullable(kind):
            return False
    return True


def _tuple(left: tuple[Type, ...], right: tuple[Type, ...], todo: _Pairs) -> bool:
    """Compare argument or result sequences like records with the fields 0, 1, 2 and so on."""
    todo.extend(zip(left, right, strict=False))
    return all(map(nullable, right[len(left) :]))
