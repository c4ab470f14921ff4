"""A gateway that takes over sessions of another gateway with the same key, whose machine is gone. A spike.

    python docs/decisions/0073-spike/resuming_gateway.py icws --ic-network-url=... (as twistd -n)

It is the gateway with three changes, made from outside:

* A client may begin with ``{"resume": {...}}`` in place of ``ws_open``. It proves by a signature over a challenge that
  it has the key of the session. Then its session is made as a handover makes it (decision 0069), from what the client
  says.
* Clients that come back together share one poller, which begins at the oldest position. What a client has already
  received is left out by its number.
* With ``HOLD_BACK=1`` in the environment, no ``ws_close`` follows a connection that broke (1006): the canister's
  keep-alive decides.
"""

from __future__ import annotations

import os
import sys
from hashlib import sha256
from typing import Any

from twisted.scripts import twistd

from icwsgw.core.client_calls import SendGate
from icwsgw.core.cursor import Cursor
from icwsgw.core.messages import frame, message_place, payload_of
from icwsgw.core.session_machine import Opened, State
from icwsgw.errors import FormatError
from icwsgw.gateway.gateway import Gateway
from icwsgw.gateway.session import ClientSession
from icwsgw.gateway.session_handover import resume, take_over
from icwsgw.ic import cbor
from icwsgw.ic.principal import Principal
from icwsgw.ic.signatures import verify_signature

#: What is signed: this, the challenge, and the hash of what the client says.
DOMAIN = b"\x0dic-ws-resume\x00"
#: The code of a connection that ended without a close frame.
BROKEN = 1006
#: Clients of one canister that come back are gathered until nobody has come for so many seconds.
GATHER = 1.0

_challenges: dict[ClientSession, tuple[bytes, bytes]] = {}
_gathered: dict[tuple[bytes, int], list[tuple[ClientSession, dict[str, Any]]]] = {}
_timers: dict[tuple[bytes, int], Any] = {}
#: how many messages of the canister a resumed session has already received
_received: dict[str, int] = {}
_original_received, _original_deliver, _original_tell = ClientSession.received, ClientSession.deliver, Gateway.tell


def received(self: ClientSession, payload: bytes, is_binary: bool) -> None:
    """A message of a client; what is new is looked at before the session opens."""
    if self.state is not State.INIT or not is_binary:
        _original_received(self, payload, is_binary)
        return
    try:
        message = cbor.loads(payload)
    except FormatError:
        message = {}
    if "resume" in message:
        challenge = os.urandom(32)
        _challenges[self] = challenge, payload
        self.client.deliver([frame(cbor.dumps_tagged({"challenge": challenge}))])
    elif "proof" in message and self in _challenges:
        challenge, said = _challenges.pop(self)
        wanted, proof = cbor.loads(said)["resume"], message["proof"]
        owner = Principal.self_authenticating(proof["sender_pubkey"])
        assert owner.raw == wanted["client_key"][0], "the key is another client's"
        verify_signature(proof["sender_pubkey"], DOMAIN + challenge + sha256(said).digest(), proof["sender_sig"])
        _gather(self, wanted)
    else:
        _original_received(self, payload, is_binary)


def _gather(session: ClientSession, wanted: dict[str, Any]) -> None:
    place = wanted["canister"], session.identity_index
    waiting = _gathered.setdefault(place, [])
    waiting.append((session, wanted))
    timer = _timers.get(place)
    if timer is not None and timer.active():
        timer.cancel()
    _timers[place] = session.context.clock.callLater(GATHER, _take_over, place)


def _take_over(place: tuple[bytes, int]) -> None:
    found = _gathered.pop(place)
    gateway: Any = found[0][0]._gateway
    cursor = Cursor()
    # The message that a client has received last shows whether the canister still has this queue.
    last = min((wanted["last"] for _, wanted in found), key=lambda message: message["nonce"])
    cursor.read({"next": last["nonce"] + 1, "fresh": False, "last": {**last, "content": None}})
    gateway.registry._keep(place, cursor)
    for session, wanted in found:
        document = {
            "state": State.OPEN,
            "opened": Opened.CONFIRMED,
            "key": wanted["client_key"],
            "canister": wanted["canister"],
            "messages_down": wanted["received"],
            "started": session.started,
            "deadline": session.deadline,
            "relay": {"gate": SendGate.OPEN},
            "inbound": {"following": wanted["following"]},
        }
        _received[session.id] = wanted["received"]
        take_over(session, gateway, document)
        resume(session, gateway)
        session.client.deliver([frame(cbor.dumps_tagged({"resumed": True}))])


def deliver(self: ClientSession, frames: list[bytes], more: bool = False) -> None:
    """Leave out what the client has received from the other gateway."""
    known = _received.get(self.id)
    if known is not None:
        frames = [one for one in frames if (_number(one) or known + 1) > known]
    if frames:
        _original_deliver(self, frames, more)


def _number(one: bytes) -> int | None:
    return message_place(cbor.loads(payload_of(one))["content"])[0]


def tell(self: Gateway, session: ClientSession) -> None:
    """Send ``ws_close``, unless the client may come back elsewhere."""
    if os.environ.get("HOLD_BACK") and session.cause == BROKEN:
        self.finished(session)
        return
    _original_tell(self, session)


ClientSession.received = received  # type: ignore[method-assign]
ClientSession.deliver = deliver  # type: ignore[method-assign]
Gateway.tell = tell  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.argv = ["twistd", "-n", "--pidfile=", *sys.argv[1:]]
    twistd.run()
