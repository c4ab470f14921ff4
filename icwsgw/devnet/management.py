"""What the management canister does for canisters (IC interface specification, "IC management canister")."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from icwsgw.devnet.canister_logs import CanisterLogs
from icwsgw.errors import FormatError, Rejected
from icwsgw.ic import candid
from icwsgw.ic.principal import Principal

_CANISTER = candid.Record({"canister_id": candid.PrincipalType})
_LOGS = candid.Record(
    {
        "canister_log_records": candid.Vec(
            candid.Record({"idx": candid.Nat64, "timestamp_nanos": candid.Nat64, "content": candid.Blob})
        )
    }
)


class Management:
    """The methods that a canister may call under the empty principal.

    :param random: source of ``raw_rand``
    :param logs: what canisters print
    """

    def __init__(self, random: Random, logs: CanisterLogs) -> None:
        self._random = random
        self._logs = logs
        self._methods: dict[str, Callable[[bytes], bytes]] = {
            "raw_rand": self._raw_rand,
            "fetch_canister_logs": self._fetch_canister_logs,
        }

    def call(self, method: str, argument: bytes) -> bytes:
        """Run a method; Candid in, Candid out.

        :raises Rejected: there is none of this name
        """
        run = self._methods.get(method)
        if run is None:
            text = f"Management canister has no method '{method[:100]}' on the local replica"
            raise Rejected(5, text, "IC0536")
        return run(argument)

    def _raw_rand(self, argument: bytes) -> bytes:
        return candid.encode([candid.Blob], [self._random.randbytes(32)])

    def _fetch_canister_logs(self, argument: bytes) -> bytes:
        canister_id = _canister_of(argument)
        records = [
            {"idx": record.number, "timestamp_nanos": record.time_ns, "content": record.content}
            for record in self._logs.of(canister_id)
        ]
        return candid.encode([_LOGS], [{"canister_log_records": records}])


def _canister_of(argument: bytes) -> Principal:
    """Read the canister id in a method's argument.

    :raises Rejected: the argument has another type
    """
    try:
        (value,) = candid.decode_as(argument, [_CANISTER])
    except FormatError as error:
        raise Rejected(5, f"Error decoding candid: {error}", "IC0503") from None
    canister_id: Principal = value["canister_id"]
    return canister_id
