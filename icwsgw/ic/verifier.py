"""Verifies every kind of signature that a replica accepts. Canister signatures need the network's root key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from icwsgw.errors import FormatError, SignatureInvalid
from icwsgw.ic.canister_signature import signer_of, verify_canister_signature
from icwsgw.ic.certificate import DelegationCache
from icwsgw.ic.public_key import CANISTER_OID, COSE_OID, algorithm
from icwsgw.ic.signatures import is_verifiable, verify_signature
from icwsgw.ic.webauthn import verify_webauthn

SENDER_INFO_SEPARATOR: Final = b"\x0eic-sender-info"


class Verifier:
    """Verifies signatures as a replica of one network does.

    :param root_key_der: the network's root key, 133 bytes of DER
    """

    def __init__(self, root_key_der: bytes) -> None:
        self._root_key_der = root_key_der
        self._cache = DelegationCache()

    def __call__(self, der_public_key: bytes, message: bytes, signature: bytes) -> None:
        """Verify a signature by a key of any kind.

        :param der_public_key: SubjectPublicKeyInfo
        :raises SignatureInvalid: the signature is invalid, or the kind of key is unknown
        """
        if is_verifiable(der_public_key):
            verify_signature(der_public_key, message, signature)
            return
        oid, key = algorithm(der_public_key)
        if oid == COSE_OID:
            verify_webauthn(key, message, signature)
        elif oid == CANISTER_OID:
            verify_canister_signature(key, message, signature, self._root_key_der, self._cache)
        else:
            verify_signature(der_public_key, message, signature)

    def verify_sender_info(self, sender_info: Any, der_public_key: bytes | None) -> None:
        """Verify a canister's statement about a sender who signed in through it.

        :param sender_info: the field ``sender_info`` of the content of a call or query
        :param der_public_key: the envelope's ``sender_pubkey``; None: the sender is anonymous
        :raises FormatError: the fields of ``sender_info`` are missing or malformed
        :raises SignatureInvalid: the canister of ``der_public_key`` did not sign the statement
        """
        fields = sender_info if isinstance(sender_info, Mapping) else {}
        info, signer, signature = (fields.get(name) for name in ("info", "signer", "sig"))
        if not isinstance(info, bytes) or not isinstance(signer, bytes) or not isinstance(signature, bytes):
            raise FormatError("sender_info without its fields")
        if der_public_key is None:
            raise SignatureInvalid("sender_info of the anonymous sender")
        oid, key = algorithm(der_public_key)
        if oid != CANISTER_OID:
            raise SignatureInvalid("sender_info with a key that is no canister's")
        if signer_of(key)[0].raw != signer:
            raise SignatureInvalid("the signer of sender_info is not the canister of sender_pubkey")
        message = SENDER_INFO_SEPARATOR + info
        verify_canister_signature(key, message, signature, self._root_key_der, self._cache)
