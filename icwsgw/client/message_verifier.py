"""Verifies that a message comes from the canister (docs/protocol.md, "Gateway to client: messages of the canister").

The certificate must be signed by the canister's subnet, whose key the root key certifies in either form of the
delegation. The canister's certified data in it must be the digest of the witness, which must hold the SHA-256 of the
message's content under its key. The messages of one poll share a certificate, whose signature is verified once.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from icwsgw.client.client_errors import MessageInvalid
from icwsgw.errors import CertificateInvalid, FormatError
from icwsgw.ic import cbor
from icwsgw.ic.certificate import Certificate, DelegationCache, check_age, check_messages, verify_certificate
from icwsgw.ic.network_limits import MAX_AGE_NS
from icwsgw.ic.principal import Principal

#: Delegations that a client keeps: those of all nodes of its canister's subnet, in two forms.
_MAX_DELEGATIONS: Final = 100
_HINT: Final = "Give the root key of the gateway's network; if it is right, the gateway or the network is at fault."
_CLOCK_HINT: Final = "Set this machine's clock; if it is right, the gateway or the network is at fault."


class CertifiedMessage(NamedTuple):
    """A message of the gateway: four fields as the canister made them."""

    key: str
    content: bytes
    cert: bytes
    tree: bytes


class MessageContent(NamedTuple):
    """The WebsocketMessage in a content.

    :ivar client_principal: of the client key
    :ivar client_nonce: of the client key
    :ivar sequence_num: the number of the message in its session, from 1
    :ivar timestamp: the canister's time, ns since 1970
    :ivar is_service_message: whether ``content`` is the CDK's instead of the application's
    :ivar content: Candid
    """

    client_principal: bytes
    client_nonce: int
    sequence_num: int
    timestamp: int
    is_service_message: bool
    content: bytes


def parse_certified(payload: bytes) -> CertifiedMessage:
    """Decode a message of the gateway.

    :raises MessageInvalid: not such a message
    """
    fields = _map(payload, "a message of the gateway")
    key, content, cert, tree = (fields.get(name) for name in CertifiedMessage._fields)
    if not isinstance(key, str) or not all(isinstance(part, bytes) for part in (content, cert, tree)):
        raise MessageInvalid("a message of the gateway lacks key, content, cert or tree")
    return CertifiedMessage(key, content, cert, tree)  # type: ignore[arg-type]


def parse_content(content: bytes) -> MessageContent:
    """Decode the content of a message.

    :raises MessageInvalid: not a WebsocketMessage
    """
    fields = _map(content, "a message's content")
    client = fields.get("client_key")
    found = MessageContent(
        client.get("client_principal") if isinstance(client, dict) else None,  # type: ignore[arg-type]
        client.get("client_nonce") if isinstance(client, dict) else None,  # type: ignore[arg-type]
        *(fields.get(name) for name in MessageContent._fields[2:]),  # type: ignore[arg-type]
    )
    kinds = (bytes, int, int, int, bool, bytes)
    if any(type(value) is not kind for value, kind in zip(found, kinds, strict=True)):
        raise MessageInvalid("a message's content is not a WebsocketMessage")
    return found


def _map(data: bytes, what: str) -> dict[str, Any]:
    try:
        fields = cbor.loads(data)
    except FormatError as error:
        raise MessageInvalid(f"{what} is not CBOR: {error}") from error
    if not isinstance(fields, dict):
        raise MessageInvalid(f"{what} is not a map")
    return fields


class MessageVerifier:
    """Verifies the messages of one canister.

    :param canister: the canister
    :param root_key_der: the root key of its network, 133 bytes of DER
    :param max_age_ns: the maximum age of a certificate
    :ivar signatures: certificates whose signature was verified
    """

    __slots__ = ("_cache", "_canister", "_last", "_max_age_ns", "_root_key_der", "signatures")

    def __init__(self, canister: Principal, root_key_der: bytes, max_age_ns: int = MAX_AGE_NS) -> None:
        self._canister = canister
        self._root_key_der = root_key_der
        self._max_age_ns = max_age_ns
        self._cache = DelegationCache(_MAX_DELEGATIONS)
        self._last: tuple[bytes, Certificate] | None = None
        self.signatures = 0

    def verify(self, message: CertifiedMessage, now_ns: int) -> None:
        """Verify one message.

        :param now_ns: the time now, ns since 1970
        :raises MessageInvalid: with the check that failed
        """
        try:
            certificate = self._certificate(message.cert, now_ns)
        except CertificateInvalid as error:
            old = " s old" in str(error) or "ahead of" in str(error)
            raise MessageInvalid(f"the certificate is invalid: {error}", _CLOCK_HINT if old else _HINT) from error
        try:
            pairs = [(message.key.encode(), message.content)]
            check_messages(certificate, message.tree, pairs, canister_id=self._canister)
        except CertificateInvalid as error:
            raise MessageInvalid(f"the message is not certified: {error}") from error

    def _certificate(self, cert: bytes, now_ns: int) -> Certificate:
        last = self._last
        if last is not None and last[0] == cert:
            check_age(last[1], now_ns, self._max_age_ns)
            return last[1]
        verified = verify_certificate(
            cert,
            root_key_der=self._root_key_der,
            canister_id=self._canister,
            now_ns=now_ns,
            max_age_ns=self._max_age_ns,
            cache=self._cache,
        )
        self.signatures += 1
        self._last = (cert, verified)
        return verified
