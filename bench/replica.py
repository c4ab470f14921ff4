"""The mock replica: the IC's HTTP interface to canisters with the WebSocket CDK, optimized for speed.

Unlike the devnet (icwsgw.devnet), it does not check signatures of requests and injects no faults. A call that comes
again is not executed again. Half of a query's latency passes before the canister's state is read, half after. Calls are
executed in order of arrival when their latency has passed, or with the next block after that if there are blocks; a 202
answer is sent after half of the latency.

Control commands are sent as JSON by POST to ``/_/`` on the same port, see bench/control.py.
"""

from __future__ import annotations

import json
import time
from typing import Any

import cbor2

from bench.certs import Authority, blob
from bench.control import Control
from bench.http import Connection, Head, Server, response
from bench.loop import Delay, Loop
from bench.queues import EMPTY, Canister, Refused, Settings
from bench.stats import Stats
from icwsgw.ic import ws
from icwsgw.ic.cbor import SELF_DESCRIBE, dumps_tagged, head
from icwsgw.ic.principal import Principal
from icwsgw.ic.request_id import request_id

_NOT_FOUND = response(b"no such endpoint", b"404 Not Found", b"text/plain")
_BAD = response(b"not an envelope", b"400 Bad Request", b"text/plain")
_ACCEPTED = response(b"", b"202 Accepted")
_REPLY = SELF_DESCRIBE + b"\xa3\x66status\x67replied\x65reply\xa1\x63arg"
_SIGNATURES = b"\x6asignatures\x81\xa3\x69timestamp%b\x69signature%b\x68identity%b" % (
    head(0, 1_700_000_000_000_000_000),
    blob(bytes(64)),
    blob(bytes(28) + b"\x02"),
)
_OK = ws.encode_result_ok()
_KINDS = ("query", "call", "read_state")
#: The number of outcomes of the gateway's calls that are kept for read_state.
_OUTCOMES = 10_000
#: The number of calls that are remembered, so that the same bytes are not executed again.
_CALLS = 20_000


class Replica:
    """One replica.

    :ivar canisters: canisters by id; the first request to an id creates its canister
    :ivar query_latency: latency of queries in seconds
    :ivar call_latency: latency of calls in seconds
    :ivar synchronous: whether v3 and v4 calls wait for execution and answer 200 with a certificate; else 202
    """

    def __init__(self, loop: Loop, address: tuple[str, int], settings: Settings, seed: bytes = b"bench") -> None:
        self.loop = loop
        self.settings = settings
        self.authority = Authority(seed)
        self.stats = Stats()
        self.canisters: dict[bytes, Canister] = {}
        self.synchronous = False
        self.base_ns = 0
        self.set_latency(0.0, 0.0)
        self._targets: dict[str, tuple[str, str, bytes] | None] = {}
        self._asked: dict[bytes, tuple[bytes, int]] = {}
        self._block: list[tuple[bytes, bytes, Connection]] = []
        self._outcomes: dict[bytes, bytes] = {}
        # by body: the reply, or the connections that wait for it
        self._calls: dict[bytes, bytes | list[Connection]] = {}
        self._fake_call = self._call_answer(self.authority.calls([(bytes(32), _OK)], time.time_ns())[bytes(32)])
        self._control = Control(self)
        self._server = Server(loop, address, self._handle)
        self.port = self._server.port

    def set_latency(self, query: float, call: float, block: float = 0.0) -> None:
        """Change the latencies, in seconds.

        :param block: seconds between two blocks, in which calls are executed; 0: each call is executed at its time
        """
        self.query_latency, self.call_latency = query, call
        self._query_half = Delay(self.loop, query / 2)
        self._answer_half = Delay(self.loop, query / 2)
        self._call_half = Delay(self.loop, call / 2)
        self._call_whole = Delay(self.loop, call, block)

    def canister(self, id: bytes) -> Canister:
        """Return the canister with this id."""
        found = self.canisters.get(id)
        if found is None:
            found = self.canisters[id] = Canister(id, self.settings, self.authority, self.stats.note)
        return found

    # requests

    def _handle(self, connection: Connection, request: Head, body: bytes) -> None:
        target = self._targets.get(request.path)
        if target is None and request.path not in self._targets:
            if len(self._targets) > 20_000:
                self._targets.clear()
            target = self._targets[request.path] = _target(request.path)
        if target is not None and request.method == "POST":
            version, kind, canister = target
            try:
                if kind == "query":
                    self._query(connection, canister, body)
                elif kind == "call":
                    self._call(connection, version, canister, body)
                else:
                    self._read_state(connection, body)
            except (cbor2.CBORDecodeError, KeyError, TypeError, ValueError):
                self.stats.note("bad_requests")
                connection.answer(_BAD)
        elif request.path == "/api/v2/status":
            connection.answer(response(self._status()))
        elif request.path == "/_/":
            result = self._control.handle(json.loads(body) if body else {})
            connection.answer(response(json.dumps(result).encode(), kind=b"application/json"))
        else:
            connection.answer(_NOT_FOUND)

    def _status(self) -> bytes:
        return dumps_tagged(
            {
                "ic_api_version": "0.50.0",
                "impl_version": "icwsgw bench",
                "replica_health_status": "healthy",
                "root_key": self.authority.root_key_der,
            }
        )

    # queries

    def _query(self, connection: Connection, canister: bytes, body: bytes) -> None:
        asked = self._asked.get(body)
        if asked is None:
            content = cbor2.loads(body)["content"]
            asked = content["sender"], ws.decode_get_args(content["arg"])
            if len(self._asked) >= 10_000:
                self._asked.clear()
            self._asked[body] = asked
        stats = self.stats
        stats.queries_in_flight += 1
        stats.most_queries = max(stats.most_queries, stats.queries_in_flight)
        stats.polled(canister + asked[0], time.monotonic_ns())
        self._query_half.add(self._look, connection, canister, asked)

    def _look(self, connection: Connection, canister: bytes, asked: tuple[bytes, int]) -> None:
        sender, nonce = asked
        queue = self.canister(canister).queues.get(sender)
        reply, count = queue.page(nonce) if queue is not None else _NOTHING
        stats = self.stats
        stats.queries += 1
        if count:
            stats.messages_out += count
        else:
            stats.empty_queries += 1
        self._answer_half.add(self._answer_query, connection, reply)

    def _answer_query(self, connection: Connection, reply: bytes) -> None:
        self.stats.queries_in_flight -= 1
        connection.answer(
            _IDLE_ANSWER
            if reply is EMPTY
            else response(b"%b%b%b%b" % (_REPLY, head(2, len(reply)), reply, _SIGNATURES))
        )

    # calls

    def _call(self, connection: Connection, version: str, canister: bytes, body: bytes) -> None:
        before = self._calls.get(body)
        content = cbor2.loads(body)["content"]
        if before is not None:
            self._repeated(connection, version, content, before)
            return
        if len(self._calls) >= _CALLS:
            del self._calls[next(iter(self._calls))]
        self._calls[body] = []
        stats = self.stats
        stats.calls_in_flight += 1
        stats.most_calls = max(stats.most_calls, stats.calls_in_flight)
        method = content["method_name"]
        stats.note(method)
        wait = self.synchronous and version != "v2"
        message = ws.decode_message_args(content["arg"]) if method == "ws_message" else None
        if message is not None and not message.is_service_message:
            stats.arrived(message.content, self.base_ns)
        if not wait:
            self._call_half.add(connection.answer, _ACCEPTED)
        self._call_whole.add(self._execute, connection if wait else None, canister, content, message, body)

    def _repeated(
        self, connection: Connection, version: str, content: dict[str, Any], before: bytes | list[Connection]
    ) -> None:
        """The same call has come before: answer with its outcome, when it is there."""
        self.stats.note("repeated")
        if version == "v2" or not self.synchronous:
            connection.answer(_ACCEPTED)
        elif isinstance(before, list):
            before.append(connection)
        else:
            self._certify_later(content, before, connection)

    def _certify_later(self, content: dict[str, Any], reply: bytes, connection: Connection) -> None:
        # The certificates of all calls that are executed in this turn share a signature.
        if not self._block:
            self.loop.call_soon(self._certify)
        self._block.append((request_id(content), reply, connection))

    def _execute(
        self,
        connection: Connection | None,
        canister: bytes,
        content: dict[str, Any],
        message: ws.MessageArgs | None,
        body: bytes = b"",
    ) -> None:
        self.stats.calls_in_flight -= 1
        method = content["method_name"]
        reply = _OK
        try:
            self._run(self.canister(canister), method, content, message)
            self.stats.note(method + "_ok")
        except Refused as refused:
            self.stats.note(method + "_err")
            reply = ws.encode_result_err(str(refused))
        waiting = self._calls.get(body)
        if isinstance(waiting, list):
            self._calls[body] = reply
            for each in waiting:
                self._certify_later(content, reply, each)
        own = method == "ws_close"
        if own:
            self.stats.last_close_ns = time.monotonic_ns()
        if connection is None:
            if own:
                self._remember(request_id(content), reply)
        elif not self.settings.real and not own:
            connection.answer(self._fake_call)
        else:
            self._certify_later(content, reply, connection)

    def _run(self, canister: Canister, method: str, content: dict[str, Any], message: ws.MessageArgs | None) -> None:
        sender = content["sender"]
        if message is not None:
            canister.message(sender, message)
        elif method == "ws_open":
            opening = ws.decode_open_args(content["arg"])
            canister.open(sender, opening.client_nonce, opening.gateway_principal)
        elif method == "ws_close":
            canister.close(sender, ws.decode_close_args(content["arg"]))
        else:
            raise Refused(f"no method {method}")

    def _certify(self) -> None:
        block, self._block = self._block, []
        certificates = self.authority.calls([(each, reply) for each, reply, _ in block], time.time_ns())
        for each, _, connection in block:
            connection.answer(self._call_answer(certificates[each]))

    @staticmethod
    def _call_answer(certificate: bytes) -> bytes:
        return response(b"%b\xa2\x66status\x67replied\x6bcertificate%b" % (SELF_DESCRIBE, blob(certificate)))

    def _remember(self, id: bytes, reply: bytes) -> None:
        if len(self._outcomes) >= _OUTCOMES:
            del self._outcomes[next(iter(self._outcomes))]
        self._outcomes[id] = reply

    def _read_state(self, connection: Connection, body: bytes) -> None:
        self.stats.note("read_state")
        paths = cbor2.loads(body)["content"]["paths"]
        known = [path[1] for path in paths if path[:1] == [b"request_status"] and path[1] in self._outcomes]
        if known:
            certificate = self.authority.calls([(known[0], self._outcomes[known[0]])], time.time_ns())[known[0]]
        else:
            certificate = self.authority.unknown(time.time_ns())
        connection.answer(response(SELF_DESCRIBE + b"\xa1\x6bcertificate" + blob(certificate)))


_NOTHING = (EMPTY, 0)
_IDLE_ANSWER = response(b"%b%b%b%b" % (_REPLY, head(2, len(EMPTY)), EMPTY, _SIGNATURES))


def _target(path: str) -> tuple[str, str, bytes] | None:
    """Return version, kind and canister of an endpoint; None for an unknown path."""
    parts = path.split("/")
    if len(parts) != 6 or parts[:2] != ["", "api"] or parts[3] != "canister" or parts[5] not in _KINDS:
        return None
    try:
        return parts[2], parts[5], Principal.from_text(parts[4]).raw
    except ValueError:
        return None
