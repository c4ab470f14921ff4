"""Gives files to the user that twistd switches to (``--uid``), because a start as root makes them before that.

Otherwise they would belong to root: the next start without root could not read the key, and workers, which start
after the switch, cannot either.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any


class NewFiles:
    """Remembers what is in a directory, and later gives everything new to a user.

    :param directory: it, and its missing parents, may be made later
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._before = set(self._present())

    def give_to(self, uid: int, gid: int) -> list[Path]:
        """Give everything new to a user and a group; return what was given.

        :raises OSError: this process may not
        """
        given = [path for path in self._present() if path not in self._before]
        for path in given:
            os.chown(path, uid, gid, follow_symlinks=False)
        return given

    def _present(self) -> Iterator[Path]:
        parents: Iterable[Path] = (self._directory, *self._directory.parents)
        # not Path.exists, which fails for what this user may not see: the start says which file it cannot make
        yield from (path for path in parents if os.path.exists(path))
        if os.path.isdir(self._directory):
            yield from self._directory.rglob("*")


def switches_to(twistd: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the uid and gid that twistd switches to after the start, or None if it stays what it is.

    :param twistd: the options of twistd; as it does, the group is by default that of the user
    """
    uid, gid = twistd.get("uid"), twistd.get("gid")
    if os.geteuid() != 0 or (uid is None and gid is None):
        return None
    if uid is None:
        return 0, int(gid or 0)
    return int(uid), pwd.getpwuid(uid).pw_gid if gid is None else int(gid)
