"""How many files the process may have open: each client's connection is one.

The soft limit that shells and service managers give (1,024 is common) is there for programs that use select; the
hard limit is what the administrator allows. So the soft one is raised as far as the configuration needs it.
"""

from __future__ import annotations

import resource

#: Open files besides the clients': connections to the network, listening sockets, logs, Python's own.
RESERVE = 1024


def raise_limit(connections: int) -> str | None:
    """Raise the soft limit of open files so that ``connections`` clients fit, as far as the hard limit allows.

    :return: a sentence for the log where they do not fit, else None
    """
    wanted = connections + RESERVE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return None
    new = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (new, hard))
    except (OSError, ValueError):
        # more than the kernel's own bound (fs.nr_open), or than the sandbox allows
        new = soft
    if new >= wanted:
        return None
    return f"{new} files may be open, --max-connections {connections} needs {wanted}: raise the limit (LimitNOFILE=)"
