"""A simulated client: it implements the SDK's protocol, checks what it receives, and misbehaves on request."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address
from random import Random
from typing import TYPE_CHECKING

from icwsgw.core.close_reasons import CloseCode
from icwsgw.ic import cbor
from icwsgw.ic.envelope import call_content, sign_request
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from icwsgw.ic.ws import encode_open_args
from tests.simulation.expectations import bad_reason
from tests.simulation.links import DirectLink, WireLink
from tests.simulation.oracle import Key, SimSession, _show
from tests.support.sdk_client import SdkClient

if TYPE_CHECKING:
    from tests.simulation.process import SimProcess
    from tests.simulation.world import SimWorld

#: Where all clients' pages come from.
ORIGIN = "https://app.example"
PROTOCOL_ERRORS = {1002, 1003, 1007, 1008, 1009}


class SimClient(SdkClient):
    """One client, one connection.

    :cvar origin: where its page comes from
    :ivar number: of the step by which it came
    :ivar process: the process of the gateway that serves it
    :ivar provoked: close codes that this client has asked for by its conduct
    :ivar doomed: close codes that the operator has given it
    :ivar dawdles: seconds that somebody takes to sign its ws_open
    :ivar signed_at: when it last sent what it had signed
    :ivar clock_offset: seconds that its clock is ahead
    :ivar welcome: whether pages of its origin were welcome when it connected; None: that changed meanwhile
    :ivar was_slow: it stopped reading once, or reads slowly
    :ivar close_code: how its connection ended, as it saw it
    """

    origin = ORIGIN
    #: the recorded ws_open of another client, which it sends in place of its own
    overheard = b""

    def __init__(
        self,
        world: SimWorld,
        number: int,
        canister: Principal,
        identity: Ed25519Identity,
        opens: bool = True,
        process: SimProcess | None = None,
        request: float | bytes = 1.0,
    ) -> None:
        self.random = Random(f"{world.seed} client {number}")
        super().__init__(canister, identity, None)
        if not world.plan.trusting:
            self._root_key = world.replica.root_key_der
        self.client_nonce = self.random.getrandbits(64)
        self.world = world
        self.process = process or world.processes[0]
        self.number = number
        self.opens = opens
        self.provoked: set[int] = set() if opens else {CloseCode.NOT_OPENED}
        self.doomed: set[int] = set()
        self.looks_on = False
        self._ttl = 240.0
        self.clock_offset = self.random.choice((0.0, 0.0, -55.0, 55.0)) if world.plan.clocks else 0.0
        self.signed_at = 0.0
        self.dawdles = self.random.choice((*[0.0] * 6, 4.5))
        self._unsigned = False
        self.welcome: bool | None = not world.origins or ORIGIN in world.origins
        self.was_slow = False
        self.close_code: int | None = None
        self.left = False
        #: its ws_open, once it has sent it
        self.open_sent = b""
        self.session: SimSession | None = None
        self.count = 0
        #: when the first of its envelopes expires, by the clock
        self.earliest_expiry = float("inf")
        self.link: DirectLink | WireLink
        #: where it comes from, and whom it is counted with
        place = self.random.randrange(world.plan.addresses)
        mine = str(IPv6Address(f"2001:db8:0:{place}::") + number + 1) if place % 2 else f"192.0.2.{place}"
        self.address, self.group = mine, f"2001:db8:0:{place}" if place % 2 else mine
        latency = self.random.choice((0.0, 0.01, 0.05))
        if world.plan.wire:
            rate = self.random.choice((None, None, None, None, 2000, 300))
            if rate == 300:
                # some kilobytes a second
                latency = 0.05
            self.was_slow = rate is not None
            self.link = WireLink(world, self, latency, rate, request)
            if self.random.random() < 0.1 and latency:
                # some kilobytes a second, so that a message takes its time
                self.link.uplink = 100
        else:
            before = len(world.oracle.sessions)
            self.link = DirectLink(world, self, latency)
            assert len(world.oracle.sessions) == before + 1

    @property
    def key(self) -> Key:
        return self.identity.principal.raw, self.client_nonce

    @property
    def connected(self) -> bool:
        return self.close_code is None and not self.left

    @property
    def usable(self) -> bool:
        """Whether it is connected and has done nothing wrong."""
        return self.connected and not self.provoked and not self.looks_on and not self._unsigned

    @property
    def unlucky(self) -> bool:
        """Whether it may be replaced by another one of its principal that has come with it."""
        key = self.identity.principal.raw
        return sum(other.connected and other.identity.principal.raw == key for other in self.world.clients) > 1

    @property
    def living(self) -> bool:
        """Whether its session has not ended."""
        return self.session is not None and self.session.ended_with is None and not self.process.dead

    @property
    def registered(self) -> bool:
        """Whether its session waits for its canister, or is open."""
        return self.session is not None and self.living and self.session.client_key is not None

    def trust_nobody(self) -> None:
        """Verify nothing from now on: the network has other keys."""
        self._root_key = None

    def now_ns(self) -> int:
        """What its clock says."""
        return self.world.now_ns() + round(self.clock_offset * 1e9)

    # the link's side

    def arrived(self, payload: bytes) -> None:
        """A message came from the gateway."""
        if self.left or self.provoked or (self.gateway is None and not self.opens):
            return
        world = self.world
        try:
            answers = self.handle(payload, self.now_ns())
        except Exception as error:
            world.oracle.fail(f"client {self.number} {_show(self.key)} got a message that is wrong: {error!r}")
            self.leave(4000)
            return
        if answers and not self.open_sent:
            self.open_sent, self._unsigned = answers[0], True
            if self.dawdles:
                self.world.at_end.append(self.world.clock.callLater(self.dawdles, self._sign, answers))
                return
        self._sign(answers)
        if self.closed_by_canister is not None:
            world.oracle.note(f"client {self.number} was closed by its canister: {self.closed_by_canister}")
            self.leave(4001)

    def _sign(self, answers: list[bytes]) -> None:
        self._unsigned = False
        self.signed_at = self.world.clock.seconds()
        for answer in answers:
            self.link.send(answer)

    def close_received(self, code: int, reason: str) -> None:
        """The gateway's close frame came."""
        session, oracle = self.session, self.world.oracle
        if session is None or code < 4100:
            return
        why = bad_reason(session, code, reason)
        if why:
            oracle.fail(f"client {self.number}: {why}")
        if session.ended_with not in (None, code):
            oracle.fail(
                f"client {self.number} received the close code {code}, its session ended with {session.ended_with}"
            )

    def ended(self, code: int) -> None:
        """The connection ended."""
        if self.close_code is None:
            self.close_code = code
            self.world.oracle.note(f"client {self.number} saw {code}")

    # what it does

    def envelope(self, method: str, arg: bytes, now_ns: int, ttl: float | None = None) -> bytes:
        ttl = self._ttl if ttl is None else ttl
        self.earliest_expiry = min(self.earliest_expiry, self.world.clock.seconds() + self.clock_offset + ttl)
        content = call_content(
            self.identity.principal, self.canister, method, arg, now_ns + int(ttl * 1e9), self.random.randbytes(16)
        )
        body = sign_request(self.identity, content).body
        return cbor.SELF_DESCRIBE + b"\xa1\x68envelope" + body.removeprefix(cbor.SELF_DESCRIBE)

    def talk(self, count: int, order: str, random: Random, ttl: float = 240.0) -> None:
        """Send messages; ``order`` says what the canister is to do with them."""
        for _ in range(count):
            self._speak(order, random, ttl)(0.0)

    def talk_out_of_turn(self, random: Random, later: float) -> None:
        """Send two messages, the second one first."""
        first, second = self._speak("e", random), self._speak("e", random)
        self.world.oracle.spoil_if_cut.add(self.key)
        second(0.0)
        first(later)

    def _speak(self, order: str, random: Random, ttl: float = 240.0) -> Callable[[float], None]:
        self.count += 1
        size = random.choice((0, 0, 0, 200, 3000))
        plan = self.world.plan
        quick = not plan.crowded and plan.longest_message > 80_000 and self.link.uplink is None
        if size and self.opened and quick and random.random() < 0.08:
            # more than an unauthenticated client may send at a time
            size = 70_000
        content = f"{order}{self.number}.{self.count} ".encode() + b"." * size
        self._ttl = ttl
        payload = self.message_payload(content, self.now_ns())
        self._ttl = 240.0
        self.world.oracle.contents[payload] = content

        def send(later: float) -> None:
            if later:
                self.world.at_end.append(self.world.clock.callLater(later, lambda: self.link.send(payload)))
            else:
                self.link.send(payload)

        return send

    def leave(self, code: int = 1000) -> None:
        if self.connected:
            self.left = True
            self.link.leave(code)

    def cut(self, silent: bool) -> None:
        if self.connected:
            self.left = True
            self.world.oracle.cut_off(self.key)
            if silent:
                # the gateway finds out by whatever is late first
                self.provoked |= {CloseCode.TOO_SLOW, CloseCode.NOT_OPENED, CloseCode.POLICY}
            self.link.cut(silent)

    def stop_reading(self) -> None:
        self.was_slow = True
        self.link.set_reading(False)

    def misbehave(self, random: Random) -> str:
        """Send something that ends the session."""
        now = self.world.now_ns()
        kind = random.choice(("text", "garbage", "method", "sender", "expired", "future", "canister", "bytes", "long"))
        provoked = {1006, *PROTOCOL_ERRORS}
        if kind == "text":
            self._send_wrong(b"hello", kind, False)
        elif kind == "garbage":
            self._send_wrong(random.randbytes(random.randint(1, 60)), kind)
        elif kind == "method":
            arg = encode_open_args(self.client_nonce + 1, (self.gateway or Principal(b"\x01")).raw)
            method = random.choice(("ws_open", "ws_close", "other"))
            wrong = self.envelope(method, arg, now)
            if method == "ws_open":
                self.link.send(wrong)
            else:
                self._send_wrong(wrong, "wrong method")
            provoked |= {CloseCode.WRONG_GATEWAY, CloseCode.OPEN_REFUSED, CloseCode.NOT_OPENED}
        elif kind == "sender":
            mine, self.identity = self.identity, Ed25519Identity(random.randbytes(32))
            self._send_wrong(self.envelope("ws_message", b"", now), kind)
            self.identity = mine
        elif kind == "canister":
            mine_, self.canister = self.canister, Principal(bytes(8) + b"\x01\x01")
            self._send_wrong(self.envelope("ws_message", b"", now), kind)
            self.canister = mine_
        elif kind in ("expired", "future"):
            self.link.send(self.envelope("ws_message", b"", now, -10.0 if kind == "expired" else 400.0))
            provoked.add(CloseCode.EXPIRED)
        elif kind == "long":
            self.link.send(bytes(self.world.plan.longest_message + 1000))
        else:
            self.link.garbage(random.randbytes(random.randint(2, 60)))
        self.provoked = set(range(5000)) - {1000, 1001} if kind == "bytes" else self.provoked | provoked
        # where the gateway waits for the rest of a frame, its time limit is far off
        self.world.at_end.append(self.world.clock.callLater(4.0, self.cut, False))
        return kind

    def _send_wrong(self, payload: bytes, what: str, binary: bool = True) -> None:
        self.world.oracle.wrong[payload] = what
        self.link.send(payload, binary)

    # what it must have got

    @property
    def quiet(self) -> bool:
        """Whether it is closed, or open with nothing under way either way."""
        if not self.connected:
            return True
        if not self.opened or self.provoked:
            return False
        oracle, key = self.world.oracle, self.key
        if key in oracle.gone:
            return oracle.may_be_undecided(key)
        if self.received != oracle.queued[key]:
            return False
        where, life = oracle.opened[key]
        if life != oracle.lives[where]:
            return False
        if key in oracle.spoilt:
            return True
        session = self.session
        return session is not None and session.accepted == oracle.done[key] and self._all_sent(session)

    def _all_sent(self, session: SimSession) -> bool:
        return len(session.accepted) == self.count

    def check_received(self) -> None:
        """What came is what was sent to it, without anything missing in between."""
        queued = self.world.oracle.queued.get(self.key, [])
        if self.received != queued[: len(self.received)]:
            self.world.oracle.fail(f"client {self.number} got other messages than the canister sent to it")
