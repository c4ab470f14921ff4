"""What @dfinity/candid, the encoder of the JavaScript SDK, makes of the types; it numbers its tables in another way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from icwsgw.errors import CanisterRefused
from icwsgw.ic import ws
from icwsgw.ic.principal import Principal
from icwsgw.ic.ws import arguments, batch

VECTORS = {
    name: bytes.fromhex(value)
    for name, value in json.loads(
        (Path(__file__).parents[2] / "vectors" / "cdk" / "javascript.json").read_text()
    ).items()
}
PRINCIPAL = VECTORS["principal"]


def test_arguments() -> None:
    assert ws.decode_open_args(VECTORS["open"]) == (77, PRINCIPAL)
    assert ws.encode_open_args(77, PRINCIPAL) == VECTORS["open"]
    assert ws.decode_close_args(VECTORS["close"]) == (PRINCIPAL, 77)
    assert ws.decode_get_args(VECTORS["get"]) == 7
    assert ws.encode_get_messages(7) == VECTORS["get"]


@pytest.mark.parametrize("name", ["message", "message_with_app"])
def test_messages(name: str) -> None:
    expected = ws.MessageArgs(PRINCIPAL, 77, 3, 1_700_000_000_000_000_000, False, b"\1\2\3")
    assert ws.decode_message_args(VECTORS[name]) == expected
    assert arguments._message_heads.find(VECTORS[name])[1] == arguments._USUAL


@pytest.mark.parametrize(
    ("name", "end", "form"),
    [
        ("batch", False, batch._PLAIN),
        ("batch_opt", True, batch._OPTIONAL),
        ("batch_without", None, batch._ABSENT),
    ],
)
def test_batches(name: str, end: bool | None, form: int) -> None:
    answer = ws.parse_get_messages(VECTORS[name])
    key = f"{Principal(PRINCIPAL)}_00000000000000000007".encode()
    assert answer.messages == [(PRINCIPAL, 77, key, b"\x09\x08\x07")]
    assert (answer.cert, answer.tree, answer.end_of_queue) == (b"\xaa", b"", end)
    assert batch._heads.find(VECTORS[name])[1] == form


def test_results() -> None:
    ws.decode_unit_result(VECTORS["result_ok"])
    assert ws.encode_result_ok() == VECTORS["result_ok"]
    assert ws.encode_result_err("no") == VECTORS["result_err"]
    for read, name in ((ws.decode_unit_result, "result_err"), (ws.parse_get_messages, "batch_err")):
        with pytest.raises(CanisterRefused, match=r"^no$"):
            read(VECTORS[name])


def test_service_messages() -> None:
    assert ws.decode_service_message(VECTORS["keep_alive"]) == ws.KeepAliveMessage(5)
    assert ws.decode_service_message(VECTORS["close_message"]) == ws.CloseMessage("WrongSequenceNumber")
