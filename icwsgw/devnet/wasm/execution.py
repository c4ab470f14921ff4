"""What one execution of a canister's code gets and leaves behind (IC interface specification, "System API")."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from icwsgw.errors import Rejected
from icwsgw.ic.network_limits import MAX_CALL_REPLY_BYTES, MAX_REPLY_BYTES
from icwsgw.ic.principal import Principal

#: Bytes of an ingress message and of a message between canisters.
MAX_INGRESS: Final = 2 << 20
MAX_CALL: Final = 2 << 20
#: The management canister: caller of system tasks, and callee of what the system itself answers.
MANAGEMENT: Final = Principal(b"")


class Entry(Enum):
    """From where code is executed, with the letters of the specification."""

    INIT = "I"
    PRE_UPGRADE = "G"
    UPDATE = "U"
    REPLICATED_QUERY = "RQ"
    QUERY = "NRQ"
    COMPOSITE_QUERY = "CQ"
    REPLY_CALLBACK = "Ry"
    REJECT_CALLBACK = "Rt"
    CLEANUP = "C"
    START = "s"
    INSPECT = "F"
    SYSTEM_TASK = "T"


#: Instructions of one execution, as on an application subnet (dfinity/ic, ``rs/config/src/subnet_config.rs``).
INSTRUCTION_LIMITS: Final = {
    Entry.INIT: 300_000_000_000,
    Entry.PRE_UPGRADE: 300_000_000_000,
    Entry.START: 300_000_000_000,
    Entry.QUERY: 5_000_000_000,
    Entry.COMPOSITE_QUERY: 5_000_000_000,
    Entry.INSPECT: 200_000_000,
}
DEFAULT_INSTRUCTION_LIMIT: Final = 40_000_000_000


class CanisterTrap(Exception):
    """The code traps; what it did is undone.

    :ivar error_code: the IC's, ``IC0503`` and the like
    :ivar text: the replica's message, without the canister's name
    """

    def __init__(self, error_code: str, text: str) -> None:
        super().__init__(text)
        self.error_code = error_code
        self.text = text

    def rejected(self, canister: Principal) -> Rejected:
        """Make the reject that the caller gets; the first digit of an error code is the reject code."""
        return Rejected(
            int(self.error_code[2:]) // 100, f"Error from Canister {canister}: {self.text}", self.error_code
        )


def contract_violation(text: str) -> CanisterTrap:
    """Make the trap of a canister that uses the system interface wrongly."""
    return CanisterTrap("IC0504", f"Canister violated contract: {text}")


Response = bytes | Rejected
"""A reply's Candid, or a reject."""


@dataclass(frozen=True)
class Callback:
    """A function of the canister's table, and its argument."""

    function: int
    environment: int


@dataclass
class OutgoingCall:
    """A call to another canister, as ``call_new`` and what follows it describe it.

    :ivar on_cleanup: run when a callback traps
    :ivar cycles: attached
    :ivar timeout_s: seconds after which the caller no longer waits; None: for ever
    """

    callee: Principal
    method: str
    on_reply: Callback
    on_reject: Callback
    on_cleanup: Callback | None = None
    argument: bytearray = field(default_factory=bytearray)
    cycles: int = 0
    timeout_s: int | None = None


@dataclass
class CallContext:
    """A call that a canister has to answer, or a system task, which has no answer.

    :ivar caller: who waits for the answer
    :ivar needs_answer: False: a system task, or the answer has been given
    :ivar outstanding: calls to others whose answers have not come
    :ivar cycles: attached and not accepted
    :ivar instructions: executed so far
    :ivar deadline_ns: when the caller stops waiting; 0: never
    :ivar deleted: the canister was uninstalled: no callback is executed any more
    """

    caller: Principal
    needs_answer: bool
    outstanding: int = 0
    cycles: int = 0
    instructions: int = 0
    deadline_ns: int = 0
    deleted: bool = False


@dataclass
class Execution:
    """One execution of one function.

    :ivar entry: where the code is entered
    :ivar argument: of the call, or the reply that a callback handles
    :ivar method: name, for ``inspect_message``
    :ivar reject: what a reject callback handles
    :ivar certificate: the data certificate, in a query that is not replicated
    :ivar refunded: cycles that came back with an answer
    :ivar reply: data of the reply so far
    :ivar response: the answer that was given
    :ivar calls: that were performed, in order
    :ivar building: between ``call_new`` and ``call_perform``
    :ivar accepted: ``accept_message`` was called
    :ivar cycles_accepted: taken from the call's
    """

    entry: Entry
    context: CallContext
    argument: bytes = b""
    method: str = ""
    reject: Rejected | None = None
    certificate: bytes | None = None
    refunded: int = 0
    reply: bytearray = field(default_factory=bytearray)
    response: Response | None = None
    calls: list[OutgoingCall] = field(default_factory=list)
    building: OutgoingCall | None = None
    accepted: bool = False
    cycles_accepted: int = 0

    @property
    def replicated(self) -> bool:
        return self.entry not in (Entry.QUERY, Entry.COMPOSITE_QUERY, Entry.INSPECT)

    @property
    def max_reply(self) -> int:
        """The most bytes of a reply, or of the message of a reject."""
        return MAX_CALL_REPLY_BYTES if self.replicated else MAX_REPLY_BYTES
