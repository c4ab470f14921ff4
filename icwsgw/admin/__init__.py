"""The HTTP endpoints for operators and probes."""
