"""The WebSocket CDK of crates.io on the runtime, and the devnet's own CDK beside it: the same requests to both.

What differs, and why: the words of a trap and of its Candid library; the order of clients in a round of
acknowledgements and removals (the CDK goes through a hash map), and with it the digests of their messages. Before the
first round, certified data and witnesses are the same byte for byte; after it, witnesses have the same shape and size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import cbor2
import pytest
from twisted.internet.task import Clock

from icwsgw.devnet.canisters import ECHO_ID, EchoCanister
from icwsgw.devnet.cdk import ACK_INTERVAL_MS
from icwsgw.devnet.cdk_types import Trap
from icwsgw.devnet.hosting import CanisterHost, CdkSettings, Host
from icwsgw.devnet.wasm.canister import WasmCanister
from icwsgw.devnet.wasm.execution import Response
from icwsgw.devnet.wasm.host import MessageRunner, WasmHost
from icwsgw.devnet.wasm.instance import Compiler
from icwsgw.errors import CanisterRefused, Rejected
from icwsgw.ic import hashtree, ws
from icwsgw.ic.principal import ANONYMOUS, Principal
from icwsgw.ic.ws import MessageArgs, parse_get_messages
from tests.support.built_canisters import build

pytestmark = pytest.mark.rust

ALICE, BOB, CAROL = (Principal.self_authenticating(name) for name in (b"alice", b"bob", b"carol"))
GATEWAY, OTHER_GATEWAY = (Principal.self_authenticating(name) for name in (b"gateway", b"other"))
START_NS = 1_800_000_000_000_000_000
SECOND_NS = 1_000_000_000


class Echo(EchoCanister):
    """The devnet's echo canister with the trap that the one in Rust has."""

    def on_message(self, client: Principal, message: bytes) -> None:
        if message == b"trap":
            raise Trap("as the message asks")
        super().on_message(client, message)


@pytest.fixture(scope="session")
def compiler() -> Compiler:
    return Compiler()


class Pair:
    """Both canisters, at the same time."""

    def __init__(self, compiler: Compiler) -> None:
        self.clock = Clock()
        runner = MessageRunner(self.clock, elsewhere=lambda request: pytest.fail(request.method))
        canister = WasmCanister(
            ECHO_ID,
            compiler,
            self.now_ns,
            root_key=b"",
            subnet_id=Principal(b"s"),
            node_count=13,
            log=lambda text: None,
        )
        self.real = WasmHost(canister, runner, self.clock, self.now_ns, lambda host: None)
        self.real.install(build("echo"))
        self.ours = Host(ECHO_ID, Echo, self.clock, self.now_ns, CdkSettings(), lambda host: None)
        self.nonces: dict[Principal, int] = {}

    def now_ns(self) -> int:
        return START_NS + round(self.clock.seconds() * SECOND_NS)

    def wait(self, seconds: float) -> None:
        """Let time pass for both, in steps that no timer spans."""
        for _ in range(round(seconds)):
            self.clock.advance(1)

    def update(self, method: str, caller: Principal, argument: bytes) -> Response:
        """Call both; return what both answer."""
        real, ours = (answer_of(host, method, caller, argument) for host in (self.real, self.ours))
        assert same(real, ours), (method, real, ours)
        return real

    def poll(self, gateway: Principal, nonce: int) -> ws.Batch:
        """Poll both; return the real one's batch when the messages are the same and each proves its own."""
        argument = ws.encode_get_messages(nonce)
        batches = [
            parse_get_messages(host.query("ws_get_messages", gateway, argument, lambda canister: b"certificate"))
            for host in (self.real, self.ours)
        ]
        roots = [self.real.canister.certified_data, self.ours.ws.certified_data()]
        for batch, root in zip(batches, roots, strict=True):
            if batch.messages:
                assert batch.cert == b"certificate"
                assert hashtree.reconstruct(hashtree.decode(batch.tree)) == root
        real, ours = batches
        assert shown(real) == shown(ours)
        if self.clock.seconds() < ACK_INTERVAL_MS / 1000:
            assert [tuple(map(as_bytes, each)) for each in real.messages] == [
                tuple(map(as_bytes, each)) for each in ours.messages
            ]
            assert bytes(real.tree) == bytes(ours.tree)
            assert roots[0] == roots[1]
        elif real.messages:
            assert len(real.tree) == len(ours.tree)
            assert shape(hashtree.decode(real.tree)) == shape(hashtree.decode(ours.tree))
        return real


def answer_of(host: CanisterHost, method: str, caller: Principal, argument: bytes) -> Response:
    try:
        answer = host.update(method, caller, argument)
    except Rejected as reject:
        return reject
    assert isinstance(answer, bytes)
    return answer


def shown(batch: ws.Batch) -> tuple[object, ...]:
    """Return what has to be the same: the numbers of the queue, and each client's messages in order."""
    by_client: dict[tuple[bytes, int], list[bytes]] = {}
    for principal, nonce, _, content in batch.messages:
        by_client.setdefault((bytes(principal), nonce), []).append(bytes(content))
    return [bytes(key) for _, _, key, _ in batch.messages], by_client, batch.end_of_queue


def as_bytes(value: object) -> object:
    return bytes(value) if isinstance(value, memoryview) else value


def shape(tree: hashtree.Tree) -> object:
    """Return a tree without digests and values."""
    if tree[0] == 1:
        return shape(tree[1]), shape(tree[2])
    return (tree[1], shape(tree[2])) if tree[0] == 2 else tree[0]


#: Behind these words the CDK puts those of its Candid library.
DECODING = b"Error decoding service message content: "


def same(real: Response, ours: Response) -> bool:
    """Whether the answers are the same but for what is known to differ."""
    if isinstance(real, Rejected) and isinstance(ours, Rejected):
        return (real.code, real.error_code) == (ours.code, ours.error_code)
    if isinstance(real, bytes) and isinstance(ours, bytes):
        return real == ours or (DECODING in real and DECODING in ours)
    return False


@pytest.fixture
def pair(compiler: Compiler) -> Iterator[Pair]:
    made = Pair(compiler)
    yield made
    made.real.close()
    made.ours.close()


def message(client: Principal, nonce: int, number: int, content: bytes = b"hi", *, service: bool = False) -> bytes:
    return ws.encode_message_args(MessageArgs(client.raw, nonce, number, START_NS, service, content))


def opened(pair: Pair, client: Principal, nonce: int, gateway: Principal = GATEWAY) -> Response:
    return pair.update("ws_open", client, ws.encode_open_args(nonce, gateway.raw))


def closed(pair: Pair, client: Principal, nonce: int, gateway: Principal = GATEWAY) -> Response:
    return pair.update("ws_close", gateway, ws.encode_close(client.raw, nonce))


def sent(pair: Pair, client: Principal, nonce: int, number: int, content: bytes = b"hi", **more: bool) -> Response:
    return pair.update("ws_message", client, message(client, nonce, number, content, **more))


def keep_alive(pair: Pair, client: Principal, nonce: int, number: int, last: int) -> Response:
    content = ws.encode_service_message(ws.KeepAliveMessage(last))
    return sent(pair, client, nonce, number, content, service=True)


def refused(answer: Response) -> str:
    assert isinstance(answer, bytes)
    with pytest.raises(CanisterRefused) as caught:
        ws.decode_unit_result(answer)
    return str(caught.value)


def test_a_session(pair: Pair) -> None:
    assert opened(pair, ALICE, 1) == ws.encode_result_ok()
    for number in range(1, 6):
        assert sent(pair, ALICE, 1, number, b"message %d" % number) == ws.encode_result_ok()
    batch = pair.poll(GATEWAY, 0)
    assert len(batch.messages) == 6
    assert closed(pair, ALICE, 1) == ws.encode_result_ok()
    pair.poll(GATEWAY, 6)


def test_openings_that_are_refused_and_replaced(pair: Pair) -> None:
    assert "nonymous" in refused(opened(pair, ANONYMOUS, 1))
    opened(pair, ALICE, 1)
    assert "already" in refused(opened(pair, ALICE, 1))
    # another nonce of the same principal replaces the first
    opened(pair, ALICE, 2)
    assert len(pair.poll(GATEWAY, 0).messages) == 2
    refused(sent(pair, ALICE, 1, 1))
    sent(pair, ALICE, 2, 1)
    pair.poll(GATEWAY, 0)


def test_messages_that_are_refused(pair: Pair) -> None:
    refused(sent(pair, ALICE, 1, 1))
    opened(pair, ALICE, 1)
    # in the name of another client
    refused(pair.update("ws_message", BOB, message(ALICE, 1, 1)))
    refused(pair.update("ws_message", ANONYMOUS, message(ALICE, 1, 1)))
    sent(pair, ALICE, 1, 1)
    # a number again, and one left out: the client is removed and notified
    refused(sent(pair, ALICE, 1, 1))
    pair.poll(GATEWAY, 0)
    refused(sent(pair, ALICE, 1, 2))
    # an unknown service message
    opened(pair, BOB, 7)
    sent(pair, BOB, 7, 1, b"no Candid", service=True)
    pair.poll(GATEWAY, 0)


def test_closings_that_are_refused(pair: Pair) -> None:
    refused(closed(pair, ALICE, 1))
    opened(pair, ALICE, 1)
    refused(closed(pair, ALICE, 1, OTHER_GATEWAY))
    opened(pair, BOB, 1, OTHER_GATEWAY)
    refused(closed(pair, ALICE, 1, OTHER_GATEWAY))
    refused(closed(pair, ALICE, 2))
    closed(pair, ALICE, 1)
    refused(closed(pair, ALICE, 1))


def test_a_trap_in_the_handler_takes_no_number(pair: Pair) -> None:
    opened(pair, ALICE, 1)
    answer = sent(pair, ALICE, 1, 1, b"trap")
    assert isinstance(answer, Rejected)
    assert sent(pair, ALICE, 1, 1) == ws.encode_result_ok()
    pair.poll(GATEWAY, 0)


def test_arguments_that_do_not_decode(pair: Pair) -> None:
    for method in ("ws_open", "ws_message", "ws_close"):
        for argument in (b"", b"DIDL", b"DIDL\0\0", ws.encode_get_messages(1)):
            assert isinstance(pair.update(method, ALICE, argument), Rejected)


def test_pages(pair: Pair) -> None:
    opened(pair, ALICE, 1)
    opened(pair, BOB, 1)
    for number in range(1, 81):
        sent(pair, ALICE, 1, number, b"a" * number)
    for nonce in (0, 1, 31, 32, 33, 50, 80, 81, 82, 83, 500, 2**64 - 1):
        pair.poll(GATEWAY, nonce)
    for caller in (OTHER_GATEWAY, ALICE, ANONYMOUS):
        assert pair.poll(caller, 0).messages == []


def test_acknowledgements_and_keep_alives(pair: Pair) -> None:
    opened(pair, ALICE, 1)
    opened(pair, BOB, 1)
    sent(pair, ALICE, 1, 1)
    pair.wait(299)
    assert len(pair.poll(GATEWAY, 0).messages) == 3
    pair.wait(2)
    assert len(pair.poll(GATEWAY, 0).messages) == 5
    keep_alive(pair, ALICE, 1, 2, 1)
    pair.wait(61)
    # Bob has sent nothing: he is removed and notified
    last = cbor2.loads(bytes(pair.poll(GATEWAY, 0).messages[-1][3]))
    assert last["client_key"]["client_principal"] == BOB.raw
    assert ws.decode_service_message(last["content"]) == ws.CloseMessage("KeepAliveTimeout")
    refused(sent(pair, BOB, 1, 1))
    sent(pair, ALICE, 1, 3)
    pair.wait(300)
    pair.poll(GATEWAY, 0)


def test_a_gateway_without_clients_begins_again(pair: Pair) -> None:
    opened(pair, ALICE, 1)
    sent(pair, ALICE, 1, 1)
    closed(pair, ALICE, 1)
    for _ in range(8):
        pair.wait(150)
        pair.poll(GATEWAY, 0)
    opened(pair, ALICE, 2)
    batch = pair.poll(GATEWAY, 0)
    assert len(batch.messages) == 1
    assert bytes(batch.messages[0][2]).endswith(b"_" + b"0" * 20)


def test_old_messages_are_deleted(pair: Pair) -> None:
    opened(pair, ALICE, 1)
    for number in range(1, 21):
        sent(pair, ALICE, 1, number)
    pair.wait(301)
    keep_alive(pair, ALICE, 1, 21, 1)
    pair.wait(20)
    for number in range(22, 28):
        sent(pair, ALICE, 1, number)
        pair.poll(GATEWAY, 0)
        pair.poll(GATEWAY, 10)


@pytest.mark.parametrize("seed", range(12))
def test_any_order_of_everything(pair: Pair, seed: int) -> None:
    random = Random(seed)
    clients = [(client, nonce) for client in (ALICE, BOB, CAROL) for nonce in (1, 2)]
    gateways = (GATEWAY, OTHER_GATEWAY)
    numbers = dict.fromkeys(clients, 1)

    def one_more(client: Principal, nonce: int) -> None:
        number = numbers[client, nonce]
        wrong = random.random() < 0.1
        answer = sent(pair, client, nonce, number + random.choice((-1, 1, 5)) if wrong else number, random.randbytes(9))
        if answer == ws.encode_result_ok():
            numbers[client, nonce] += 1

    def open_one(client: Principal, nonce: int) -> None:
        if opened(pair, client, nonce, random.choice(gateways)) == ws.encode_result_ok():
            numbers[client, nonce] = 1

    def alive(client: Principal, nonce: int) -> None:
        if keep_alive(pair, client, nonce, numbers[client, nonce], 1) == ws.encode_result_ok():
            numbers[client, nonce] += 1

    steps: list[tuple[float, Callable[[Principal, int], Any]]] = [
        (5, one_more),
        (2, open_one),
        (1, alive),
        (1, lambda client, nonce: closed(pair, client, nonce, random.choice(gateways))),
        (1, lambda client, nonce: pair.wait(random.choice((1, 30, 61, 240)))),
        (3, lambda client, nonce: pair.poll(random.choice(gateways), random.randrange(40))),
    ]
    weights = [weight for weight, _ in steps]
    for _ in range(120):
        ((_, step),) = random.choices(steps, weights)
        step(*random.choice(clients))
    for gateway in gateways:
        pair.poll(gateway, 0)
