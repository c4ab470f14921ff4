from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from icwsgw.admin.history import INTERVAL, History
from icwsgw.admin.merging import merge, remains
from icwsgw.admin.status import CANISTERS, ENDED
from icwsgw.gateway.ended_sessions import KEEP_SECONDS
from tests.admin.documents import NOW, canister, document, ended, entry


def test_one_stays_what_it_is() -> None:
    part = document()
    assert merge([part]) == part
    assert json.loads(json.dumps(merge([part]))) == part


def test_counts_add_up() -> None:
    one = document(closes={"1000": 3, "4104": 1}, failures={"polls": {"timeout": 2}}, connections=5, in_flight=1)
    other = document(closes={"1000": 4}, failures={"polls": {"timeout": 1}, "opens": {"left": 1}}, connections=2)
    whole = merge([one, other])
    assert whole["totals"]["up"] == 2 * one["totals"]["up"]
    assert whole["closes"] == {"1000": 7, "4104": 1}
    assert whole["failures"] == {"polls": {"timeout": 3}, "opens": {"left": 1}}
    assert whole["sessions"] == {"init": 2, "setup": 2, "open": 20, "closed": 0}
    assert (whole["connections"], whole["outbox_bytes"], whole["identity_count"]) == (7, 2000, 2)


def test_canisters_by_id() -> None:
    one = document(
        canisters=[
            canister(
                "a", sessions=5, up=1.0, lag=0.2, round_trip=0.1, answered_ago=0.1, error_ago=9.0, last_error="old"
            ),
            canister("b", sessions=3),
        ]
    )
    other = document(
        canisters=[
            canister(
                "a", sessions=2, up=0.5, lag=None, round_trip=0.3, answered_ago=4.0, error_ago=1.0, last_error="new"
            ),
            canister("c", sessions=1, trouble=True, failures=60),
        ],
        canister_count=2,
    )
    whole = merge([one, other])
    c, a, b = whole["canisters"]
    assert (c["canister"], c["trouble"]) == ("c", True), "trouble first"
    assert (a["canister"], a["sessions"], a["up"]) == ("a", 7, 1.5)
    assert (a["lag"], a["round_trip"], a["answered_ago"]) == (0.2, 0.3, 4.0)
    assert (a["last_error"], a["error_ago"]) == ("new", 1.0)
    assert (b["last_error"], b["error_ago"]) == (None, None)
    assert (whole["canister_count"], whole["canister_count_exact"]) == (3, True)
    many = [document(canisters=[canister(f"{part}{n}") for n in range(CANISTERS)], canister_count=80) for part in "xy"]
    whole = merge(many)
    assert (len(whole["canisters"]), whole["canister_count"]) == (CANISTERS, 100)
    assert not whole["canister_count_exact"], "the thirty that each leaves out may be the same"
    alone = merge([many[0], remains(many[1])])
    assert (alone["canister_count"], alone["canister_count_exact"]) == (80, True)


def test_histories_by_time_lags_by_the_greatest() -> None:
    parts = []
    for number in range(2):
        history = History(("up", "lag"))
        history.add(1e9, {"up": 1 + number, "lag": 0.5 - number / 10})
        parts.append(document(history=history.document()))
    assert merge(parts)["history"] == {"interval": INTERVAL, "end": 1e9, "series": {"up": [3], "lag": [0.5]}}


def test_lines_by_time_and_the_rest() -> None:
    one = document(errors=[entry(at=9.0, text="a"), entry(at=2.0)], ready=False, tls_expires=50.0, now=5.0, started=1.0)
    one["findings"] = [{"name": "network", "reason": None}, {"name": "listening", "reason": "not listening"}]
    other = document(
        errors=[entry(at=5.0, text=f"{n}") for n in range(60)], draining=True, tls_expires=40.0, now=6.0, started=2.0
    )
    other["findings"] = [{"name": "network", "reason": "gone"}]
    one["concerns"], other["concerns"] = ["a", "b"], ["b", "c"]
    other["workers"][0]["worker"] = -1
    whole = merge([one, other, {}])
    assert [line["at"] for line in whole["errors"]] == [9.0, *[5.0] * 49]
    assert whole["findings"] == [
        {"name": "network", "reason": "gone"},
        {"name": "listening", "reason": "not listening"},
    ]
    assert whole["concerns"] == ["a", "b", "c"]
    assert (whole["ready"], whole["draining"], whole["tls_expires"]) == (False, True, 40.0)
    assert (whole["now"], whole["started"]) == (6.0, 1.0)
    assert [row["worker"] for row in whole["workers"]] == [-1, 0]
    assert merge([])["history"]["series"] == {}


def test_the_same_words_of_several_are_one_entry() -> None:
    one = document(errors=[entry(at=9.0, first=5.0, workers=[1]), entry(at=8.0, details="canister=c", workers=[1])])
    other = document(errors=[entry(at=7.0, first=2.0, count=4, workers=[0])])
    both, alone = merge([one, other])["errors"]
    assert (both["at"], both["first"], both["count"], both["workers"]) == (9.0, 2.0, 5, [0, 1])
    assert (alone["count"], alone["workers"]) == (1, [1])
    assert one["errors"][0]["count"] == 1, "parts stay as they are"


def test_what_a_process_that_ended_leaves() -> None:
    living, ended = document(), document()
    left = remains(ended)
    whole = merge([living, left])
    for name in ("sessions", "connections", "canisters", "identities", "workers", "in_flight"):
        assert whole[name] == living[name], name
    assert whole["totals"]["up"] == 2 * living["totals"]["up"]
    assert [(line["text"], line["count"]) for line in whole["errors"]] == [("poll failed", 2)]
    # and of several, one after the other
    again = remains(merge([left, remains(document())]))
    assert again["totals"]["up"] == 2 * living["totals"]["up"]
    assert remains(again) == again


counts = st.dictionaries(st.sampled_from(["up", "down", "polls"]), st.integers(0, 1000))


@given(st.lists(counts, max_size=5), st.randoms(use_true_random=False))
def test_in_any_order_and_any_grouping(totals: list[dict[str, int]], random: Any) -> None:
    parts = [document(totals=each) for each in totals]
    whole = merge(parts)
    shuffled = list(parts)
    random.shuffle(shuffled)
    cut = random.randint(0, len(shuffled))
    assert merge(shuffled)["totals"] == whole["totals"]
    grouped = merge([merge(shuffled[:cut]), merge(shuffled[cut:])])
    for name in ("totals", "sessions", "connections", "closes", "failures"):
        assert grouped[name] == whole[name]


def test_ended_sessions_of_all_processes_the_latest_first_until_they_are_too_old() -> None:
    one = document(ended=[ended(id="b", ended=NOW - 5), ended(id="d", ended=NOW - 700)], ended_count=9)
    gone = remains(document(ended=[ended(id="a", ended=NOW - 1), ended(id="c", ended=NOW - 9)], ended_count=3))
    whole = merge([one, gone])
    assert [row["id"] for row in whole["ended"]] == ["a", "b", "c"]
    assert whole["ended_count"] == 1 + 3, "what is not listed has ended before what is listed and too old"
    later = merge([document(now=NOW + KEEP_SECONDS - 5, ended=[], ended_count=0), gone])
    assert ([row["id"] for row in later["ended"]], later["ended_count"]) == (["a"], 1)
    many = [document(ended=[ended() for _ in range(ENDED)], ended_count=400) for _ in range(2)]
    assert (len(merge(many)["ended"]), merge(many)["ended_count"]) == (ENDED, 800)
