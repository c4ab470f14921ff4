from __future__ import annotations

import pytest
from autobahn.twisted.websocket import WebSocketServerProtocol
from autobahn.websocket.compress import PerMessageDeflateOffer
from hypothesis import given
from hypothesis import strategies as st

from icwsgw.server.extensions import acceptable, split_outside_quotes

PLAIN = b"permessage-deflate"


@pytest.mark.parametrize(
    ("value", "offers"),
    [
        (b"", []),
        (PLAIN, [PLAIN]),
        # what browsers send
        (b"permessage-deflate; client_max_window_bits", [b"permessage-deflate; client_max_window_bits"]),
        # RFC 7692, section 7.1: examples
        (
            b"permessage-deflate; client_max_window_bits; server_max_window_bits=10",
            [b"permessage-deflate; client_max_window_bits; server_max_window_bits=10"],
        ),
        (
            b"permessage-deflate; server_max_window_bits=10, permessage-deflate",
            [b"permessage-deflate; server_max_window_bits=10", PLAIN],
        ),
        (b'permessage-deflate; server_max_window_bits="10"', [b"permessage-deflate; server_max_window_bits=10"]),
        (b"Permessage-Deflate;SERVER_NO_CONTEXT_TAKEOVER", [b"permessage-deflate; server_no_context_takeover"]),
        (b"permessage-deflate; client_max_window_bits=8", [b"permessage-deflate; client_max_window_bits"]),
        # declined, with and without another offer behind
        (b"permessage-deflate; server_max_window_bits=8", []),
        (b"permessage-deflate; server_max_window_bits=8, permessage-deflate", [PLAIN]),
        (b"x-webkit-deflate-frame, permessage-deflate, mux; a=1", [PLAIN]),
        (b"permessage-bzip2", []),
        (b"permessage-deflate; a", []),
        (b"permessage-deflate;", []),
        (b"permessage-deflate; client_no_context_takeover; client_no_context_takeover", []),
        (b"permessage-deflate; client_no_context_takeover=1", []),
        (b"permessage-deflate; server_max_window_bits", []),
        (b"permessage-deflate; server_max_window_bits=010", []),
        (b"permessage-deflate; client_max_window_bits=16", []),
        (b'permessage-deflate; server_max_window_bits="10', []),
        (b'x; a="1, permessage-deflate", permessage-deflate', [PLAIN]),
        (b",,;,=,permessage-deflate", [PLAIN]),
    ],
)
def test_offers(value: bytes, offers: list[bytes]) -> None:
    assert acceptable(value) == offers


PIECES = ["permessage-deflate", "x", ";", ";", ",", "=", '"', "\\", " ", "\t", "8", "10", "015"]
PARAMETERS = [
    "client_max_window_bits",
    "server_max_window_bits",
    "server_no_context_takeover",
    "Client_No_Context_Takeover",
]


@given(st.lists(st.sampled_from(PIECES + PARAMETERS), max_size=20).map("".join))
def test_autobahn_takes_every_offer_that_it_gets_to_see(value: str) -> None:
    offers = acceptable(value.encode())
    parsed = WebSocketServerProtocol()._parseExtensionsHeader(b", ".join(offers).decode())
    assert len(parsed) == len(offers)
    for name, parameters in parsed:
        assert name == "permessage-deflate"
        PerMessageDeflateOffer.parse(parameters)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a,b", ["a", "b"]),
        ('a="1,2",b', ['a="1,2"', "b"]),
        (r'a="1\",2",b', [r'a="1\",2"', "b"]),
        ('a="1,2', ['a="1,2']),
        ("a\\,b", ["a\\", "b"]),
    ],
)
def test_separators_in_quotes_do_not_separate(text: str, parts: list[str]) -> None:
    assert split_outside_quotes(text, ",") == parts
