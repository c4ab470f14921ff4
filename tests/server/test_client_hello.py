import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from icwsgw.server.client_hello import ACME_TLS, MAX_HELLO, MAX_RECORDS, offers_acme, protocols


def hello(offered: list[bytes], name: str = "a.example", version: int = 0) -> bytes:
    """What OpenSSL sends first."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if version:
        context.set_max_proto_version(version)
    if offered:
        context.set_alpn_protos(offered)
    client = SSL.Connection(context, None)
    client.set_tlsext_host_name(name.encode())
    client.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    return client.bio_read(1 << 16)


@pytest.mark.parametrize("version", [0, SSL.TLS1_2_VERSION])
def test_what_openssl_offers(version: int) -> None:
    for offered in ([], [b"h2"], [ACME_TLS], [b"http/1.1", ACME_TLS], [b"acme-tls/2", b"acme-tls/"]):
        data = hello(offered, version=version)
        assert protocols(data[9:]) == offered
        assert offers_acme(data) is (ACME_TLS in offered)


def test_what_other_programs_offer() -> None:
    """Python's ssl module, which is OpenSSL too but has another way of building the message."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1", "acme-tls/1"])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="a.example")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    assert offers_acme(outgoing.read()) is True


def test_it_comes_in_pieces() -> None:
    for offered in ([ACME_TLS], [b"h2"]):
        data = hello(offered)
        for end in range(len(data)):
            assert offers_acme(data[:end]) is None
        # data behind it changes nothing
        assert offers_acme(data + b"\x14\x03\x03\x00\x01\x01") is (offered == [ACME_TLS])


def test_it_may_be_split_into_records() -> None:
    data = hello([ACME_TLS])
    message = data[5:]
    for size in (len(message) // MAX_RECORDS + 1, 200, len(message) - 1):
        parts = [message[at : at + size] for at in range(0, len(message), size)]
        records = b"".join(b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part for part in parts)
        assert offers_acme(records) is True
        assert offers_acme(records[:-1]) is None


def test_a_hello_in_crumbs_is_not_put_together() -> None:
    message = hello([ACME_TLS])[5:]
    records = b"".join(b"\x16\x03\x01\x00\x01" + message[at : at + 1] for at in range(len(message)))
    assert offers_acme(records[: 6 * MAX_RECORDS - 1]) is None
    assert offers_acme(records) is False


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",
        b"\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03",
        b"\x15\x03\x01\x00\x02\x02\x28",
    ],
)
def test_what_is_no_hello_offers_nothing(data: bytes) -> None:
    assert offers_acme(data) is False


def test_an_endless_hello_is_not_waited_for() -> None:
    record = b"\x16\x03\x01\x40\x00\x01\x00\xff\xff" + bytes(MAX_HELLO - 4)
    assert offers_acme(record[: MAX_HELLO - 1]) is None
    assert offers_acme(record) is False


@given(st.binary(max_size=600), st.integers(0, 400), st.binary(max_size=40))
def test_nothing_makes_it_fail(data: bytes, at: int, change: bytes) -> None:
    assert offers_acme(data) in (True, False, None)
    whole = _WHOLE[:at] + change + _WHOLE[at + len(change) :]
    assert offers_acme(whole) in (True, False, None)


_WHOLE = hello([b"h2", ACME_TLS])


def test_a_hello_that_never_ends_is_not_waited_for() -> None:
    # the record says that more comes
    begun = b"\x16\x03\x01\x40\x00\x01\x00\xff\xff"
    assert offers_acme(begun + bytes(MAX_HELLO - len(begun) - 1)) is None
    assert offers_acme(begun + bytes(MAX_HELLO - len(begun))) is False
