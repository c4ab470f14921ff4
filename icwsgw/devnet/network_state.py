"""A network of subnets in this process: their state, the canisters on them, and what is to go wrong.

Time comes from a clock, so that hours of acknowledgement rounds take milliseconds under ``task.Clock`` (advanced in
steps, or a timer sees a later time than the one it was set for). :class:`icwsgw.devnet.replica.Replica` adds the HTTP
interface. Everything is in memory and gone with the process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from random import Random

from twisted.internet.defer import Deferred

from icwsgw.devnet.canisters import DEMO_CANISTERS, CanisterFactory, EchoCanister
from icwsgw.devnet.consensus import BlockTiming
from icwsgw.devnet.faults import Answer, Dropped, Faults
from icwsgw.devnet.hosting import CdkSettings, Host
from icwsgw.devnet.ingress import Ingress
from icwsgw.devnet.push import Pushes
from icwsgw.devnet.state_tree import StateTree
from icwsgw.devnet.topology import BY_VERSION, NODES, Node, Sign, Subnet, Topology
from icwsgw.ic import bls
from icwsgw.ic.principal import Principal
from icwsgw.reactor.clock import Clock

#: Canisters made because somebody asked for them: some 10 kB each.
MAX_CANISTERS = 20_000


class NetworkState:
    """A network of subnets, each with several nodes that share its state.

    :param clock: a reactor or ``task.Clock``
    :param now_ns: the time of the network, ns since 1970
    :param seed: all keys, and all chance, come from it
    :param delegation: how the network is laid out, one of :data:`icwsgw.devnet.topology.DELEGATIONS`
    :param nodes: of each subnet
    :param sign: makes BLS signatures
    :param settings: how the canisters' CDK is set up
    :param query_latency: seconds an answer to a query takes; half of them pass before the state is read
    :param call_latency: seconds from the arrival of a call to its execution
    :param call_jitter: seconds, see :class:`~icwsgw.devnet.ingress.Ingress`
    :param pace: how blocks are made; None: there are none
    :param legacy_api: an older replica: 404 for v4 calls and v3 queries and reads
    :param v2_gone: a later network: 404 for v2 queries and reads
    :param echo_any: an id that no canister has becomes an echo canister when it is asked for
    :param edge_headers: a fresh ``x-request-id`` in each answer and no ``x-ic-*``, as what stands before the boundary
        nodes of the public network has it; None: where the network is laid out as that
    :param canisters: name to id and application; the demo canisters unless given
    :ivar faults: the switches, see :mod:`icwsgw.devnet.faults`
    :ivar stats: what was asked for, by name
    :ivar hanging: requests that a fault holds for ever
    :ivar gateway_urls: what ``/_/info`` tells the demo page; set by who embeds the replica
    """

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
        canisters: Mapping[str, tuple[Principal, CanisterFactory]] = DEMO_CANISTERS,
    ) -> None:
        self.clock = clock
        self.now_ns = now_ns
        self.query_latency = query_latency
        self.legacy_api = legacy_api
        self.v2_gone = v2_gone
        self.echo_any = echo_any
        self.edge_headers = delegation == BY_VERSION if edge_headers is None else edge_headers
        self.topology = Topology(seed, delegation, nodes, sign)
        self._states = {
            subnet.id: StateTree(self.topology, subnet, lambda canister: self._hosts[canister].ws.view())
            for subnet in self.topology.subnets
        }
        random = Random(seed)
        self.faults = Faults(random.getrandbits(64))
        self.ingress = Ingress(clock, now_ns, random, self._states.values(), latency=call_latency, jitter=call_jitter)
        self._choice = Random(seed + b" nodes")
        self._request_ids = Random(seed + b" requests")
        self.pushes = Pushes(clock)
        self.stats: Counter[str] = Counter()
        self.gateway_urls: list[str] = []
        self.names = {name: canister_id for name, (canister_id, _) in canisters.items()}
        self._settings = settings or CdkSettings()
        self._hosts: dict[Principal, Host] = {}
        self.hanging: set[Deferred[Answer]] = set()
        for canister_id, factory in canisters.values():
            self.install(canister_id, factory)
        self.set_pace(pace or BlockTiming())

    @property
    def root_key_der(self) -> bytes:
        """The root key, 133 bytes of DER."""
        return self.topology.root_key_der

    def state_of(self, place: Principal) -> StateTree:
        """Return the state of the subnet with a canister, or of the subnet itself.

        :raises KeyError: no subnet has it in its ranges, or the id is of another form
        """
        state = self._states.get(place)
        if state is None:
            subnet = self.topology.find(place)
            if subnet is None:
                raise KeyError(place)
            state = self._states[subnet.id]
        return state

    def set_pace(self, pace: BlockTiming) -> None:
        """Change how blocks are made, see :mod:`icwsgw.devnet.consensus`."""
        for host in self._hosts.values():
            # Blocks keep what older states are asked for from their beginning on.
            self._canister_changed(host)
        self.ingress.set_pace(pace)

    @property
    def states(self) -> list[StateTree]:
        """The states of all subnets."""
        return list(self._states.values())

    def some_node(self, subnet: Subnet) -> Node:
        """Return the node to which a boundary node sends a request: any."""
        return subnet.nodes[self._choice.randrange(len(subnet.nodes))]

    # -- canisters ------------------------------------------------------------------------------------------------

    def install(self, canister_id: Principal, factory: CanisterFactory) -> Host:
        """Put an application under an id, in place of what is there.

        :raises KeyError: no subnet may have it
        """
        old = self._hosts.get(canister_id)
        if old is not None:
            old.close()
        self.state_of(canister_id)
        host = Host(canister_id, factory, self.clock, self.now_ns, self._settings, self._canister_changed)
        self._hosts[canister_id] = host
        self._canister_changed(host)
        return host

    def _canister_changed(self, host: Host) -> None:
        self.state_of(host.id).canister_changed(host.id, host.state)

    def host(self, canister_id: Principal) -> Host:
        """Return a canister, made on demand where that is asked for.

        :raises KeyError: there is none, or there are too many
        """
        host = self._hosts.get(canister_id)
        if host is None:
            if not self.echo_any or self.topology.find(canister_id) is None or len(self._hosts) >= MAX_CANISTERS:
                raise KeyError(canister_id)
            host = self.install(canister_id, EchoCanister)
        return host

    @property
    def hosts(self) -> list[Host]:
        return list(self._hosts.values())

    def reset(self, canister_id: Principal) -> None:
        """Upgrade a canister: the CDK's state is gone.

        :raises KeyError: see :meth:`host`
        """
        self.host(canister_id).reset()

    def stop(self, canister_id: Principal) -> None:
        """Stop a canister.

        :raises KeyError: see :meth:`host`
        """
        self.host(canister_id).running = False

    def start(self, canister_id: Principal) -> None:
        """Start a canister that was stopped.

        :raises KeyError: see :meth:`host`
        """
        self.host(canister_id).running = True

    def release(self) -> None:
        """Let go of the requests that hang: their connections end."""
        hanging, self.hanging = self.hanging, set()
        for answer in hanging:
            answer.errback(Dropped())

    def close(self) -> None:
        """Stop all timers and let go of what hangs."""
        self.release()
        self.pushes.stop()
        self.ingress.close()
        for host in self._hosts.values():
            host.close()

    def new_request_id(self) -> str:
        """Return a UUID of version 7 (RFC 9562, 5.7), by which the edge names a request."""
        digits = f"{self.now_ns() // 1_000_000 & (1 << 48) - 1:012x}{self._request_ids.getrandbits(74):019x}"
        return f"{digits[:8]}-{digits[8:12]}-7{digits[13:16]}-{8 | int(digits[12]) & 3:x}{digits[16:19]}-{digits[19:]}"
