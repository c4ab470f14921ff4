"""What the JavaScript client verifies of a message, with certificates of mainnet and of an artificial network."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from icwsgw.ic import hashtree
from icwsgw.ic.bls import MAINNET_ROOT_KEY_DER
from icwsgw.ic.certificate import Delegation, build_certificate, decode_certificate
from icwsgw.ic.hashtree import from_mapping
from icwsgw.ic.principal import Principal
from tests.acceptance.processes import CLIENT, run_node
from tests.support.certificates import (
    CANISTER,
    IVG37,
    NOW,
    ROOT_KEY_DER,
    SECOND,
    canister,
    delegate,
    read_state_answer,
    sign_as_root,
    sign_as_subnet,
    state,
)

pytestmark = [pytest.mark.acceptance, pytest.mark.sdk]

KEY = "gateway_00000000000000000001"
CONTENT = b"the canister's message"
TREE = from_mapping({b"websocket": {KEY.encode(): sha256(CONTENT).digest()}})


def certificate(
    delegation: Delegation | None, *, certified: bytes = hashtree.reconstruct(TREE), canister: Principal = CANISTER
) -> bytes:
    """A certificate in which a canister certifies a hash: the subnet's, or without a delegation the root subnet's."""
    tree = state(canister={canister.raw: {b"certified_data": certified}})
    return build_certificate(tree, sign_as_subnet if delegation else sign_as_root, delegation)


def message(cert: bytes, **changed: Any) -> dict[str, Any]:
    return {
        "canister": CANISTER.text,
        "rootKey": ROOT_KEY_DER.hex(),
        "key": KEY,
        "content": CONTENT.hex(),
        "cert": cert.hex(),
        "tree": hashtree.encode(TREE).hex(),
        "at": NOW / 1_000_000,
        **changed,
    }


def of_mainnet(name: str) -> dict[str, Any]:
    """With a certificate of mainnet, which says nothing of messages: verified as far as its signature."""
    cert = read_state_answer(name)
    at = decode_certificate(cert).time_ns / 1_000_000
    return message(cert, canister=IVG37.text, rootKey=MAINNET_ROOT_KEY_DER.hex(), at=at)


def test_which_messages_are_verified() -> None:
    good = certificate(delegate())
    elsewhere = canister(250)
    other_tree = from_mapping({b"websocket": {KEY.encode(): sha256(b"another").digest()}})
    cases = {
        "sharded ranges": ("verified", message(good)),
        "flat ranges": ("verified", message(certificate(delegate(sharded=False)))),
        "the root subnet": ("verified", message(certificate(None))),
        "changed content": ("witness-mismatch", message(good, content=b"another".hex())),
        "another key": ("witness-mismatch", message(good, key=KEY[:-1] + "2")),
        "another tree": (
            "witness-mismatch",
            message(good, tree=hashtree.encode(other_tree).hex(), content=b"another".hex()),
        ),
        "no tree": ("witness-mismatch", message(good, tree=b"\xff".hex())),
        "another hash is certified": ("witness-mismatch", message(certificate(delegate(), certified=bytes(32)))),
        "another canister certifies it": ("witness-mismatch", message(certificate(delegate(), canister=canister(151)))),
        "a canister of another subnet": (
            "certificate-invalid",
            message(certificate(delegate(), canister=elsewhere), canister=elsewhere.text),
        ),
        "the same, flat": (
            "certificate-invalid",
            message(certificate(delegate(sharded=False), canister=elsewhere), canister=elsewhere.text),
        ),
        "signed by the subnet alone": (
            "certificate-invalid",
            message(
                build_certificate(state(canister={CANISTER.raw: {b"certified_data": bytes(32)}}), sign_as_subnet, None)
            ),
        ),
        "a delegation that the root did not sign": (
            "certificate-invalid",
            message(certificate(delegate(sign=sign_as_subnet))),
        ),
        "another network": ("certificate-invalid", message(good, rootKey=MAINNET_ROOT_KEY_DER.hex())),
        "no certificate": ("certificate-invalid", message(b"\xa0")),
        "five minutes old": ("verified", message(good, at=(NOW + 300 * SECOND) / 1_000_000)),
        "older": ("certificate-age", message(good, at=(NOW + 301 * SECOND) / 1_000_000)),
        "of the future": ("certificate-age", message(good, at=(NOW - 301 * SECOND) / 1_000_000)),
        "mainnet, sharded ranges": ("witness-mismatch", of_mainnet("ivg37_time.bin")),
        "mainnet, flat ranges": ("witness-mismatch", of_mainnet("ivg37_delegated_v2.bin")),
        "mainnet, sharded ranges pruned": ("certificate-invalid", of_mainnet("ivg37_time_pruned_ranges.bin")),
        "mainnet, flat ranges pruned": ("certificate-invalid", of_mainnet("ivg37_delegated_v2_pruned_subnet.bin")),
    }
    parameters = {"cases": {name: case for name, (_, case) in cases.items()}}
    outcomes = run_node("acceptance/verify.mjs", parameters, folder=CLIENT)[-1]["outcomes"]
    assert outcomes == {name: expected for name, (expected, _) in cases.items()}
