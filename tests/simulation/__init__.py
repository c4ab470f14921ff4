"""A deterministic simulation of the gateway between faulty replicas and clients that do as they please.

Everything runs in one process over one virtual clock, and all chance comes from one seed: a scenario that fails can
be run again. ``python -m tests.simulation --seed N`` does that and prints what happened.

- :mod:`~tests.simulation.world`: the gateway, its replica, the network between them, the clock
- :mod:`~tests.simulation.links`: how a client is connected: to a session directly, or by bytes through Autobahn
- :mod:`~tests.simulation.clients`: what clients do
- :mod:`~tests.simulation.truth`: what really happened, as the canisters and sessions saw it, and the invariants
- :mod:`~tests.simulation.scenario`: what happens when, drawn from the seed
"""
