"""What happens to a batch of messages before it is delivered.

It is checked where ``--verify-batches`` asks for it, and its certificate becomes one that every client can verify: each
new certificate is looked at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from icwsgw.ic.principal import Principal
from icwsgw.ic.ws import Batch

if TYPE_CHECKING:
    from icwsgw.gateway.interfaces import Context
    from icwsgw.gateway.polling.batch_verifier import BatchVerifier


class CertificateSource(Protocol):
    """What is asked of :class:`icwsgw.agent.delegation_replacer.DelegationReplacer`."""

    def look(self, canister: Principal, certificate: bytes, again: Callable[[], None]) -> bytes | None:
        """Give the certificate as clients can verify it, or None while that is being found out."""


class BatchAcceptor:
    """The batches of one canister for one identity.

    :param again: called when a batch that was not accepted is worth asking for again
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
        """Check a batch that has messages, and give it the certificate that its clients can verify.

        :returns: False if it has to be asked for again, since it is not known yet which certificate that is
        :raises CertificateInvalid: it does not hold
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
