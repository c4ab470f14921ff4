"""Each mistake of docs/mistakes.md is made with the real SDK, and shows what the document states.

The document is the table of expected values. Of each row, the words in code style have to come: in what the SDK and
our client show the page, and in one line of the gateway's log. The last column is what log and status page advise.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from icwsgw.admin.page import page
from tests.acceptance.conftest import Devnet, Stack, start_devnet, start_stack
from tests.acceptance.processes import ROOT, free_port, http_get, http_post_json, run_node
from tests.support import pem

#: The fixture takes a minute: one process of tests makes all mistakes, not each.
pytestmark = [pytest.mark.acceptance, pytest.mark.sdk, pytest.mark.xdist_group("mistakes")]

DOCUMENT = ROOT / "docs" / "mistakes.md"

#: The scenarios of sdk/mistakes.mjs by the first column of the document.
SCENARIOS = {
    "`wss://` to a port without TLS": "wss on a plain port",
    "`ws://` to a port with TLS": "ws on a TLS port",
    "the replica's port instead of the gateway's": "the replica's port",
    "no gateway at the address": "no gateway",
    "a page of an origin that is not allowed": "origin",
    "text through the browser's `WebSocket`": "text",
    "bytes through the browser's `WebSocket`": "bytes",
    "the anonymous identity": "anonymous",
    "a delegation that has expired": "expired delegation",
    "a clock that is ten minutes slow": "clock",
    "a canister id that the network does not have": "wrong canister",
    "a canister without the CDK's methods": "no methods",
    "a canister that is stopped": "stopped",
    "a canister that the gateway does not serve": "not served",
    "`on_open` traps": "ws_open traps",
    "the canister never sends its first message": "never sends",
    "the canister refuses polls, or has no `ws_get_messages`": "polls refused",
    "the gateway does not reach its network": "replica down",
    "`networkUrl` is another network": "another network",
    "the page cannot reach `networkUrl`": "network blocked",
    "the root key comes after the first message": "root key late",
    "`send` before `onopen`": "send before open",
    "`on_message` traps once": "one trap",
    "`on_message` traps each time": "every message traps",
    "`ws_message` answers `Err`": "Err",
    "the client sends another type than the canister reads": "type sent",
    "the canister sends another type than the client reads": "type received",
    "a message that is too long": "too big",
    "two tabs with one identity": "two tabs",
}

CANISTERS = {
    "moody": """
from icwsgw.devnet.canisters import Canister, app_text

class Moody(Canister):
    def on_message(self, client, message):
        raise ValueError(app_text(message))
""",
    "shy": """
from icwsgw.devnet.canisters import Canister

class Shy(Canister):
    def on_open(self, client):
        raise ValueError("no visitors")
""",
    "greeter": """
from icwsgw.devnet.canisters import Canister, app_message

class Greeter(Canister):
    def on_open(self, client):
        self.ws.send(client, app_message("hello"))
""",
    "grumpy": "from icwsgw.devnet.canisters import Canister\n\nclass Grumpy(Canister):\n    pass\n",
    "mute": "from icwsgw.devnet.canisters import Canister\n\nclass Mute(Canister):\n    pass\n",
    "unpolled": "from icwsgw.devnet.canisters import Canister\n\nclass Unpolled(Canister):\n    pass\n",
    "stopped": "from icwsgw.devnet.canisters import Canister\n\nclass Stopped(Canister):\n    pass\n",
}
#: Those that wait for the gateway's time limit. They have a gateway of their own with a short one: the others verify
#: messages, which may take a busy machine long.
HASTY = ("never sends", "polls refused", "replica down")
#: A module in WebAssembly that exports nothing.
NO_METHODS = b"\0asm\1\0\0\0"


@dataclass(frozen=True)
class DocumentedMistake:
    """A row of the document.

    :ivar shows, ours, log: the words that the SDK, our client and the log have
    """

    title: str
    shows: list[str]
    ours: list[str]
    log: list[str]
    advice: str


def documented() -> list[DocumentedMistake]:
    """The rows of all tables of the document."""
    found = []
    for line in DOCUMENT.read_text().splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) != 5 or cells[0] == "mistake" or set(cells[0]) <= {"-"}:
            continue
        title, shows, ours, log, advice = cells
        found.append(DocumentedMistake(title, _words(shows), _words(ours), _words(log), advice))
    return found


def _words(cell: str) -> list[str]:
    spans: list[str] = re.findall(r"`([^`]+)`", cell)
    return [part.strip() for span in spans for part in span.split("…") if part.strip()]


ROWS = documented()


@dataclass
class Made:
    """What came of all mistakes.

    :ivar shown: what the SDK shows the application, by scenario
    :ivar ended: the ended sessions of the status document
    """

    network: str = ""
    shown: dict[str, dict[str, Any]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    ended: list[dict[str, Any]] = field(default_factory=list)
    page: str = ""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Make all mistakes."""
    folder = tmp_path_factory.mktemp("mistakes")
    devnet = start_devnet(folder, *_canisters(folder))
    made = Made(network=devnet.network)
    try:
        _spoil(devnet)
        patient, hasty = folder / "patient", folder / "hasty"
        stack, places = _start(patient, devnet)
        try:
            _make(made, places, [name for name in SCENARIOS.values() if name not in HASTY])
            _end(made, stack)
        finally:
            stack.server.kill()
        stack, places = _start(hasty, devnet, "--first-message-timeout=8", "--open-timeout=8")
        try:
            _make(made, places, HASTY[:-1])
            devnet.server.stop()
            _make(made, places, HASTY[-1:])
            _end(made, stack)
        finally:
            stack.server.kill()
    finally:
        devnet.server.kill()
    return made


def _canisters(folder: Path) -> Iterator[str]:
    for name, source in CANISTERS.items():
        (folder / f"{name}.py").write_text(source)
        yield f"--devnet-canister={name}={folder / name}.py"
    (folder / "empty.wasm").write_bytes(NO_METHODS)
    yield f"--devnet-canister=empty={folder / 'empty.wasm'}"


def _spoil(devnet: Devnet) -> None:
    """Let canisters do what the CDK prevents."""
    faults = [
        {"kind": "lagging", "canister": "mute"},
        {"kind": "cdk_err", "canister": "grumpy", "method": "ws_message", "message": "not in the mood"},
        {
            **{"kind": "reject", "on": "query", "canister": "unpolled", "code": 5, "error_code": "IC0536"},
            "message": "Canister has no query method 'ws_get_messages'.",
        },
    ]
    http_post_json(f"{devnet.network}/_/faults", faults)
    http_post_json(f"{devnet.network}/_/stop", {"canister": "stopped"})


def _start(folder: Path, devnet: Devnet, *options: str) -> tuple[Stack, dict[str, Any]]:
    """Start a gateway, and return its addresses."""
    folder.mkdir()
    canisters = json.loads(http_get(f"{devnet.network}/_/info")[1])["canisters"]
    certificate, key = pem.server(pem.authority()).write(folder)
    tls = free_port()
    stack = start_stack(
        folder,
        f"--gateway-address=ssl:{tls}:interface=127.0.0.1:privateKey={key}:certKey={certificate}",
        f"--denied-canister={devnet.chat}",
        "--allowed-origin=https://app.example",
        *options,
        network=devnet.network,
    )
    nobody = f"ws://127.0.0.1:{free_port()}"
    canisters["denied"] = devnet.chat
    return stack, {**stack.places, "canisters": canisters, "tls": f"wss://127.0.0.1:{tls}", "nobody": nobody}


def _make(made: Made, places: Mapping[str, Any], names: Sequence[str]) -> None:
    events = run_node("mistakes.mjs", {**places, "rows": list(names)})
    made.shown |= {event["name"]: event for event in events if event["event"] == "row"}


def _end(made: Made, stack: Stack) -> None:
    """Read a gateway's status document and log, and stop it."""
    status = json.loads(http_get(f"{stack.admin}/status.json")[1])
    made.ended += status["ended"]
    made.page += html.unescape(page(status))
    stack.server.stop()
    made.lines += stack.server.lines


def has_in_order(text: str, words: list[str]) -> bool:
    """Whether a text has all these words, one after the other."""
    at = 0
    for word in words:
        at = text.find(word, at)
        if at < 0:
            return False
        at += len(word)
    return True


def test_the_document_and_the_scenarios_have_the_same_mistakes() -> None:
    assert [row.title for row in ROWS] == list(dict.fromkeys(row.title for row in ROWS))
    assert {row.title for row in ROWS} == set(SCENARIOS)
    assert len(ROWS) >= 24
    assert all(row.shows and row.advice for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: SCENARIOS.get(row.title, row.title))
def test_a_mistake_explains_itself(made: Made, row: DocumentedMistake) -> None:
    shown = made.shown[SCENARIOS[row.title]]
    text = "\n".join(filter(None, [shown["thrown"], *shown["errors"], f"{shown['code']} {shown['reason']}"]))
    assert has_in_order(text, row.shows), text
    assert bool(row.ours) is ("ours" in shown)
    assert has_in_order(shown.get("ours", ""), row.ours), shown["ours"]
    if not row.log:
        return  # it does not reach the gateway
    (session,) = re.findall(r"\[(\w+-\w+)\]", shown["reason"]) or [""]
    whose = session or (shown["principal"] if shown["code"] == 4000 else "")
    lines = [line for line in made.lines if whose in line]
    advice = row.advice.replace("http://127.0.0.1:4943", made.network)
    words = [*row.log, f'hint="{advice}"'] if whose else row.log
    assert any(has_in_order(line, words) for line in lines), "\n".join(lines)
    ends = [
        end
        for end in made.ended
        if (end["id"] == session if session else end["principal"] == whose if whose else end["id"] is None)
    ]
    assert advice in [end["hint"] for end in ends], ends
    assert advice in made.page
