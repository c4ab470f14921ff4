"""The Python side of Candid values.

======================  ===============================================================================
null, reserved          ``None`` (a reserved value is whatever was there; it is dropped)
bool, nat*, int*        ``bool``, ``int``
float32, float64        ``float``
text                    ``str``
principal               :class:`~icwsgw.ic.principal.Principal`
vec nat8                ``bytes``
vec                     ``list``
record                  ``dict`` from field name (or number) to value
variant                 ``dict`` with one entry, from tag name (or number) to value
opt                     ``None`` or the value. Where the value itself may be ``None`` (``opt opt nat``,
                        ``opt null``, ``opt reserved``) a present one is wrapped in :class:`Some`, so
                        that no two Candid values share a Python value
service, func           :class:`ServiceRef`, :class:`FuncRef`
future types            :class:`FutureValue`, only where a message is read by its type table alone
======================  ===============================================================================
"""

from __future__ import annotations

from typing import Any, NamedTuple

from icwsgw.ic.principal import Principal


class Some(NamedTuple):
    """A present optional value whose type has ``null`` among its values."""

    value: Any


class ServiceRef(NamedTuple):
    """A reference to a service: a canister."""

    principal: Principal


class FuncRef(NamedTuple):
    """A reference to a public method of a service."""

    principal: Principal
    method: str


class FutureValue(NamedTuple):
    """A value of a type this version of Candid does not know; ``data`` is its memory representation."""

    code: int
    data: bytes
