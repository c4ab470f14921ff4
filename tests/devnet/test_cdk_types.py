from __future__ import annotations

import cbor2

from icwsgw.devnet.cdk_types import ClientKey, message_content
from icwsgw.ic.principal import Principal

CLIENT = Principal.from_text("wnkwv-wdqb5-7wlzr-azfpw-5e5n5-dyxrf-uug7x-qxb55-mkmpa-5jqik-tqe")


def test_a_message_is_what_serde_cbor_writes() -> None:
    # The struct's fields in their order behind the self-describe tag; cbor2 writes the same shortest forms.
    raw = message_content(ClientKey(CLIENT.raw, 300), 70_000, 1_790_000_000_000_000_000, True, b"x" * 24)
    expected = {
        "client_key": {"client_principal": CLIENT.raw, "client_nonce": 300},
        "sequence_num": 70_000,
        "timestamp": 1_790_000_000_000_000_000,
        "is_service_message": True,
        "content": b"x" * 24,
    }
    assert raw == b"\xd9\xd9\xf7" + cbor2.dumps(expected)
    assert list(cbor2.loads(raw[3:])) == list(expected)


def test_a_key_reads_as_in_the_cdks_errors() -> None:
    assert str(ClientKey(CLIENT.raw, 7)) == f"{CLIENT}_7"
