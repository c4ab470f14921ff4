"""Observability: metrics, logs, health, traces."""
