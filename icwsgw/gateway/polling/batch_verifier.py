"""Verifies batches of canister messages before they are delivered (``--verify-batches``).

Clients verify each message themselves. Verification here catches a malicious replica before its batch brings clients
out of step. It costs a BLS pairing for each new certificate.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.python.failure import Failure

from icwsgw.errors import CertificateInvalid
from icwsgw.gateway.interfaces import Context
from icwsgw.ic.certificate import Certificate, check_age, check_messages, verify_certificate
from icwsgw.ic.principal import Principal
from icwsgw.ic.ws import Batch
from icwsgw.observe.logs import get_logger

_log = get_logger("poller")


class BatchVerifier:
    """Verifies the batches of one canister. A certificate that was verified before costs no pairing."""

    __slots__ = ("_canister", "_certificate", "_context", "_raw")

    def __init__(self, context: Context, canister: Principal) -> None:
        self._context = context
        self._canister = canister
        self._raw: bytes | None = None
        self._certificate: Certificate | None = None

    def check(self, batch: Batch, again: Callable[[], None]) -> bool:
        """Verify certificate, tree and contents.

        :param again: called when the batch should be polled again, if it cannot be verified yet
        :returns: False if it cannot: it is not known yet whether the canister is on the root subnet, whose certificate
            it has
        :raises CertificateInvalid: the batch is invalid, or there is no root key yet
        """
        try:
            self._check(batch)
        except CertificateInvalid:
            self._context.network.doubt_root_key()
            raise
        if self._certificate is None or self._certificate.delegation is not None:
            return True
        return self._is_root_s(again)

    def _is_root_s(self, again: Callable[[], None]) -> bool:
        root_subnet = self._context.network.root_subnet
        holds = root_subnet.holds(self._canister)
        if holds is None:
            root_subnet.look_up(self._canister).addCallbacks(lambda _: again(), self._unknown)
            return False
        if not holds:
            raise CertificateInvalid(f"a certificate of the root subnet, whose canister {self._canister} is not")
        return True

    def _unknown(self, reason: Failure) -> None:
        # The next poll tries again.
        _log.debug("subnet of the canister unknown", error=reason.value, canister=self._canister.text)

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
