from __future__ import annotations

import pytest

from icwsgw.server.heads import readable
from tests.support.ws_wire import HANDSHAKE


def changed(*lines: bytes, any_origin: bool = True, rest: bytes = b"\r\n\r\n\x82\x00origin: x") -> tuple[bytes, bytes]:
    """What becomes of further lines and of what follows the head."""
    head = HANDSHAKE + b"\r\n".join(lines)
    made = readable(head + rest, len(head), any_origin)
    kept = HANDSHAKE.removesuffix(b"\r\n")
    assert made.startswith(kept)
    assert made.endswith(rest)
    return made[len(kept) : -len(rest)], made


@pytest.mark.parametrize("line", [b"Origin: app", b"ORIGIN:", b"origin : http://a.example:99999"])
def test_an_origin_is_left_out_where_nobody_asks_for_it(line: bytes) -> None:
    assert changed(b"X: y", line, b"X-Origin: z")[0] == b"\r\nX: y\r\nX-Origin: z"
    assert changed(line, b"X: y", line)[0] == b"\r\nX: y"
    assert changed(line, any_origin=False)[0] == b"\r\n" + line


def test_extensions_of_several_lines_are_one_list() -> None:
    one = b"Sec-WebSocket-Extensions: a; b=1"
    assert changed(one)[0] == b"\r\n" + one
    both = changed(one, b"X: y", b"sec-websocket-extensions:c")[0]
    assert both == b"\r\nX: y\r\nSec-WebSocket-Extensions: a; b=1,c"
