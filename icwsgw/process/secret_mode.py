"""Who may read a file with a secret, by its mode."""

from __future__ import annotations

import os
import stat


def is_open_to_others(status: os.stat_result) -> bool:
    """Whether users may read or change a secret that should not.

    A group may read a file that belongs to another user, because that is how this process reads it. systemd hands over
    credentials this way: they belong to root, and an access list names the service's user, which the mode shows as
    rights of the group (0440).
    """
    allowed = stat.S_IRWXU if status.st_uid == os.geteuid() else stat.S_IRWXU | stat.S_IRGRP
    return bool(stat.S_IMODE(status.st_mode) & 0o777 & ~allowed)
