"""A worker's start parameters: its number, configuration, sockets and log, as JSON over a pipe.

In a gateway with ``k`` identities per process, worker ``w`` signs with the identities ``w * k`` to ``w * k + k - 1``.
No two workers therefore share a queue at a canister, and a restarted worker uses the same queues as before.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from icwsgw.admin.control import NO_OVERRIDES, Overrides
from icwsgw.config.canister_files import CANISTER_FILES, CanisterFile
from icwsgw.config.option import DIRECTORY, FILE
from icwsgw.config.quotas import CANISTER_QUOTAS, CanisterQuota
from icwsgw.config.schema import OPTIONS, GatewayConfig

#: A worker's file descriptors after the standard streams: the pipe for orders, the pipe for answers, the socket for
#: handovers (:mod:`icwsgw.workers.passage`), the first listening socket.
ORDERS_FD, ANSWERS_FD, PASSAGE_FD, FIRST_SOCKET_FD = 3, 4, 5, 6


@dataclass(frozen=True, slots=True)
class GivenSocket:
    """A listening socket that the supervisor passes to a worker.

    :ivar address: the --gateway-address for which it was bound
    :ivar family: the address family, for example socket.AF_INET6
    :ivar descriptor: the file descriptor in the worker
    """

    address: str
    family: int
    descriptor: int


@dataclass(frozen=True, slots=True)
class Orders:
    """The start parameters of a worker.

    :ivar worker: its number, from 0
    :ivar reactor: the reactor's name as for twistd's --reactor, or None
    :ivar syslog: the prefix of its lines in syslog; None: log lines go to standard output
    :ivar overrides: the settings that the admin API has changed at run time
    :ivar inherited: the numbers of further identities, whose clients it takes over from another process
    :ivar waits: it accepts no connections until the supervisor orders it, because another process hands over to it
    """

    worker: int
    config: GatewayConfig
    sockets: tuple[GivenSocket, ...]
    reactor: str | None = None
    syslog: str | None = None
    overrides: Overrides = NO_OVERRIDES
    inherited: tuple[int, ...] = ()
    waits: bool = False

    @property
    def first_identity(self) -> int:
        """Return the number of this worker's first identity."""
        return self.worker * self.config.identities

    def to_json(self) -> str:
        sockets = [asdict(given) for given in self.sockets]
        fields: dict[str, Any] = {
            "worker": self.worker,
            "reactor": self.reactor,
            "syslog": self.syslog,
            "sockets": sockets,
        }
        fields |= {"inherited": self.inherited, "waits": self.waits}
        overrides = self.overrides.to_json()
        return json.dumps({**fields, "overrides": overrides, "config": config_to_json(self.config)})

    @classmethod
    def from_json(cls, line: str | bytes) -> Orders:
        fields = json.loads(line)
        sockets = tuple(GivenSocket(**given) for given in fields.pop("sockets"))
        overrides = Overrides.from_json(fields.pop("overrides"))
        fields["inherited"] = tuple(fields.get("inherited", ()))
        return cls(config=config_from_json(fields.pop("config")), sockets=sockets, overrides=overrides, **fields)


def worker_config(config: GatewayConfig) -> GatewayConfig:
    """Return the configuration of one worker.

    Limits on all clients together are divided by the number of workers; options of the supervisor are removed.
    """
    budget, opens = config.queries_per_second, config.opens_per_second
    return replace(
        config,
        **config.share(config.workers),
        canister_quotas=tuple(quota.shared(config.workers) for quota in config.canister_quotas),
        workers=1,
        query_budget=0 if budget is None else max(1, budget // config.workers),
        open_rate=0 if opens is None else max(1, int(opens / config.workers)),
        prometheus_endpoint=None,
        admin_endpoint=None,
        admin_token_file=None,
        acme_http_endpoint=None,
        devnet=False,
        devnet_canisters=(),
        devnet_reload=False,
    )


def config_to_json(config: GatewayConfig) -> dict[str, Any]:
    """Return the configuration as JSON values by field name."""
    return {entry.field: _plain(getattr(config, entry.field)) for entry in OPTIONS}


def config_from_json(values: dict[str, Any]) -> GatewayConfig:
    """Return the configuration from the values that :func:`config_to_json` made."""
    fields: dict[str, Any] = {}
    for entry in OPTIONS:
        value = values[entry.field]
        if entry.kind in (FILE, DIRECTORY) and value is not None:
            value = Path(value)
        if entry.kind in (CANISTER_FILES, CANISTER_QUOTAS):
            value = entry.parse(",".join(value), entry.name)
        fields[entry.field] = tuple(value) if isinstance(value, list) else value
    return GatewayConfig(**fields)


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (CanisterFile, CanisterQuota)):
        return str(value)
    return list(map(_plain, value)) if isinstance(value, tuple) else value
