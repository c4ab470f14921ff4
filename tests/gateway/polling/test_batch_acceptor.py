"""What happens to a batch before it is delivered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from icwsgw.errors import CertificateInvalid
from icwsgw.gateway.polling.batch_acceptor import BatchAcceptor
from icwsgw.ic.principal import Principal
from icwsgw.ic.ws import Batch
from tests.support.fake_network import CANISTER, make_context


class FakeReadable:
    """Writes a certificate in capitals, or lets it wait."""

    def __init__(self) -> None:
        self.looked: list[bytes] = []
        self.waits = False

    def look(self, canister: Principal, certificate: bytes, again: Callable[[], None]) -> bytes | None:
        assert canister == CANISTER
        self.looked.append(certificate)
        if self.waits:
            again()
            return None
        return certificate.upper()


def batch(cert: bytes) -> Batch:
    return Batch([(b"p", 0, b"k_0", b"c")], cert, b"tree", True)


def test_each_certificate_is_looked_at_once() -> None:
    context, _, _ = make_context()
    looks = FakeReadable()
    incoming = BatchAcceptor(replace(context, readable=looks), CANISTER, lambda: None)
    for cert in (b"one", b"one", b"two", b"two", b"one"):
        answer = batch(cert)
        assert incoming.accept(answer)
        assert answer.cert == cert.upper()
    assert looks.looked == [b"one", b"two", b"one"]


def test_answers_that_have_to_wait_are_polled_again() -> None:
    context, _, _ = make_context()
    looks, woken = FakeReadable(), []
    incoming = BatchAcceptor(replace(context, readable=looks), CANISTER, lambda: woken.append(1))
    looks.waits = True
    answer = batch(b"one")
    assert not incoming.accept(answer)
    assert (answer.cert, woken) == (b"one", [1])
    looks.waits = False
    assert incoming.accept(answer)
    assert answer.cert == b"ONE"


def test_without_replacement_certificates_stay_as_they_are() -> None:
    context, _, _ = make_context()
    answer = batch(b"one")
    assert BatchAcceptor(context, CANISTER, lambda: None).accept(answer)
    assert answer.cert == b"one"


def test_a_batch_is_checked_as_it_came() -> None:
    context, _, _ = make_context(verify_batches=True)
    looks = FakeReadable()
    with pytest.raises(CertificateInvalid):
        BatchAcceptor(replace(context, readable=looks), CANISTER, lambda: None).accept(batch(b"one"))
    assert looks.looked == []
