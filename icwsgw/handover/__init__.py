"""Hands a running gateway over to a new process, so that no client notices (decision 0069)."""
