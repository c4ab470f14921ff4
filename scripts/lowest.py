"""Prints the lowest versions that setup.cfg allows, as constraints for pip. CI runs the tests with them.

python scripts/lowest.py > lowest.txt && python -m pip install --constraint lowest.txt -e .[test]
"""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path

SETUP = Path(__file__).resolve().parents[1] / "setup.cfg"
_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[[^]]*\])?>=(?P<version>[0-9.]+)[^;]*(?P<marker>;.*)?")


def lowest(requirements: str) -> list[str]:
    """Convert each ``name>=version`` to ``name==version`` and keep its marker.

    :raises ValueError: a requirement has no lower bound
    """
    pinned = []
    for line in filter(None, map(str.strip, requirements.splitlines())):
        found = _REQUIREMENT.fullmatch(line)
        if found is None:
            raise ValueError(f"no lower bound: {line}")
        pinned.append(f"{found['name']}=={found['version']}{found['marker'] or ''}")
    return pinned


def main() -> None:
    """Print the constraints of the gateway's requirements, including those of the extras that it uses at run time."""
    config = ConfigParser()
    config.read(SETUP)
    extras = config["options.extras_require"]
    wanted = [config["options"]["install_requires"], extras["otel"], extras["wasm"], extras["acme"]]
    print("\n".join(pin for group in wanted for pin in lowest(group)))


if __name__ == "__main__":
    main()
