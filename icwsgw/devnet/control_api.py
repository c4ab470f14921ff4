"""The devnet's control interface ``/_/`` for tests and the demo page.

Requests and answers are JSON. Times are in seconds unless the name of a field has another unit. A canister is given by
its id or by its name, such as "echo"; "*" means all.

::

    GET  /_/info      {root_key, canisters: {name: id}, gateway_urls, status_url: url | null,
                       subnets: [{id, type, nodes, canister_ranges}]}
    GET  /_/stats     {name: count}, and the active faults and the canisters' contents
    GET  /_/logs      {name: [{number, time, text}]}: what the canisters have printed
    GET  /_/exchanges [{number, direction, client, session, canister, what, sequence, bytes, value, outcome, verified,
                       at, stages: [[name, ms]]}]: the last calls and messages, where the replica runs in a gateway
    POST /_/faults    {kind, on?, canister?, method?, count?, rate?, skip?, ...} or a list of them, or {clear: true}
    POST /_/config    {query_latency_ms?, call_latency_ms?, call_jitter_ms?,
                       block_interval_ms?, gossip_ms?, lag_blocks?, v2_gone?: true | false}
    POST /_/clock     {advance: seconds}: the canisters' clock, timers run; the answer is {offset: seconds}
    POST /_/push      {canister, clients?: n | "all", count?, size?, text?, rate?}, or {stop: true}
    POST /_/reset     {canister}
    POST /_/stop      {canister}
    POST /_/start     {canister}
    POST /_/close     {canister, client: principal}

:mod:`icwsgw.devnet.faults` describes the faults. Over HTTP, only this machine may use the interface, see
:mod:`icwsgw.devnet.resource`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from icwsgw.devnet.cdk_types import Trap, WsError
from icwsgw.devnet.consensus import MAX_LAG, BlockTiming
from icwsgw.devnet.faults import Answer, InjectedFault
from icwsgw.devnet.hosting import CanisterHost, Host
from icwsgw.devnet.wasm.execution import CanisterTrap
from icwsgw.errors import FormatError
from icwsgw.ic.principal import Principal

if TYPE_CHECKING:
    from icwsgw.devnet.network_state import NetworkState

_JSON = "application/json"

#: Upper bounds of requests: latency, messages and messages per second, seconds of the clock, characters of a
#: message.
_MOST_MS = 3_600_000
_MOST = 1_000_000
_MOST_ADVANCE_S = 366 * 86_400
_MOST_SIZE = 2 << 20


def answer(replica: NetworkState, method: str, parts: list[str], body: bytes) -> Answer:
    """Answer a request below ``/_/``."""
    name = "/".join(parts)
    if name in _READ:
        if method not in ("GET", "HEAD"):
            return _answer(405, {"error": "GET only"})
        return _answer(200, _READ[name](replica))
    if name not in _DO:
        return _answer(404, {"error": f"there are {', '.join([*_READ, *_DO])}"})
    if method != "POST":
        return _answer(405, {"error": "POST only"})
    try:
        value = json.loads(body or b"{}", parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError:
        return _answer(400, {"error": "nested too deeply"})
    except ValueError as error:
        return _answer(400, {"error": f"no JSON: {error}"})
    try:
        return _answer(200, _DO[name](replica, value))
    except CanisterTrap as trap:
        return _answer(400, {"error": trap.text})
    except (ValueError, FormatError, KeyError, WsError, Trap) as error:
        return _answer(400, {"error": f"{type(error).__name__}: {error}"})


def _answer(status: int, value: Any) -> Answer:
    return status, {"Content-Type": _JSON, "Cache-Control": "no-store"}, json.dumps(value).encode() + b"\n"


def _info(replica: NetworkState) -> Any:
    return {
        "root_key": replica.root_key_der.hex(),
        "subnets": [
            {
                "id": subnet.id.text,
                "type": subnet.kind,
                "nodes": [node.key.principal.text for node in subnet.nodes],
                "canister_ranges": [[first.text, last.text] for first, last in subnet.ranges],
            }
            for subnet in replica.topology.subnets
        ],
        "canisters": {name: canister_id.text for name, canister_id in replica.names.items()},
        "gateway_urls": replica.gateway_urls,
        "status_url": replica.status_url,
    }


def _stats(replica: NetworkState) -> Any:
    return {
        **replica.stats,
        "calls_known": len(replica.ingress),
        "heights": {state.subnet.id.text: replica.ingress.height(state) for state in replica.states},
        "signatures": replica.topology.signatures,
        "faults": [{"kind": fault.kind, "hits": fault.hits, "left": fault.count} for fault in replica.faults],
        "canisters": {host.id.text: _canister(host) for host in replica.canisters},
    }


def _logs(replica: NetworkState) -> Any:
    return {
        replica.name_of(host.id): [
            {"number": record.number, "time": record.time_ns / 1e9, "text": record.content.decode("utf-8", "replace")}
            for record in replica.canisters.logs.of(host.id)
        ]
        for host in replica.canisters
    }


def _exchanges(replica: NetworkState) -> Any:
    def candid_of(canister: Principal) -> str | None:
        host = replica.canisters.get(canister)
        return None if host is None else host.candid

    inspector = replica.inspector
    return [] if inspector is None else inspector.rows(candid_of, replica.root_key_der)


def _canister(host: CanisterHost) -> Any:
    if not isinstance(host, Host):
        return {"running": host.running}
    return {
        "running": host.running,
        "clients": len(host.ws.clients),
        "queues": {gateway.text: host.ws.queue_length(gateway) for gateway in host.ws.gateways},
    }


def _in_python(host: CanisterHost) -> Host:
    if not isinstance(host, Host):
        raise ValueError(f"{host.id} is a canister in WebAssembly: only its own methods send and close")
    return host


def _faults(replica: NetworkState, value: Any) -> Any:
    given = value if isinstance(value, list) else [value]
    clear = any(isinstance(each, dict) and each.get("clear") for each in given)
    # All are parsed before any becomes active.
    faults = [
        InjectedFault.from_json(_with_id(replica, each))
        for each in given
        if not (isinstance(each, dict) and each.get("clear"))
    ]
    if clear:
        replica.faults.clear()
        replica.release()
    for fault in faults:
        replica.faults.add(fault)
    return {"faults": len(replica.faults)}


def _with_id(replica: NetworkState, fault: Any) -> Any:
    """Replace a canister's name by its id, and "*" by none: each canister."""
    name = fault.get("canister") if isinstance(fault, dict) else None
    if not isinstance(name, str):
        return fault
    return {**fault, "canister": None if name == "*" else _id(replica, name).text}


def _config(replica: NetworkState, value: Any) -> Any:
    numbers = ("query_latency_ms", "call_latency_ms", "call_jitter_ms", "block_interval_ms", "gossip_ms", "lag_blocks")
    for name, given in _object(value).items():
        if name == "v2_gone":
            if type(given) is not bool:
                raise ValueError(f"{name} is true or false")
        elif name not in numbers:
            raise ValueError(f"there are {', '.join(numbers)}, v2_gone")
        elif name == "lag_blocks":
            _number(given, name, MAX_LAG)
        elif type(given) not in (int, float) or not 0 <= given <= _MOST_MS:
            raise ValueError(f"{name} is a number from 0 to {_MOST_MS}")
    pace = replica.ingress.pace
    new = BlockTiming(
        value.get("block_interval_ms", pace.interval * 1000) / 1000,
        value.get("gossip_ms", pace.gossip * 1000) / 1000,
        int(value.get("lag_blocks", pace.lag)),
    )
    if new != pace:
        replica.set_pace(new)
    replica.v2_gone = value.get("v2_gone", replica.v2_gone)
    replica.query_latency = value.get("query_latency_ms", replica.query_latency * 1000) / 1000
    replica.ingress.latency = value.get("call_latency_ms", replica.ingress.latency * 1000) / 1000
    replica.ingress.jitter = value.get("call_jitter_ms", replica.ingress.jitter * 1000) / 1000
    return {}


def _clock(replica: NetworkState, value: Any) -> Any:
    seconds: Any = _object(value).get("advance")
    if type(seconds) not in (int, float) or not 0 <= seconds <= _MOST_ADVANCE_S:
        raise ValueError(f"advance is a number of seconds from 0 to {_MOST_ADVANCE_S}")
    replica.canister_clock.advance(seconds)
    return {"offset": replica.canister_clock.offset}


def _push(replica: NetworkState, value: Any) -> Any:
    value = _object(value)
    if value.get("stop"):
        replica.pushes.stop()
        return {}
    clients = value.get("clients", "all")
    push = replica.pushes.start(
        [host for host in _hosts(replica, value) if isinstance(host, Host)],
        clients=None if clients == "all" else _number(clients, "clients"),
        count=_number(value.get("count", 1), "count"),
        size=_number(value.get("size", 0), "size", _MOST_SIZE),
        text=_text(value.get("text", "")),
        rate=_rate(value.get("rate")),
    )
    return {"sent": push.sent, "left": push.left}


def _each(act: Callable[[CanisterHost], object]) -> Callable[[NetworkState, Any], Any]:
    def run(replica: NetworkState, value: Any) -> Any:
        hosts = _hosts(replica, _object(value))
        for host in hosts:
            act(host)
        return {"canisters": len(hosts)}

    return run


def _close(replica: NetworkState, value: Any) -> Any:
    value = _object(value)
    host = _in_python(replica.canister(_id(replica, str(value.get("canister")))))
    client = Principal.from_text(str(value.get("client")))
    with host.ws.transaction():
        host.ws.close(client)
    return {}


def _hosts(replica: NetworkState, value: dict[str, Any]) -> list[CanisterHost]:
    canister = value.get("canister")
    if canister == "*":
        return list(replica.canisters)
    if not isinstance(canister, str):
        raise ValueError('canister is an id, or "*" for all')
    return [replica.canister(_id(replica, canister))]


def _id(replica: NetworkState, canister: str) -> Principal:
    """The id of a canister that is given by its name or as text."""
    if canister in replica.names:
        return replica.names[canister]
    try:
        return Principal.from_text(canister)
    except FormatError:
        raise ValueError(f"{canister!r} is no id, and no name: there are {', '.join(replica.names)}") from None


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("an object is expected")
    return value


def _number(value: Any, name: str, most: int = _MOST) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{name} is a whole number from 0 to {most}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _MOST_SIZE:
        raise ValueError(f"text is a text of at most {_MOST_SIZE} characters")
    return value


def _rate(value: Any) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float) or not 0 <= value <= _MOST:
        raise ValueError(f"rate is a number from 0 to {_MOST}")
    return float(value) or None


def _refuse_constant(name: str) -> None:
    # Python's json accepts three constants (such as NaN) that JSON does not allow (RFC 8259, section 6).
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is too large")
    return number


_READ: dict[str, Callable[[NetworkState], Any]] = {
    "info": _info,
    "stats": _stats,
    "logs": _logs,
    "exchanges": _exchanges,
}
_DO: dict[str, Callable[[NetworkState, Any], Any]] = {
    "faults": _faults,
    "config": _config,
    "clock": _clock,
    "push": _push,
    "reset": _each(lambda host: host.reset()),
    "stop": _each(lambda host: setattr(host, "running", False)),
    "start": _each(lambda host: setattr(host, "running", True)),
    "close": _close,
}
