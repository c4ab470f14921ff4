"""A deterministic simulation of the gateway with faulty replicas and misbehaving clients.

The simulation runs in one process with one virtual clock, and all random decisions come from one seed, so a failing
scenario can be repeated: ``python -m tests.simulation --seed N`` runs it and prints the events.

- :mod:`~tests.simulation.plan`: the properties of the simulated world; each is drawn from the seed
- :mod:`~tests.simulation.script`: a scenario as data: the plan and the steps, each with a separate seed
- :mod:`~tests.simulation.scenario`: runs the steps, waits until the world is quiet, and ends it
- :mod:`~tests.simulation.shrink`: reduces a failing scenario to the fewest steps, printed as a program
- :mod:`~tests.simulation.world`: the replica, the network, the clock, and the gateway's processes
- :mod:`~tests.simulation.process`: one process of the gateway
- :mod:`~tests.simulation.links`: connections of clients: directly to a session, or as bytes through Autobahn
- :mod:`~tests.simulation.clients`: the behaviour of clients
- :mod:`~tests.simulation.limits`: the limits of the gateway, most of them small
- :mod:`~tests.simulation.traffic`: checks the gateway's requests to the network against their limits
- :mod:`~tests.simulation.accounts`: checks the gateway's counters against the objects that they count
- :mod:`~tests.simulation.expectations`: which close codes are allowed, and the deadlines for closing
- :mod:`~tests.simulation.waiting`: checks that no client waits too long, or while others are served repeatedly
- :mod:`~tests.simulation.requested_polls`: checks that polls are sent as early as requested
- :mod:`~tests.simulation.oracle`: the events at canisters and sessions, and the invariants
- :mod:`~tests.simulation.subject`: the subjects of the simulation: a subject has kinds of steps and checks
- :mod:`~tests.simulation.client_steps`: clients connect, send and disconnect
- :mod:`~tests.simulation.unauthenticated`: connections that are not clients: half requests, floods, forged signatures
- :mod:`~tests.simulation.bystander`: a client without faults, which must not notice the faults of others
- :mod:`~tests.simulation.upstream`: connections to the network as bytes, for the gateway's real transport
- :mod:`~tests.simulation.requests`: checks each request through that transport: deadline, order, connection
- :mod:`~tests.simulation.faults`: faults of the network and of canisters
- :mod:`~tests.simulation.keys`: checks how often keys are fetched, and how old kept delegations become
- :mod:`~tests.simulation.slow_readers`: clients that read slowly while their canisters send much
- :mod:`~tests.simulation.contention`: many calls that wait for slots, tokens, answers or for one another
- :mod:`~tests.simulation.malicious_nodes`: nodes that return false answers
- :mod:`~tests.simulation.fleet`: several workers, slow pipes between them, and a worker that dies
- :mod:`~tests.simulation.clocks`: wrong clocks: of this machine, of a node, of clients, of a proxy
- :mod:`~tests.simulation.operations`: denials, kicks, queries of the admin API, and reloads
- :mod:`~tests.simulation.draining`: the end by a drain, while quiet or under load, sometimes hurried
"""
