"""Saves a sample of the present state: ``python -m tests.handover.make_sample``.

The file is named after the version and the revision of the state (:mod:`icwsgw.handover.service_state`). A sample that
was part of a release is never overwritten: raise the revision instead.
"""

from __future__ import annotations

from icwsgw.handover.service_state import REVISION, VERSION
from tests.support.handover_state import SAMPLES, busy_world, documents_of, save

NAME = f"{VERSION}.{REVISION}.json"


def main() -> None:
    """Write the file."""
    save(documents_of(busy_world()), SAMPLES / NAME)
    print(SAMPLES / NAME)


if __name__ == "__main__":
    main()
