"""Towards clients: WebSocket protocol, factory, outbox, limits, TLS."""
