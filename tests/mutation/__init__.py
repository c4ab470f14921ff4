"""Mutation testing: ``python -m tests.mutation core`` (decision 0043).

The command makes small errors (mutants) in the sources, one at a time, and runs the tests that execute the changed
line. A mutant that survives shows a missing test, or is equivalent to the original; equivalent mutants are listed in
``equivalent.toml`` with the reason. Needs the extra ``mutation``.
"""

#: The packages with mutants. The tests of the same name judge each.
PACKAGES = ("core", "ic", "agent", "gateway", "server", "workers", "handover", "client", "acme")
