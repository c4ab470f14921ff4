"""Verifies node signatures on the answers to queries (interface spec, "HTTPS interface", request query call).

A replica signs its answer with its node key (Ed25519), so a boundary node cannot forge an answer. The signature proves
which node answered and when. It does not prove that the answer is correct: a malicious replica can sign any answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nacl.bindings import crypto_sign_BYTES, crypto_sign_open
from nacl.exceptions import BadSignatureError

from icwsgw.errors import SignatureInvalid
from icwsgw.ic.identity import ED25519_DER_PREFIX
from icwsgw.ic.network_limits import MAX_AGE_NS, MAX_FUTURE_NS, SECOND_NS
from icwsgw.ic.request_id import IC_RESPONSE_SEPARATOR
from icwsgw.ic.request_id import request_id as hash_of_map


class UnknownNode(SignatureInvalid):
    """A node with an unknown key signed the answer. The caller should fetch the subnet's keys again, but only once."""


def signed_message(response: Mapping[str, Any], request_id: bytes, timestamp: int) -> bytes:
    """Return the bytes that a node signs for an answer.

    :param response: the decoded CBOR of the answer
    :param request_id: the id of the query, 32 bytes
    :param timestamp: the time of the answer, ns since 1970
    :raises SignatureInvalid: the answer lacks a field, or a field is malformed
    """
    signed: dict[str, Any] = {"status": response.get("status"), "timestamp": timestamp, "request_id": request_id}
    try:
        if signed["status"] == "replied":
            signed["reply"] = {"arg": response["reply"]["arg"]}
        elif signed["status"] == "rejected":
            signed["reject_code"] = response["reject_code"]
            signed["reject_message"] = response["reject_message"]
            if response.get("error_code") is not None:
                signed["error_code"] = response["error_code"]
        else:
            raise SignatureInvalid("the query's answer has no status that could be signed")
        return IC_RESPONSE_SEPARATOR + hash_of_map(signed)
    except (KeyError, TypeError, ValueError) as error:
        raise SignatureInvalid("the query's answer is malformed") from error


def verify_query_response(
    response: Mapping[str, Any],
    request_id: bytes,
    node_keys: Mapping[bytes, bytes],
    *,
    now_ns: int | None,
    max_age_ns: int = MAX_AGE_NS,
    max_future_ns: int = MAX_FUTURE_NS,
) -> None:
    """Check every signature on the answer to a query.

    :param response: the decoded CBOR of the answer
    :param request_id: the id of the query, 32 bytes
    :param node_keys: the public keys (DER) of the nodes of the canister's subnet, by node id
    :param now_ns: the time now, ns since 1970; None: times are not checked
    :param max_age_ns: how old a signature may be, in ns
    :param max_future_ns: how far in the future its time may be, in ns
    :raises UnknownNode: a node that is not in `node_keys` signed
    :raises SignatureInvalid: no signature, or one is malformed, too old, too far in the future, or invalid
    """
    signatures = response.get("signatures")
    if not isinstance(signatures, list) or not signatures:
        raise SignatureInvalid("the query's answer is not signed")
    if len(signatures) > max(len(node_keys), 1):
        raise SignatureInvalid("the query's answer has more signatures than the subnet has nodes")
    for entry in signatures:
        _verify_one(entry, response, request_id, node_keys, now_ns, max_age_ns, max_future_ns)


def _verify_one(
    entry: Any,
    response: Mapping[str, Any],
    request_id: bytes,
    node_keys: Mapping[bytes, bytes],
    now_ns: int | None,
    max_age_ns: int,
    max_future_ns: int,
) -> None:
    if not isinstance(entry, dict):
        raise SignatureInvalid("the query's answer has a malformed signature")
    timestamp, signature, node = entry.get("timestamp"), entry.get("signature"), entry.get("identity")
    if type(timestamp) is not int or not isinstance(signature, bytes) or not isinstance(node, bytes):
        raise SignatureInvalid("the query's answer has a malformed signature")
    if now_ns is not None:
        if timestamp < now_ns - max_age_ns:
            raise SignatureInvalid(f"the query's answer is {(now_ns - timestamp) // SECOND_NS} s old")
        if timestamp > now_ns + max_future_ns:
            ahead = (timestamp - now_ns) // SECOND_NS
            raise SignatureInvalid(f"the query's answer is {ahead} s ahead of this machine's clock")
    key = node_keys.get(node)
    if key is None:
        raise UnknownNode(f"no key of node {node.hex()}")
    if len(key) != len(ED25519_DER_PREFIX) + 32 or not key.startswith(ED25519_DER_PREFIX):
        raise SignatureInvalid("the node's key is not Ed25519")
    message = signed_message(response, request_id, timestamp)
    try:
        if len(signature) != crypto_sign_BYTES:
            raise ValueError("a signature of another length")
        # does what VerifyKey does, without its objects and calls, because each answer to a poll is verified here
        crypto_sign_open(signature + message, key[len(ED25519_DER_PREFIX) :])
    except (BadSignatureError, ValueError, TypeError):
        raise SignatureInvalid("a node's signature on the query's answer does not verify") from None
