"""Small, plausible errors, kept as patches: the measure of how much the tests find.

Each ``<package>/<name>.patch`` is one error in one module, a unified diff (``git apply`` and ``patch -p1`` take it)
with the reason why it matters at its head. They were chosen by reading the code, before anything was run: none was
dropped because nothing finds it.

- :mod:`~tests.planted.patches`: reads, applies and makes them
- :mod:`~tests.planted.hunt`: looks for one error by the simulation, or by the suite
- :mod:`~tests.planted.search`: the simulation's part, run as a process of its own
- ``python -m tests.planted``: looks for all of them, see ``--help``
"""
