"""``twistd -n icws-devnet``: a local replica with its demo canisters, in memory.

Its keys come from a seed that anybody can know, and its state is gone with the process: for development and tests,
never for anything of value.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.application import strports
from twisted.application.service import MultiService
from twisted.logger import Logger
from twisted.python import usage

from icwsgw.config.addresses import normalise
from icwsgw.config.sources import likely_typos
from icwsgw.devnet.cdk import ACK_INTERVAL_MS, MAX_RETURNED_MESSAGES
from icwsgw.devnet.consensus import MAX_LAG, BlockTiming
from icwsgw.devnet.hosting import CdkSettings
from icwsgw.devnet.replica import Replica
from icwsgw.devnet.resource import ReplicaSite
from icwsgw.devnet.topology import BY_VERSION, DELEGATIONS, MAX_NODES, NODES
from icwsgw.errors import ConfigError
from icwsgw.process.startup import exit_zero_on_signals, one_line, report_start_errors
from icwsgw.reactor.clock import use_monotonic_time

PROGRAM = "twistd icws-devnet"
_EDGE_HEADERS = {"auto": None, "on": True, "off": False}

_log = Logger()


@dataclass(frozen=True)
class DevnetConfig:
    """How to run a devnet; times in milliseconds.

    :raises ValueError: values that do not go together
    """

    listen: str = "tcp:4943:interface=127.0.0.1"
    seed: str = "icws-devnet"
    delegation: str = BY_VERSION
    nodes: int = NODES
    ack_interval_ms: int = ACK_INTERVAL_MS
    keep_alive_timeout_ms: int | None = None
    max_messages: int = MAX_RETURNED_MESSAGES
    query_latency_ms: float = 0.0
    call_latency_ms: float = 0.0
    call_jitter_ms: float = 0.0
    block_interval_ms: float = 0.0
    gossip_ms: float = 0.0
    lag_blocks: int = 0
    legacy_api: bool = False
    v2_gone: bool = False
    echo_any: bool = False
    edge_headers: str = "auto"

    def __post_init__(self) -> None:
        self.settings()
        self.pace()
        if self.edge_headers not in _EDGE_HEADERS:
            raise ValueError(f"edge headers are one of {', '.join(_EDGE_HEADERS)}")
        if not self.block_interval_ms and (self.gossip_ms or self.lag_blocks):
            raise ValueError("gossip and lag need a block interval")
        if self.delegation not in DELEGATIONS:
            raise ValueError(f"delegation is one of {', '.join(DELEGATIONS)}")
        if not 1 <= self.nodes <= MAX_NODES:
            raise ValueError(f"a subnet has 1 to {MAX_NODES} nodes")
        if min(self.query_latency_ms, self.call_latency_ms, self.call_jitter_ms) < 0:
            raise ValueError("a latency is at least 0")

    def pace(self) -> BlockTiming:
        """Return how blocks are made."""
        return BlockTiming(self.block_interval_ms / 1000, self.gossip_ms / 1000, self.lag_blocks)

    def settings(self) -> CdkSettings:
        """Return the settings of the canisters' CDK."""
        return CdkSettings(self.ack_interval_ms, self.keep_alive_timeout_ms, self.max_messages)


class DevnetService(MultiService):
    """Listens, and lets go of timers and hanging requests when it stops.

    :ivar replica: the replica
    """

    def __init__(self, replica: Replica) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.replica = replica

    def startService(self) -> None:  # noqa: N802
        """Begin to listen, and say what is there."""
        super().startService()  # type: ignore[no-untyped-call]
        for name, canister_id in self.replica.names.items():
            _log.info("devnet: canister {name} is {id}", name=name, id=canister_id.text)

    def stopService(self) -> Any:  # noqa: N802
        """End; fires when the port is closed."""
        self.replica.close()
        return super().stopService()  # type: ignore[no-untyped-call]


def devnet_service(
    reactor: Any, config: DevnetConfig, now_ns: Callable[[], int] = time.time_ns
) -> tuple[DevnetService, Replica]:
    """Return the service that runs a replica, and the replica itself.

    :param reactor: where it listens and what it takes time from
    :raises ConfigError: the address is none
    """
    address = normalise(config.listen)
    replica = Replica(
        reactor,
        now_ns,
        config.seed.encode(),
        delegation=config.delegation,
        nodes=config.nodes,
        settings=config.settings(),
        query_latency=config.query_latency_ms / 1000,
        call_latency=config.call_latency_ms / 1000,
        call_jitter=config.call_jitter_ms / 1000,
        pace=config.pace(),
        legacy_api=config.legacy_api,
        v2_gone=config.v2_gone,
        echo_any=config.echo_any,
        edge_headers=_EDGE_HEADERS[config.edge_headers],
    )
    service = DevnetService(replica)
    site: Any = ReplicaSite(replica)
    try:
        # Ends the start when the port is taken, where a bare StreamServerEndpointService would live on without ears.
        listening = strports.service(address, site, reactor)
    except ValueError as error:
        raise ConfigError(f"address {config.listen!r}: {error}") from error
    listening.setServiceParent(service)
    return service, replica


def _number(name: str, read: Callable[[str], float], least: float, what: str) -> Callable[[str], float]:
    """Make the reader of an option that is a number; its errors name it."""

    def parse(text: str) -> float:
        try:
            number = read(text)
        except ValueError:
            number = math.nan
        if not least <= number < 1e9:
            raise ConfigError(f"--{name}: {text!r} is not {what}")
        return number

    return parse


def _whole(name: str) -> Callable[[str], float]:
    return _number(name, int, 1, "a whole number above 0")


def _milliseconds(name: str) -> Callable[[str], float]:
    return _number(name, float, 0, "a number of milliseconds, at least 0")


class Options(usage.Options):
    """Command line of ``icws-devnet``; a wrong word ends the process with one line."""

    synopsis = "[options]"
    longdesc = "A local replica with demo canisters, in memory; its keys are no secret. See http://127.0.0.1:4943/."
    optParameters = [  # noqa: N815
        ["listen", "l", DevnetConfig.listen, "Address to listen on: a Twisted server endpoint string."],
        ["seed", None, DevnetConfig.seed, "Seed of the replica's keys, including the root key."],
        [
            "delegation",
            None,
            BY_VERSION,
            f"How the network is laid out: {', '.join(DELEGATIONS)}. The first as the public network: a root subnet "
            "and two others, whose delegations have the form that the endpoint's version asks for. The others have a "
            "single subnet: it signs with the root key, as a local replica does, or has a delegation in one form.",
        ],
        [
            "edge-headers",
            None,
            "auto",
            "Whether each answer has a fresh x-request-id and none has x-ic-*, as on the public network: "
            f"{', '.join(_EDGE_HEADERS)}. auto: with --delegation {BY_VERSION}.",
        ],
        ["nodes", None, NODES, "Nodes of each subnet.", _whole("nodes")],
        [
            "ack-interval",
            None,
            ACK_INTERVAL_MS,
            "Milliseconds between two acknowledgement rounds.",
            _whole("ack-interval"),
        ],
        [
            "keep-alive-timeout",
            None,
            None,
            "Milliseconds after a round until clients without a keep-alive are removed. "
            "[default: 60000, or half the interval if that is less]",
            _whole("keep-alive-timeout"),
        ],
        [
            "max-messages",
            None,
            MAX_RETURNED_MESSAGES,
            "Maximum number of messages in a poll's answer.",
            _whole("max-messages"),
        ],
        ["query-latency", None, 0.0, "Milliseconds until a query is answered.", _milliseconds("query-latency")],
        ["call-latency", None, 0.0, "Milliseconds until a call is executed.", _milliseconds("call-latency")],
        [
            "call-jitter",
            None,
            0.0,
            "Random extra milliseconds, at most; calls lose their order.",
            _milliseconds("call-jitter"),
        ],
        [
            "block-interval",
            None,
            0.0,
            "Milliseconds between two blocks, as on the public network: each block comes from another node and has the "
            "calls that this node knows, in the order of their arrival there; the next block certifies it. 0: no "
            "blocks, calls are executed in the order of their arrival after --call-latency.",
            _milliseconds("block-interval"),
        ],
        [
            "gossip",
            None,
            0.0,
            "Maximum milliseconds until all nodes know a call.",
            _milliseconds("gossip"),
        ],
        [
            "lag",
            None,
            0,
            f"Blocks that nodes may be behind, at most {MAX_LAG}.",
            _number("lag", int, 0, "a whole number"),
        ],
    ]
    optFlags = [  # noqa: N815
        ["legacy-api", None, "Behave as an older replica: no v4 calls, v3 queries and v3 reads."],
        ["v2-gone", None, "Behave as a later network: no v2 queries and v2 reads."],
        ["echo-any", None, "Every canister id is an echo canister; otherwise there are two canisters."],
    ]

    def parseOptions(self, options: list[str] | None = None) -> None:  # noqa: N802
        """Read the command line; :exc:`SystemExit` with a line for stderr when it is wrong."""
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
            self.config()
        except (usage.UsageError, ConfigError, ValueError) as error:
            raise SystemExit(one_line(error, PROGRAM) + likely_typos(error, self.longOpt)) from None

    def parseArgs(self, *words: str) -> None:  # noqa: N802
        """Refuse words that are no options, of which there are none."""
        if words:
            raise usage.UsageError(f"{words[0]!r} is no option: options begin with --, and flags take no value")

    def config(self) -> DevnetConfig:
        """Return the options as a configuration.

        :raises ValueError: values that do not go together
        """
        return DevnetConfig(
            listen=self["listen"],
            seed=self["seed"],
            delegation=self["delegation"],
            nodes=int(self["nodes"]),
            ack_interval_ms=self["ack-interval"],
            keep_alive_timeout_ms=self["keep-alive-timeout"],
            max_messages=self["max-messages"],
            query_latency_ms=self["query-latency"],
            call_latency_ms=self["call-latency"],
            call_jitter_ms=self["call-jitter"],
            block_interval_ms=self["block-interval"],
            gossip_ms=self["gossip"],
            lag_blocks=int(self["lag"]),
            legacy_api=bool(self["legacy-api"]),
            v2_gone=bool(self["v2-gone"]),
            echo_any=bool(self["echo-any"]),
            edge_headers=self["edge-headers"],
        )


def makeService(options: Options) -> DevnetService:  # noqa: N802
    """Return the service that ``twistd`` runs."""
    from twisted.internet import reactor

    use_monotonic_time(reactor)
    report_start_errors(PROGRAM)
    exit_zero_on_signals(reactor)
    return devnet_service(reactor, options.config())[0]
