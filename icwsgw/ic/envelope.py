"""Requests to the IC: their content, their signed envelope, and a replica's checks of the envelope.

An envelope is the CBOR map ``{content, sender_pubkey, sender_sig, sender_delegation}`` after the self-describe tag. An
envelope of the anonymous sender has only the content (IC interface specification, sections "HTTPS Interface" and
"Authentication"). A replica reads the fields that it knows and leaves the others out of the request id (dfinity/ic,
``rs/types/types/src/messages/http.rs``). :func:`verify_envelope` does the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any, Final, NamedTuple, Protocol

from icwsgw.errors import FormatError, SignatureInvalid
from icwsgw.ic import cbor
from icwsgw.ic.fields import ENVELOPE, loads_known
from icwsgw.ic.network_limits import MAX_INGRESS_TTL_NS, SECOND_NS
from icwsgw.ic.principal import ANONYMOUS, Principal
from icwsgw.ic.request_id import IC_REQUEST_SEPARATOR, request_id
from icwsgw.ic.signatures import verify_delegations, verify_signature
from icwsgw.ic.verifier import Verifier

MAX_NONCE: Final = 32
MAX_PATHS: Final = 1000
MAX_LABELS: Final = 127

_REQUEST_TYPES: Final = ("call", "query", "read_state")
_COMMON: Final = ("request_type", "sender", "ingress_expiry", "nonce")
_METHOD: Final = (*_COMMON, "canister_id", "method_name", "arg", "sender_info")
_HASHED: Final = {"call": _METHOD, "query": _METHOD, "read_state": (*_COMMON, "paths")}
"""The fields that a replica knows, by request type."""


class Signer(Protocol):
    """An identity that can sign.

    :mod:`icwsgw.ic.identity`, :mod:`icwsgw.ic.ecdsa_identity` and :mod:`icwsgw.ic.delegated_identity` have such
    identities; a hardware key may be one.
    """

    @property
    def principal(self) -> Principal:
        """The principal of the public key, which is the sender of the requests."""

    @property
    def public_key_der(self) -> bytes:
        """The public key, as DER SubjectPublicKeyInfo."""

    @property
    def delegations(self) -> Sequence[dict[str, Any]]:
        """The ``sender_delegation`` that goes with each request; empty: the key signs for itself."""

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of a message."""


class SignedRequest(NamedTuple):
    """A signed request. It may be sent any number of times until it expires."""

    body: bytes
    """The envelope: CBOR with the self-describe tag."""
    request_id: bytes
    """32 bytes."""
    ingress_expiry: int
    """ns since 1970."""


class VerifiedRequest(NamedTuple):
    """A request whose envelope passed :func:`verify_envelope`."""

    content: dict[str, Any]
    """The decoded content; its known fields have valid types and sizes."""
    sender: Principal
    request_id: bytes
    """32 bytes."""
    targets: frozenset[bytes] | None = None
    """The canisters that the delegations allow; None: any.

    :func:`verify_envelope` checks them for calls and queries. For read_state, the caller must check them.
    """


def expiry_after(now_ns: int, seconds: float) -> int:
    """Return the ingress expiry of a request with a given lifetime.

    Like agents, it rounds down, so that equal requests made at nearly the same time have the same id: to the minute for
    lifetimes over 90 s, otherwise to the second (agent-rs, ``ic-agent/src/agent/mod.rs``).

    :param now_ns: the time now, ns since 1970
    :param seconds: the lifetime, in seconds
    :returns: ns since 1970
    """
    unit = 60 * SECOND_NS if seconds > 90 else SECOND_NS
    expiry = now_ns + int(seconds * SECOND_NS)
    return expiry - expiry % unit


def call_content(
    sender: Principal, canister: Principal, method: str, arg: bytes, expiry_ns: int, nonce: bytes | None = None
) -> dict[str, Any]:
    """Return the content of a call."""
    return _method_content("call", sender, canister, method, arg, expiry_ns, nonce)


def query_content(
    sender: Principal, canister: Principal, method: str, arg: bytes, expiry_ns: int, nonce: bytes | None = None
) -> dict[str, Any]:
    """Return the content of a query."""
    return _method_content("query", sender, canister, method, arg, expiry_ns, nonce)


def read_state_content(
    sender: Principal, paths: Sequence[Sequence[bytes]], expiry_ns: int, nonce: bytes | None = None
) -> dict[str, Any]:
    """Return the content of a read_state request.

    :param paths: at most 1000 paths of at most 127 labels
    """
    content: dict[str, Any] = {
        "request_type": "read_state",
        "sender": sender.raw,
        "ingress_expiry": expiry_ns,
        "paths": [list(path) for path in paths],
    }
    if nonce is not None:
        content["nonce"] = nonce
    return content


def _method_content(
    kind: str, sender: Principal, canister: Principal, method: str, arg: bytes, expiry_ns: int, nonce: bytes | None
) -> dict[str, Any]:
    content: dict[str, Any] = {
        "request_type": kind,
        "sender": sender.raw,
        "ingress_expiry": expiry_ns,
        "canister_id": canister.raw,
        "method_name": method,
        "arg": arg,
    }
    if nonce is not None:
        content["nonce"] = nonce
    return content


def sign_request(identity: Signer, content: dict[str, Any]) -> SignedRequest:
    """Sign a content. Its sender must be the identity's principal; this is not checked."""
    identifier = request_id(content)
    fields = {
        "content": content,
        "sender_pubkey": identity.public_key_der,
        "sender_sig": identity.sign(IC_REQUEST_SEPARATOR + identifier),
    }
    if identity.delegations:
        fields["sender_delegation"] = list(identity.delegations)
    return SignedRequest(cbor.dumps_tagged(fields), identifier, content["ingress_expiry"])


def anonymous_request(content: dict[str, Any]) -> SignedRequest:
    """Return the request for a content whose sender is the anonymous principal; it needs no signature."""
    return SignedRequest(cbor.dumps_tagged({"content": content}), request_id(content), content["ingress_expiry"])


def verify_envelope(
    body: bytes, now_ns: int, *, max_ttl_ns: int = MAX_INGRESS_TTL_NS, verifier: Verifier | None = None
) -> VerifiedRequest:
    """Check an envelope as a replica does.

    :param body: the CBOR of the envelope, with or without the self-describe tag
    :param now_ns: the replica's time, ns since 1970
    :param max_ttl_ns: how far in the future the ingress expiry may be, in ns
    :param verifier: verifies all kinds of signatures, and ``sender_info``; None: only Ed25519 and ECDSA signatures are
        accepted, and ``sender_info`` is not checked
    :raises FormatError: not an envelope
    :raises SignatureInvalid: the signature, a delegation, the sender or the expiry is invalid
    """
    envelope = loads_known(body, ENVELOPE)
    content = envelope.get("content") if isinstance(envelope, dict) else None
    if not isinstance(content, dict):
        raise FormatError("an envelope without content")
    sender = _check_content(content)
    public_key, signature, delegations = (
        cbor.optional(envelope, name) for name in ("sender_pubkey", "sender_sig", "sender_delegation")
    )
    kind = content["request_type"]
    # Anybody can make an anonymous query or read_state, so an old one gives nothing away.
    if kind == "call" or not sender.is_anonymous:
        _check_expiry(content["ingress_expiry"], now_ns, max_ttl_ns)
    identifier = request_id({name: content[name] for name in _HASHED[kind] if name in content})
    sender_info = cbor.optional(content, "sender_info")
    if verifier is not None and sender_info is not None and kind != "read_state":
        verifier.verify_sender_info(sender_info, public_key if isinstance(public_key, bytes) else None)
    if sender.is_anonymous:
        if public_key is not None or signature is not None or delegations is not None:
            raise SignatureInvalid("the anonymous sender with a key or a signature")
        return VerifiedRequest(content, sender, identifier)
    if not isinstance(public_key, bytes) or not isinstance(signature, bytes):
        raise SignatureInvalid("sender_pubkey and sender_sig are missing")
    if Principal.self_authenticating(public_key) != sender:
        raise SignatureInvalid("the sender is not the principal of sender_pubkey")
    if delegations is not None and not isinstance(delegations, list):
        raise FormatError("sender_delegation is not a list")
    verify = verify_signature if verifier is None else verifier
    chain = verify_delegations(public_key, delegations or (), now_ns, verify)
    if chain.queries_only and kind == "call":
        raise SignatureInvalid("a delegation that allows queries only")
    if chain.targets is not None and kind != "read_state" and content["canister_id"] not in chain.targets:
        raise SignatureInvalid("the canister is not among the delegation's targets")
    verify(chain.public_key, IC_REQUEST_SEPARATOR + identifier, signature)
    return VerifiedRequest(content, sender, identifier, chain.targets)


def _check_content(content: dict[str, Any]) -> Principal:
    kind, sender, expiry = content.get("request_type"), content.get("sender"), content.get("ingress_expiry")
    if kind not in _REQUEST_TYPES:
        raise FormatError("an unknown request_type")
    if not isinstance(sender, bytes):
        raise FormatError("a request without sender")
    if type(expiry) is not int or not 0 <= expiry < 1 << 64:
        raise FormatError("a request without ingress_expiry")
    nonce = cbor.optional(content, "nonce")
    if nonce is not None and (not isinstance(nonce, bytes) or len(nonce) > MAX_NONCE):
        raise FormatError(f"nonce is not bytes, at most {MAX_NONCE} of them")
    if kind == "read_state":
        paths = content.get("paths")
        if not isinstance(paths, list) or len(paths) > MAX_PATHS:
            raise FormatError(f"paths is not a list of at most {MAX_PATHS}")
        for path in paths:
            if not isinstance(path, list) or len(path) > MAX_LABELS or not all(isinstance(x, bytes) for x in path):
                raise FormatError(f"a path is not a list of at most {MAX_LABELS} labels")
    else:
        if not isinstance(content.get("canister_id"), bytes):
            raise FormatError("a request without canister_id")
        Principal(content["canister_id"])
        if not isinstance(content.get("method_name"), str):
            raise FormatError("a request without method_name")
        if not isinstance(content.get("arg"), bytes):
            raise FormatError("a request without arg")
    return Principal(sender) if sender != b"\x04" else ANONYMOUS


def _check_expiry(expiry_ns: int, now_ns: int, max_ttl_ns: int) -> None:
    if now_ns < expiry_ns <= now_ns + max_ttl_ns:
        return
    # This is the replica's exact text: agents in JavaScript parse the time in it to correct their clock
    # (dfinity/icp-js-core, packages/core/src/agent/errors.ts and utils/calculateReplicaTime).
    raise SignatureInvalid(
        "Invalid request expiry: Specified ingress_expiry not within expected range: "
        f"Minimum allowed expiry: {_utc(now_ns)}, Maximum allowed expiry: {_utc(now_ns + max_ttl_ns)}, "
        f"Provided expiry:        {_utc(expiry_ns)}"
    )


def _utc(time_ns: int) -> str:
    seconds, nanoseconds = divmod(time_ns, SECOND_NS)
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d %H:%M:%S}.{nanoseconds:09} UTC"
