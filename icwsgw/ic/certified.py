"""Reads the content of certificates: a request's status, certified data, node keys, a batch of messages.

The certificates were verified by :mod:`icwsgw.ic.certificate`, or need no verification because no decision depends on
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple

from icwsgw.errors import CertificateInvalid, FormatError
from icwsgw.ic import hashtree
from icwsgw.ic.certificate_format import Certificate, natural
from icwsgw.ic.hashtree import ABSENT, UNKNOWN, Found, Missing, Tree
from icwsgw.ic.principal import Principal


class RequestStatus(NamedTuple):
    """The status of a request in a certificate (interface spec, "Request status").

    :ivar status: unknown, received, processing, replied, rejected or done
    :ivar reply: the bytes of the reply, if replied
    :ivar reject_code: the reject code, if rejected
    :ivar reject_message: the reject message, if rejected
    :ivar error_code: for example "IC0503", if rejected and the certificate has one
    """

    status: str
    reply: bytes | None = None
    reject_code: int | None = None
    reject_message: str | None = None
    error_code: str | None = None


def subnet_of(certificate: Certificate, root_key_der: bytes) -> Principal:
    """Return the id of the subnet that signed a certificate.

    It is in the delegation. Without a delegation it is the root subnet, whose id is the principal of the root key.

    :raises FormatError: the id in the delegation is not a principal
    """
    if certificate.delegation is not None:
        return Principal(certificate.delegation.subnet_id)
    return Principal.self_authenticating(root_key_der)


def node_keys(certificate: Certificate, subnet_id: Principal) -> dict[bytes, bytes]:
    """Return the public keys (DER) of a subnet's nodes by node id, from ``/subnet/<id>/node/<node>/public_key``.

    :raises CertificateInvalid: the certificate does not show them
    """
    nodes = hashtree.lookup_subtree(certificate.tree, (b"subnet", subnet_id.raw, b"node"))
    if isinstance(nodes, Missing):
        raise CertificateInvalid(f"the certificate does not show the nodes of subnet {subnet_id}")
    keys: dict[bytes, bytes] = {}
    try:
        for node_id, node in hashtree.children(nodes):
            key = hashtree.lookup(node, (b"public_key",))
            if isinstance(key, Found):
                keys[node_id] = key.value
    except FormatError as error:
        raise CertificateInvalid(str(error)) from error
    return keys


def certified_data(certificate: Certificate, canister_id: Principal) -> bytes:
    """Return ``/canister/<id>/certified_data``, at most 32 bytes.

    :raises CertificateInvalid: the certificate does not show it
    """
    data = certificate.lookup((b"canister", canister_id.raw, b"certified_data"))
    if not isinstance(data, Found):
        raise CertificateInvalid(f"the certified data of canister {canister_id} is {data.value}")
    return data.value


def request_status(certificate: Certificate, request_id: bytes) -> RequestStatus:
    """Return the status of a request in a certificate.

    The status is "unknown" if the certificate proves that the state has no such request.

    :param request_id: 32 bytes
    :raises CertificateInvalid: the certificate does not show the status, or lacks a field that belongs to it
    """
    root = (b"request_status", request_id)
    found = certificate.lookup((*root, b"status"))
    if found is ABSENT:
        return RequestStatus("unknown")
    if found is UNKNOWN:
        raise CertificateInvalid("the certificate does not show the request's status")
    status = _text(found.value)
    if status == "replied":
        return RequestStatus(status, reply=_field(certificate, (*root, b"reply")))
    if status != "rejected":
        return RequestStatus(status)
    error_code = certificate.lookup((*root, b"error_code"))
    return RequestStatus(
        status,
        reject_code=natural(_field(certificate, (*root, b"reject_code"))),
        reject_message=_text(_field(certificate, (*root, b"reject_message"))),
        error_code=_text(error_code.value) if isinstance(error_code, Found) else None,
    )


def _field(certificate: Certificate, path: Sequence[bytes]) -> bytes:
    found = certificate.lookup(path)
    if not isinstance(found, Found):
        raise CertificateInvalid(f"the certificate lacks the request's {path[-1].decode()}")
    return found.value


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise CertificateInvalid("a text in the certificate is not UTF-8") from None


def check_messages(
    certificate: Certificate, tree: bytes, messages: Sequence[tuple[bytes, bytes]], *, canister_id: Principal
) -> None:
    """Check messages against the canister's witness and a verified certificate.

    The digest of the witness must be the canister's certified data. Under ``websocket`` the witness must have each key
    with the SHA-256 of its content. Between the first and the last of these keys it must have no other node, shown or
    pruned.

    :param certificate: verified
    :param tree: the canister's witness, in CBOR
    :param messages: the key and the content of each message
    :raises CertificateInvalid: a check failed; the text gives the reason
    """
    try:
        witness = hashtree.decode(tree)
        if hashtree.reconstruct(witness) != certified_data(certificate, canister_id):
            raise CertificateInvalid("the canister's tree is not the one it certified")
        _check_contents(witness, messages)
    except FormatError as error:
        raise CertificateInvalid(str(error)) from error


def _check_contents(witness: Tree, messages: Sequence[tuple[bytes, bytes]]) -> None:
    level = hashtree.lookup_subtree(witness, (b"websocket",))
    if isinstance(level, Missing):
        raise CertificateInvalid("the canister's tree shows no messages")
    shown = dict(hashtree.children(level))
    for key, content in messages:
        node = shown.get(key)
        if node is None or node[0] != 3:
            raise CertificateInvalid(f"message {_shown(key)} is not certified")
        if node[1] != sha256(content).digest():
            raise CertificateInvalid(f"message {_shown(key)} has another content than the certified")
    if messages and not hashtree.is_contiguous(level, {key for key, _ in messages}):
        raise CertificateInvalid("messages are missing from the batch")


def _shown(key: bytes) -> str:
    """Return a key as text for an error message, cut off because the canister chooses its length."""
    return key[:100].decode(errors="replace")
