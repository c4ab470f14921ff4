"""``twistd -n icws-devnet``: a local replica with its demo canisters, in memory.

Its keys are derived from a public seed, and its state is lost when the process ends. Use it for development and tests
only, never for anything of value.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.application.service import MultiService
from twisted.logger import Logger
from twisted.python import usage

from icwsgw.config.canister_files import CANISTER_FILES, CanisterFile, check_names
from icwsgw.config.devnet_options import DEVNET_ADDRESS
from icwsgw.config.option import (
    ADDRESS,
    FLAG,
    TEXT,
    Option,
    automatic,
    choice,
    count,
    milliseconds,
    option,
    options_of,
)
from icwsgw.config.sources import likely_typos
from icwsgw.config.usage_rows import add_repeatable, flag_rows, given_values, parameter_rows
from icwsgw.devnet.canisters import DEMO_CANISTERS
from icwsgw.devnet.cdk import ACK_INTERVAL_MS, MAX_RETURNED_MESSAGES
from icwsgw.devnet.consensus import MAX_LAG, BlockTiming
from icwsgw.devnet.hosting import CdkSettings
from icwsgw.devnet.named_canisters import NamedCanisters
from icwsgw.devnet.replica import Replica
from icwsgw.devnet.resource import ReplicaSite
from icwsgw.devnet.topology import BY_VERSION, DELEGATIONS, MAX_NODES, NODES
from icwsgw.errors import ConfigError
from icwsgw.ic.principal import Principal
from icwsgw.process.startup import closed_stdout_is_an_end, exit_zero_on_signals, one_line, report_start_errors
from icwsgw.reactor.clock import use_monotonic_time
from icwsgw.server.endpoints import listening_service

PROGRAM = "twistd icws-devnet"
_EDGE_HEADERS = {"auto": None, "on": True, "off": False}

_log = Logger()

LATENCY = milliseconds(0.0, 3600.0)


@dataclass(frozen=True)
class DevnetConfig:
    """The configuration of a devnet. Durations are in seconds.

    :raises ConfigError: values are out of bounds or contradict each other
    """

    listen: str = option(
        DEVNET_ADDRESS,
        ADDRESS,
        "listen",
        "Address to listen on: IP:port or a Twisted server endpoint string.",
    )
    seed: str = option("icws-devnet", TEXT, "seed", "Seed of the replica's keys, including the root key.")
    delegation: str = option(
        BY_VERSION,
        choice(*DELEGATIONS),
        "delegation",
        f"Layout of the network: {', '.join(DELEGATIONS)}. {BY_VERSION}: as the public network, a root subnet and two "
        "others, whose delegations have the form that the endpoint's version asks for. The others have a single "
        "subnet: it signs with the root key, as a local replica does, or has a delegation in one form.",
    )
    edge_headers: str = option(
        "auto",
        choice(*_EDGE_HEADERS),
        "edge-headers",
        "Whether each answer has a fresh x-request-id and none has x-ic-*, as on the public network: "
        f"{', '.join(_EDGE_HEADERS)}. auto: with --delegation {BY_VERSION}.",
    )
    nodes: int = option(NODES, count(1, MAX_NODES), "nodes", "Nodes of each subnet.")
    ack_interval: float = option(
        ACK_INTERVAL_MS / 1000,
        milliseconds(0.001, 86_400.0),
        "ack-interval",
        "Time between two acknowledgement rounds.",
    )
    keep_alive_timeout: float | None = option(
        None,
        automatic(milliseconds(0.001, 86_400.0)),
        "keep-alive-timeout",
        "Time after a round until clients without a keep-alive are removed; auto: 60 s, or half the interval if that "
        "is less.",
    )
    max_messages: int = option(
        MAX_RETURNED_MESSAGES, count(1), "max-messages", "Maximum number of messages in a poll's answer."
    )
    query_latency: float = option(0.0, LATENCY, "query-latency", "Time until a query is answered.")
    call_latency: float = option(0.0, LATENCY, "call-latency", "Time until a call is executed.")
    call_jitter: float = option(
        0.0, LATENCY, "call-jitter", "Maximum random extra time until a call is executed; calls lose their order."
    )
    block_interval: float = option(
        0.0,
        LATENCY,
        "block-interval",
        "Time between two blocks, as on the public network: each block comes from another node and has the calls that "
        "this node knows, in the order of their arrival there; the next block certifies it. 0: no blocks, calls are "
        "executed in the order of their arrival after --call-latency.",
    )
    gossip: float = option(0.0, LATENCY, "gossip", "Maximum time until all nodes know a call.")
    lag_blocks: int = option(0, count(0, MAX_LAG), "lag", "Maximum number of blocks that nodes are behind.")
    canister_files: tuple[CanisterFile, ...] = option(
        (),
        CANISTER_FILES,
        "devnet-canister",
        "A canister of one's own: a module in WebAssembly, or a Python file; with the name of a demo canister, in its "
        "place. FILE.did describes its interface. Repeatable.",
    )
    reload: bool = option(
        False, FLAG, "devnet-reload", "Upgrade the canisters of --devnet-canister when their files change."
    )
    legacy_api: bool = option(
        False, FLAG, "legacy-api", "Behave as an older replica: no v4 calls, v3 queries and v3 reads."
    )
    v2_gone: bool = option(False, FLAG, "v2-gone", "Behave as a later network: no v2 queries and v2 reads.")
    echo_any: bool = option(
        False, FLAG, "echo-any", "Every canister id is an echo canister; otherwise ids without a canister are refused."
    )

    def __post_init__(self) -> None:
        for entry in options_of(DevnetConfig):
            entry.parse(entry.kind.show(getattr(self, entry.field)), f"--{entry.name}")
        check_names(self.canister_files)
        if not self.block_interval and (self.gossip or self.lag_blocks):
            raise ConfigError("--gossip and --lag need --block-interval")
        try:
            self.settings()
        except ValueError as error:
            raise ConfigError(str(error)) from None

    def pace(self) -> BlockTiming:
        """Return the timing of blocks."""
        return BlockTiming(self.block_interval, self.gossip, self.lag_blocks)

    def settings(self) -> CdkSettings:
        """Return the settings of the canisters' CDK."""
        timeout = self.keep_alive_timeout
        timeout_ms = None if timeout is None else round(timeout * 1000)
        return CdkSettings(round(self.ack_interval * 1000), timeout_ms, self.max_messages)


class DevnetService(MultiService):
    """Runs the replica; cancels its timers and pending requests when it stops.

    :param named: the canisters of ``--devnet-canister``; they are installed at the start, because the compiler's
        threads do not survive the fork of a daemon
    :param reload: whether to upgrade them when their files change
    :ivar replica: the replica
    """

    def __init__(self, replica: Replica, named: NamedCanisters, reload: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.replica = replica
        self._named = named
        self._reload = reload

    def startService(self) -> None:  # noqa: N802
        """Install the canisters, start listening, and log the canisters.

        :raises ConfigError: a file cannot be read, or is no canister; wasmtime is not installed
        """
        self._named.install()
        super().startService()  # type: ignore[no-untyped-call]
        if self._reload:
            self._named.watch()
        for name, canister_id in self.replica.names.items():
            _log.info("devnet: canister {name} is {id}", name=name, id=canister_id.text)

    def stopService(self) -> Any:  # noqa: N802
        """Stop; the Deferred fires when the port is closed."""
        self._named.close()
        self.replica.close()
        return super().stopService()  # type: ignore[no-untyped-call]


def devnet_service(
    reactor: Any, config: DevnetConfig, now_ns: Callable[[], int] = time.time_ns, option: str = "--listen"
) -> tuple[DevnetService, Replica]:
    """Return the service that runs a replica, and the replica itself.

    :param reactor: the reactor for listening and for time
    :param option: where the address to listen on comes from
    :raises ConfigError: the address is invalid; the service raises it if the port is taken, or for a canister's file
    """

    def log(canister_id: Principal, text: str) -> None:
        _log.info("canister {name}: {text}", name=replica.name_of(canister_id), text=text)

    replica = Replica(
        reactor,
        now_ns,
        config.seed.encode(),
        delegation=config.delegation,
        nodes=config.nodes,
        settings=config.settings(),
        query_latency=config.query_latency,
        call_latency=config.call_latency,
        call_jitter=config.call_jitter,
        pace=config.pace(),
        legacy_api=config.legacy_api,
        v2_gone=config.v2_gone,
        echo_any=config.echo_any,
        edge_headers=_EDGE_HEADERS[config.edge_headers],
        canisters=DEMO_CANISTERS,
        log=log,
    )
    service = DevnetService(replica, NamedCanisters(replica, config.canister_files), config.reload)
    listening: Any = listening_service(config.listen, ReplicaSite(replica), reactor=reactor, option=option)
    listening.setServiceParent(service)
    return service, replica


DEVNET_OPTIONS = options_of(DevnetConfig)


def _help(entry: Option) -> str:
    return entry.usage


class Options(usage.Options):
    """The command line of ``icws-devnet``; an invalid argument ends the process with one line on stderr."""

    synopsis = "[options]"
    longdesc = "A local replica with demo canisters, in memory; its keys are no secret. See http://127.0.0.1:4943/."
    optParameters = parameter_rows(DEVNET_OPTIONS, _help, {"listen": "l"})  # noqa: N815
    optFlags = flag_rows(DEVNET_OPTIONS, _help)  # noqa: N815

    def __init__(self) -> None:
        self.gathered: dict[str, tuple[Any, ...]] = {}
        super().__init__()  # type: ignore[no-untyped-call]

    def parseOptions(self, options: list[str] | None = None) -> None:  # noqa: N802
        """Read the command line.

        :raises SystemExit: the command line is invalid; the exception holds one line for stderr
        """
        try:
            with closed_stdout_is_an_end():
                super().parseOptions(options)  # type: ignore[no-untyped-call]
            self.config()
        except (usage.UsageError, ConfigError) as error:
            raise SystemExit(one_line(error, PROGRAM) + likely_typos(error, self.longOpt)) from None

    def parseArgs(self, *arguments: str) -> None:  # noqa: N802
        """Refuse positional arguments.

        :raises UsageError: there is one
        """
        if arguments:
            raise usage.UsageError(f"{arguments[0]!r} is no option: options begin with --, and flags take no value")

    def config(self) -> DevnetConfig:
        """Return the options as a configuration.

        :raises ConfigError: values are out of bounds or contradict each other
        """
        given = {**self.gathered, **given_values(DEVNET_OPTIONS, self)}
        return DevnetConfig(**{entry.field: given[entry.name] for entry in DEVNET_OPTIONS if entry.name in given})


add_repeatable(Options, DEVNET_OPTIONS, _help)


def makeService(options: Options) -> DevnetService:  # noqa: N802
    """Return the service that ``twistd`` runs."""
    from twisted.internet import reactor

    use_monotonic_time(reactor)
    report_start_errors(PROGRAM)
    exit_zero_on_signals(reactor)
    return devnet_service(reactor, options.config())[0]
