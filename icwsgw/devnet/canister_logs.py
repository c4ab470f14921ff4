"""The logs of canisters: what they print and the texts of their traps, as ``fetch_canister_logs`` returns them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from icwsgw.ic.principal import Principal

#: Bytes of text that the log of a canister holds; older records make room. The public network keeps 4 KiB unless the
#: canister's settings ask for more, up to 2 MiB.
MAX_LOG_BYTES: Final = 64 << 10

LogListener = Callable[[Principal, str], None]
"""Is called with the canister and the text of each record."""


class LogRecord(NamedTuple):
    """A record of a canister's log.

    :ivar number: number of earlier records of this canister
    :ivar time_ns: ns since 1970
    """

    number: int
    time_ns: int
    content: bytes


class _Log:
    __slots__ = ("next_number", "records", "size")

    def __init__(self) -> None:
        self.records: deque[LogRecord] = deque()
        self.next_number = 0
        self.size = 0


class CanisterLogs:
    """The newest records of each canister.

    :param now_ns: returns the network's time, ns since 1970
    :param listener: is called with each record
    """

    def __init__(
        self,
        now_ns: Callable[[], int],
        listener: LogListener = lambda canister_id, text: None,
    ) -> None:
        self._now_ns = now_ns
        self._listener = listener
        self._logs: dict[Principal, _Log] = {}

    def add(self, canister_id: Principal, content: bytes) -> None:
        """Add a record; what exceeds :data:`MAX_LOG_BYTES` is cut off, and the oldest records make room."""
        log = self._logs.setdefault(canister_id, _Log())
        content = content[:MAX_LOG_BYTES]
        log.records.append(LogRecord(log.next_number, self._now_ns(), content))
        log.next_number += 1
        log.size += len(content)
        # An empty record takes room too.
        while log.size + len(log.records) > MAX_LOG_BYTES and len(log.records) > 1:
            log.size -= len(log.records.popleft().content)
        self._listener(canister_id, content.decode("utf-8", "replace"))

    def of(self, canister_id: Principal, since: int = 0) -> list[LogRecord]:
        """Return the records of a canister, the oldest first.

        :param since: the lowest number that is returned
        """
        log = self._logs.get(canister_id)
        return [] if log is None else [record for record in log.records if record.number >= since]

    def forget(self, canister_id: Principal) -> None:
        """Delete the log of a canister that no longer exists."""
        self._logs.pop(canister_id, None)
