"""Certificates for tests: mainnet's from tests/vectors, and those of an artificial network with its own keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cbor2

from icwsgw.ic import bls
from icwsgw.ic.bls import MAINNET_ROOT_KEY_DER
from icwsgw.ic.certificate import (
    Certificate,
    Delegation,
    build_delegation,
    decode_certificate,
    verify_certificate,
)
from icwsgw.ic.hashtree import Tree, from_mapping
from icwsgw.ic.principal import Principal
from icwsgw.ic.request_id import leb128

VECTORS = Path(__file__).parent.parent / "vectors" / "certificates"
SECOND = 1_000_000_000

IVG37 = Principal.from_text("ivg37-qiaaa-aaaab-aaaga-cai")
RYJL3 = Principal.from_text("ryjl3-tyaaa-aaaaa-aaaba-cai")
C224OD = Principal.from_text("224od-giaaa-aaaao-ae5vq-cai")
UZR34 = Principal.from_text("uzr34-akd3s-xrdag-3ql62-ocgoh-ld2ao-tamcv-54e7j-krwgb-2gm4z-oqe")
O3OW2 = Principal.from_text("o3ow2-2ipam-6fcjo-3j5vt-fzbge-2g7my-5fz2m-p4o2t-dwlc4-gt2q7-5ae")
QXESV = Principal.from_text("qxesv-zoxpm-vc64m-zxguk-5sj74-35vrb-tbgwg-pcird-5gr26-62oxl-cae")
ROOT_SUBNET = Principal.from_text("tdb26-jop6k-aogll-7ltgs-eruif-6kk7m-qpktf-gdiqx-mxtrf-vb5e6-eqe")


def read_state_answer(name: str) -> bytes:
    body = cbor2.loads((VECTORS / name).read_bytes())
    certificate = body["certificate"]
    assert isinstance(certificate, bytes)
    return certificate


def bare(name: str) -> bytes:
    return (VECTORS / name).read_bytes()


def verify_mainnet(
    data: bytes, *, canister_id: Principal | None = None, subnet_id: Principal | None = None
) -> Certificate:
    """Verify a mainnet certificate at the time that it states."""
    return verify_certificate(
        data,
        root_key_der=MAINNET_ROOT_KEY_DER,
        canister_id=canister_id,
        subnet_id=subnet_id,
        now_ns=decode_certificate(data).time_ns,
    )


# The artificial network: a root subnet and one other.

ROOT_SECRET = bls.secret_key(b"root subnet".ljust(32))
SUBNET_SECRET = bls.secret_key(b"application subnet".ljust(32))
ROOT_KEY_DER = bls.der_wrap(bls.public_key(ROOT_SECRET))
SUBNET_KEY_DER = bls.der_wrap(bls.public_key(SUBNET_SECRET))
SUBNET = Principal.self_authenticating(SUBNET_KEY_DER)
NOW = 1_700_000_000 * SECOND


def canister(number: int) -> Principal:
    return Principal(number.to_bytes(8, "big") + b"\x01\x01")


CANISTER = canister(150)
RANGES = [(canister(100), canister(200)), (canister(300), canister(300))]


def sign_as_root(message: bytes) -> bytes:
    return bls.sign(ROOT_SECRET, message)


def sign_as_subnet(message: bytes) -> bytes:
    return bls.sign(SUBNET_SECRET, message)


def state(time_ns: int = NOW, **rest: Any) -> Tree:
    return from_mapping({b"time": leb128(time_ns), **{name.encode(): below for name, below in rest.items()}})


def delegate(
    time_ns: int = NOW,
    *,
    subnet_id: Principal = SUBNET,
    subnet_key_der: bytes = SUBNET_KEY_DER,
    ranges: list[tuple[Principal, Principal]] = RANGES,
    sign: Callable[[bytes], bytes] = sign_as_root,
    sharded: bool = True,
) -> Delegation:
    return build_delegation(
        subnet_id=subnet_id,
        subnet_key_der=subnet_key_der,
        ranges=ranges,
        time_ns=time_ns,
        sign=sign,
        sharded=sharded,
    )


def verify(data: bytes, canister_id: Principal = CANISTER, now_ns: int | None = NOW, **options: Any) -> Certificate:
    return verify_certificate(data, root_key_der=ROOT_KEY_DER, canister_id=canister_id, now_ns=now_ns, **options)
