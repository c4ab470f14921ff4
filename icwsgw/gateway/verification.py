"""Checks batches of canister messages before they are delivered (``--verify-batches``).

Clients check each message themselves; checking here too catches a lying replica before its batch can put clients out
of step, at the price of a BLS pairing for each new certificate (facts 1.9).
"""

from __future__ import annotations

from icwsgw.errors import CertificateInvalid
from icwsgw.gateway.interfaces import Context
from icwsgw.ic.certificate import Certificate, check_age, check_messages, verify_certificate
from icwsgw.ic.principal import Principal
from icwsgw.ic.ws import Batch


class BatchVerifier:
    """Verifies the batches of one canister; a certificate that comes again is not paired again."""

    __slots__ = ("_canister", "_certificate", "_context", "_raw")

    def __init__(self, context: Context, canister: Principal) -> None:
        self._context = context
        self._canister = canister
        self._raw: bytes | None = None
        self._certificate: Certificate | None = None

    def check(self, batch: Batch) -> None:
        """Check certificate, tree and contents.

        :raises CertificateInvalid: the batch does not hold, or there is no root key yet to check it by
        """
        try:
            self._check(batch)
        except CertificateInvalid:
            self._context.network.doubt_root_key()
            raise

    def _check(self, batch: Batch) -> None:
        if batch.cert != self._raw or self._certificate is None:
            root_key = self._context.network.root_key
            if root_key is None:
                raise CertificateInvalid("no root key yet")
            self._certificate = verify_certificate(
                batch.cert,
                root_key_der=root_key,
                canister_id=self._canister,
                now_ns=self._context.network_ns(),
                cache=self._context.delegations,
            )
            self._raw = batch.cert
        else:
            check_age(self._certificate, self._context.network_ns())
        messages = [(message[2], message[3]) for message in batch.messages]
        check_messages(self._certificate, batch.tree, messages, canister_id=self._canister)
