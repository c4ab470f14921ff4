"""Identities that act for another key by delegations, as Internet Identity gives them to web applications.

The sender is the principal of the first key; the key of the session signs. The JSON form is that of the JavaScript
agents (``DelegationChain.toJSON``): hex digits for bytes and for times in nanoseconds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from icwsgw.errors import FormatError
from icwsgw.ic.envelope import Signer
from icwsgw.ic.principal import Principal
from icwsgw.ic.request_id import IC_REQUEST_AUTH_DELEGATION_SEPARATOR, request_id
from icwsgw.ic.signatures import MAX_DELEGATIONS, verify_delegations

_MAX_JSON: Final = 1 << 20


class SignedDelegation(NamedTuple):
    """One link of a chain: the permission of a key for another key, signed by the key before it.

    :ivar public_key: the key that gets the permission, in DER
    :ivar expiration: ns since 1970
    :ivar targets: the canisters for which it holds; None: all
    :ivar signature: by the key before
    :ivar permissions: ``queries`` or ``all``; None: the delegation has no such field, which means all
    """

    public_key: bytes
    expiration: int
    targets: tuple[Principal, ...] | None
    signature: bytes
    permissions: str | None = None

    def fields(self) -> dict[str, Any]:
        """Return the entry of an envelope's ``sender_delegation``."""
        content = _content(self.public_key, self.expiration, self.targets, self.permissions)
        return {"delegation": content, "signature": self.signature}


def sign_delegation(
    signer: Signer, public_key: bytes, expiration: int, targets: Sequence[Principal] | None = None
) -> SignedDelegation:
    """Allow another key to act for a signer.

    :param signer: the key that gives the permission
    :param public_key: the key that gets it, in DER
    :param expiration: ns since 1970
    :param targets: only for these canisters
    """
    own = None if targets is None else tuple(targets)
    digest = request_id(_content(public_key, expiration, own))
    signature = signer.sign(IC_REQUEST_AUTH_DELEGATION_SEPARATOR + digest)
    return SignedDelegation(public_key, expiration, own, signature)


def _content(
    public_key: bytes, expiration: int, targets: tuple[Principal, ...] | None, permissions: str | None = None
) -> dict[str, Any]:
    content: dict[str, Any] = {"pubkey": public_key, "expiration": expiration}
    if targets is not None:
        content["targets"] = [target.raw for target in targets]
    if permissions is not None:
        content["permissions"] = permissions
    return content


class DelegatedIdentity:
    """An identity whose session key signs for the key at the beginning of a chain of delegations.

    :ivar public_key_der: the key at the beginning of the chain, in DER
    :ivar principal: its self-authenticating principal, which is the sender
    :ivar expiration: when the first of the delegations expires, ns since 1970
    """

    __slots__ = ("_fields", "_session", "expiration", "principal", "public_key_der")

    def __init__(self, session: Signer, public_key_der: bytes, chain: Sequence[SignedDelegation]) -> None:
        """Make an identity of a session key and a chain that ends at it.

        :raises FormatError: the chain is empty, too long, or ends at another key
        """
        if not 0 < len(chain) <= MAX_DELEGATIONS:
            raise FormatError(f"a chain has 1 to {MAX_DELEGATIONS} delegations, not {len(chain)}")
        if chain[-1].public_key != session.public_key_der:
            raise FormatError("the delegations are for another session key")
        self._session = session
        self._fields = [link.fields() for link in chain]
        self.public_key_der = public_key_der
        self.principal = Principal.self_authenticating(public_key_der)
        self.expiration = min(link.expiration for link in chain)

    @classmethod
    def from_json(cls, session: Signer, text: str) -> DelegatedIdentity:
        """Read a chain in the form of the JavaScript agents.

        :raises FormatError: not such a chain, or see :class:`DelegatedIdentity`
        """
        try:
            if len(text) > _MAX_JSON:
                raise ValueError
            document = json.loads(text)
            chain = [_link(entry) for entry in document["delegations"]]
            public_key = bytes.fromhex(document["publicKey"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise FormatError("not a chain of delegations in JSON (publicKey, delegations)") from None
        return cls(session, public_key, chain)

    @property
    def delegations(self) -> Sequence[dict[str, Any]]:
        """The entries of an envelope's ``sender_delegation``."""
        return self._fields

    def sign(self, message: bytes) -> bytes:
        """Return the session key's signature of a message."""
        return self._session.sign(message)

    def verify(self, now_ns: int) -> None:
        """Verify the chain as far as this program knows the kinds of keys in it.

        :param now_ns: the time now, ns since 1970
        :raises SignatureInvalid: an invalid signature, an expired delegation, or a kind of key that is not known here
        """
        verify_delegations(self.public_key_der, self._fields, now_ns)

    def expired(self, now_ns: int) -> bool:
        """Return whether one of the delegations has expired."""
        return self.expiration < now_ns

    def __repr__(self) -> str:
        return f"DelegatedIdentity({self.principal})"


def _link(entry: dict[str, Any]) -> SignedDelegation:
    delegation = entry["delegation"]
    targets = delegation.get("targets")
    own = None if targets is None else tuple(Principal(bytes.fromhex(target)) for target in targets)
    expiration = int(delegation["expiration"], 16)
    permissions = delegation.get("permissions")
    if not 0 <= expiration < 1 << 64 or permissions not in (None, "queries", "all"):
        raise ValueError
    public_key, signature = bytes.fromhex(delegation["pubkey"]), bytes.fromhex(entry["signature"])
    return SignedDelegation(public_key, expiration, own, signature, permissions)
