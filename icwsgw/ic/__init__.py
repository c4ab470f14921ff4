"""The data formats of the Internet Computer. All modules are pure: no I/O, no clock, no randomness, no log."""
