"""Where values in force come from, after reloads too."""

from __future__ import annotations

from pathlib import Path

import pytest

from icwsgw.config.provenance import Provenance, shown, without_secrets
from icwsgw.config.schema import BY_NAME
from icwsgw.config.sources import load
from icwsgw.process.reload import compare


def test_sources_after_a_reload(tmp_path: Path) -> None:
    file = tmp_path / "icws.toml"
    file.write_text("max-pending = 7\npoll-window = 16\n")
    began = load({"ping-interval": 20.0}, {"RUST_LOG_STDOUT": "info"}, file)
    provenance = Provenance(began)
    running = began.config

    def of(name: str) -> tuple[str, object]:
        entry = BY_NAME[name]
        return provenance.source(entry, running), provenance.waiting(entry, running)

    assert of("max-pending") == (f"file {file}", None)
    assert of("accept-rate") == ("default", None)
    assert of("ping-interval") == ("command line", None)
    file.write_text("accept-rate = 30\npoll-window = 64\n")
    read = load({"ping-interval": 20.0}, {}, file)
    provenance.read_again(read)
    running = compare(running, read.config).config
    assert of("max-pending") == ("default", None)
    assert of("accept-rate") == (f"file {file}", None)
    # it cannot change while the gateway runs
    assert of("poll-window") == (f"file {file}", "64")
    assert running.poll_window == 16


def test_devnet_and_other_variables() -> None:
    sourced = load({"devnet": True}, {"RUST_LOG_STDOUT": "debug"})
    provenance = Provenance(sourced)
    assert provenance.source(BY_NAME["ic-network-url"], sourced.config) == "--devnet"
    assert provenance.source(BY_NAME["log-level"], sourced.config) == "environment RUST_LOG_STDOUT"


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("https://user:word@lists.example/deny?token=secret#x", "https://...@lists.example/deny?..."),
        ("https://icp-api.io", "https://icp-api.io"),
        ("http://[::1", "..."),
        ("tcp:8080", "tcp:8080"),
        ("/etc/icws/a?b", "/etc/icws/a?b"),
    ],
)
def test_what_may_be_a_secret_is_not_shown(text: str, safe: str) -> None:
    assert without_secrets(text) == safe


def test_texts_of_values() -> None:
    assert shown(BY_NAME["allowed-origin"], ("https://a.example", "https://b.example")) == [
        "https://a.example",
        "https://b.example",
    ]
    assert shown(BY_NAME["query-budget"], None) == "auto"
    assert shown(BY_NAME["devnet"], True) == "true"
