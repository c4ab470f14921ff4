"""Relays clients' messages to their canister as calls, and sends its close notices."""
