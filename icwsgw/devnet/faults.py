"""Fault injection: makes the replica or a canister fail in a chosen way.

A fault defines what happens (``kind``), which requests it applies to (``on``, ``canister``, ``method``), and how
often. It ignores the first ``skip`` matching requests and then applies to the next ``count`` (None: all), each with
probability ``rate``. The first fault that matches a request applies. ``canister`` and ``subnet`` are ids. Random
decisions come from a seed, so that a run can be repeated.

===============  =======================================================================================================
kind             what happens
===============  =======================================================================================================
delay            the request waits for ``delay`` seconds and is then served; later requests overtake it
http             HTTP ``status`` with ``message``, ``retry_after`` and ``x-ic-error-cause: <cause>`` where given
unavailable      a boundary node's ``status`` (503) with ``cause`` (``no_healthy_nodes``, or ``replica_error``), as
                 during the upgrade of a ``subnet``
date             the answer's Date is off by ``offset`` seconds
cached           the answer's Date, Age and Via say that it comes from a cache and is ``age`` seconds old
reject           a reject with ``code``, ``message``, ``error_code``; a call is rejected before execution, or in the
                 certified state with ``certified``
trap             reject 5 IC0503; for a call: certified, and the call has no effect
stopped          reject 5 IC0508
garbage          status 200 with 300 bytes that are not CBOR
garbage_candid   a valid answer whose Candid is 300 invalid bytes; for a call: certified, and the call has no effect
cdk_err          the canister answers ``Err`` with ``message``; a call has no effect
hang             no answer until the faults are cleared; the request is not served
half_body        the request is served, then the connection ends in the middle of the answer's body
reset            the connection ends without an answer; with ``after``, the request is served first
duplicate        an answer to ws_get_messages contains its first message twice
overlap          an answer to ws_get_messages begins one nonce early, with a message that was delivered before
gap              an answer to ws_get_messages with at least two messages lacks its first one
altered          an answer to ws_get_messages has one altered byte in the content of its first message
lagging          an answer to ws_get_messages comes from a replica without the newest ``hide`` messages (None: without
                 any message)
===============  =======================================================================================================

The last five kinds apply only to an answer that has messages. To reset or stop a canister permanently, use
:meth:`icwsgw.devnet.replica.Replica.reset` and :meth:`~icwsgw.devnet.replica.Replica.stop` instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from random import Random
from typing import Any

from icwsgw.devnet.cdk_types import Page
from icwsgw.devnet.hosting import stopped, trapped
from icwsgw.errors import ConnectionLost, FormatError, Rejected
from icwsgw.ic.principal import Principal

#: HTTP status, headers, body.
Answer = tuple[int, dict[str, str], bytes]

REQUESTS = ("query", "call", "read_state", "status")
PAGE_KINDS = frozenset(("duplicate", "overlap", "gap", "altered", "lagging"))
KINDS = PAGE_KINDS | frozenset(
    (
        "delay",
        "http",
        "unavailable",
        "date",
        "cached",
        "reject",
        "trap",
        "stopped",
        "garbage",
        "garbage_candid",
        "cdk_err",
        "hang",
        "half_body",
        "reset",
    )
)
_CANISTER_KINDS = frozenset(("reject", "trap", "stopped", "garbage_candid", "cdk_err"))
GARBAGE_SIZE = 300


class Dropped(ConnectionLost):
    """The server must end the connection now.

    :ivar status: HTTP status of the partial answer, or None if nothing is sent
    :ivar headers: the answer's headers
    :ivar body: the whole body; half of it is sent
    """

    def __init__(self, status: int | None = None, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
        super().__init__("the replica ended the connection")
        self.status = status
        self.headers = dict(headers or {})
        self.body = body


@dataclass
class InjectedFault:
    """One fault; see the table in the module's docstring. Times are in seconds.

    :raises ValueError: an unknown kind or request type, or an invalid combination
    """

    kind: str
    on: str | None = None
    canister: Principal | None = None
    subnet: Principal | None = None
    method: str | None = None
    count: int | None = None
    rate: float = 1.0
    skip: int = 0
    delay: float = 1.0
    status: int = 503
    code: int = 2
    message: str = "injected by the devnet"
    error_code: str | None = None
    cause: str | None = None
    retry_after: float | None = None
    offset: float = 600.0
    age: float = 600.0
    certified: bool = False
    after: bool = False
    hide: int | None = None
    hits: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind {self.kind!r}; there are {', '.join(sorted(KINDS))}")
        if self.on is not None and self.on not in REQUESTS:
            raise ValueError(f"on is one of {', '.join(REQUESTS)}")
        if self.kind in PAGE_KINDS and self.on not in (None, "query"):
            raise ValueError(f"{self.kind} is a fault of queries")
        if self.kind in _CANISTER_KINDS and self.on not in (None, "query", "call"):
            raise ValueError(f"{self.kind} is a fault of queries and calls")
        if (
            not 0 <= self.rate <= 1
            or min(self.delay, self.age) < 0
            or self.skip < 0
            or (self.count is not None and self.count < 1)
        ):
            raise ValueError("rate is 0 to 1, delay, age and skip at least 0, count at least 1")
        if not 100 <= self.status <= 599:
            raise ValueError("status is an HTTP status")

    @classmethod
    def from_json(cls, value: Any) -> InjectedFault:
        """Create a fault from a JSON object of its fields, with the canister as text.

        :raises ValueError: not an object, unknown fields, or values of the wrong type
        """
        if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
            raise ValueError("a fault is an object with a kind")
        known = {each.name: each for each in fields(cls) if each.init}
        unknown = sorted(set(value) - set(known))
        if unknown:
            raise ValueError(f"unknown fields {', '.join(map(str, unknown))}; there are {', '.join(known)}")
        for name, given in value.items():
            if given is not None and not isinstance(given, _JSON_TYPES[name]):
                raise ValueError(f"{name} has the wrong type")
        for name in ("canister", "subnet"):
            if value.get(name) is not None:
                try:
                    value = {**value, name: Principal.from_text(value[name])}
                except FormatError as error:
                    raise ValueError(str(error)) from error
        return cls(**value)

    def fits(self, on: str, canister: Principal | None, method: str | None, subnet: Principal | None = None) -> bool:
        """Return whether the fault matches a request.

        :param subnet: the subnet that receives the request
        """
        if self.subnet is not None and self.subnet != subnet:
            return False
        if self.on is not None:
            if self.on != on:
                return False
        elif self.kind in _CANISTER_KINDS and on not in ("query", "call"):
            return False
        return (self.canister is None or self.canister == canister) and (self.method is None or self.method == method)

    def reject(self, canister: Principal) -> Rejected | None:
        """Return the canister's reject under this fault, or None if the fault causes no reject."""
        if self.kind == "reject":
            return Rejected(self.code, self.message, self.error_code)
        if self.kind == "stopped":
            return stopped(canister)
        if self.kind == "trap":
            return trapped(canister, self.message)
        return None


_JSON_TYPES: dict[str, type | tuple[type, ...]] = {
    "kind": str,
    "on": str,
    "canister": str,
    "subnet": str,
    "method": str,
    "count": int,
    "rate": (int, float),
    "skip": int,
    "delay": (int, float),
    "status": int,
    "code": int,
    "message": str,
    "error_code": str,
    "cause": str,
    "retry_after": (int, float),
    "offset": (int, float),
    "age": (int, float),
    "certified": bool,
    "after": bool,
    "hide": int,
}


class Faults:
    """The active faults.

    :param seed: seed of the random generator for rates and garbage
    """

    def __init__(self, seed: int = 0) -> None:
        self._random = Random(seed)
        self._faults: list[InjectedFault] = []

    def __len__(self) -> int:
        return len(self._faults)

    def __iter__(self) -> Iterator[InjectedFault]:
        return iter(list(self._faults))

    def add(self, fault: InjectedFault) -> InjectedFault:
        """Activate a fault and return it; its ``hits`` counts the requests that it applied to."""
        self._faults.append(fault)
        return fault

    def remove(self, fault: InjectedFault) -> None:
        """Deactivate a fault; do nothing if it is not active."""
        if fault in self._faults:
            self._faults.remove(fault)

    def clear(self) -> None:
        self._faults.clear()

    def garbage(self) -> bytes:
        """Return bytes that are neither CBOR nor Candid."""
        return b"\xff" + self._random.randbytes(GARBAGE_SIZE - 1)

    def meet(
        self, on: str, canister: Principal | None, method: str | None, subnet: Principal | None = None
    ) -> InjectedFault | None:
        """Return the fault that applies to a request, or None."""
        for fault in self._faults:
            if fault.kind not in PAGE_KINDS and fault.fits(on, canister, method, subnet) and self._strikes(fault):
                return fault
        return None

    def _strikes(self, fault: InjectedFault) -> bool:
        if fault.skip:
            fault.skip -= 1
            return False
        if fault.rate < 1 and self._random.random() >= fault.rate:
            return False
        fault.hits += 1
        if fault.count is not None:
            fault.count -= 1
            if not fault.count:
                self._faults = [other for other in self._faults if other is not fault]
        return True

    def has_page_faults(self) -> bool:
        """Return whether an active fault may change answers to ws_get_messages."""
        return any(fault.kind in PAGE_KINDS for fault in self._faults)

    def change_page(self, canister: Principal, page: Page, early: Page) -> Page:
        """Apply the matching fault to an answer to ws_get_messages and return the result.

        :param early: the answer to a poll with the nonce before
        """
        for fault in self._faults:
            if fault.kind in PAGE_KINDS and fault.fits("query", canister, "ws_get_messages"):
                needed = 2 if fault.kind == "gap" else 1
                if len(page.messages) >= needed and self._strikes(fault):
                    return _changed(fault, page, early)
        return page


def _changed(fault: InjectedFault, page: Page, early: Page) -> Page:
    messages = page.messages
    if fault.kind == "gap":
        return Page(messages[1:], page.is_end_of_queue)
    if fault.kind == "altered":
        first = messages[0]
        content = bytes([first.content[0] ^ 1]) + first.content[1:]
        return Page([first._replace(content=content), *messages[1:]], page.is_end_of_queue)
    if fault.kind == "lagging":
        hide = len(messages) if fault.hide is None else fault.hide
        return Page(messages[: max(len(messages) - hide, 0)], True)
    if fault.kind == "overlap" and early.messages[0] != messages[0]:
        return early
    return Page([messages[0], *messages], page.is_end_of_queue)
