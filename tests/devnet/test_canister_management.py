"""The management canister, as users and canisters call it; the state of what it manages, in the state tree."""

from __future__ import annotations

import hashlib
import json
from typing import Any, cast

import pytest

from icwsgw.devnet import management_types as types
from icwsgw.devnet.canister_management import MAX_CHUNK, MAX_CHUNKS, CanisterManagement, Outcome
from icwsgw.devnet.canisters import ECHO_ID
from icwsgw.devnet.consensus import BlockTiming
from icwsgw.devnet.faults import Answer
from icwsgw.devnet.topology import canister_id
from icwsgw.devnet.wasm.canister import STOPPING
from icwsgw.devnet.wasm.canister_messages import CanisterRequest
from icwsgw.devnet.wasm.host import WasmHost
from icwsgw.errors import ConfigError, Rejected
from icwsgw.ic import candid, cbor
from icwsgw.ic.envelope import SignedRequest
from icwsgw.ic.hashtree import Found, Missing
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from tests.devnet.wasm.support import GREETING, PRINTING, module, section
from tests.support.devnet import Net, identity, result_of

ALICE, BOB = identity(1), identity(2)
MANAGEMENT = Principal(b"")
SECOND_SUBNET = canister_id(0x8000_0000_0010_0003)
WITHOUT_BLOCKS = BlockTiming()
INSTALL, REINSTALL, UPGRADE = {"install": None}, {"reinstall": None}, {"upgrade": None}

#: Counts its calls on the heap and in stable memory, and what its upgrades ran.
COUNTING = """
  (global $pre (mut i32) (i32.const 0))
  (func (export "canister_init") (drop (call $stable_grow (i32.const 1))))
  (func (export "canister_pre_upgrade")
    (i32.store8 (i32.const 500) (i32.const 1)) (call $stable_write (i32.const 10) (i32.const 500) (i32.const 1)))
  (func (export "canister_update count")
    (i32.store (i32.const 600) (i32.add (i32.load (i32.const 600)) (i32.const 1)))
    (call $reply_i32 (i32.load (i32.const 600))))
  (func (export "canister_query heap") (call $reply_i32 (i32.load (i32.const 600))))
  (func (export "canister_query pre") (call $stable_read (i32.const 700) (i32.const 10) (i32.const 1))
    (call $reply_i32 (i32.load8_u (i32.const 700))))
"""


class Manager:
    """Calls the management canister for an identity."""

    def __init__(self, net: Net, who: Ed25519Identity = ALICE) -> None:
        self.net = net
        self.who = who

    def call(self, method: str, kind: candid.Type, value: Any, effective: Principal) -> bytes:
        """The reply; a reject is raised, and AssertionError for an HTTP status other than 200."""
        request = self.net.call_request(self.who, method, candid.encode([kind], [value]), MANAGEMENT)
        # agents let any subnet speak for the management canister
        place = effective if effective.raw else SECOND_SUBNET
        return self.net.outcome(result_of(self.net.submit(request, effective)), request, place)

    def create(self, effective: Principal = ECHO_ID, **given: Any) -> Principal:
        value = {"amount": None, "settings": None, "specified_id": None, **given}
        reply = self.call("provisional_create_canister_with_cycles", types.PROVISIONAL_CREATE, value, effective)
        (created,) = candid.decode_as(reply, [types.CANISTER])
        return created["canister_id"]

    def install(self, canister: Principal, file: bytes, mode: Any = INSTALL, arg: bytes = b"") -> None:
        value = {"mode": mode, "canister_id": canister, "wasm_module": file, "arg": arg}
        self.call("install_code", types.INSTALL_CODE, value, canister)

    def do(self, method: str, canister: Principal) -> bytes:
        return self.call(method, types.CANISTER, {"canister_id": canister}, canister)

    def status(self, canister: Principal) -> dict[str, Any]:
        (status,) = candid.decode_as(self.do("canister_status", canister), [types.STATUS])
        return status

    def settings(self, canister: Principal, **given: Any) -> None:
        value = {"canister_id": canister, "settings": {**dict.fromkeys(types.SETTINGS), **given}}
        self.call("update_settings", types.UPDATE_SETTINGS, value, canister)

    def upload(self, canister: Principal, chunk: bytes) -> bytes:
        reply = self.call("upload_chunk", types.UPLOAD_CHUNK, {"canister_id": canister, "chunk": chunk}, canister)
        (uploaded,) = candid.decode_as(reply, [types.CHUNK])
        return uploaded["hash"]


@pytest.fixture
def net() -> Net:
    return Net()


@pytest.fixture
def alice(net: Net) -> Manager:
    return Manager(net)


def value_at(net: Net, canister: Principal, *labels: bytes, who: Ed25519Identity | None = None) -> bytes | None:
    """What the state tree has below a canister; None: it is proven to be absent."""
    path = [b"canister", canister.raw, *labels]
    found = net.read_state(who, [path], canister).lookup(path)
    assert isinstance(found, Found) or found is Missing.ABSENT
    return found.value if isinstance(found, Found) else None


def rejected(code: str, call: Any, *arguments: Any, **options: Any) -> Rejected:
    with pytest.raises(Rejected) as caught:
        call(*arguments, **options)
    assert caught.value.error_code == code, caught.value
    return caught.value


def at_once(outcome: Outcome, kind: candid.Type) -> Any:
    """The value in a reply that has come."""
    assert isinstance(outcome, bytes)
    (value,) = candid.decode_as(outcome, [kind])
    return value


def test_a_refused_module_leaves_the_canister_as_it_was(net: Net, alice: Manager) -> None:
    import wasmtime

    foreign = bytes(wasmtime.wat2wasm('(module (import "wasi" "fd_write" (func)) (func (export "canister_update x")))'))
    canister = alice.create()
    rejected("IC0505", alice.install, canister, foreign)
    assert (alice.status(canister)["module_hash"], alice.status(canister)["version"]) == (None, 0)
    assert value_at(net, canister, b"module_hash") is None
    file = module(COUNTING)
    alice.install(canister, file)
    net.call(BOB, "count", b"", canister)
    for mode in (REINSTALL, UPGRADE):
        rejected("IC0505", alice.install, canister, foreign, mode)
        assert alice.status(canister)["module_hash"] == hashlib.sha256(file).digest()
        assert net.query(BOB, "heap", b"", canister) == (1).to_bytes(4, "little")
    alice.install(canister, file, UPGRADE)


def test_from_nothing_to_a_canister_that_answers_and_back(net: Net, alice: Manager) -> None:
    canister = alice.create()
    status = alice.status(canister)
    assert (status["status"], status["module_hash"]) == ({"running": None}, None)
    assert status["settings"] == {**types.DEFAULTS, "controllers": [ALICE.principal]}
    rejected("IC0537", net.call, ALICE, "echo", b"x", canister)
    file = module(PRINTING)
    alice.install(canister, file)
    assert net.call(BOB, "echo", b"hello", canister) == b"hello"
    status = alice.status(canister)
    assert status["module_hash"] == hashlib.sha256(file).digest()
    assert status["memory_size"] == sum(status["memory_metrics"].values())
    assert status["memory_metrics"]["wasm_memory_size"] == 65_536
    assert value_at(net, canister, b"module_hash") == status["module_hash"]
    rejected("IC0510", alice.do, "delete_canister", canister)
    alice.do("stop_canister", canister)
    assert alice.status(canister)["status"] == {"stopped": None}
    rejected("IC0508", net.call, BOB, "echo", b"", canister)
    alice.do("start_canister", canister)
    assert net.call(BOB, "echo", b"again", canister) == b"again"
    alice.do("stop_canister", canister)
    alice.do("delete_canister", canister)
    assert rejected("IC0301", alice.do, "canister_status", canister).code == 3
    rejected("IC0301", net.call, BOB, "echo", b"", canister)
    assert [value_at(net, canister, label) for label in (b"module_hash", b"controllers")] == [None, None]
    another = alice.create()
    assert another != canister
    assert alice.create(specified_id=canister) == canister
    net.replica.close()
    assert net.clock.getDelayedCalls() == []


def test_the_effective_id_chooses_the_subnet_and_a_specified_id_is_taken(net: Net, alice: Manager) -> None:
    first, second = alice.create(ECHO_ID), alice.create(SECOND_SUBNET)
    assert net.replica.state_of(first) is net.replica.state_of(ECHO_ID)
    assert net.replica.state_of(second) is net.replica.state_of(SECOND_SUBNET)
    assert net.replica.state_of(first) is not net.replica.state_of(second)
    assert alice.create(MANAGEMENT) == canister_id(0x8000_0000_0010_0004)
    mine = canister_id(0x8000_0000_0015_0000)
    assert alice.create(SECOND_SUBNET, specified_id=mine, amount=7) == mine
    assert alice.status(mine)["cycles"] == 7
    rejected("IC0205", alice.create, specified_id=mine)
    rejected("IC0405", alice.create, specified_id=canister_id(0xF000_0000_0000_0000))
    # on the root subnet there is room behind the network's own canisters
    root = alice.create(canister_id(3))
    assert net.replica.state_of(root).subnet.kind == "system"


def test_modes_of_install(net: Net, alice: Manager) -> None:
    canister, file = alice.create(), module(COUNTING)
    rejected("IC0537", alice.install, canister, file, UPGRADE)
    alice.install(canister, file)

    def count() -> int:
        return int.from_bytes(net.call(ALICE, "count", b"", canister), "little")

    def pre() -> int:
        return int.from_bytes(net.query(ALICE, "pre", b"", canister), "little")

    assert [count(), count()] == [1, 2]
    rejected("IC0514", alice.install, canister, file)
    skipping = {"upgrade": {"skip_pre_upgrade": True, "wasm_memory_persistence": None}}
    alice.install(canister, file, skipping)
    assert (pre(), count()) == (0, 1)
    alice.install(canister, file, UPGRADE)
    assert (pre(), count()) == (1, 1)
    keeping = {"upgrade": {"skip_pre_upgrade": None, "wasm_memory_persistence": {"keep": None}}}
    alice.install(canister, module(COUNTING, memory="(memory 2)"), keeping)
    assert (pre(), count()) == (1, 2)
    replacing = {"upgrade": {"skip_pre_upgrade": None, "wasm_memory_persistence": {"replace": None}}}
    alice.install(canister, file, replacing)
    assert count() == 1
    alice.install(canister, file, REINSTALL)
    assert (pre(), count()) == (0, 1)
    alice.do("uninstall_code", canister)
    assert alice.status(canister)["module_hash"] is None
    rejected("IC0537", net.call, ALICE, "count", b"", canister)


def test_code_that_is_none_or_traps_changes_nothing(net: Net, alice: Manager) -> None:
    canister = alice.create()
    assert "not valid" in rejected("IC0505", alice.install, canister, b"no module").message
    trapping = module('(func (export "canister_init") unreachable)')
    rejected("IC0502", alice.install, canister, trapping)
    assert alice.status(canister)["module_hash"] is None
    alice.install(canister, module(COUNTING))
    net.call(ALICE, "count", b"", canister)
    rejected("IC0502", alice.install, canister, trapping, REINSTALL)
    assert net.query(ALICE, "heap", b"", canister) == b"\1\0\0\0"


def test_code_in_chunks(net: Net, alice: Manager) -> None:
    canister, store = alice.create(), alice.create()
    file = module(PRINTING) + section("padding", bytes(range(256)) * 10_000)
    parts = [file[at : at + MAX_CHUNK] for at in range(0, len(file), MAX_CHUNK)]
    hashes = [alice.upload(store, part) for part in parts]
    assert hashes == [hashlib.sha256(part).digest() for part in parts]

    def install(by: Manager = alice, **given: Any) -> None:
        value = {
            "mode": INSTALL,
            "target_canister": canister,
            "store_canister": store,
            "chunk_hashes_list": [{"hash": each} for each in hashes],
            "wasm_module_hash": hashlib.sha256(file).digest(),
            "arg": b"",
            **given,
        }
        by.call("install_chunked_code", types.INSTALL_CHUNKED_CODE, value, canister)

    rejected("IC0504", install, store_canister=None)
    rejected("IC0504", install, wasm_module_hash=bytes(32))
    alice.settings(canister, controllers=[ALICE.principal, BOB.principal])
    assert "install_chunked_code" in rejected("IC0512", install, Manager(net, BOB)).message
    install()
    assert net.call(ALICE, "echo", b"x", canister) == b"x"
    (stored,) = candid.decode_as(alice.do("stored_chunks", store), [types.CHUNKS])
    assert sorted(each["hash"] for each in stored) == sorted(hashes)
    assert alice.status(store)["memory_metrics"]["wasm_chunk_store_size"] == len(file)
    alice.do("clear_chunk_store", store)
    (stored,) = candid.decode_as(alice.do("stored_chunks", store), [types.CHUNKS])
    assert stored == []
    rejected("IC0504", alice.upload, store, bytes(MAX_CHUNK + 1))
    for number in range(MAX_CHUNKS):
        alice.upload(store, b"%d" % number)
    alice.upload(store, b"0")
    rejected("IC0504", alice.upload, store, b"one more")


def test_settings_and_who_may_do_what(net: Net, alice: Manager) -> None:
    canister, bob = alice.create(), Manager(net, BOB)
    for method in ("canister_status", "stop_canister", "uninstall_code", "delete_canister", "upload_chunk"):
        text = f"Only controllers of canister {canister} can call ic00 method {method}"
        if method == "upload_chunk":
            assert rejected("IC0512", bob.upload, canister, b"x").message == text
        else:
            assert rejected("IC0512", bob.do, method, canister).message == text
    rejected("IC0512", bob.settings, canister, freezing_threshold=1)
    given = {
        "freezing_threshold": 1,
        "log_visibility": {"allowed_viewers": [BOB.principal]},
        "status_visibility": {"public": None},
        "environment_variables": [{"name": "A", "value": "b"}],
    }
    alice.settings(canister, **given)
    settings = bob.status(canister)["settings"]
    assert {name: settings[name] for name in given} == given
    assert settings["controllers"] == [ALICE.principal]
    host: Any = net.replica.canister(canister)
    assert host.canister.variables == [(b"A", b"b")]
    alice.settings(canister, controllers=[BOB.principal])
    assert cbor.loads(value_at(net, canister, b"controllers") or b"") == [BOB.principal.raw]
    rejected("IC0512", alice.do, "stop_canister", canister)
    bob.do("stop_canister", canister)
    rejected("IC0408", bob.settings, canister, controllers=[ALICE.principal] * 11)
    rejected("IC0504", bob.settings, canister, compute_allocation=101)
    rejected("IC0504", alice.create, settings={**dict.fromkeys(types.SETTINGS), "compute_allocation": 101})
    both = {**dict.fromkeys(types.SETTINGS), "controllers": [ALICE.principal, BOB.principal]}
    assert alice.status(alice.create(settings=both))["settings"]["controllers"] == both["controllers"]


def test_metadata_is_public_or_for_controllers(net: Net, alice: Manager) -> None:
    canister = alice.create()
    file = module(PRINTING) + section("icp:public candid:service", b"service : {}") + section("icp:public open", b"o")
    alice.install(canister, file + section("icp:private secret", b"s"))
    assert value_at(net, canister, b"metadata", b"candid:service") == b"service : {}"
    assert value_at(net, canister, b"metadata", b"secret", who=ALICE) == b"s"
    with pytest.raises(AssertionError, match="Custom section secret can only be requested by the controllers"):
        value_at(net, canister, b"metadata", b"secret", who=BOB)
    value = {"canister_id": canister, "name": "secret"}
    rejected("IC0406", alice.call, "canister_metadata", types.METADATA, value, canister)
    manage = net.replica.canisters.call_management

    def metadata(name: str, caller: Principal) -> Any:
        argument = candid.encode([types.METADATA], [{"canister_id": canister, "name": name}])
        return at_once(manage("canister_metadata", caller, argument), types.METADATA_VALUE)["value"]

    assert metadata("secret", ALICE.principal) == b"s"
    assert metadata("open", SECOND_SUBNET) == b"o"
    assert rejected("IC0512", metadata, "secret", SECOND_SUBNET).code == 5
    rejected("IC0543", metadata, "other", ALICE.principal)


def test_logs_are_for_those_whom_the_settings_name(net: Net, alice: Manager) -> None:
    canister = alice.create()
    alice.install(canister, module(PRINTING))
    argument = candid.encode([types.CANISTER], [{"canister_id": canister}])

    def logs(who: Ed25519Identity) -> list[bytes]:
        content = net.query_management(who, "fetch_canister_logs", argument, canister)
        (value,) = candid.decode(content, names=("canister_log_records", "content"))
        return [each["content"] for each in value["canister_log_records"]]

    assert logs(ALICE) == [b"hi\xff"]
    rejected("IC0406", logs, BOB)
    alice.settings(canister, log_visibility={"public": None})
    assert logs(BOB) == [b"hi\xff"]
    (status,) = candid.decode_as(net.query_management(ALICE, "canister_status", argument, canister), [types.STATUS])
    assert status["version"] == alice.status(canister)["version"]
    rejected("IC0536", net.query_management, ALICE, "raw_rand", b"", canister)
    nobody = candid.encode([types.CANISTER], [{"canister_id": canister_id(1)}])
    rejected("IC0301", net.query_management, ALICE, "fetch_canister_logs", nobody, canister_id(1))


def test_what_a_canister_may_do_with_itself(net: Net, alice: Manager) -> None:
    canister = alice.create()
    alice.install(canister, module(PRINTING))
    manage = net.replica.canisters.call_management
    argument = candid.encode([types.CANISTER], [{"canister_id": canister}])
    for method in ("canister_status", "stored_chunks", "clear_chunk_store"):
        manage(method, canister, argument)
    manage("upload_chunk", canister, candid.encode([types.UPLOAD_CHUNK], [{"canister_id": canister, "chunk": b"x"}]))
    for method in ("stop_canister", "start_canister", "uninstall_code", "delete_canister"):
        rejected("IC0512", manage, method, canister, argument)
    code = {"mode": REINSTALL, "canister_id": canister, "wasm_module": module(PRINTING), "arg": b""}
    rejected("IC0512", manage, "install_code", canister, candid.encode([types.INSTALL_CODE], [code]))
    settings = {"canister_id": canister, "settings": dict.fromkeys(types.SETTINGS)}
    rejected("IC0512", manage, "update_settings", canister, candid.encode([types.UPDATE_SETTINGS], [settings]))
    # It uses its own chunks for a canister that it controls.
    target, file = alice.create(), module(GREETING)
    alice.settings(target, controllers=[canister])
    code = {"mode": INSTALL, "target_canister": target, "store_canister": canister, "arg": b""}
    code |= {"chunk_hashes_list": [{"hash": hashlib.sha256(file).digest()}]}
    code |= {"wasm_module_hash": hashlib.sha256(file).digest()}
    chunk = {"canister_id": canister, "chunk": file}
    manage("upload_chunk", canister, candid.encode([types.UPLOAD_CHUNK], [chunk]))
    manage("install_chunked_code", canister, candid.encode([types.INSTALL_CHUNKED_CODE], [code]))
    assert net.query(BOB, "greet", b"", target) == b"DIDL\0\1\x71\2hi"
    alice.settings(canister, controllers=[ALICE.principal, canister])
    manage("stop_canister", canister, argument)
    assert alice.status(canister)["status"] == {"stopped": None}


def waiting(
    net: Net, alice: Manager, pace: BlockTiming = WITHOUT_BLOCKS
) -> tuple[Principal, CanisterRequest, list[Any]]:
    """A canister with an open call, what it waits for, and the outcome of the call: a reply or a reject."""
    canister = alice.create()
    alice.install(canister, module(PRINTING))
    net.replica.set_pace(pace)
    asked: list[CanisterRequest] = []
    host = cast(WasmHost, net.replica.canister(canister))
    elsewhere = host._runner.messages._elsewhere
    host._runner.messages._elsewhere = asked.append
    outcome = later(net, net.call_request(BOB, "ask", b"", canister), canister)
    net.advance(3, step=0.5)
    host._runner.messages._elsewhere = elsewhere
    (request,) = asked
    return canister, request, outcome


def later(net: Net, request: SignedRequest, effective: Principal) -> list[Any]:
    """The outcome of a call, once it has one: a reply or a reject."""
    outcome: list[Any] = []

    def come(answer: Answer) -> None:
        try:
            outcome.append(net.outcome(answer, request, effective))
        except Rejected as reject:
            outcome.append(reject)

    net.submit(request, effective).addCallback(come)
    return outcome


def stop_request(net: Net, canister: Principal) -> SignedRequest:
    argument = candid.encode([types.CANISTER], [{"canister_id": canister}])
    return net.call_request(ALICE, "stop_canister", argument, MANAGEMENT)


@pytest.mark.parametrize("pace", [WITHOUT_BLOCKS, BlockTiming(1.0)])
def test_a_canister_is_stopping_until_its_open_calls_are_done(pace: BlockTiming) -> None:
    net = Net()
    alice = Manager(net)
    canister, request, outcome = waiting(net, alice, pace)
    stopped = later(net, stop_request(net, canister), canister)
    net.advance(3, step=0.5)
    host = cast(WasmHost, net.replica.canister(canister))
    assert (stopped, host.canister.status, outcome) == ([], STOPPING, [])
    for attempt in (net.call, net.query):
        assert rejected("IC0509", attempt, BOB, "echo", b"", canister).message == f"Canister {canister} is stopping"
    request.answered(b"random", 0)
    host._runner.run()
    net.advance(3, step=0.5)
    assert outcome == [b"random"]
    assert stopped == [candid.encode([], [])]
    assert rejected("IC0508", net.query, BOB, "beats", b"", canister).message == f"Canister {canister} is stopped"
    net.replica.close()
    assert net.clock.getDelayedCalls() == []


def test_what_can_be_done_with_a_canister_that_is_stopping(net: Net, alice: Manager) -> None:
    canister, request, outcome = waiting(net, alice)
    stopped = later(net, stop_request(net, canister), canister)
    assert alice.status(canister)["status"] == {"stopping": None}
    rejected("IC0510", alice.do, "delete_canister", canister)
    alice.do("start_canister", canister)
    assert [(reject.code, reject.error_code) for reject in stopped] == [(5, "IC0511")]
    assert alice.status(canister)["status"] == {"running": None}
    assert net.call(BOB, "echo", b"x", canister) == b"x"
    request.answered(b"random", 0)
    net.call(BOB, "echo", b"x", canister)
    assert outcome == [b"random"]


def test_the_end_of_a_stop_that_takes_too_long_can_be_read(net: Net, alice: Manager) -> None:
    """It comes when the envelope has expired."""
    canister, _, _ = waiting(net, alice)
    stop = stop_request(net, canister)
    later(net, stop, canister)
    # Accepting calls removes old ones.
    for _ in range(30):
        net.advance(10)
        alice.do("canister_status", canister)
    path = [b"request_status", stop.request_id]
    certificate = net.read_state(ALICE, [path], canister)
    assert certificate.lookup([*path, b"error_code"]) == Found(b"IC0206")
    assert certificate.lookup([*path, b"reject_code"]) == Found(b"\x02")
    assert alice.status(canister)["status"] == {"stopping": None}
    for _ in range(10):
        net.advance(10)
        alice.do("canister_status", canister)
    assert net.read_state(ALICE, [path], canister).lookup([*path, b"status"]) is Missing.ABSENT


def test_a_canister_stops_another(net: Net, alice: Manager) -> None:
    busy, request, _ = waiting(net, alice)
    stopper = alice.create()
    alice.settings(busy, controllers=[ALICE.principal, stopper])
    argument = candid.encode([types.CANISTER], [{"canister_id": busy}])
    text = "".join(f"\\{byte:02x}" for byte in argument)
    alice.install(
        stopper,
        module(f"""
          (table 2 funcref) (elem (i32.const 0) $on_reply $on_reject)
          (data (i32.const 0) "{text}") (data (i32.const 500) "stop_canister")
          (func $on_reply (param i32) (call $msg_reply))
          (func $on_reject (param i32) (call $reply_i32 (call $msg_reject_code)))
          (func (export "canister_update go")
            (call $call_new (i32.const 0) (i32.const 0) (i32.const 500) (i32.const 13)
              (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0))
            (call $call_data_append (i32.const 0) (i32.const {len(argument)})) (drop (call $call_perform)))"""),
    )
    outcome = later(net, net.call_request(BOB, "go", b"", stopper), stopper)
    assert alice.status(busy)["status"] == {"stopping": None}
    assert outcome == []
    request.answered(b"random", 0)
    cast(WasmHost, net.replica.canister(busy))._runner.run()
    assert outcome == [b""]
    assert alice.status(busy)["status"] == {"stopped": None}
    net.replica.close()
    assert net.clock.getDelayedCalls() == []


def test_what_a_user_may_not_call(net: Net, alice: Manager) -> None:
    canister = alice.create()
    rejected("IC0406", alice.call, "create_canister", types.CREATE, {"settings": None}, canister)
    rejected("IC0406", alice.do, "canister_info", canister)
    for method in ("take_canister_snapshot", "list_canister_snapshots", "upload_canister_snapshot_data"):
        assert "keeps no snapshots" in rejected("IC0406", alice.do, method, canister).message
    assert "no method 'http_request'" in rejected("IC0536", alice.do, "http_request", canister).message
    rejected("IC0408", alice.call, "start_canister", candid.Text, "x", canister)
    rejected("IC0408", alice.call, "provisional_create_canister_with_cycles", candid.Text, "x", canister)
    with pytest.raises(AssertionError, match="the effective id is"):
        alice.call("start_canister", types.CANISTER, {"canister_id": canister}, ECHO_ID)
    assert "belongs to the local replica" in rejected("IC0512", alice.do, "stop_canister", ECHO_ID).message


def test_cycles_are_counted(net: Net, alice: Manager) -> None:
    canister = alice.create(amount=5)
    value = {"canister_id": canister, "amount": 10}
    Manager(net, BOB).call("provisional_top_up_canister", types.TOP_UP, value, canister)
    assert alice.status(canister)["cycles"] == 15


def test_canisters_create_canisters_where_they_are(net: Net) -> None:
    canisters = net.replica.canisters
    caller = canisters.install_wasm(SECOND_SUBNET, module(PRINTING)).id
    reply = canisters.call_management("create_canister", caller, candid.encode([types.CREATE], [{"settings": None}]), 9)
    created = at_once(reply, types.CANISTER)
    assert net.replica.state_of(created["canister_id"]) is net.replica.state_of(caller)
    argument = candid.encode([types.CANISTER], [created])
    canisters.call_management("deposit_cycles", ALICE.principal, argument, 3)
    status = at_once(canisters.call_management("canister_status", caller, argument), types.STATUS)
    assert status["cycles"] == 12
    info = at_once(canisters.call_management("canister_info", ALICE.principal, argument), types.INFO)
    assert (info["controllers"], info["module_hash"]) == ([caller], None)


def test_there_is_a_limit(net: Net, alice: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("icwsgw.devnet.canister_management.MAX_CREATED", 2)
    alice.create()
    alice.create()
    rejected("IC0102", alice.create)


def test_without_wasmtime_it_says_what_is_missing(net: Net, alice: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(canister: Principal) -> Any:
        raise ConfigError("canisters in WebAssembly need wasmtime")

    monkeypatch.setattr(net.replica.canisters, "create_wasm", missing)
    assert "need wasmtime" in rejected("IC0521", alice.create).message


def test_with_blocks_too() -> None:
    net = Net(pace=BlockTiming(0.4))
    argument = {"amount": None, "settings": None, "specified_id": None}
    request = net.call_request(
        ALICE,
        "provisional_create_canister_with_cycles",
        candid.encode([types.PROVISIONAL_CREATE], [argument]),
        MANAGEMENT,
    )
    answer = net.submit(request, ECHO_ID)
    net.advance(2, 0.1)
    (created,) = candid.decode_as(net.outcome(result_of(answer), request, ECHO_ID), [types.CANISTER])
    assert net.replica.canister(created["canister_id"]).running
    net.replica.close()


def test_the_control_interface_counts_them_too(net: Net, alice: Manager) -> None:
    canister = alice.create()
    _, _, body = result_of(net.handle("GET", "/_/stats"))
    assert canister.text in json.loads(body)["canisters"]


def test_what_does_not_exist_has_no_controllers(net: Net) -> None:
    management: CanisterManagement = net.replica.canisters.management
    assert management.controllers(ECHO_ID) == []
    assert management.has_method("create_canister")
    assert not management.has_method("raw_rand")
