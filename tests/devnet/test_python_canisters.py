"""Canisters in Python files: what is read, and what their exceptions become."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from icwsgw.devnet.canisters import ECHO_ID, app_message, app_text
from icwsgw.devnet.hosting import CdkSettings
from icwsgw.devnet.python_canisters import PythonCanister
from icwsgw.errors import FormatError, Rejected
from icwsgw.ic.ws import AckMessage, OpenMessage
from tests.support.devnet import Net, identity

ALICE = identity(1)
SHOUTING = b"""
from __future__ import annotations
from dataclasses import dataclass
from icwsgw.devnet.canisters import Canister, MethodNotFound, app_message, app_text

@dataclass
class Received:
    text: str

class Base(Canister):
    pass

class Shouting(Base):
    count = 0

    def on_open(self, client):
        self.debug_print(f"{client} is here")

    def on_message(self, client, message):
        received = Received(app_text(message))
        self.count += 1
        if received.text == "fail":
            raise ValueError("as asked")
        self.ws.send(client, app_message(received.text.upper()))

    def query(self, method, caller, arg):
        if method == "count":
            return b"%d" % self.count
        if method == "wrong":
            return "text"
        raise MethodNotFound(method)
"""


def made(source: bytes) -> PythonCanister:
    return PythonCanister("own", source, Path("/c/own.py"))


def net_with(source: bytes, **options: object) -> Net:
    net = Net(**options)
    net.replica.install(ECHO_ID, made(source))
    return net


def test_the_class_of_the_file_is_the_canister() -> None:
    logged: list[str] = []
    net = net_with(SHOUTING, log=lambda canister, text: logged.append(text))
    net.open(ALICE)
    net.send_message(ALICE, 1, "hello")
    opened, answer = net.received()
    assert isinstance(opened, OpenMessage)
    assert app_text(answer) == "HELLO"
    assert net.query(ALICE, "count", b"") == b"1"
    assert logged == [f"{ALICE.principal} is here"]
    assert made(SHOUTING).module_hash == hashlib.sha256(SHOUTING).digest()


def test_an_exception_is_a_trap_whose_traceback_is_in_the_log() -> None:
    logged: list[str] = []
    net = net_with(SHOUTING, log=lambda canister, text: logged.append(text))
    net.open(ALICE)
    with pytest.raises(Rejected, match="ValueError: as asked") as caught:
        net.send_message(ALICE, 1, "fail")
    assert (caught.value.code, caught.value.error_code) == (5, "IC0503")
    *_, trace, last = logged
    assert trace.splitlines() == [
        "Traceback (most recent call last):",
        '  File "/c/own.py", line 23, in on_message',
        "ValueError: as asked",
    ]
    assert last == "trapped: ValueError: as asked"
    # the CDK's state is restored: the number was not taken
    net.send_message(ALICE, 1, "again")


#: Sends to its clients, and sets and clears timers, before it does what is not allowed.
CARELESS = b"""
from icwsgw.devnet.canisters import Canister, app_message
from icwsgw.ic.principal import Principal

class Careless(Canister):
    candid = "service : {}"

    def __init__(self, ws):
        super().__init__(ws)
        self.ticks = self.set_timer_interval(100, lambda: self.debug_print("tick"))

    def send(self, text):
        for client in self.ws.clients:
            self.ws.send(Principal(client.principal), app_message(text))

    def act(self, text):
        self.clear_timer(self.ticks)
        self.set_timer(1, lambda: self.debug_print("set by " + text))
        self.send(text)

    def to_nobody(self):
        self.send("before the error")
        self.ws.send(Principal(b"nobody"), app_message("x"))

    def on_message(self, client, message):
        self.act("a message")
        self.to_nobody()

    def update(self, method, caller, arg):
        self.act("an update")
        if method == "late":
            self.set_timer(1, self.to_nobody)
            return b""
        self.to_nobody()

    def query(self, method, caller, arg):
        self.act("a query")
        if method == "fine":
            return b"reply"
        self.to_nobody()
"""
NOBODY = "Client with principal .* doesn't have an open connection"


def test_an_error_of_the_cdk_in_a_method_is_a_trap() -> None:
    logged: list[str] = []
    net = net_with(CARELESS, log=lambda canister, text: logged.append(text))
    net.open(ALICE)
    for attempt in (net.call, net.query):
        with pytest.raises(Rejected, match=f"WsError: {NOBODY}") as caught:
            attempt(ALICE, "method", b"")
        assert (caught.value.code, caught.value.error_code) == (5, "IC0503")
        assert "in to_nobody" in logged[-2]
    with pytest.raises(Rejected, match=f"WsError: {NOBODY}"):
        net.send_message(ALICE, 1, "x")
    net.advance(99)
    assert len(net.received()) == 1
    # Timers that were set are gone, and the one that was cleared is there.
    assert not any("set by" in line or line == "tick" for line in logged)
    net.advance(1)
    assert logged[-1] == "tick"


def test_a_query_leaves_no_trace() -> None:
    logged: list[str] = []
    net = net_with(CARELESS, log=lambda canister, text: logged.append(text))
    net.open(ALICE)
    assert net.query(ALICE, "fine", b"") == b"reply"
    assert len(net.received()) == 1
    net.advance(100)
    assert logged == ["tick"]


def test_an_error_of_the_cdk_in_a_timer_is_a_trap() -> None:
    logged: list[str] = []
    net = net_with(CARELESS, log=lambda canister, text: logged.append(text))
    net.open(ALICE)
    net.call(ALICE, "late", b"")
    net.advance(1)
    assert [app_text(each) for each in net.received()[1:]] == ["an update"]
    assert "in to_nobody" in logged[-2]
    assert logged[-1].startswith("a timer trapped: WsError: Client with principal")


def test_its_interface() -> None:
    net = net_with(CARELESS)
    assert net.replica.canister(ECHO_ID).candid == "service : {}"
    with pytest.raises(FormatError, match=r"Careless\.candid is int, not a text"):
        net_with(CARELESS.replace(b'"service : {}"', b"5"))


def test_methods_that_are_not_there_and_replies_that_are_none() -> None:
    net = net_with(SHOUTING)
    with pytest.raises(Rejected, match="no query method 'none'"):
        net.query(ALICE, "none", b"")
    with pytest.raises(Rejected, match="returned str, not bytes"):
        net.query(ALICE, "wrong", b"")
    with pytest.raises(Rejected, match="no update method 'none'"):
        net.call(ALICE, "none", b"")
    assert app_text(app_message("x")) == "x"


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        (b"x = 1 +", "line 1: SyntaxError: invalid syntax"),
        (b"\n\nimport not_a_module_at_all", "line 3: ModuleNotFoundError: No module named"),
        (b"x = 1", "one class has to extend icwsgw.devnet.canisters.Canister, there is: none"),
        (b"from icwsgw.devnet.canisters import EchoCanister", "there is: none"),
        (
            b"from icwsgw.devnet.canisters import Canister\nclass A(Canister): pass\nclass B(Canister): pass",
            "there is: A, B",
        ),
        (b"\xff", "SyntaxError"),
    ],
)
def test_files_that_are_no_canisters(source: bytes, complaint: str) -> None:
    with pytest.raises(FormatError, match=complaint):
        made(source)


def test_one_that_cannot_be_created() -> None:
    source = b"from icwsgw.devnet.canisters import Canister\nclass A(Canister):\n  def __init__(self, ws): 1 / 0"
    with pytest.raises(FormatError, match="A cannot be created: line 3: ZeroDivisionError"):
        net_with(source)


def test_an_upgrade_to_a_class_that_cannot_be_created_changes_nothing() -> None:
    source = b"""
from icwsgw.devnet.canisters import Canister

class Once(Canister):
    made = 0

    def __init__(self, ws):
        super().__init__(ws)
        self.set_timer_interval(1, lambda: self.debug_print("tick"))
        Once.made += 1
        if Once.made > 1:
            raise RuntimeError("once only")
"""
    logged: list[str] = []
    net = net_with(source, log=lambda canister, text: logged.append(text), settings=CdkSettings(ack_interval_ms=2_000))
    net.open(ALICE)
    with pytest.raises(FormatError, match="once only"):
        net.replica.reset(ECHO_ID)
    net.clock.advance(1)
    assert logged == ["tick"]
    net.clock.advance(1)
    assert [type(each) for each in net.received()] == [OpenMessage, AckMessage]
