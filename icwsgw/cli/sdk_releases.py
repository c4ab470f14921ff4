"""Which JavaScript libraries verify which form of canister ranges in a certificate's delegation (decision 0028).

@dfinity/agent reads the flat form alone, in all its releases. @icp-sdk/core, its successor, reads shards since 5.0.0
(its CHANGELOG, 2025-12-18), and the flat form as before. ic-websocket-js verifies by the @dfinity/agent that it is
installed with.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from icwsgw.errors import FormatError

#: By package: the first release that reads shards; None: there is none.
READS_SHARDS: Final[dict[str, tuple[int, int, int] | None]] = {
    "ic-websocket-js": None,
    "@dfinity/agent": None,
    "@icp-sdk/core": (5, 0, 0),
    "icws-client": (0, 0, 0),
}
#: The first release of ic-websocket-js that names the gateway in ws_open.
FIRST_SDK: Final = (0, 3, 0)
_VERSION: Final = re.compile(r"v?(\d{1,6})(?:\.(\d{1,6}))?(?:\.(\d{1,6}))?(?:[-+].*)?")


class SdkRelease(NamedTuple):
    """A release of a JavaScript library.

    :ivar package: its name on npm
    :ivar version: its version; missing parts are 0
    """

    package: str
    version: tuple[int, int, int]

    def __str__(self) -> str:
        return f"{self.package} {'.'.join(map(str, self.version))}"

    @property
    def is_compatible(self) -> bool:
        """Whether it implements today's protocol."""
        return self.package != "ic-websocket-js" or self.version >= FIRST_SDK

    @property
    def reads_shards(self) -> bool:
        """Whether it verifies certificates that show canister ranges in shards alone."""
        first = READS_SHARDS[self.package]
        return first is not None and self.version >= first


def parse_release(text: str) -> SdkRelease:
    """Read a release: ``0.5.0`` of ic-websocket-js, or ``PACKAGE@VERSION`` as npm writes it.

    :raises FormatError: the package is none of :data:`READS_SHARDS`, or the version is none
    """
    package, at, version = text.strip().rpartition("@")
    if not at:
        package = "ic-websocket-js"
    found = _VERSION.fullmatch(version)
    if package not in READS_SHARDS:
        raise FormatError(f"{package[:64]!r} is not one of {', '.join(READS_SHARDS)}")
    if found is None:
        raise FormatError(f"{version[:64]!r} is not a version such as 0.5.0")
    major, minor, patch = (int(part or 0) for part in found.groups())
    return SdkRelease(package, (major, minor, patch))
