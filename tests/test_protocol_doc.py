"""docs/protocol.md against the code: its worked example."""

from __future__ import annotations

import re
from types import ModuleType

import pytest

from icwsgw.core.messages import parse_client_frame
from icwsgw.ic import cbor, certificate, hashtree
from tests.support.scripts import load_script
from tests.test_layering import ROOT


@pytest.fixture(scope="module")
def made() -> ModuleType:
    return load_script("protocol_example")


def test_the_example_is_what_the_code_makes(made: ModuleType) -> None:
    document = (ROOT / "docs" / "protocol.md").read_text()
    assert made.with_example(document) == document, "run scripts/protocol_example.py"


def test_the_listed_bytes_are_the_messages(made: ModuleType) -> None:
    blocks = re.findall(r"```text\n(.*?)```", made.example(), re.DOTALL)
    listed = [bytes.fromhex("".join(line.partition("#")[0] for line in block.splitlines())) for block in blocks]
    assert listed == [made.handshake(made.GATEWAY.principal.raw), made.open_call(), made.canister_message()]


def test_the_example_is_read_and_verified(made: ModuleType) -> None:
    opening = parse_client_frame(made.open_call())
    assert (opening.method_name, opening.canister_id) == ("ws_open", made.CANISTER.raw)
    message = cbor.loads(made.canister_message())
    root_key = made.bls.der_wrap(made.bls.public_key(made.ROOT_SECRET))
    verified = certificate.verify_certificate(
        message["cert"], root_key_der=root_key, canister_id=made.CANISTER, now_ns=made.NOW_NS
    )
    tree = hashtree.decode(message["tree"])
    assert certificate.certified_data(verified, made.CANISTER) == hashtree.reconstruct(tree)
