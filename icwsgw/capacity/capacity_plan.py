"""Plans gateways for a load, by the formulas of docs/scaling.md.

A plan has as many gateways as the request rates of their addresses ask for, in groups: the gateways of a group serve
the same canisters, and carry their clients on when one of the group is down.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

from icwsgw.capacity import measured_costs as costs

#: A plan gives each process so much of a core at most, headroom included.
MOST_CORES = 1.0
#: Idle CPU, times this: room for other machines and other moments.
HEADROOM = 2.0
#: Seconds: the largest ``--drain-timeout``.
LONGEST_DRAIN_TIMEOUT = 7_200
#: More gateways or workers are not planned: the load does not fit this protocol.
MOST_GATEWAYS, MOST_WORKERS = 10_000, 32
#: Bytes of an envelope besides the message, and of a frame besides it (certificate and tree of mainnet, about).
ENVELOPE_BYTES, FRAME_BYTES = 500, 2_500


@dataclass(frozen=True, slots=True)
class CapacityLoad:
    """What gateways have to carry.

    :ivar clients: connected at the same time
    :ivar canisters: that they are clients of
    :ivar largest: clients of the largest canister; 0: all have as many
    :ivar messages_up: a second, from clients to canisters
    :ivar messages_down: a second, from canisters to clients
    :ivar message_bytes: mean size of a message
    :ivar opens: sessions that are opened and closed a second
    :ivar polling_interval: seconds
    :ivar group: gateways that serve each canister; 1: no other gateway serves it when one is down
    :ivar tls: clients' TLS ends at the gateways
    :ivar limited: addresses are limited to some requests a second, as at public boundary nodes
    """

    clients: int
    canisters: int = 1
    largest: int = 0
    messages_up: float = 0.0
    messages_down: float = 0.0
    message_bytes: int = 1_000
    opens: float = 0.0
    polling_interval: float = 0.1
    group: int = 2
    tls: bool = False
    limited: bool = True

    @property
    def largest_canister(self) -> int:
        """Clients of the largest canister."""
        return self.largest or ceil(self.clients / self.canisters)

    @property
    def calls(self) -> float:
        """Calls a second of all gateways: messages, keep-alives, and two for each session."""
        return self.messages_up + self.clients / costs.ACKNOWLEDGEMENT_SECONDS + 2 * self.opens


@dataclass(frozen=True, slots=True)
class CapacityPlan:
    """Gateways for a load. Rates are a second and, as sizes, of one gateway unless they say otherwise.

    :ivar gateways: number of gateways, each with an address of its own if addresses are limited
    :ivar serving: how many of them serve one canister
    :ivar workers: processes of each
    :ivar clients: of each while all are up
    :ivar most_clients: of each while one of its group is down
    :ivar canisters: that each serves
    :ivar identities: of each process
    :ivar polls: polls, with those that follow messages
    :ivar calls: calls while all are up
    :ivar requests: polls and calls while all are up
    :ivar most_requests: the same while one of its group is down
    :ivar cores: CPU, with headroom
    :ivar memory_bytes: of each while one of its group is down, without what waits for slow clients
    :ivar descriptors: open files of each process
    :ivar bits_up, bits_down: traffic with clients, bits a second
    :ivar drain_seconds: how long a drain of one gateway takes
    :ivar options: of the gateways, by name
    :ivar warnings: what stands against the plan
    """

    gateways: int
    serving: int
    workers: int
    clients: int
    most_clients: int
    canisters: int
    identities: int
    polls: float
    calls: float
    requests: float
    most_requests: float
    cores: float
    memory_bytes: float
    descriptors: int
    bits_up: float
    bits_down: float
    drain_seconds: float
    options: dict[str, str]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values, with the sums over all gateways."""
        sums = {"total_cores": self.gateways * self.cores, "total_memory_bytes": self.gateways * self.memory_bytes}
        values = {**asdict(self), "warnings": list(self.warnings), **sums}
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in values.items()}


def make_plan(load: CapacityLoad) -> CapacityPlan:
    """Plan gateways for a load: the fewest that suffice, with the fewest workers.

    A load that nothing suffices for gets the plan that comes nearest, with warnings.
    """
    gateways = workers = 1
    plan = _plan(load, load.group, 1)
    for workers in range(1, MOST_WORKERS + 1):
        gateways = _gateways(load, workers)
        plan = _plan(load, gateways, workers)
        if plan.cores <= MOST_CORES * workers:
            break
    return plan


def _gateways(load: CapacityLoad, workers: int) -> int:
    """The fewest gateways, in whole groups, whose addresses may ask for what they need."""
    gateways = load.group
    while load.limited and gateways < MOST_GATEWAYS:
        usual = _polls(load, gateways, workers) + load.calls
        worst = _polls(load, gateways, workers, _others(load, gateways)) + load.calls * _others(load, gateways)
        needed = max(usual / costs.BUDGET, worst / costs.MOST_REQUESTS)
        if gateways >= needed:
            break
        # With more gateways each has fewer clients of a canister, so it polls under fewer identities.
        step = max(1, int((needed - gateways) / load.group / 2))
        gateways += step * load.group
    return gateways


def _others(load: CapacityLoad, gateways: int) -> float:
    """By how much the clients of a gateway grow when another one that serves their canister is down."""
    serving = _serving(load, gateways)
    return serving / (serving - 1) if serving > 1 else 1.0


def _serving(load: CapacityLoad, gateways: int) -> int:
    """Gateways that serve one canister: a canister may be larger than a group."""
    return max(load.group, gateways // load.canisters // load.group * load.group)


def _identities(load: CapacityLoad, gateways: int, workers: int, others: float) -> int:
    """Identities that a process uses for its largest canister.

    :param others: how many times its usual clients it has: more while one of its group is down
    """
    clients = load.largest_canister / _serving(load, gateways) / workers * others
    return max(1, ceil(clients / costs.IDENTITY_CLIENTS))


def _polls(load: CapacityLoad, gateways: int, workers: int, others: float = 1.0) -> float:
    """Polls a second of all gateways, as if all had as many clients as one of them.

    :param others: as for :func:`_identities`
    """
    identities = _identities(load, gateways, workers, others)
    idle = load.canisters * _serving(load, gateways) * workers * identities / load.polling_interval
    # A poll that has found messages is followed by another one after half an interval.
    return idle + min(idle, load.messages_down)


def _plan(load: CapacityLoad, gateways: int, workers: int) -> CapacityPlan:
    polls, calls = _polls(load, gateways, workers) / gateways, load.calls / gateways
    clients, most_clients = ceil(load.clients / gateways), ceil(load.clients / gateways * _others(load, gateways))
    canisters = max(1, ceil(load.canisters * _serving(load, gateways) / gateways))
    identities = _identities(load, gateways, workers, _others(load, gateways))
    down = load.messages_down / gateways / workers
    busy = costs.time_of(costs.POLL_COSTS, polls / workers)
    busy += costs.time_of(costs.CALL_COSTS, calls / workers) + costs.time_of(costs.DELIVERY_COSTS, down)
    busy += clients / workers / costs.PING_INTERVAL * costs.PING_SECONDS
    busy += load.opens / gateways / workers * costs.OPEN_SECONDS
    each = costs.TLS_CLIENT_BYTES if load.tls else costs.CLIENT_BYTES
    memory = workers * costs.PROCESS_BYTES + most_clients * each
    memory += canisters * identities * workers * costs.CANISTER_BYTES
    memory += costs.SUPERVISOR_BYTES if workers > 1 else 0
    drain = clients / costs.REOPENED
    return CapacityPlan(
        gateways,
        _serving(load, gateways),
        workers,
        clients,
        most_clients,
        canisters,
        identities,
        polls,
        calls,
        polls + calls,
        _polls(load, gateways, workers, _others(load, gateways)) / gateways + calls * _others(load, gateways),
        busy * workers * HEADROOM,
        memory,
        ceil(most_clients / workers) + costs.OTHER_DESCRIPTORS,
        8 * load.messages_up / gateways * (load.message_bytes + ENVELOPE_BYTES),
        8 * load.messages_down / gateways * (load.message_bytes + FRAME_BYTES),
        drain,
        _options(load, workers, identities, most_clients, drain),
        tuple(_warnings(load, gateways, workers, polls, busy, drain)),
    )


def _options(load: CapacityLoad, workers: int, identities: int, most_clients: int, drain: float) -> dict[str, str]:
    options = {
        "polling-interval": f"{load.polling_interval * 1000:g}",
        "identities": str(identities),
        "max-connections": str(_rounded_up(most_clients)),
        "drain-timeout": str(min(_drain_timeout(drain), LONGEST_DRAIN_TIMEOUT)),
    }
    if workers > 1:
        options = {"workers": str(workers), **options}
    if not load.limited:
        options["query-budget"] = "0"
    return options


def _drain_timeout(drain: float) -> int:
    """Twice the window and 20 s, in seconds of whole minutes."""
    return 60 * ceil((2 * drain + 20) / 60)


def _rounded_up(clients: int) -> int:
    """A number of two digits and zeros that leaves a fifth for reconnections."""
    wanted = max(100.0, clients * 1.2)
    unit = int(10 ** (len(str(int(wanted))) - 2))
    return unit * ceil(wanted / unit)


def _warnings(load: CapacityLoad, gateways: int, workers: int, polls: float, busy: float, drain: float) -> list[str]:
    warnings = []
    if gateways >= MOST_GATEWAYS:
        warnings.append("more gateways than can be planned: use a boundary node of your own (--own-boundary-node)")
    if busy * HEADROOM > MOST_CORES:
        warnings.append(f"a process needs more than {MOST_CORES:g} core: let more gateways serve a canister (--group)")
    round_calls = load.largest_canister / _serving(load, gateways) * _others(load, gateways)
    if load.limited and round_calls > (costs.MOST_REQUESTS - min(polls, costs.BUDGET)) * costs.KEEP_ALIVE_SECONDS:
        warnings.append(
            "the keep-alives of the largest canister do not leave within the minute that clients have: let more "
            "gateways serve it (--group), or use more canisters"
        )
    if load.largest_canister > costs.CANISTER_CALLS * costs.KEEP_ALIVE_SECONDS:
        warnings.append(
            f"a canister executes about {costs.CANISTER_CALLS} calls a second, too few for "
            f"{load.largest_canister:,} keep-alives within a minute: use more canisters"
        )
    if _drain_timeout(drain) > LONGEST_DRAIN_TIMEOUT:
        warnings.append(
            f"the clients of a gateway need {drain / 60:.0f} minutes to open their sessions anew, longer than a drain "
            "may take: upgrade by handover, or let more gateways serve a canister (--group)"
        )
    return warnings
