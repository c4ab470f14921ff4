"""Hypothesis strategies for the IC's formats: principals, CBOR values, request contents, and damaged bytes."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal

U64 = st.integers(0, 2**64 - 1)
BLOBS = st.binary(max_size=64)
TEXTS = st.text(max_size=24)


def principals() -> st.SearchStrategy[Principal]:
    """Any principal, including the empty one."""
    return st.builds(Principal, st.binary(max_size=29))


def identities() -> st.SearchStrategy[Ed25519Identity]:
    """Any Ed25519 identity."""
    return st.builds(Ed25519Identity, st.binary(min_size=32, max_size=32))


def cbor_values() -> st.SearchStrategy[Any]:
    """Values that ``cbor.loads`` can return: maps with text keys, lists, blobs, texts, numbers, simple values."""
    leaves = (
        st.none()
        | st.booleans()
        | st.integers(-(2**64), 2**64 - 1)
        | st.integers(-(2**255), 2**255)
        | st.floats(allow_nan=False)
        | BLOBS
        | TEXTS
    )
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5), max_leaves=20
    )


def hashable_values() -> st.SearchStrategy[Any]:
    """Values that have a representation-independent hash."""
    leaves = st.integers(0, 2**128) | st.integers(-(2**128), 2**128) | BLOBS | TEXTS
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5), max_leaves=20
    )


def contents(sender: Principal) -> st.SearchStrategy[dict[str, Any]]:
    """Contents of calls and queries of one sender, with optional and unknown fields and any expiry."""
    return st.fixed_dictionaries(
        {
            "request_type": st.sampled_from(["call", "query"]),
            "sender": st.just(sender.raw),
            "ingress_expiry": U64,
            "canister_id": principals().map(bytes),
            "method_name": TEXTS,
            "arg": BLOBS,
        },
        optional={
            "nonce": st.binary(max_size=32),
            "sender_info": st.fixed_dictionaries({"info": BLOBS, "signer": BLOBS, "sig": BLOBS}),
            "something_new": hashable_values(),
        },
    )


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes with one to four changes: a byte changed, inserted or removed; a cut; a part repeated; or padding."""
    out = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(out)))
        kind = draw(st.integers(0, 5))
        if kind == 0 and at < len(out):
            out[at] = draw(st.integers(0, 255))
        elif kind == 1:
            out[at:at] = draw(st.binary(min_size=1, max_size=9))
        elif kind == 2:
            del out[at : at + draw(st.integers(1, 9))]
        elif kind == 3:
            del out[at:]
        elif kind == 4:
            out[at:at] = out[max(0, at - draw(st.integers(1, 16))) : at]
        else:
            out += draw(st.binary(min_size=1, max_size=9))
    return bytes(out)
