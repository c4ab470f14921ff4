"""Mutation testing: ``python -m tests.mutation core`` (decision 0043).

It makes small errors (mutants) in the sources, one at a time, and runs the tests that execute the changed line. A
mutant that no test notices shows a missing test, or means the same as the original; those judged so stand in
``equivalent.toml`` with the reason. Needs the extra ``mutation``.
"""

#: The packages that are judged, each by the tests that mirror it.
PACKAGES = ("core", "ic", "agent", "gateway", "server", "workers", "handover", "client", "acme")
