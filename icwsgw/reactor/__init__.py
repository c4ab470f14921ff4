"""The reactor: its clock, and what relies on private names of Twisted."""
