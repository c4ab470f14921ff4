from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from icwsgw.core.poll_window import DEFAULT_PAGE, USELESS_PAGES, PollWindow


def test_at_rest_one_poll_at_a_time() -> None:
    window = PollWindow(32)
    assert window.nonces(7, set()) == [7]
    assert window.nonces(7, {7}) == []
    assert not window.answered(0, True)
    assert not window.answered(20, True)
    assert window.size == 1


def test_it_is_deep_from_the_first_full_page_until_a_drain_needs_no_more_than_one() -> None:
    window = PollWindow(8)
    assert not window.deep
    window.answered(50, False)
    assert window.deep
    window.answered(50, True)
    assert window.deep
    window.answered(3, True)
    assert not window.deep


def test_it_doubles_while_pages_come_back_full() -> None:
    window = PollWindow(8)
    sizes = []
    for _ in range(6):
        assert window.answered(50, False)
        sizes.append(len(window.nonces(0, set())))
    assert sizes == [1, 2, 4, 8, 8, 8]
    assert window.nonces(100, {100, 150}) == [200, 250, 300, 350, 400, 450]


def test_a_drain_begins_with_what_the_last_one_needed() -> None:
    window = PollWindow(8)
    for _ in range(3):
        window.answered(50, False)
    assert not window.answered(10, True)
    assert window.nonces(0, set()) == [0, 50, 100, 150]
    # as they come back, nothing is asked beyond what was expected
    window.answered(50, False)
    assert window.nonces(50, {50, 100, 150}) == []
    window.answered(50, False)
    window.answered(50, False)
    assert window.nonces(150, {150}) == []
    # unless the queue goes on
    window.answered(50, False)
    assert window.nonces(200, set()) == [200]
    assert not window.answered(0, True)
    assert window.size == 4
    assert not window.answered(0, True)
    assert window.nonces(200, set()) == [200]


def test_the_page_is_learned_from_the_canister() -> None:
    window = PollWindow(4)
    assert window.page == DEFAULT_PAGE
    window.answered(20, False)
    assert window.page == 20
    window.answered(20, False)
    assert window.nonces(0, set()) == [0, 20]


def test_a_canister_that_says_nothing_about_its_end() -> None:
    window = PollWindow(4)
    assert window.answered(50, None)
    assert not window.answered(49, None)


@given(st.integers(1, 2000), st.integers(1, 60), st.integers(1, 64))
def test_a_queue_of_any_depth_is_drained_without_asking_anything_twice(depth: int, page: int, limit: int) -> None:
    window = PollWindow(limit)
    nonce, rounds, polls = 0, 0, []
    while True:
        nonces = window.nonces(nonce, set())
        assert nonces[0] == nonce
        assert len(nonces) <= limit
        polls += nonces
        more = False
        for start in nonces:
            count = max(0, min(page, depth - start))
            if start != nonce:
                # another page than expected: asked for again in the next round
                continue
            nonce += count
            more = window.answered(count, nonce >= depth)
        rounds += 1
        if not more:
            break
    assert nonce == depth
    assert rounds <= depth // page + 2


def test_an_empty_answer_is_the_end_whatever_the_canister_says() -> None:
    window = PollWindow(8)
    for _ in range(5):
        assert not window.answered(0, False)
    assert window.nonces(0, set()) == [0]
    assert window.page == DEFAULT_PAGE


@given(st.integers(1, 200), st.integers(1, 60), st.integers(1, 64), st.data())
def test_steady_paging_asks_nothing_twice_in_whatever_order_the_answers_come(
    depth: int, page: int, limit: int, data: st.DataObject
) -> None:
    """As the poller does it: answers that come before their turn are kept, and count as asked."""
    window = PollWindow(limit)
    window.page = page
    nonce, polls = 0, []
    in_flight: dict[int, None] = {}
    kept: set[int] = set()
    more = True
    while in_flight or more:
        if more:
            for ask in window.nonces(nonce, in_flight.keys() | kept):
                in_flight[ask] = None
                polls.append(ask)
        more = False
        assert len(in_flight) + len(kept) <= limit
        answer = data.draw(st.sampled_from(list(in_flight)))
        del in_flight[answer]
        kept.add(answer)
        while nonce in kept:
            kept.discard(nonce)
            count = min(page, depth - nonce)
            if count <= 0:
                break
            nonce += count
            more = window.answered(count, nonce >= depth)
    assert nonce == depth
    assert len(set(polls)) == len(polls)


def test_it_grows_little_for_messages_that_reach_no_client() -> None:
    window = PollWindow(32)
    grown = []
    for _ in range(10):
        assert window.answered(50, False, useful=False)
        grown.append(len(window.nonces(1, ())))
    assert grown == [1, 2, 4, 8] + [USELESS_PAGES] * 6
    for _ in range(3):
        assert window.answered(50, False)
    assert len(window.nonces(1, ())) == 32
    assert window.answered(50, False, useful=False)
    assert len(window.nonces(1, ())) == USELESS_PAGES
