"""A worker's start parameters: its number, configuration, sockets and log, as JSON over a pipe.

Worker ``w`` of a gateway with ``k`` identities a process signs with the identities ``w * k`` to ``w * k + k - 1``, so
that no two workers have the same queue at any canister, and a worker that is started again takes its own up.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from icwsgw.admin.control import NO_OVERRIDES, Overrides
from icwsgw.config.option import DIRECTORY, FILE
from icwsgw.config.schema import OPTIONS, GatewayConfig

#: File descriptors of a worker, besides those of standard streams and the sockets behind these.
ORDERS_FD, ANSWERS_FD, FIRST_SOCKET_FD = 3, 4, 5


@dataclass(frozen=True, slots=True)
class GivenSocket:
    """A listening socket that a worker is given.

    :ivar address: the --gateway-address it was bound for
    :ivar family: for example socket.AF_INET6
    :ivar descriptor: in the worker
    """

    address: str
    family: int
    descriptor: int


@dataclass(frozen=True, slots=True)
class Orders:
    """Everything a worker needs to know.

    :ivar worker: its number, from 0
    :ivar reactor: name as for twistd's --reactor, or None
    :ivar syslog: prefix of its lines in syslog; None: they go to standard output
    :ivar overrides: what was changed at run time
    """

    worker: int
    config: GatewayConfig
    sockets: tuple[GivenSocket, ...]
    reactor: str | None = None
    syslog: str | None = None
    overrides: Overrides = NO_OVERRIDES

    @property
    def first_identity(self) -> int:
        """The first of this worker's identities."""
        return self.worker * self.config.identities

    def to_json(self) -> str:
        sockets = [asdict(given) for given in self.sockets]
        fields = {"worker": self.worker, "reactor": self.reactor, "syslog": self.syslog, "sockets": sockets}
        overrides = self.overrides.to_json()
        return json.dumps({**fields, "overrides": overrides, "config": config_to_json(self.config)})

    @classmethod
    def from_json(cls, line: str | bytes) -> Orders:
        fields = json.loads(line)
        sockets = tuple(GivenSocket(**given) for given in fields.pop("sockets"))
        overrides = Overrides.from_json(fields.pop("overrides"))
        return cls(config=config_from_json(fields.pop("config")), sockets=sockets, overrides=overrides, **fields)


def worker_config(config: GatewayConfig) -> GatewayConfig:
    """What of the operator's configuration a worker runs: its share of what is for all, nothing of the supervisor's."""
    budget, opens = config.queries_per_second, config.opens_per_second
    return replace(
        config,
        **config.share(config.workers),
        workers=1,
        query_budget=0 if budget is None else max(1, budget // config.workers),
        open_rate=0 if opens is None else max(1, int(opens / config.workers)),
        prometheus_endpoint=None,
        admin_endpoint=None,
        admin_token_file=None,
        devnet=False,
    )


def config_to_json(config: GatewayConfig) -> dict[str, Any]:
    """Give a configuration's values as JSON has them."""
    return {entry.field: _plain(getattr(config, entry.field)) for entry in OPTIONS}


def config_from_json(values: dict[str, Any]) -> GatewayConfig:
    """Make the configuration of such values."""
    fields: dict[str, Any] = {}
    for entry in OPTIONS:
        value = values[entry.field]
        if entry.kind in (FILE, DIRECTORY) and value is not None:
            value = Path(value)
        fields[entry.field] = tuple(value) if isinstance(value, list) else value
    return GatewayConfig(**fields)


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
