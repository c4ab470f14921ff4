"""Verifies an answer that shows a canister reset, before it ends all of the canister's sessions.

One altered byte in the message that a probe looks for would look like a reset. So such an answer is verified even
without ``--verify-batches``; it is rare. Only if there is no root key, a second answer has to show the same.
"""

from __future__ import annotations

from icwsgw.core.written_state import Written
from icwsgw.gateway.interfaces import Context
from icwsgw.gateway.polling.batch_verifier import BatchVerifier
from icwsgw.ic.principal import Principal
from icwsgw.ic.ws import Batch


class ResetProof(Written):
    """The proofs of one canister's resets."""

    __slots__ = ("_canister", "_context", "_witnessed")
    WRITTEN = {"_witnessed": float}

    def __init__(self, context: Context, canister: Principal) -> None:
        self._context = context
        self._canister = canister
        self._witnessed: float | None = None

    def holds(self, batch: Batch, now: float, sent: float) -> bool:
        """Whether an answer proves a reset.

        :param now: monotonic seconds
        :param sent: when the query was sent, monotonic seconds
        :raises CertificateInvalid: its certificate, tree or contents are invalid
        """
        if self._context.network.root_key:
            # If it cannot be verified yet, the next probe shows the same.
            return BatchVerifier(self._context, self._canister).check(batch, lambda: None)
        first, self._witnessed = self._witnessed, now
        return first is not None and sent >= first

    def contradicted(self) -> None:
        """There was no reset, or it is over: earlier answers do not count any more."""
        self._witnessed = None
