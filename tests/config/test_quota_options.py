from __future__ import annotations

from pathlib import Path

import pytest

from icwsgw.config.quota_options import QuotaOptions
from icwsgw.config.quotas import CanisterQuota, Quota
from icwsgw.config.running import SETTABLE, with_options
from icwsgw.config.schema import BY_NAME, GatewayConfig
from icwsgw.config.sources import load
from icwsgw.errors import ConfigError

CANISTER = "bkyz2-fmaaa-aaaaa-qaaaq-cai"


def test_there_is_an_option_for_each_limit_and_none_limits_by_default() -> None:
    for field in Quota._fields:
        entry = BY_NAME[field.replace("_", "-") + "-per-canister"]
        assert (entry.default, entry.shared, entry.field in SETTABLE) == (0, True, True)
    assert QuotaOptions().canister_quotas == ()


def test_a_file_may_have_a_table_for_each_canister(tmp_path: Path) -> None:
    file = tmp_path / "icws.toml"
    file.write_text(
        "message-rate-per-canister = 100\n"
        'canister_quota = "aaaaa-aa:poll-rate=1"\n'
        f'[canister."{CANISTER}"]\nmax_connections = 50\nbyte-rate = "1M"\n'
    )
    sourced = load({}, {}, file)
    assert sourced.config.canister_quotas == (
        CanisterQuota("aaaaa-aa", (("poll_rate", 1),)),
        CanisterQuota(CANISTER, (("max_connections", 50), ("byte_rate", 1 << 20))),
    )
    assert sourced.sources["canister_quotas"] == str(file)
    # the command line comes first, as for all lists
    given = {"canister-quota": (CanisterQuota(CANISTER, (("poll_rate", 2),)),)}
    assert load(given, {}, file).config.canister_quotas == given["canister-quota"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f'[canister."{CANISTER}"]\nclients = 5', "'clients=5' is not a limit of a canister"),
        ("canister = 5", "write a table for each canister"),
        (
            f'canister-quota = ["{CANISTER}:poll-rate=1"]\n[canister."{CANISTER}"]\npoll_rate = 2',
            f"canister {CANISTER} has two quotas",
        ),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "icws.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words):
        load({}, {}, file)


def test_they_can_be_set_at_run_time() -> None:
    texts = [f"{CANISTER}:poll-rate=1", "aaaaa-aa:byte-rate=5"]
    changed = with_options(GatewayConfig(), {"canister-quota": texts, "poll-rate-per-canister": ["4"]})
    assert ([str(quota) for quota in changed.canister_quotas], changed.poll_rate_per_canister) == (texts, 4)
    with pytest.raises(ConfigError, match="has two quotas"):
        with_options(GatewayConfig(), {"canister-quota": [texts[0], texts[0]]})
