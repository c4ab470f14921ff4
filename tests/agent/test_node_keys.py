"""The keys of a subnet's nodes; tests/agent/test_subnet_cache.py has how they are kept."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from icwsgw.agent.node_keys import NodeKeyCache
from icwsgw.agent.trust import Trust
from icwsgw.errors import CertificateInvalid
from icwsgw.ic import cbor, hashtree
from icwsgw.ic.certificate import Certificate
from icwsgw.ic.principal import Principal
from tests.support.certificates import ROOT_KEY_DER, delegate
from tests.support.devnet import result_of

CANISTER = Principal(b"\x01")


def fetched(read: Certificate) -> Deferred[dict[bytes, bytes]]:
    """What a cache makes of a certificate."""
    clock = Clock()
    reading: Deferred[Certificate] = Deferred()
    trust = Trust(clock, lambda: 0.5, lambda: Deferred(), ROOT_KEY_DER)
    fetching = NodeKeyCache(clock, trust, lambda _: reading).fetch(CANISTER)
    reading.callback(read)
    return fetching


def test_those_of_the_delegation_s_subnet() -> None:
    own, other = Principal(b"\x09"), Principal(b"\x0a")
    nodes = {subnet.raw: {b"node": {subnet.raw: {b"public_key": b"k"}}} for subnet in (own, other)}
    delegation = delegate(subnet_id=own, ranges=[(CANISTER, CANISTER)])
    read = Certificate(hashtree.from_mapping({b"subnet": nodes}), b"s" * 48, delegation)
    assert result_of(fetched(read)) == {own.raw: b"k"}


@pytest.mark.parametrize("ranges", [False, True])
def test_those_of_the_root_subnet_need_its_canister_ranges(ranges: bool) -> None:
    root = Principal.self_authenticating(ROOT_KEY_DER)
    subnet = {b"node": {b"n": {b"public_key": b"k"}}}
    if ranges:
        subnet[b"canister_ranges"] = cbor.dumps([[CANISTER.raw, CANISTER.raw]])  # type: ignore[assignment]
    fetching = fetched(Certificate(hashtree.from_mapping({b"subnet": {root.raw: subnet}}), b"s" * 48))
    if ranges:
        assert result_of(fetching) == {b"n": b"k"}
    else:
        with pytest.raises(CertificateInvalid, match="does not show its canister ranges"):
            result_of(fetching)
