"""The subtype relation (Candid spec, section Rules), as decoding references needs it.

Data is coerced by value, so only function and service types are ever compared. The relation is coinductive
(a pair met again is taken to hold) and has no alternatives to choose between: ``opt`` is a supertype of
everything. So the question is answered by a work list of pairs, all of which must hold, without recursion.
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
    """Whether each value of type sub may stand where sup is expected.

    :param max_pairs: pairs of types compared before the question is refused
    :raises FormatError: more pairs than that
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
    """Compare the heads of two types; what must hold of their parts is added to todo."""
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
    # The same primitive type is the same node; two future types are never known to be related.
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
    """Argument and result sequences relate as the records with fields 0, 1, 2 and so on."""
    todo.extend(zip(left, right, strict=False))
    return all(map(nullable, right[len(left) :]))
