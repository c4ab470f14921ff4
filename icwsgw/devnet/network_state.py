"""A network of subnets in this process: their state, their canisters and the injected faults.

Time comes from a clock: with ``task.Clock``, hours of acknowledgement rounds take milliseconds. Advance that clock in
steps; otherwise a timer sees a later time than the one it was set for. :class:`icwsgw.devnet.replica.Replica` adds the
HTTP interface. All state is in memory and ends with the process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from twisted.internet.defer import Deferred

from icwsgw.devnet.canister_clock import CanisterClock
from icwsgw.devnet.canister_logs import CanisterLogs, LogListener
from icwsgw.devnet.canisters import DEFAULT_CANISTERS, CanisterFactory, EchoCanister
from icwsgw.devnet.consensus import BlockTiming
from icwsgw.devnet.faults import Answer, Dropped, Faults
from icwsgw.devnet.hosting import CanisterHost, CdkSettings, Host
from icwsgw.devnet.ingress import Ingress
from icwsgw.devnet.inspector import Inspector
from icwsgw.devnet.installed_canisters import InstalledCanisters
from icwsgw.devnet.push import Pushes
from icwsgw.devnet.state_tree import StateTree
from icwsgw.devnet.topology import BY_VERSION, NODES, Node, Sign, Subnet, Topology
from icwsgw.ic import bls
from icwsgw.ic.principal import Principal
from icwsgw.reactor.clock import Clock

#: The maximum number of canisters that requests may create (``echo_any``); each takes about 10 kB.
MAX_CANISTERS = 20_000


class NetworkState:
    """A network of subnets, each with several nodes that share its state.

    :param clock: a reactor or ``task.Clock``
    :param now_ns: returns the time of the network, ns since 1970
    :param seed: seed of all keys and random decisions
    :param delegation: the network's topology, one of :data:`icwsgw.devnet.topology.DELEGATIONS`
    :param nodes: number of nodes of each subnet
    :param sign: makes BLS signatures
    :param settings: settings of the canisters' CDK
    :param query_latency: seconds from a query to its answer; the state is read after half of them
    :param call_latency: seconds from the arrival of a call to its execution
    :param call_jitter: seconds, see :class:`~icwsgw.devnet.ingress.Ingress`
    :param pace: timing of blocks; None: no blocks at intervals
    :param legacy_api: act as an older replica: 404 for v4 calls and v3 queries and reads
    :param v2_gone: act as a future network: 404 for v2 queries and reads
    :param echo_any: the first request to an unused id creates an echo canister there
    :param edge_headers: each answer has a new ``x-request-id`` and no ``x-ic-*``, like those of the public network's
        HTTP gateways; None: only if the topology is the public network's
    :param canisters: name to id and application; default: echo and chat
    :param log: is called with what canisters print, and with the texts of their traps
    :ivar canisters: the canisters by id
    :ivar canister_clock: their clock, which may be ahead of the network's
    :ivar faults: the active faults, see :mod:`icwsgw.devnet.faults`
    :ivar stats: numbers of requests by name
    :ivar hanging: requests that a fault holds without an answer
    :ivar gateway_urls: the gateway URLs that ``/_/info`` returns to the demo page; the embedding program sets them
    :ivar inspector: keeps the messages of clients and canisters; None: it is off
    :ivar traffic: records the gateway of this process for the inspector; None: it is off
    :ivar status_url: the gateway's status page, in the same way; None: there is none
    """

    inspector: Inspector | None = None
    traffic: Any = None

    def __init__(
        self,
        clock: Clock,
        now_ns: Callable[[], int],
        seed: bytes = b"",
        *,
        delegation: str = BY_VERSION,
        nodes: int = NODES,
        sign: Sign = bls.sign,
        settings: CdkSettings | None = None,
        query_latency: float = 0.0,
        call_latency: float = 0.0,
        call_jitter: float = 0.0,
        pace: BlockTiming | None = None,
        legacy_api: bool = False,
        v2_gone: bool = False,
        echo_any: bool = False,
        edge_headers: bool | None = None,
        canisters: Mapping[str, tuple[Principal, CanisterFactory]] = DEFAULT_CANISTERS,
        log: LogListener = lambda canister_id, text: None,
    ) -> None:
        self.clock = clock
        self.now_ns = now_ns
        self.query_latency = query_latency
        self.legacy_api = legacy_api
        self.v2_gone = v2_gone
        self.echo_any = echo_any
        self.edge_headers = delegation == BY_VERSION if edge_headers is None else edge_headers
        self.topology = Topology(seed, delegation, nodes, sign)
        self._states = {subnet.id: StateTree(self.topology, subnet, self._view) for subnet in self.topology.subnets}
        random = Random(seed)
        self.faults = Faults(random.getrandbits(64))
        self.ingress = Ingress(clock, now_ns, random, self._states.values(), latency=call_latency, jitter=call_jitter)
        self._choice = Random(seed + b" nodes")
        self._request_ids = Random(seed + b" requests")
        self.pushes = Pushes(clock)
        self.stats: Counter[str] = Counter()
        self.gateway_urls: list[str] = []
        self.status_url: str | None = None
        self.names = {name: canister_id for name, (canister_id, _) in canisters.items()}
        self.canister_clock = time = CanisterClock(clock, now_ns)
        self.canisters = InstalledCanisters(
            *(time, time.now_ns, settings or CdkSettings(), self.state_of, self.topology),
            *(Random(seed + b" raw_rand"), CanisterLogs(time.now_ns, log), not echo_any),
        )
        self.hanging: set[Deferred[Answer]] = set()
        for canister_id, factory in canisters.values():
            self.canisters.install(canister_id, factory)
        self.set_pace(pace or BlockTiming())

    @property
    def root_key_der(self) -> bytes:
        """The root key as DER, 133 bytes."""
        return self.topology.root_key_der

    def state_of(self, place: Principal) -> StateTree:
        """Return the state of a canister's subnet, or of a subnet.

        :param place: the id of a canister or of a subnet
        :raises KeyError: no subnet has the id in its ranges, or the id has another form
        """
        state = self._states.get(place)
        if state is None:
            subnet = self.topology.find(place)
            if subnet is None:
                raise KeyError(place)
            state = self._states[subnet.id]
        return state

    @property
    def default_state(self) -> StateTree:
        """The state of the subnet on which new canisters are created unless the request chooses another."""
        return self.state_of(self.canisters.free_id())

    def set_pace(self, pace: BlockTiming) -> None:
        """Change the timing of blocks, see :mod:`icwsgw.devnet.consensus`."""
        # The next block needs a view of each canister's queues, so that it can answer queries later.
        self.canisters.refresh()
        self.ingress.set_pace(pace)

    @property
    def states(self) -> list[StateTree]:
        """The states of all subnets."""
        return list(self._states.values())

    def some_node(self, subnet: Subnet) -> Node:
        """Return a random node of a subnet, as a boundary node chooses one for a request."""
        return subnet.nodes[self._choice.randrange(len(subnet.nodes))]

    def name_of(self, canister_id: Principal) -> str:
        """Return the name of a canister, or its id as text if it has none."""
        return next((name for name, named in self.names.items() if named == canister_id), canister_id.text)

    # -- canisters ------------------------------------------------------------------------------------------------

    def install(self, canister_id: Principal, factory: CanisterFactory) -> Host:
        """Install an application in Python, see :meth:`InstalledCanisters.install`."""
        return self.canisters.install(canister_id, factory)

    def _view(self, canister_id: Principal) -> object:
        host = self.canisters.get(canister_id)
        return None if host is None else host.view()

    def canister(self, canister_id: Principal) -> CanisterHost:
        """Return a canister; with ``echo_any``, create it if necessary.

        :raises KeyError: the canister does not exist, or there are too many
        """
        host = self.canisters.get(canister_id)
        if host is None:
            if not self.echo_any or self.topology.find(canister_id) is None or len(self.canisters) >= MAX_CANISTERS:
                raise KeyError(canister_id)
            host = self.canisters.install(canister_id, EchoCanister)
        return host

    def host(self, canister_id: Principal) -> Host:
        """Return a canister in Python, as :meth:`canister` does.

        :raises KeyError: the canister does not exist or is not in Python, or there are too many
        """
        host = self.canister(canister_id)
        if not isinstance(host, Host):
            raise KeyError(canister_id)
        return host

    @property
    def hosts(self) -> list[Host]:
        """All canisters in Python."""
        return [host for host in self.canisters if isinstance(host, Host)]

    def reset(self, canister_id: Principal) -> None:
        """Reset a canister: the CDK loses its state, as in an upgrade.

        :raises KeyError: see :meth:`canister`
        """
        self.canister(canister_id).reset()

    def stop(self, canister_id: Principal) -> None:
        """Stop a canister.

        :raises KeyError: see :meth:`canister`
        """
        self.canister(canister_id).running = False

    def start(self, canister_id: Principal) -> None:
        """Start a canister that was stopped.

        :raises KeyError: see :meth:`canister`
        """
        self.canister(canister_id).running = True

    def release(self) -> None:
        """End the connections of all hanging requests."""
        hanging, self.hanging = self.hanging, set()
        for answer in hanging:
            answer.errback(Dropped())

    def close(self) -> None:
        """Stop all timers and release the hanging requests."""
        self.release()
        self.pushes.stop()
        self.ingress.close()
        self.canisters.close()

    def new_request_id(self) -> str:
        """Return a UUID of version 7 (RFC 9562, 5.7) for the ``x-request-id`` header."""
        digits = f"{self.now_ns() // 1_000_000 & (1 << 48) - 1:012x}{self._request_ids.getrandbits(74):019x}"
        return f"{digits[:8]}-{digits[8:12]}-7{digits[13:16]}-{8 | int(digits[12]) & 3:x}{digits[16:19]}-{digits[19:]}"
