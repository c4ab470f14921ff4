"""Process management: start, reload, systemd, resource limits, checks."""
