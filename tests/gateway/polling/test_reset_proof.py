"""A new life is proven by a certificate, or where there is none to verify by, by a second answer."""

from __future__ import annotations

import pytest

from icwsgw.errors import CertificateInvalid
from icwsgw.gateway.polling.reset_proof import ResetProof
from icwsgw.ic.ws import encode_batch, parse_get_messages
from tests.support.fake_network import CANISTER, make_context

BATCH = parse_get_messages(encode_batch([(b"c", 1, b"gw_%020d" % 0, b"x")], b"cert", b"tree", True))


def test_without_a_root_key_a_second_answer_has_to_say_it() -> None:
    context, network, _ = make_context()
    network.root_key = None
    reset_proof = ResetProof(context, CANISTER)
    assert not reset_proof.holds(BATCH, 10.0, 9.0)
    assert not reset_proof.holds(BATCH, 10.1, 9.5), "it was asked before the first had come"
    assert reset_proof.holds(BATCH, 11.0, 10.1)
    reset_proof = ResetProof(context, CANISTER)
    assert not reset_proof.holds(BATCH, 10.0, 9.0)
    reset_proof.contradicted()
    assert not reset_proof.holds(BATCH, 11.0, 10.5)


def test_with_a_root_key_the_certificate_decides() -> None:
    context, network, _ = make_context()
    network.root_key = b"\x01" * 133
    reset_proof = ResetProof(context, CANISTER)
    for at in range(5):
        with pytest.raises(CertificateInvalid):
            reset_proof.holds(BATCH, at + 0.5, at)
    assert network.doubts == 5
