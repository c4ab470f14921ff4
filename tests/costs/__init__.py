"""Costs that do not depend on the machine's load: calls, system calls and bytes, counted (decision 0042)."""
