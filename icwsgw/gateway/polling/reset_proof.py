"""What a poller believes of an answer that would end all sessions: that the canister has begun a new life.

One altered byte in the message that a probe looks for would be enough. So such an answer is verified, whether
batches are verified otherwise or not: it is rare. Only where there is no root key to verify it by, which the network
itself could not have served clients without for long, a second answer has to say the same.
"""

from __future__ import annotations

from icwsgw.gateway.interfaces import Context
from icwsgw.gateway.polling.batch_verifier import BatchVerifier
from icwsgw.ic.principal import Principal
from icwsgw.ic.ws import Batch


class ResetProof:
    """The proofs of one canister's new lives."""

    __slots__ = ("_canister", "_context", "_witnessed")

    def __init__(self, context: Context, canister: Principal) -> None:
        self._context = context
        self._canister = canister
        self._witnessed: float | None = None

    def holds(self, batch: Batch, now: float, asked: float) -> bool:
        """Whether an answer that shows a new life is to be believed.

        :param now: seconds, on any clock that only goes forward
        :param asked: when it was asked for, on the same clock
        :raises CertificateInvalid: its certificate, tree or contents do not hold
        """
        if self._context.network.root_key:
            # where it cannot be judged yet, the next probe shows it again
            return BatchVerifier(self._context, self._canister).check(batch, lambda: None)
        first, self._witnessed = self._witnessed, now
        return first is not None and asked >= first

    def contradicted(self) -> None:
        """An answer has shown the same life, or a new one has begun: what was heard before counts no more."""
        self._witnessed = None
