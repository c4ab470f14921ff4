from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

from icwsgw.admin.history import History
from icwsgw.admin.page import POLICY, SCRIPT, STYLE, page
from icwsgw.admin.status import SERIES, Status
from icwsgw.observe.event_loop_lag import EventLoopLag
from icwsgw.observe.health import Health
from tests.admin.documents import canister, document, ended, entry
from tests.memory.world import World

VOID = {"meta", "link", "path", "br"}


class Reader(HTMLParser):
    """Reads a page as a browser would, and insists that every element is closed.

    :ivar ids: the text of the elements that have one
    :ivar tables: rows of cells by the heading above
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[tuple[str, dict[str, str | None]]] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.ids: dict[str, str] = {}
        self.title = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if attributes.get("id"):
            assert attributes["id"] not in self.ids
            self.ids[str(attributes["id"])] = ""
        if tag not in VOID:
            self.open.append((tag, attributes))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for tag, attributes in self.open:
            if attributes.get("id"):
                self.ids[str(attributes["id"])] += data + " "
            if tag == "title":
                self.title += data

    def text_of(self, part: str) -> str:
        """The text of a part, with single blanks."""
        return " ".join(self.ids[part].split())


def test_documents_are_like_real_ones() -> None:
    world = World()
    world.open(2)[0].leave()
    lag = EventLoopLag(world.metrics.event_loop_lag, world.clock)
    real, ours = Status(world.gateway, Health(), lag).document(), document()
    assert list(real) == list(ours)
    for name in ("sessions", "totals", "failures", "history"):
        assert list(real[name]) == list(ours[name]), name
    for name in ("canisters", "identities", "workers", "ended"):
        assert list(real[name][0]) == list(ours[name][0]), name


def test_the_state_can_be_read_in_a_second() -> None:
    ready = Reader(page(document()))
    assert ready.text_of("state") == "Ready Serves clients of canisters on https://icp0.io"
    assert ready.title == "Ready – IC WebSocket Gateway"
    findings = [{"name": "network", "reason": "not reached"}, {"name": "draining", "reason": "x"}]
    bad = Reader(page(document(ready=False, findings=findings)))
    assert bad.text_of("state") == "Not ready network: not reached draining: x"
    ending = Reader(page(document(ready=False, draining=True, findings=findings)))
    assert ending.text_of("state") == (
        "Shutting down Accepts no new clients; present clients move or are closed. network: not reached"
    )
    assert ending.title.startswith("Shutting down")
    worried = Reader(page(document(concerns=["clients <cannot> verify"])))
    assert worried.text_of("state").startswith("Ready")
    assert worried.text_of("state").endswith("clients <cannot> verify")
    troubled = [canister("a", trouble=True), canister("b"), canister("c", trouble=True)]
    assert Reader(page(document(canisters=troubled))).text_of("state").endswith("2 of its canisters do not answer.")
    assert ready.text_of("summary") == "1.0, up 1 h 6 min, as of 22:13:20 UTC"


def test_what_the_parts_say() -> None:
    rows = [
        canister("bad-one", trouble=True, failures=61, answered_ago=None, last_error="HTTP 503", error_ago=4.0),
        canister("good", sessions=1200, waiting=3, up=0.5, down=20.0, lag=1.25, answered_ago=0.1),
    ]
    errors = [entry(level="error", count=1234, text="out of luck"), entry(details="", workers=[0, 2])]
    reader = Reader(page(document(canisters=rows, canister_count=60, errors=errors, tls_expires=1_700_172_800.0)))
    text = reader.text_of("canisters")
    assert text.startswith(
        "Canisters 60 Canister Clients Up Down Message lag Round trip Last answer Last error bad-one 1"
    )
    assert "never (61 failed since) HTTP 503 4 s ago" in text
    assert "good 1,200 (3 opening) 0.5/s 20/s 1.2 s 20 ms just now" in text
    assert text.endswith("and 58 more with fewer clients")
    least = Reader(page(document(canisters=rows, canister_count=60, canister_count_exact=False))).text_of("canisters")
    assert least.startswith("Canisters at least 60 Canister")
    assert least.endswith("and at least 58 more with fewer clients")
    assert reader.text_of("errors") == (
        "Warnings and errors 2 error poller: out of luck × 1,234 1 min ago canister=a-b "
        "warn poller: poll failed 1 min ago , workers 0, 2"
    )
    assert "80 1000 closed normally 8 4104 the client did not read its messages" in reader.text_of("closes")
    assert "7 Polls that failed timeout 2 Connections refused accept rate" in reader.text_of("failures")
    assert "Messages down 23,456 3.0 GiB" in reader.text_of("totals")
    assert "Certificate 2 d left" in reader.text_of("about")
    assert "Twisted, Autobahn 24.11.0, 24.4.2" in reader.text_of("about")
    assert reader.text_of("identities") == "Identities 1 Number Principal Clients 0 2vxsx-fae 12"
    assert "workers" not in reader.ids


def test_sessions_that_have_ended_say_why_and_what_to_do() -> None:
    rows = [
        ended(hint="Compare <the> types."),
        ended(code=1000, reason="", by="client", principal=None, peer=None, seconds=0.25),
        ended(id=None, code=None, status=403, by="gateway", reason="origin x", canister=None, principal=None),
    ]
    text = Reader(page(document(ended=rows, ended_count=7))).text_of("ended")
    assert text.startswith("Ended in the last ten minutes 7 Ended Session Client Canister Lasted Up, down Code Why")
    assert "20 s ago ab12-3 2vxsx-fae 192.0.2.7:51210 aaaaa-aa 12 s 4, 5 4000" in text
    assert "client: Error receiving message Compare <the> types." in text
    assert "ab12-3 – aaaaa-aa 250 ms 4, 5 1000 client: closed normally" in text
    assert "– 192.0.2.7:51210 – – 4, 5 HTTP 403 gateway: origin x" in text
    assert text.endswith("and 4 before them")
    assert Reader(page(document(ended=[], ended_count=0))).text_of("ended").endswith("0 None.")


def test_lists_say_how_many_they_leave_out() -> None:
    reader = Reader(page(document(identity_count=2000)))
    assert reader.text_of("identities").startswith("Identities 2,000 ")
    assert reader.text_of("identities").endswith(" and 1,999 more")


def test_nothing_yet() -> None:
    empty = document(
        closes={}, failures={"polls": {}}, errors=[], canisters=[], canister_count=0, history=History(SERIES).document()
    )
    reader = Reader(page({**empty, "totals": {}}))
    assert reader.text_of("canisters") == "Canisters 0 No canister has clients here."
    for part in ("closes", "failures", "errors"):
        assert reader.text_of(part).endswith(" None.")


def test_several_workers() -> None:
    status = document(tls_expires=1.0)
    lost = {"worker": 1, "pid": None, "state": "is started again", "started": None, "restarts": 2}
    status["workers"].append({**lost, "sessions": 0, "memory": None, "cpu": None})
    reader = Reader(page(status))
    assert "0 serving 77 1 h 6 min 0 12 25 % 70 MiB 1 is started again – – 2 0 – –" in reader.text_of("workers")
    assert reader.text_of("identities") == "Identities 1 Number Principal Worker Clients 0 2vxsx-fae 0 12"
    assert "Certificate has expired" in reader.text_of("about")


def evil(value: Any) -> Any:
    """The same with every text replaced by one that would be markup."""
    if isinstance(value, str):
        return "</table><script>alert(1)</script>\"'&<img src=x onerror=alert(1)>"
    if isinstance(value, dict):
        return {key: evil(each) for key, each in value.items()}
    return [evil(each) for each in value] if isinstance(value, list) else value


def test_everything_from_outside_is_escaped() -> None:
    status = document(canisters=[canister("x", last_error="x", error_ago=1.0)])
    harmful = evil(status)
    harmful["closes"] = {evil("x"): 1}
    harmful["failures"] = {evil("x"): {evil("x"): 1}}
    harmful["findings"] = [{"name": evil("x"), "reason": evil("x")}]
    harmful["ready"] = False
    harmless = Reader(page(status))
    assert len(Reader(page({**harmful, "closes": {}, "failures": {}})).elements) > 50
    html = page(harmful)
    assert "<img" not in html
    assert html.count("<script") == 1
    assert {tag for tag, _ in Reader(html).elements} <= {tag for tag, _ in harmless.elements} | {"ul", "li"}


def test_nothing_comes_from_outside_and_the_policy_allows_just_this() -> None:
    html = page(document())
    for kind, text in (("style", STYLE), ("script", SCRIPT)):
        (found,) = re.findall(rf"<{kind}>(.*?)</{kind}>", html, re.DOTALL)
        assert found == text
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in POLICY
    assert POLICY.startswith("default-src 'none'; ")
    assert "unsafe" not in POLICY
    reader = Reader(html)
    for _tag, attributes in reader.elements:
        assert not {name for name in attributes if name.startswith("on") or name == "style"}
        for name in ("src", "href"):
            assert ":" not in (attributes.get(name) or "").replace("data:,", "")


def test_it_can_be_read_without_a_script_and_without_eyes() -> None:
    reader = Reader(page(document()))
    assert ("meta", {"http-equiv": "refresh", "content": "5"}) in reader.elements
    assert ("html", {"lang": "en", "data-release": reader.elements[0][1]["data-release"]}) == reader.elements[0]
    heads = [attributes["scope"] for tag, attributes in reader.elements if tag == "th"]
    assert len(heads) > 10
    assert set(heads) == {"col", "row"}
    assert all(attributes["aria-label"] for tag, attributes in reader.elements if tag == "svg")
    headings = [tag for tag, _ in reader.elements if re.fullmatch("h[1-6]", tag)]
    assert headings.count("h1") == 1
    assert set(headings) == {"h1", "h2", "h3"}
    live = [attributes["id"] for _, attributes in reader.elements if "data-live" in attributes]
    assert {
        "summary",
        "state",
        "tiles",
        "canisters",
        "errors",
        "ended",
        "closes",
        "failures",
        "totals",
        "about",
        "identities",
    } == set(live)
