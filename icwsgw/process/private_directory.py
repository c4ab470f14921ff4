"""Private directories for the key and the logs."""

from __future__ import annotations

from pathlib import Path


def make_private_directory(path: Path) -> None:
    """Create a directory and its missing parents, each accessible to this user only, regardless of the umask.

    ``Path.mkdir`` applies its mode to the last directory only.

    :raises OSError: a directory cannot be created
    """
    if not path.parent.exists():
        make_private_directory(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
