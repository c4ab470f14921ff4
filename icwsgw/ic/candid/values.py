"""How Python represents Candid values.

======================  ===============================================================================
null, reserved          ``None`` (whatever value a reserved has on the wire, it is dropped)
bool, nat*, int*        ``bool``, ``int``
float32, float64        ``float``
text                    ``str``
principal               :class:`~icwsgw.ic.principal.Principal`
vec nat8                ``bytes``
vec                     ``list``
record                  ``dict`` from field name (or number) to value
variant                 ``dict`` with one entry, from tag name (or number) to value
opt                     ``None`` or the value. If the value itself may be ``None`` (``opt opt nat``,
                        ``opt null``, ``opt reserved``), a present value is wrapped in :class:`Some`, so
                        that different Candid values have different Python values
service, func           :class:`ServiceRef`, :class:`FuncRef`
future types            :class:`FutureValue`, only from :func:`icwsgw.ic.candid.decode`
======================  ===============================================================================
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from icwsgw.ic.principal import Principal

#: Bits of the largest number that is written in decimal digits, of which it has 4215.
MAX_DECIMAL_BITS: Final = 14_000


class Some(NamedTuple):
    """A present value of an ``opt`` whose inner type also allows ``null``."""

    value: Any


class ServiceRef(NamedTuple):
    """A reference to a service, which is a canister."""

    principal: Principal


class FuncRef(NamedTuple):
    """A reference to a public method of a service."""

    principal: Principal
    method: str


class FutureValue(NamedTuple):
    """A value of a type that this version of Candid does not know.

    ``code`` is the type's opcode, ``data`` the bytes of the value.
    """

    code: int
    data: bytes


def number_text(number: int) -> str:
    """Return a number in decimal digits, or in hex digits (``0x1f``, ``-0x1f``) if it is very large.

    Decimal digits take quadratic time, so Python refuses to write more than 4300 of them.
    """
    return str(number) if number.bit_length() <= MAX_DECIMAL_BITS else hex(number)
