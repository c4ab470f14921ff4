"""A deterministic simulation of the gateway between faulty replicas and clients that do as they please.

Everything runs in one process over one virtual clock, and all chance comes from one seed: a scenario that fails can
be run again. ``python -m tests.simulation --seed N`` does that and prints what happened.

- :mod:`~tests.simulation.plan`: what the world is like, each field drawn from the seed
- :mod:`~tests.simulation.script`: a scenario as data: the plan and the steps, each with a seed of its own
- :mod:`~tests.simulation.scenario`: takes the steps, lets the world come to rest, ends it
- :mod:`~tests.simulation.shrink`: the fewest steps that still fail, as a program
- :mod:`~tests.simulation.world`: the replica, the network, the clock, and the gateway's processes
- :mod:`~tests.simulation.process`: one process of the gateway
- :mod:`~tests.simulation.links`: how a client is connected: to a session directly, or by bytes through Autobahn
- :mod:`~tests.simulation.clients`: what clients do
- :mod:`~tests.simulation.limits`: the bounds that the gateway is given, most of them small
- :mod:`~tests.simulation.traffic`: what the gateway asks of the network, against the bounds on it
- :mod:`~tests.simulation.accounts`: what the gateway counts, against what there is
- :mod:`~tests.simulation.expectations`: who may be closed with which code, and by when what has to end
- :mod:`~tests.simulation.truth`: what really happened, as the canisters and sessions saw it, and the invariants
- :mod:`~tests.simulation.subject`: what the simulation knows of, in subjects: their steps, and what is checked of them
- :mod:`~tests.simulation.conduct`: clients come, talk and go
- :mod:`~tests.simulation.strangers`: those who are no clients: half requests, floods, forged signatures
- :mod:`~tests.simulation.bystander`: a client that nothing is done to, and that notices nothing
- :mod:`~tests.simulation.upstream`: connections to the network as bytes, for the gateway's own transport
- :mod:`~tests.simulation.harm`: faults of the network and of canisters
- :mod:`~tests.simulation.liars`: nodes that lie
- :mod:`~tests.simulation.fleet`: several workers, slow pipes between them, and one that dies
- :mod:`~tests.simulation.clocks`: clocks that are wrong: of this machine, of a node, of clients, of a proxy
- :mod:`~tests.simulation.operations`: denials, kicks, questions and reloads
- :mod:`~tests.simulation.draining`: the end by a drain, at rest or in the midst of everything, perhaps hurried
"""
