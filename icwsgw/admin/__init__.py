"""The HTTP endpoint for people and probes."""
