"""Prints the lowest versions that setup.cfg allows, as constraints for pip: the floor that CI tests.

python scripts/lowest.py > lowest.txt && python -m pip install --constraint lowest.txt -e .[test]
"""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path

SETUP = Path(__file__).resolve().parents[1] / "setup.cfg"
_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[[^]]*\])?>=(?P<version>[0-9.]+)[^;]*(?P<marker>;.*)?")


def lowest(requirements: str) -> list[str]:
    """Turn each ``name>=version`` into ``name==version``, its marker kept.

    :raises ValueError: a requirement without a lower bound
    """
    pinned = []
    for line in filter(None, map(str.strip, requirements.splitlines())):
        found = _REQUIREMENT.fullmatch(line)
        if found is None:
            raise ValueError(f"no lower bound: {line}")
        pinned.append(f"{found['name']}=={found['version']}{found['marker'] or ''}")
    return pinned


def main() -> None:
    """Print the constraints of what the gateway itself needs, tracing included."""
    config = ConfigParser()
    config.read(SETUP)
    wanted = [config["options"]["install_requires"], config["options.extras_require"]["otel"]]
    print("\n".join(pin for group in wanted for pin in lowest(group)))


if __name__ == "__main__":
    main()
