"""Polls one canister for messages and delivers them to its clients."""
