"""What one canister and its clients may use: the quotas of tenants (decision 0076).

A quota has a default for all canisters, an option for each limit, and exceptions by canister: ``--canister-quota``, or
a table ``[canister."<id>"]`` of the ``--config`` file. In an exception, a limit has the name of its option without
``-per-canister``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import NamedTuple

from icwsgw.config.option import Kind, count, each, size
from icwsgw.errors import ConfigError
from icwsgw.ic.principal import Principal


class Quota(NamedTuple):
    """What one canister and all its clients may use. 0: no limit.

    :ivar max_connections: clients
    :ivar message_rate: messages per second from the clients to the canister
    :ivar byte_rate: bytes of them per second
    :ivar delivery_rate: messages per second from the canister to its clients
    :ivar delivery_byte_rate: bytes of them per second, as the clients receive them
    :ivar poll_rate: polls per second
    """

    max_connections: int = 0
    message_rate: int = 0
    byte_rate: int = 0
    delivery_rate: int = 0
    delivery_byte_rate: int = 0
    poll_rate: int = 0

    @property
    def any_rate(self) -> bool:
        """Whether there is a limit besides the number of clients."""
        return any(self[1:])


#: The kind of each limit, by its name in an option.
KINDS: dict[str, Kind] = {
    name: size(0) if "byte" in name else count() for name in (field.replace("_", "-") for field in Quota._fields)
}


def _shared(limit: int, parts: int) -> int:
    """One part of a limit, rounded up; 0 (no limit) stays 0."""
    return -(-limit // parts)


@dataclass(frozen=True, slots=True)
class CanisterQuota:
    """The limits of one canister that differ from the defaults.

    :ivar canister: its id
    :ivar limits: (field of :class:`Quota`, limit)
    """

    canister: str
    limits: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        return ":".join((self.canister, *(f"{field.replace('_', '-')}={limit}" for field, limit in self.limits)))

    def shared(self, parts: int) -> CanisterQuota:
        """One of several parts, rounded up."""
        return replace(self, limits=tuple((field, _shared(limit, parts)) for field, limit in self.limits))


def _canister_quota(text: str) -> CanisterQuota:
    canister, *settings = text.split(":")
    try:
        canister = Principal.from_text(canister).text
    except ValueError as error:
        raise ConfigError(f"{canister!r} is not a canister id: {error}") from None
    if not settings:
        raise ConfigError(f"{text!r} is not CANISTER:LIMIT=VALUE, such as {canister}:max-connections=50")
    limits: dict[str, int] = {}
    for word in settings:
        name, equals, value = word.partition("=")
        kind = KINDS.get(name)
        if kind is None or not equals:
            near = get_close_matches(name, KINDS, n=1, cutoff=0.6)
            hint = f"did you mean {near[0]}=?" if near else f"there are {', '.join(KINDS)}"
            raise ConfigError(f"{canister}: {word!r} is not a limit of a canister; {hint}")
        field = name.replace("-", "_")
        if field in limits:
            raise ConfigError(f"{canister}: {name} is given twice")
        try:
            limits[field] = kind.parse(value)
        except ConfigError as error:
            raise ConfigError(f"{canister}: {name}: {error}") from None
    return CanisterQuota(canister, tuple(limits.items()))


CANISTER_QUOTAS = each(
    _canister_quota, "CANISTER:LIMIT=VALUE[:LIMIT=VALUE]", "bkyz2-fmaaa-aaaaa-qaaaq-cai:max-connections=50:byte-rate=1M"
)


def from_tables(tables: object, source: str) -> list[str]:
    """Return the texts of ``--canister-quota`` that tables of a ``--config`` file stand for.

    :param tables: the value of the key ``canister``
    :param source: the file, for the error message
    :raises ConfigError: it is not a table of tables
    """
    if not isinstance(tables, Mapping) or not all(isinstance(table, Mapping) for table in tables.values()):
        raise ConfigError(f'{source}: canister: write a table for each canister, [canister."<canister id>"]')
    texts = []
    for canister, table in tables.items():
        for name, value in table.items():
            if isinstance(value, bool) or not isinstance(value, (int, str)):
                raise ConfigError(f"{source}: canister {canister}: {name}: {type(value).__name__} is not a limit")
        texts.append(":".join((canister, *(f"{name.replace('_', '-')}={value}" for name, value in table.items()))))
    return texts


def check_quotas(quotas: Iterable[CanisterQuota]) -> None:
    """Check that no canister has two quotas.

    :raises ConfigError: one has
    """
    seen: set[str] = set()
    for quota in quotas:
        if quota.canister in seen:
            raise ConfigError(f"--canister-quota: canister {quota.canister} has two quotas")
        seen.add(quota.canister)
