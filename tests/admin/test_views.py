"""What is shown of a whole gateway: merged from workers, and the options with their sources."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed

from icwsgw.admin.api import Replies
from icwsgw.admin.control import NO_OVERRIDES, Control, Overrides
from icwsgw.admin.views import certificates_document, config_document, options_document, top_document
from icwsgw.config.provenance import Provenance
from icwsgw.config.running import with_options
from icwsgw.config.schema import OPTIONS, GatewayConfig
from icwsgw.config.sources import load
from tests.memory.world import CHAT_ID, ECHO_ID, World


class Asked:
    """Several workers, of which the last does not answer."""

    provenance: Provenance | None = None
    overrides = NO_OVERRIDES

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = answers
        self.config = self.configured = GatewayConfig(data_dir=Path("/nonexistent"))
        self.requests: list[Any] = []

    def request(self, request: Any) -> Deferred[Replies]:
        self.requests.append(request)
        return succeed(Replies(dict(enumerate(self.answers)), [len(self.answers)]))


def found_by(deferred: Deferred[Any]) -> Any:
    found: list[Any] = []
    deferred.addCallback(found.append)
    return found[0]


def result(waiting: Any) -> Any:
    return found_by(Deferred.fromCoroutine(waiting))


def test_the_busiest_of_several_workers() -> None:
    worlds = World(), World(seed=2)
    for world in worlds:
        world.open(2)
    worlds[1].open(canister=CHAT_ID)
    request = {"what": "top", "sort": "rate", "limit": 3}
    gateway = Asked(*(found_by(Control(world.gateway).reply(request)) for world in worlds))
    document = result(top_document(gateway, {"sort": "rate", "limit": 3}))
    assert gateway.requests == [request]
    assert (document["session_count"], document["canister_count"], document["missing_workers"]) == (5, 2, [2])
    assert len(document["sessions"]) == 3
    assert {row["worker"] for row in document["sessions"]} <= {0, 1}
    assert {row["canister"]: row["sessions"] for row in document["canisters"]} == {ECHO_ID.text: 4, CHAT_ID.text: 1}
    assert document["seconds"] is None
    assert result(top_document(Asked(), {"sort": "lag", "limit": 1}))["sessions"] == []


def test_a_certificate_that_several_workers_have_is_one_row() -> None:
    row, other = {"certificate": "/a.pem", "days_left": 5}, {"certificate": "/b.pem", "days_left": 7}
    renewed = {**other, "days_left": 90}
    document = result(certificates_document(Asked({"rows": [row, other]}, {"rows": [row, renewed]})))
    assert document["certificates"] == [
        {**row, "workers": [0, 1]},
        {**other, "workers": [0]},
        {**renewed, "workers": [1]},
    ]


def test_each_option_has_a_row_with_its_source(tmp_path: Path) -> None:
    file = tmp_path / "icws.toml"
    file.write_text('max-pending = 7\nallowed-origin = ["https://a.example"]\n')
    sourced = load({"accept-rate": 30}, {"ICWS_PING_INTERVAL": "20"}, file)
    gateway = Asked()
    gateway.provenance = Provenance(sourced)
    gateway.configured = sourced.config
    gateway.overrides = Overrides(options={"outbox-age": ("40",)})
    gateway.config = replace(with_options(sourced.config, gateway.overrides.options), max_connections=900)
    rows = config_document(gateway)["options"]
    assert list(rows) == [entry.name for entry in OPTIONS]
    assert rows["accept-rate"] == {"value": "30", "from": "command line"}
    assert rows["ping-interval"] == {"value": "20", "from": "environment ICWS_PING_INTERVAL"}
    assert rows["max-pending"] == {"value": "7", "from": f"file {file}"}
    assert rows["allowed-origin"]["value"] == ["https://a.example"]
    assert rows["header-timeout"] == {"value": "10", "from": "default"}
    assert rows["outbox-age"] == {"value": "40", "from": "set at run time"}
    # lowered, because the process may open few files
    assert rows["max-connections"] == {"value": "900", "from": "default", "configured": "50000"}


def test_an_option_that_is_set_but_not_applied_has_its_configured_value_and_the_reason(tmp_path: Path) -> None:
    file = tmp_path / "icws.toml"
    file.write_text("open-timeout = 20\nfirst-message-timeout = 15\n")
    sourced = load({}, {}, file)
    gateway = Asked()
    gateway.provenance = Provenance(sourced)
    gateway.config = gateway.configured = sourced.config
    gateway.overrides = Overrides(options={"first-message-timeout": ("25",)})
    reason = "--first-message-timeout (25) may not be above --open-timeout (20)"
    assert config_document(gateway)["options"]["first-message-timeout"] == {
        "value": "15",
        "from": f"file {file}",
        "not_applied": reason,
    }
    document = options_document(gateway, [3])
    assert document["missing_workers"] == [3]
    assert document["options"]["first-message-timeout"] == {"value": "15", "set": True, "not_applied": reason}
    assert document["options"]["open-timeout"] == {"value": "20", "set": False}


def test_without_sources_values_are_shown_too() -> None:
    rows = config_document(Asked())["options"]
    assert rows["header-timeout"] == {"value": "10", "from": "unknown"}
