"""What the management canister does for canisters (IC interface specification, "IC management canister")."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from icwsgw.errors import Rejected
from icwsgw.ic import candid


class Management:
    """The methods that a canister may call under the empty principal.

    :param random: source of ``raw_rand``
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._methods: dict[str, Callable[[bytes], bytes]] = {"raw_rand": self._raw_rand}

    def call(self, method: str, argument: bytes) -> bytes:
        """Run a method; Candid in, Candid out.

        :raises Rejected: there is none of this name
        """
        run = self._methods.get(method)
        if run is None:
            text = f"Management canister has no method '{method[:100]}' on the local replica"
            raise Rejected(3, text, "IC0536")
        return run(argument)

    def _raw_rand(self, argument: bytes) -> bytes:
        return candid.encode([candid.Blob], [self._random.randbytes(32)])
