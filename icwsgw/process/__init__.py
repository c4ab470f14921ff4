"""The process as the system sees it: start, reload, systemd, resource limits, checks."""
