"""Measures IC WebSocket gateways: a mock replica, load clients, scenarios, comparisons. See bench/README.md."""
