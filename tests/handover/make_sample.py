"""Keeps a sample of the present state: ``python -m tests.handover.make_sample``.

Its name is the version and the revision of the state (:mod:`icwsgw.handover.service_state`). A sample that a release
has is never written again: raise the revision instead.
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
