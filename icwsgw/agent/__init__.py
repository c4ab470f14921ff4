"""Towards the network: HTTP transport, the agent, trust and routes."""
