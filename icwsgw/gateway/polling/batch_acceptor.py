"""Prepares a batch of messages for delivery.

With ``--verify-batches`` the batch is verified. Its certificate is replaced by one that all clients can verify, if that
is necessary; each new certificate is checked for that once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from icwsgw.ic.principal import Principal
from icwsgw.ic.ws import Batch

if TYPE_CHECKING:
    from icwsgw.gateway.interfaces import Context
    from icwsgw.gateway.polling.batch_verifier import BatchVerifier


class BatchAcceptor:
    """Prepares the batches of one canister for one identity.

    :param again: called when a batch that was not accepted should be polled again
    """

    __slots__ = ("_again", "_canister", "_given", "_made", "_readable", "_verifier")

    def __init__(self, context: Context, canister: Principal, again: Callable[[], None]) -> None:
        self._canister = canister
        self._again = again
        self._readable = context.readable
        self._given = self._made = b""
        self._verifier: BatchVerifier | None = None
        if context.config.verify_batches:
            from icwsgw.gateway.polling.batch_verifier import BatchVerifier

            self._verifier = BatchVerifier(context, canister)

    def accept(self, batch: Batch) -> bool:
        """Verify a batch that has messages, and set the certificate that its clients can verify.

        :returns: False if the batch has to be polled again, since the certificate for clients is not known yet
        :raises CertificateInvalid: the batch is invalid
        """
        if self._verifier is not None and not self._verifier.check(batch, self._again):
            return False
        if self._readable is None:
            return True
        if batch.cert != self._given:
            made = self._readable.look(self._canister, batch.cert, self._again)
            if made is None:
                return False
            self._given, self._made = batch.cert, made
        batch.cert = self._made
        return True
