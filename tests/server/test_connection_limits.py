from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from icwsgw.config.client_limits import ClientLimits
from icwsgw.server.connection_limits import ConnectionLimits


def test_connections_in_all_and_pending() -> None:
    limits = ConnectionLimits(ClientLimits(max_connections=3, max_pending=2), 0.0)
    assert [limits.enter(0.0, "192.0.2.1") for _ in range(4)] == [None, None, None, "connections"]
    assert [limits.waiting.enter(name, "192.0.2.1") for name in "abc"] == [None, None, "a"]
    assert (limits.total, len(limits.waiting)) == (3, 2)
    limits.leave(None)
    assert limits.enter(0.0, "192.0.2.1") is None


def test_who_has_most_goes_first_also_where_all_connections_are_taken() -> None:
    limits = ConnectionLimits(ClientLimits(max_connections=3), 0.0)
    for name in "abc":
        assert limits.enter(0.0, "192.0.2.1") is None
        limits.waiting.enter(name, "192.0.2.1")
    assert limits.enter(0.0, "192.0.2.1") == "connections"
    assert limits.enter(0.0, "192.0.2.2") is None
    assert limits.over_limit
    assert limits.waiting.enter("d", "192.0.2.2", full=limits.over_limit) == "a"
    limits.leave(None)
    assert not limits.over_limit
    # two and one: for a second one of the other address nobody goes
    assert limits.enter(0.0, "192.0.2.2") == "connections"


def test_no_bound_on_the_pending() -> None:
    limits = ConnectionLimits(ClientLimits(max_pending=0), 0.0)
    assert not any(limits.waiting.enter(number, "192.0.2.1") for number in range(20_000))


def test_how_fast_they_come() -> None:
    limits = ConnectionLimits(ClientLimits(accept_rate=2, accept_rate_per_ip=1), 0.0)
    assert [limits.enter(0.0, "192.0.2.1") for _ in range(5)] == [None] * 4 + ["accept_rate"]
    assert limits.enter(0.5, "192.0.2.1") is None
    assert [limits.place("192.0.2.1", 0.0)[1] for _ in range(6)] == [None] * 5 + ["accept_rate_per_ip"]
    assert limits.place("192.0.2.2", 0.0) == (None, None)
    assert limits.place("192.0.2.1", 1.0) == (None, None)
    assert limits.place("unix", 1.0) == (None, None)


def test_one_address_and_one_subscriber() -> None:
    limits = ConnectionLimits(ClientLimits(max_connections_per_ip=2), 0.0)
    assert limits.place("192.0.2.1", 0.0) == ("192.0.2.1", None)
    assert limits.place("::ffff:192.0.2.1", 0.0) == ("192.0.2.1", None)
    assert limits.place("192.0.2.1", 0.0) == (None, "connections_per_ip")
    assert limits.place("2001:db8::1", 0.0)[1] is None
    assert limits.place("2001:db8::2", 0.0)[1] is None
    assert limits.place("2001:db8::3", 0.0)[1] == "connections_per_ip"
    assert limits.place("2001:db8:0:1::1", 0.0)[1] is None
    assert all(limits.place("unix", 0.0) == (None, None) for _ in range(5))
    limits.enter(0.0, "192.0.2.1")
    limits.leave("192.0.2.1")
    assert limits.place("192.0.2.1", 0.0)[1] is None


@given(st.lists(st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1", "unix"])))
def test_after_all_have_left_nothing_is_left(hosts: list[str]) -> None:
    limits = ConnectionLimits(ClientLimits(max_connections=10, max_connections_per_ip=3), 0.0)
    inside: list[str | None] = []
    for host in hosts:
        if limits.enter(0.0, "192.0.2.1") is not None:
            continue
        group, refusal = limits.place(host, 0.0)
        if refusal is not None:
            limits.leave(group)
            continue
        inside.append(group)
        assert limits.total == len(inside) <= 10
    for group in inside:
        limits.leave(group)
    assert (limits.total, len(limits.waiting), limits.refused) == (0, 0, 0)
    assert limits._by_group == {}


def test_what_the_rates_refuse_is_not_counted_as_there() -> None:
    """One burst would make the gateway refuse all for good."""
    limits = ConnectionLimits(ClientLimits(max_connections=6, accept_rate=1), 0.0)
    assert [limits.enter(0.0, "192.0.2.1") for _ in range(50)] == [None] * 2 + ["accept_rate"] * 48
    assert limits.total == 2
    for second in range(1, 5):
        assert limits.enter(float(second), "192.0.2.1") is None
    assert limits.enter(5.0, "192.0.2.1") == "connections"
    for _ in range(6):
        limits.leave(None)
    assert limits.total == 0


def test_what_an_addresss_rate_refuses_does_not_count_for_its_number() -> None:
    limits = ConnectionLimits(ClientLimits(max_connections_per_ip=7, accept_rate_per_ip=1), 0.0)
    assert [limits.place("192.0.2.1", 0.0)[1] for _ in range(50)] == [None] * 5 + ["accept_rate_per_ip"] * 45
    assert [limits.place("192.0.2.1", 10.0)[1] for _ in range(2)] == [None] * 2
    assert limits.place("192.0.2.1", 10.0) == (None, "connections_per_ip")


def test_other_limits_apply_at_once_and_close_no_client() -> None:
    limits = ConnectionLimits(ClientLimits(max_connections=4, max_pending=3), 0.0)
    reported: list[bool] = []
    limits.gate.report = reported.append
    for name in "abc":
        assert limits.enter(0.0, "192.0.2.1") is None
        limits.waiting.enter(name, "192.0.2.1")
    limits.change(ClientLimits(max_connections=2, max_pending=2, accept_rate=1, accept_rate_per_ip=1), 0.0)
    assert (limits.total, limits.room, reported) == (3, 0, [False])
    assert limits.enter(0.0, "192.0.2.1") == "connections"
    assert limits.waiting.enter("d", "192.0.2.1") == "a"
    limits.leave(None)
    assert reported == [False]
    limits.leave(None)
    assert reported == [False, True]
    # the new rates count
    assert [limits.enter(0.0, "192.0.2.1") for _ in range(2)] == [None, "connections"]
    limits.change(ClientLimits(max_connections=100, accept_rate=1, accept_rate_per_ip=1), 0.0)
    assert [limits.enter(0.0, "192.0.2.1") for _ in range(3)] == [None, "accept_rate", "accept_rate"]
    assert [limits.place("192.0.2.1", 0.0)[1] for _ in range(6)] == [None] * 5 + ["accept_rate_per_ip"]
    limits.change(ClientLimits(max_connections=100), 0.0)
    assert [limits.enter(0.0, "192.0.2.1") for _ in range(9)] == [None] * 9


def test_rates_go_on_in_another_process() -> None:
    def with_rates() -> ConnectionLimits:
        return ConnectionLimits(ClientLimits(accept_rate=2, accept_rate_per_ip=1), 0.0)

    limits, copy = with_rates(), with_rates()
    for _ in range(4):
        assert limits.enter(0.0, "192.0.2.1") is None
    for _ in range(5):
        assert limits.place("192.0.2.1", 0.0)[1] is None
    copy.read(limits.written(0.0))
    assert (copy.total, copy.enter(0.0, "192.0.2.9")) == (0, "accept_rate")
    assert (copy.place("192.0.2.1", 0.0)[1], copy.place("192.0.2.2", 0.0)[1]) == ("accept_rate_per_ip", None)
    unlimited = ConnectionLimits(ClientLimits(accept_rate=0, accept_rate_per_ip=0), 0.0)
    unlimited.read(limits.written(0.0))
    assert unlimited.enter(0.0, "192.0.2.1") is None
    fresh = with_rates()
    fresh.read(unlimited.written(0.0))
    assert fresh.enter(0.0, "192.0.2.1") is None
