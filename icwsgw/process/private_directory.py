"""Private directories for the key and the logs."""

from __future__ import annotations

from pathlib import Path


def make_private_directory(path: Path) -> None:
    """Make a directory and those above it that are missing, each for this user alone, whatever the umask.

    ``Path.mkdir`` gives its mode to the last one only.

    :raises OSError: it cannot be made
    """
    if not path.parent.exists():
        make_private_directory(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
