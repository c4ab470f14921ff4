"""What clients and canisters have lately said to each other, for the session inspector of the demo page.

The embedded replica and the gateway feed it in one process: the gateway tells when a call arrives and a message leaves
(:mod:`icwsgw.devnet.inspected_traffic`), the replica when a call arrives and is executed, and which messages a poll
brings. An exchange is one call or one message, with the times of its stages::

    up     client (its own clock), gateway, relayed, executed
    down   canister (its own clock), polled, delivered

At most :data:`KEEP_EXCHANGES` are kept, also after their clients have left; then the client with most of them loses its
oldest, so that a crowd does not displace the session that a page shows. Contents are decoded, and messages verified,
when a page requests them. It exists on the embedded replica alone: a gateway of others' clients keeps no contents.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from icwsgw.core.eviction import EvictionTable
from icwsgw.errors import FormatError, IcwsError, Rejected
from icwsgw.escaping import escape_invisible
from icwsgw.ic import cbor, ws
from icwsgw.ic.candid import Type, decode_as
from icwsgw.ic.candid.did import message_type, parse_did
from icwsgw.ic.candid.json_values import value_to_json
from icwsgw.ic.certificate import DelegationCache, check_messages, verify_certificate
from icwsgw.ic.principal import Principal
from icwsgw.ic.request_id import request_id

#: Exchanges that are kept, and bytes of the content of each: longer ones are not kept, only their size is.
KEEP_EXCHANGES: Final = 1000
MAX_KEPT_CONTENT: Final = 16 << 10
#: Characters of a value, and of an outcome.
MAX_SHOWN: Final = 500

_METHODS: Final = ("ws_open", "ws_message", "ws_close")


@dataclass
class InspectedExchange:
    """One call of a client, or one message to it.

    :ivar number: counts exchanges from 1
    :ivar is_up: whether it is a call
    :ivar client: principal of the client; of a ws_close, of the client that has left
    :ivar session: the gateway's session id; empty: it is not known
    :ivar what: the method, or ``message``
    :ivar sequence: the number of the message in its session; None: it has none
    :ivar size: bytes of the argument, or of the content
    :ivar content: the application's or the CDK's Candid; None: it was too long, or there is none
    :ivar is_service: whether the content is the CDK's
    :ivar stages: times by stage, ns since 1970
    :ivar outcome: what became of a call; empty: nothing yet
    :ivar proof: key, message as the canister encoded it, certificate and witness of a message
    """

    number: int
    is_up: bool
    client: Principal
    canister: Principal
    what: str
    session: str = ""
    sequence: int | None = None
    size: int = 0
    content: bytes | None = None
    is_service: bool = False
    stages: dict[str, int] = field(default_factory=dict)
    outcome: str = ""
    proof: tuple[bytes, bytes, bytes, bytes] | None = None


_MessageId = tuple[str, bytes, bytes]
"""Canister, the CDK's key (gateway and nonce, which canisters and resets repeat), and the SHA-256 of the content."""

_Id = bytes | _MessageId
"""The request id of a call, or the id of a message."""


class Inspector:
    """The last exchanges of a network.

    :param most: how many are kept
    """

    def __init__(self, most: int = KEEP_EXCHANGES) -> None:
        self._number = 0
        # the oldest first
        self._kept: dict[_Id, InspectedExchange] = {}
        # their ids by client: a full one drops the oldest of the client with most
        self._table: EvictionTable[_Id] = EvictionTable(most)
        self._verified: dict[_Id, str] = {}
        # by canister and message key: after a reset, the CDK uses keys again
        self._newest: dict[tuple[str, bytes], _MessageId] = {}

    def __iter__(self) -> Iterator[InspectedExchange]:
        return iter(self._kept.values())

    # -- calls ----------------------------------------------------------------------------------------------------

    def arrived(self, body: bytes, session: str, now_ns: int) -> bytes:
        """A client's envelope has arrived at the gateway; return the id of its exchange, empty for none.

        :param body: the envelope's CBOR, which the gateway has decoded before
        """
        try:
            content = cbor.loads(body)["content"]
            if not isinstance(content, dict):
                return b""
            key = request_id(content)
            exchange = self._call(key, content)
        except (FormatError, KeyError, TypeError):
            return b""
        if exchange is None:
            return b""
        exchange.session = session
        exchange.stages.setdefault("gateway", now_ns)
        return key

    def relayed(self, key: bytes, content: Mapping[str, Any], now_ns: int) -> None:
        """A call has arrived at the network, perhaps again."""
        exchange = self._call(key, content)
        if exchange is not None:
            exchange.stages.setdefault("relayed", now_ns)

    def ended(self, key: bytes, outcome: bytes | BaseException, now_ns: int) -> None:
        """A call was executed, or refused.

        :param outcome: the reply, or why there is none
        """
        exchange = self._kept.get(key)
        if exchange is None:
            return
        exchange.stages["executed"] = now_ns
        exchange.outcome = _shortened(_outcome(outcome))

    def given_up(self, key: bytes, outcome: str) -> None:
        """The gateway will not send a call (any more)."""
        exchange = self._kept.get(key)
        if exchange is not None and not exchange.outcome:
            exchange.outcome = _shortened(outcome)

    def _call(self, key: bytes, content: Mapping[str, Any]) -> InspectedExchange | None:
        method = content["method_name"]
        if method not in _METHODS or key in self._kept:
            return self._kept.get(key)
        sender, canister = Principal(content["sender"]), Principal(content["canister_id"])
        exchange = InspectedExchange(0, True, sender, canister, method, size=len(content["arg"]))
        try:
            if method == "ws_message":
                message = ws.decode_message_args(content["arg"])
                exchange.sequence, exchange.is_service = message.sequence_num, message.is_service_message
                exchange.content = _kept_content(message.content)
                exchange.stages["client"] = message.timestamp
            elif method == "ws_close":
                exchange.client = Principal(ws.decode_close_args(content["arg"]).client_principal)
        except FormatError as error:
            exchange.outcome = _shortened(f"its argument does not decode: {error}")
        return self._keep(key, exchange)

    # -- messages ---------------------------------------------------------------------------------------------------

    def polled(self, canister: Principal, reply: bytes, now_ns: int) -> None:
        """A poll was answered.

        :param reply: of ws_get_messages
        """
        try:
            batch = ws.parse_get_messages(reply)
        except IcwsError:
            return
        for principal, _, key, content in batch.messages:
            message = (canister.text, key, sha256(content).digest())
            self._newest[message[:2]] = message
            known = self._kept.get(message)
            if known is not None:
                # Polled again: what counts is the proof of the poll from which it is delivered.
                if known.proof is not None and "delivered" not in known.stages:
                    known.proof = key, content, batch.cert, batch.tree
                    self._verified.pop(message, None)
                continue
            exchange = self._keep(
                message, InspectedExchange(0, False, Principal(principal), canister, "message", size=len(content))
            )
            exchange.stages["polled"] = now_ns
            if len(content) > MAX_KEPT_CONTENT:
                continue
            exchange.proof = key, content, batch.cert, batch.tree
            try:
                fields = cbor.loads(content)
                sequence, inner, timestamp = fields["sequence_num"], fields["content"], fields["timestamp"]
                if (type(sequence), type(inner), type(timestamp)) != (int, bytes, int):
                    raise FormatError("a field is of another kind")
                exchange.is_service = fields["is_service_message"] is True
            except (FormatError, KeyError, TypeError):
                exchange.outcome = "not a message of the CDK"
            else:
                exchange.sequence, exchange.content = sequence, inner
                exchange.stages["canister"] = timestamp

    def delivered(self, canister: str, key: bytes, session: str, now_ns: int) -> None:
        """The gateway has passed a message to a client's connection.

        :param canister: text of the principal
        :param key: as the CDK has it; of several messages of a canister with this key, it is the last that was polled
        """
        message = self._newest.get((canister, key))
        exchange = None if message is None else self._kept.get(message)
        if exchange is not None:
            exchange.session = session
            exchange.stages.setdefault("delivered", now_ns)

    def _keep(self, key: _Id, exchange: InspectedExchange) -> InspectedExchange:
        self._number += 1
        exchange.number = self._number
        self._kept[key] = exchange
        gone = self._table.enter(key, exchange.client.text)
        if gone is not None:
            del self._kept[gone]
            self._verified.pop(gone, None)
            if not isinstance(gone, bytes) and self._newest.get(gone[:2]) == gone:
                del self._newest[gone[:2]]
        return exchange

    # -- looking ----------------------------------------------------------------------------------------------------

    def rows(self, candid_of: Callable[[Principal], str | None], root_key_der: bytes) -> list[dict[str, Any]]:
        """Return the exchanges as JSON values, the oldest first.

        :param candid_of: returns a canister's interface, the text of its ``.did``; None: it has none
        :param root_key_der: the network's root key, by which messages are verified
        """
        kinds: dict[Principal, Type | None] = {}
        cache = DelegationCache()
        rows = []
        for key, exchange in self._kept.items():
            canister = exchange.canister
            if canister not in kinds:
                kinds[canister] = _type_of(candid_of(canister))
            if key not in self._verified:
                self._verified[key] = _verified(exchange, root_key_der, cache)
            rows.append(_row(exchange, _value(exchange, kinds[canister]), self._verified[key]))
        return rows


def _kept_content(content: bytes) -> bytes | None:
    return content if len(content) <= MAX_KEPT_CONTENT else None


def _shortened(text: str) -> str:
    text = escape_invisible(text)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def _outcome(outcome: bytes | BaseException) -> str:
    if isinstance(outcome, Rejected):
        code = f" {outcome.error_code}" if outcome.error_code else ""
        return f"reject {outcome.code}{code}: {outcome.message}"
    if isinstance(outcome, BaseException):
        return str(outcome)
    try:
        ws.decode_unit_result(outcome)
    except FormatError as error:
        return f"a reply that does not decode: {error}"
    except IcwsError as error:
        return f"Err: {error}"
    return "Ok"


def _type_of(candid: str | None) -> Type | None:
    try:
        return None if candid is None else message_type(parse_did(candid.encode()))
    except FormatError:
        return None


def _value(exchange: InspectedExchange, kind: Type | None) -> str:
    """Return a content as text: JSON by the canister's type, otherwise hex."""
    content = exchange.content
    if content is None:
        return ""
    try:
        if exchange.is_service:
            message = ws.decode_service_message(content)
            fields = "" if isinstance(message, ws.OpenMessage) else " ".join(str(value) for value in message)
            return f"{type(message).__name__} {fields}".strip()
        if kind is not None:
            (value,) = decode_as(content, [kind])
            return _shortened(json.dumps(value_to_json(value, kind), ensure_ascii=False))
    except FormatError as error:
        return _shortened(f"not of the canister's type ({error}): {content.hex()}")
    return _shortened(content.hex())


def _verified(exchange: InspectedExchange, root_key_der: bytes, cache: DelegationCache) -> str:
    """Return what was verified: the replica has checked the signatures of a call before it accepted it."""
    if exchange.is_up:
        return "signature" if "relayed" in exchange.stages else ""
    if exchange.proof is None:
        return "too long to be kept"
    key, content, cert, tree = exchange.proof
    try:
        certificate = verify_certificate(
            cert, root_key_der=root_key_der, canister_id=exchange.canister, now_ns=None, cache=cache
        )
        check_messages(certificate, tree, [(key, content)], canister_id=exchange.canister)
    except IcwsError as error:
        return _shortened(f"WRONG: {error}")
    return "certificate, witness, content"


def _row(exchange: InspectedExchange, value: str, verified: str) -> dict[str, Any]:
    stages = sorted(exchange.stages.items(), key=lambda each: each[1])
    first = stages[0][1] if stages else 0
    return {
        "number": exchange.number,
        "direction": "up" if exchange.is_up else "down",
        "client": exchange.client.text,
        "session": exchange.session,
        "canister": exchange.canister.text,
        "what": exchange.what,
        "sequence": exchange.sequence,
        "bytes": exchange.size,
        "value": value,
        "outcome": exchange.outcome,
        "verified": verified,
        "at": first / 1e9,
        "stages": [[name, round((at - first) / 1e6, 1)] for name, at in stages],
    }
