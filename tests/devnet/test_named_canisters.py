"""The canisters of --devnet-canister: installed at the start, upgraded when their files change."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import cast

import pytest
import wasmtime
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher

from icwsgw.config.canister_files import CANISTER_FILES
from icwsgw.devnet.canisters import CHAT_ID
from icwsgw.devnet.named_canisters import LOOK_S, NamedCanisters
from icwsgw.errors import ConfigError
from icwsgw.ic import hashtree
from tests.devnet.wasm.support import module
from tests.support.devnet import Net, identity

ALICE = identity(1)


def answering(text: str, more: str = "") -> bytes:
    """A canister whose query `who` says a text, and whose `add` counts in stable memory."""
    return module(
        f"""(data (i32.const 0) "{text}")
        (func (export "canister_query who") (call $reply_at (i32.const 0) (i32.const {len(text)})))
        (func (export "canister_update add") (drop (call $stable_grow (i32.const 1))) (call $msg_reply))
        (func (export "canister_query pages") (call $reply_i32 (call $stable_size)))
        {more}"""
    )


class Named:
    """A network with canisters from files in a directory."""

    def __init__(self, folder: Path, *texts: str) -> None:
        self.net = Net()
        files = CANISTER_FILES.parse(",".join(text.replace("=", f"={folder}/") for text in texts))
        self.named = NamedCanisters(self.net.replica, files)
        self.log: list[str] = []

    def who(self, name: str) -> bytes:
        return self.net.query(ALICE, "who", b"", self.net.replica.names[name])


def write(path: Path, content: bytes | str) -> None:
    """Write a file, whose time of change is another than before."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    os.utime(path, ns=(before + 10**9, before + 10**9))


def test_ids_by_order_and_in_a_demo_canisters_place(tmp_path: Path) -> None:
    write(tmp_path / "a.wasm", answering("a"))
    write(tmp_path / "b.wasm.gz", gzip.compress(answering("b")))
    for _ in range(2):
        it = Named(tmp_path, "first=a.wasm", "chat=b.wasm.gz", "third=a.wasm")
        it.named.install()
        ids = {name: canister.text for name, canister in it.net.replica.names.items()}
        assert ids == {
            "echo": "bkyz2-fmaaa-aaaaa-qaaaq-cai",
            "chat": CHAT_ID.text,
            "first": "be2us-64aaa-aaaaa-qaabq-cai",
            "third": "br5f7-7uaaa-aaaaa-qaaca-cai",
        }
        assert [it.who(name) for name in ("first", "chat", "third")] == [b"a", b"b", b"a"]


def test_init_gets_candid_without_values(tmp_path: Path) -> None:
    init = """(func (export "canister_init") (call $echo_arg)
      (if (i64.ne (i64.load (i32.const 1000)) (i64.const 0x00004c444944)) (then unreachable)))"""
    # "DIDL" 0 0: no types, no values
    write(tmp_path / "a.wasm", answering("a", init))
    Named(tmp_path, "a=a.wasm").named.install()


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.wasm", None, "--devnet-canister a: cannot read .*/a.wasm: No such file"),
        ("a.wasm", b"text", "--devnet-canister a: .*/a.wasm: not a WebAssembly module"),
        ("a.wasm", b"\0asm\1\0\0\0\xff", "--devnet-canister a: .*/a.wasm: WebAssembly module ends too early"),
        ("a.wasm", bytes(wasmtime.wat2wasm('(module (import "env" "f" (func)))')), "a.wasm: .*not exported by"),
        ("a.wasm", answering("a", '(func (export "canister_init") unreachable)'), "a.wasm: Canister trapped"),
        ("a.py", b"x =", "--devnet-canister a: .*/a.py: line 1: SyntaxError"),
    ],
)
def test_a_bad_file_ends_the_start_with_one_sentence(
    tmp_path: Path, name: str, content: bytes | None, complaint: str
) -> None:
    if content is not None:
        write(tmp_path / name, content)
    with pytest.raises(ConfigError, match=complaint):
        Named(tmp_path, f"a={name}").named.install()


def test_the_interface_is_public_metadata(tmp_path: Path) -> None:
    write(tmp_path / "own.wasm", answering("a") + b"\0" + bytes([26]) + b"\x19icp:public candid:service")
    write(tmp_path / "given.wasm", answering("b"))
    write(tmp_path / "given.did", "service : { who : () -> (text) query }")
    write(tmp_path / "p.py", "from icwsgw.devnet.canisters import Canister\nclass A(Canister): pass")
    it = Named(tmp_path, "own=own.wasm", f"given=given.wasm:{tmp_path}/given.did", f"p=p.py:{tmp_path}/given.did")
    it.named.install()
    for name, expected in (("own", b""), ("given", b"service : { who"), ("p", b"service : { who")):
        host = it.net.replica.canister(it.net.replica.names[name])
        found = hashtree.lookup(host.state(), [b"metadata", b"candid:service"]).value
        assert found is not None
        assert found.startswith(expected)
        assert host.candid == found.decode()


@pytest.fixture
def logged() -> list[str]:
    """What is logged meanwhile."""
    events: list[str] = []

    def keep(event: LogEvent) -> None:
        events.append(str(event.get("log_format")).format(**event))

    observer = cast(ILogObserver, keep)
    globalLogPublisher.addObserver(observer)
    yield events
    globalLogPublisher.removeObserver(observer)


def test_a_changed_file_is_an_upgrade(tmp_path: Path, logged: list[str]) -> None:
    write(tmp_path / "a.wasm", answering("a"))
    it = Named(tmp_path, "a=a.wasm")
    it.named.install()
    it.named.watch()
    canister_id = it.net.replica.names["a"]
    it.net.call(ALICE, "add", b"", canister_id)
    write(tmp_path / "a.wasm", answering("later"))
    it.net.advance(LOOK_S)
    assert it.who("a") == b"a", "it may still be being written"
    it.net.advance(LOOK_S)
    assert it.who("a") == b"later"
    assert it.net.query(ALICE, "pages", b"", canister_id) == b"\1\0\0\0", "stable memory stays"
    assert logged == [f"canister a is upgraded: {tmp_path}/a.wasm has changed"]
    # a file that is touched, or goes away, changes nothing
    version = it.net.replica.canister(canister_id).canister.version  # type: ignore[attr-defined]
    write(tmp_path / "a.wasm", answering("later"))
    it.net.advance(5, step=LOOK_S)
    (tmp_path / "a.wasm").unlink()
    it.net.advance(5, step=LOOK_S)
    assert it.net.replica.canister(canister_id).canister.version == version  # type: ignore[attr-defined]
    it.named.close()
    it.net.replica.close()
    assert it.net.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"half a file", "not a WebAssembly module"),
        (answering("bad", '(func (export "canister_post_upgrade") unreachable)'), "Canister trapped: unreachable"),
    ],
)
def test_a_bad_change_leaves_what_runs(tmp_path: Path, logged: list[str], content: bytes, complaint: str) -> None:
    write(tmp_path / "a.wasm", answering("a"))
    it = Named(tmp_path, "a=a.wasm")
    it.named.install()
    it.named.watch()
    write(tmp_path / "a.wasm", content)
    it.net.advance(5, step=LOOK_S)
    assert it.who("a") == b"a"
    assert len(logged) == 1, "it is logged once"
    assert complaint in logged[0]
    assert logged[0].startswith(f"canister a stays as it is: {tmp_path}/a.wasm: ")
    write(tmp_path / "a.wasm", answering("good"))
    it.net.advance(5, step=LOOK_S)
    assert it.who("a") == b"good"


def test_python_is_reloaded_too(tmp_path: Path) -> None:
    source = """
from icwsgw.devnet.canisters import Canister
class A(Canister):
    def query(self, method, caller, arg):
        return b"before"
"""
    write(tmp_path / "a.py", source)
    it = Named(tmp_path, "a=a.py")
    it.named.install()
    it.named.watch()
    assert it.who("a") == b"before"
    write(tmp_path / "a.py", source.replace("before", "after"))
    it.net.advance(5, step=LOOK_S)
    assert it.who("a") == b"after"
