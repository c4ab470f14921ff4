"""Quotas of canisters: their text, their tables in a file, and their shares."""

from __future__ import annotations

import pytest

from icwsgw.config.quotas import CANISTER_QUOTAS, CanisterQuota, Quota, check_quotas, from_tables
from icwsgw.errors import ConfigError

CANISTER = "bkyz2-fmaaa-aaaaa-qaaaq-cai"


def test_the_text_of_an_exception() -> None:
    (quota,) = CANISTER_QUOTAS.parse(f"{CANISTER}:max-connections=50:delivery-byte-rate=2M:poll-rate=0")
    assert quota == CanisterQuota(
        CANISTER, (("max_connections", 50), ("delivery_byte_rate", 2 << 20), ("poll_rate", 0))
    )
    assert CANISTER_QUOTAS.parse(CANISTER_QUOTAS.show((quota,))) == (quota,)
    both = f"{CANISTER}:message-rate=5, aaaaa-aa:byte-rate=1k"
    assert [each.canister for each in CANISTER_QUOTAS.parse(both)] == [CANISTER, "aaaaa-aa"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x:max-connections=5", "'x' is not a canister id"),
        (CANISTER, "is not CANISTER:LIMIT=VALUE"),
        (f"{CANISTER}:max-conections=5", "is not a limit of a canister; did you mean max-connections="),
        (f"{CANISTER}:colour=5", "there are max-connections, message-rate, byte-rate"),
        (f"{CANISTER}:message-rate", "did you mean message-rate="),
        (f"{CANISTER}:message-rate=many", "message-rate: 'many' is not a whole number"),
        (f"{CANISTER}:message-rate=1:message-rate=2", "message-rate is given twice"),
    ],
)
def test_what_is_no_exception(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        CANISTER_QUOTAS.parse(text)


def test_tables_of_a_file() -> None:
    tables = {CANISTER: {"max_connections": 50, "byte-rate": "1M"}, "aaaaa-aa": {"poll_rate": 2}}
    assert from_tables(tables, "f") == [f"{CANISTER}:max-connections=50:byte-rate=1M", "aaaaa-aa:poll-rate=2"]
    bad: object
    for bad in ({CANISTER: 5}, 5, []):
        with pytest.raises(ConfigError, match="write a table for each canister"):
            from_tables(bad, "f")
    for value in (1.5, True, [1]):
        with pytest.raises(ConfigError, match=r"max_connections: (float|bool|list) is not a limit"):
            from_tables({CANISTER: {"max_connections": value}}, "f")


def test_a_canister_has_one_quota() -> None:
    quota = CanisterQuota(CANISTER, ())
    check_quotas([quota, CanisterQuota("aaaaa-aa", ())])
    with pytest.raises(ConfigError, match=f"canister {CANISTER} has two quotas"):
        check_quotas([quota, quota])


def test_a_share_is_rounded_up_and_no_limit_stays_none() -> None:
    quota = CanisterQuota(CANISTER, (("max_connections", 10), ("message_rate", 0)))
    assert quota.shared(4).limits == (("max_connections", 3), ("message_rate", 0))


def test_a_limit_on_clients_is_no_rate() -> None:
    assert not Quota(max_connections=5).any_rate
    assert Quota(poll_rate=5).any_rate
