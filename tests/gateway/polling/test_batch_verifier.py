"""Batches are checked against certificates that a replica made."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from icwsgw.agent.root_subnet import RootSubnet
from icwsgw.devnet.canisters import ECHO_ID
from icwsgw.errors import CertificateInvalid, ConnectionLost
from icwsgw.gateway.polling import batch_verifier
from icwsgw.gateway.polling.batch_verifier import BatchVerifier
from icwsgw.ic.ws import Batch
from tests.memory.world import World


def again() -> None:
    raise AssertionError("not needed")


def batch_of(world: World) -> Batch:
    """The batch that the canister certifies for its one client."""
    from icwsgw.gateway.polling.poll_requests import PollRequests
    from icwsgw.ic.ws import parse_get_messages

    request = PollRequests(world.context.identities[0], ECHO_ID).get(0, world.now_ns())
    replies: list[bytes] = []
    world.agent.query(ECHO_ID, request, timeout=5).addCallback(replies.append)
    world.run(0.2)
    return parse_get_messages(replies[0])


def test_a_true_batch_passes_and_its_certificate_is_paired_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.open(2)
    batch = batch_of(world)
    pairings = []
    verify = batch_verifier.verify_certificate  # type: ignore[attr-defined]
    monkeypatch.setattr(batch_verifier, "verify_certificate", lambda *a, **k: pairings.append(1) or verify(*a, **k))  # type: ignore[func-returns-value]
    verifier = BatchVerifier(world.context, ECHO_ID)
    verifier.check(batch, again)
    verifier.check(batch, again)
    assert len(pairings) == 1


def test_a_changed_batch_does_not_pass() -> None:
    world = World()
    world.open(2)
    verifier = BatchVerifier(world.context, ECHO_ID)
    batch = batch_of(world)
    principal, nonce, key, content = batch.messages[0]
    for changed in (
        Batch([(principal, nonce, key, content + b"\x00")], batch.cert, batch.tree, True),
        Batch([(principal, nonce, key + b"0", content)], batch.cert, batch.tree, True),
        Batch(batch.messages, batch.cert[:-1] + bytes((batch.cert[-1] ^ 1,)), batch.tree, True),
        Batch(batch.messages, b"", batch.tree, True),
        Batch(batch.messages, batch.cert, b"", True),
    ):
        with pytest.raises(CertificateInvalid):
            verifier.check(changed, again)


def test_a_certificate_that_was_good_grows_old() -> None:
    world = World()
    world.open(1)
    verifier = BatchVerifier(world.context, ECHO_ID)
    batch = batch_of(world)
    verifier.check(batch, again)
    world.clock.advance(3600)
    with pytest.raises(CertificateInvalid):
        verifier.check(batch, again)


def test_without_a_root_key_a_batch_is_refused() -> None:
    world = World()
    world.open(1)
    batch = batch_of(world)
    fresh = World(start=False)
    with pytest.raises(CertificateInvalid, match="no root key"):
        BatchVerifier(fresh.context, ECHO_ID).check(batch, again)


def test_a_certificate_of_the_root_subnet_waits_for_the_canisters_subnet() -> None:
    world = World(delegation="none")
    world.open(1)
    batch = batch_of(world)
    verifier = BatchVerifier(world.context, ECHO_ID)
    woken: list[int] = []
    assert not verifier.check(batch, lambda: woken.append(1))
    world.run(0.1)
    assert woken == [1]
    assert verifier.check(batch, again)


def test_a_failed_look_up_of_a_subnet_is_repeated_by_the_next_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(delegation="none")
    world.open(1)
    batch = batch_of(world)
    requests: list[Deferred[None]] = []

    def look_up(self: RootSubnet, canister: object) -> Deferred[None]:
        requests.append(Deferred())
        return requests[-1]

    monkeypatch.setattr(RootSubnet, "look_up", look_up)
    verifier = BatchVerifier(world.context, ECHO_ID)
    for _ in range(2):
        assert not verifier.check(batch, again)
        unhandled: list[object] = []
        requests[-1].errback(ConnectionLost("gone"))
        requests[-1].addErrback(unhandled.append)
        assert unhandled == []
    assert len(requests) == 2


def test_a_certificate_of_the_root_subnet_is_refused_for_other_canisters(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(delegation="none")
    world.open(1)
    batch = batch_of(world)
    monkeypatch.setattr(RootSubnet, "holds", lambda *_: False)
    with pytest.raises(CertificateInvalid, match="of the root subnet"):
        BatchVerifier(world.context, ECHO_ID).check(batch, again)


def test_clients_of_a_root_subnet_s_canister_are_served() -> None:
    world = World(delegation="none", verify=True, verify_batches=True)
    (client,) = world.open(1)
    client.echoes(b"there and back")
    failed = {label: count for label, count in world.metrics.queries.values.items() if count}
    assert set(failed) <= {"ok", "empty", "abandoned"}


def test_a_bad_certificate_is_bad_each_time_it_comes_and_a_good_one_stays_good() -> None:
    """A verifier that took note of the bytes before it had judged them would let them pass the second time."""
    world = World()
    world.open(2)
    verifier = BatchVerifier(world.context, ECHO_ID)
    batch = batch_of(world)
    bad = Batch(batch.messages, batch.cert[:-1] + bytes((batch.cert[-1] ^ 1,)), batch.tree, True)
    for _ in range(3):
        with pytest.raises(CertificateInvalid):
            verifier.check(bad, again)
    for _ in range(2):
        verifier.check(batch, again)
        for _ in range(2):
            with pytest.raises(CertificateInvalid):
                verifier.check(bad, again)


def test_what_does_not_verify_puts_the_root_key_in_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.open(1)
    batch = batch_of(world)
    doubts: list[int] = []
    monkeypatch.setattr(world.context.network, "doubt_root_key", lambda: doubts.append(1))
    verifier = BatchVerifier(world.context, ECHO_ID)
    verifier.check(batch, again)
    assert doubts == []
    with pytest.raises(CertificateInvalid):
        verifier.check(Batch(batch.messages, b"", batch.tree, True), again)
    assert doubts == [1]


def test_age_is_judged_by_the_networks_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by this machine's, which may be an hour wrong."""
    world = World()
    world.open(1)
    batch = batch_of(world)
    times: list[int] = []
    verify = batch_verifier.verify_certificate  # type: ignore[attr-defined]

    def spy(*args: object, now_ns: int, **options: object) -> object:
        times.append(now_ns)
        return verify(*args, now_ns=now_ns, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(batch_verifier, "verify_certificate", spy)
    world.context.network.time.skew_ns = 3600 * 10**9
    with pytest.raises(CertificateInvalid):
        BatchVerifier(world.context, ECHO_ID).check(batch, again)
    assert times == [world.context.now_ns() + 3600 * 10**9]
