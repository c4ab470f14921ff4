"""One gateway process: opens sessions for connections, admits or refuses ``ws_open``, and shuts down.

A session is in :mod:`icwsgw.gateway.session`; a canister's messages come through :mod:`icwsgw.gateway.polling.poller`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from icwsgw.config.access_list import EVERYBODY, AccessRules
from icwsgw.config.quantities import duration
from icwsgw.core.bans import Bans
from icwsgw.core.close_reasons import CloseCode
from icwsgw.core.identity_assignment import IdentityAssignment
from icwsgw.core.replacement import Others
from icwsgw.core.replay_cache import ReplayCache
from icwsgw.core.session_machine import Opened, State
from icwsgw.gateway.batches import in_batches
from icwsgw.gateway.calls.close_notices import CloseNotices
from icwsgw.gateway.drain import DRAINING, Drain
from icwsgw.gateway.gauges import watch
from icwsgw.gateway.interfaces import Client, Context
from icwsgw.gateway.principal_limit import PrincipalLimit
from icwsgw.gateway.reasons import REPLACED
from icwsgw.gateway.registry import Registry
from icwsgw.gateway.replacements import Announce, Replacements, announce_to_none
from icwsgw.gateway.session import ClientSession
from icwsgw.gateway.timer_wheel import TimerWheel
from icwsgw.ic.principal import Principal
from icwsgw.observe.logs import get_logger

if TYPE_CHECKING:
    from icwsgw.config.schema import GatewayConfig
    from icwsgw.gateway.polling.poller import Poller

_log = get_logger("gateway")


class Gateway:
    """The clients and canisters of one gateway process.

    :param identity_assignment: chooses clients' identities; by default it fills one after the other
    :ivar registry: the index of sessions and pollers
    :ivar identity_assignment: how many clients each identity has
    :ivar wheel: the timer of all connections
    :ivar replacements: decides which of several connections of one principal stays open
    :ivar replays: every ``ws_open`` that was relayed, while it is valid
    :ivar prefix, serial: the beginning of session ids, and the number of the last one
    :ivar draining: no session is opened any more
    :ivar served_elsewhere: another process serves: this one has handed over, or has not taken over (yet)
    :ivar announce: notifies other processes, with (canister, principal, time in ns, left): the canister has accepted a
        connection of the principal, at this time of the canister (0 if it has none); or, with ``left``, it knew a
        connection that has left before its first message and was opened by this time
    """

    def __init__(self, context: Context, identity_assignment: IdentityAssignment | None = None) -> None:
        self.context = context
        self.registry = Registry(context)
        self.wheel = TimerWheel(context.clock)
        self.close_notices = CloseNotices(context)
        self.principals = PrincipalLimit(context.config.max_connections_per_principal)
        self.replacements = Replacements(self.registry, len(context.identities), self._announce)
        self.replays = ReplayCache(context.clock.seconds())
        self.draining = False
        self.served_elsewhere = False
        self.prefix = token_hex(3)
        self.serial = 0
        # for the sessions whose close notice is in progress
        self._others: dict[ClientSession, Others[ClientSession]] = {}
        self._drain = Drain(self)
        self.identity_assignment = identity_assignment or IdentityAssignment(len(context.identities))
        self.announce: Announce = announce_to_none
        self._allowed: frozenset[bytes] = frozenset()
        self._denied: frozenset[bytes] = frozenset()
        self._denied_at_run_time: frozenset[bytes] = frozenset()
        self.bans = Bans()
        self.rules = EVERYBODY
        self.serve(context.config)
        watch(self)

    def start(self) -> None:
        """Start the timer of all connections."""
        self.wheel.start()

    def stop(self) -> None:
        """Stop at once; :meth:`drain` comes before."""
        self.registry.stop()
        self.close_notices.abandon()
        self.wheel.stop()

    # clients

    def connect(self, client: Client) -> ClientSession:
        """A client's WebSocket is open: create its session and send the handshake message."""
        self.serial += 1
        index = self.identity_assignment.take(self.context.jitter())
        session = ClientSession(self, client, f"{self.prefix}-{self.serial:x}", index)
        self.registry.sessions.add(session)
        session.greet()
        if self.draining:
            session.end(*DRAINING)
        return session

    def serve(self, config: GatewayConfig) -> None:
        """Serve the canisters that ``config`` allows from now on, and close the clients of all others.

        Quotas of canisters and a limit on the canisters of a principal apply too.

        Canisters that :meth:`deny` has denied stay denied.
        """
        begins = not self.principals.most
        self.principals.most = config.max_connections_per_principal
        self.registry.quotas.change(config, list(self.registry.pollers.values()))
        if begins and self.principals.most:
            for session in self.registry.sessions:
                if session.state is State.OPEN and session.client_key is not None:
                    self.principals.count(session.client_key[0], session)
        self._allowed = frozenset(Principal.from_text(text).raw for text in config.allowed_canisters)
        self._denied = frozenset(Principal.from_text(text).raw for text in config.denied_canisters)
        self._close_unserved()

    def deny(self, canisters: frozenset[bytes]) -> int:
        """Deny canisters at run time, besides those that the configuration denies.

        :param canisters: raw principals; they replace those of the call before
        :return: how many clients this has closed
        """
        self._denied_at_run_time = canisters
        return self._close_unserved()

    def restrict(self, rules: AccessRules) -> None:
        """Apply other rules on who may open sessions, and close the clients that may not."""
        self.rules = rules
        self.close_denied()

    def close_denied(self) -> None:
        """Close the clients that may not open sessions now, by canister or principal.

        After a handover, these are clients that the other process has admitted.
        """
        self._close_unserved()
        if self._takes_over:
            return
        rules = self.rules.known
        denied = [
            session
            for session in self.registry.sessions
            if session.client_key is not None and not rules.admits_principal(session.client_key[0])
        ]
        in_batches(self.context.clock, denied, lambda session: session.end(*_NOT_WELCOME))

    @property
    def _takes_over(self) -> bool:
        """Whether the sessions here may not have continued yet: a close frame would come before what is unsent."""
        return self.served_elsewhere and not self.draining

    def _close_unserved(self) -> int:
        if self._takes_over:
            return 0
        sessions: list[ClientSession] = []
        for poller in self.registry.pollers.values():
            if not self.serves(poller.canister):
                sessions.extend(poller.sessions.values())
        in_batches(self.context.clock, sessions, _end_unserved)
        return len(sessions)

    def serves(self, canister: Principal) -> bool:
        """Whether clients may open sessions with a canister."""
        raw = canister.raw
        if raw in self._denied or raw in self._denied_at_run_time or raw in self.rules.denied.principals:
            return False
        return not self._allowed or raw in self._allowed

    def admit(
        self, canister: Principal, key: tuple[bytes, int], identity_index: int, group: str
    ) -> tuple[CloseCode, str] | None:
        """Whether a client may open a session with a canister.

        :param group: the group of the client's address
        :return: None if it may, otherwise close code and reason
        """
        if not self.serves(canister):
            return _not_served(canister)
        if not self.rules.admits_principal(key[0]):
            return _NOT_WELCOME
        if seconds := self.bans.seconds_left(canister.raw, key[0], self.context.clock.seconds()):
            return CloseCode.POLICY, f"closed by the operator of this gateway for {duration(seconds)}"
        quotas = self.registry.quotas
        # As quotas.of(), inlined: each ws_open comes by here.
        limit = quotas.exceptions.get(canister.raw, quotas.default).max_connections
        if limit and self.registry.count(canister) >= limit:
            self.context.metrics.refused_connections.inc("connections_per_canister")
            return CloseCode.OVERLOADED, f"canister {canister.text} has as many clients here as it may"
        if self.principals.full(key[0]) and not self._replaces(canister, key[0]):
            return self._one_too_many()
        if self.registry.find(canister, identity_index, key) is not None:
            return CloseCode.OPEN_REFUSED, "ws_open refused: this client key has an open session"
        return self._crowded(canister, identity_index, group)

    def _crowded(self, canister: Principal, identity_index: int, group: str) -> tuple[CloseCode, str] | None:
        """Whether unauthenticated clients have begun too much, which is bounded by address (decision 0034)."""
        refused = self.context.metrics.refused_connections
        if not self.registry.has_room(canister, identity_index, group):
            refused.inc("newcomers")
            return CloseCode.OVERLOADED, "too many canisters have not spoken yet, please try again later"
        if not self.context.call_scheduler.may_open(group):
            refused.inc("opens")
            return CloseCode.OVERLOADED, "too many clients are opening at once, please try again later"
        return None

    def _replaces(self, canister: Principal, sender: bytes) -> bool:
        """Whether a new session would replace one that the canister has accepted."""
        indices = range(len(self.context.identities))
        pollers = (self.registry.pollers.get((canister.raw, index)) for index in indices)
        return any(poller is not None and sender in poller.senders for poller in pollers)

    def _one_too_many(self) -> tuple[CloseCode, str]:
        self.context.metrics.refused_connections.inc("connections_per_principal")
        most = self.principals.most
        return CloseCode.OVERLOADED, f"this principal is connected to {most} canisters here, no more are allowed"

    # called by sessions

    def register(self, session: ClientSession, canister: Principal) -> Poller:
        """Add a session under its client key, so that the canister's messages find it."""
        assert session.client_key is not None
        return self.registry.add(session, canister, session.client_key)

    def unregister(self, session: ClientSession) -> None:
        """Remove a session's client key."""
        if session.client_key is not None:
            self.principals.remove(session.client_key[0], session)
        self.registry.remove(session)
        oldest = self.registry.left(session)
        if oldest is not None and oldest.relay is not None:
            # A canister that executes its ws_open after all removes the client when no keep-alive comes.
            oldest.relay.drop()
            self.finished(oldest)

    def answered(self, session: ClientSession) -> None:
        """A canister has answered the ``ws_open`` of a client that has left."""
        self.registry.answered(session)

    def accepted(self, session: ClientSession) -> None:
        """A canister has accepted a client: older sessions of the same principal at that canister end."""
        if session.poller is None or session.client_key is None or session.state is State.CLOSED:
            return
        canister, sender = session.poller.canister.raw, session.client_key[0]
        news = session.poller.senders.get(sender) is not session
        self.registry.spoke(session.poller.canister)
        older = session.poller.accepted(session, session.client_key)
        if older is not None:
            older.end(*REPLACED)
        if news:
            self.replacements.accepted(session)
            self.announce(canister, sender, session.opened_at_ns, False)
        if session in self.registry.sessions and not self.principals.add(sender, session):
            session.end(*self._one_too_many())

    def replaced_elsewhere(self, canister: bytes, sender: bytes, at_ns: int, later: bool) -> None:
        """A canister has accepted a connection of another process; see :meth:`Replacements.accepted_elsewhere`."""
        self.replacements.accepted_elsewhere(canister, sender, at_ns, later)

    def left_elsewhere(self, canister: bytes, sender: bytes, at_ns: int, later: bool) -> None:
        """A connection of another process has left too early; see :meth:`Replacements.left_elsewhere`."""
        self.replacements.left_elsewhere(canister, sender, at_ns, later)

    def _announce(self, canister: bytes, sender: bytes, at_ns: int, left: bool) -> None:
        self.announce(canister, sender, at_ns, left)

    def send_close_notice(self, session: ClientSession) -> None:
        """Send the close notice of a client that has left, unless its ``ws_open`` cannot have arrived."""
        if session.relay is not None and session.relay.withdrawn:
            self.finished(session)
            return
        self._enqueue_close_notice(session, self.replacements.others(session, self.context.network_ns()))

    def resume_close_notice(
        self, session: ClientSession, notice: Mapping[str, Any], find: Callable[[str], ClientSession | None]
    ) -> None:
        """Continue with a close notice that another process has begun.

        :param notice: a document of :meth:`notices`
        :param find: gives the session with an id
        :raises FormatError: the document is invalid
        """
        self._enqueue_close_notice(session, Others.from_document(notice.get("others", {}), find), notice)

    def notices(self) -> dict[str, dict[str, Any]]:
        """The close notices that are in progress as plain values, by session id."""
        found = self.close_notices.written()
        for session, others in self._others.items():
            found[session.id]["others"] = others.written(lambda other: other.id)
        return found

    def forget_notices(self) -> None:
        """Drop all close notices without sending them: another process does."""
        self.close_notices.forget()
        self._others.clear()

    def _enqueue_close_notice(
        self, session: ClientSession, others: Others[ClientSession], before: Mapping[str, Any] | None = None
    ) -> None:
        assert session.poller is not None
        assert session.client_key is not None
        self.registry.unanswered.pop(session, None)
        self._others[session] = others
        verified = False
        if session.opened < Opened.SPOKE or self.replacements.machine.undecided:
            verified = self.replacements.depend_on(session, others, self.announce is not announce_to_none)
        self.close_notices.enqueue(
            session.poller.canister,
            session.identity_index,
            session.client_key,
            partial(self._notice_ended, session),
            session.id,
            partial(self.replacements.answered, session, others=others),
            before,
            verified,
        )

    def _notice_ended(self, session: ClientSession) -> None:
        self._others.pop(session, None)
        self.replacements.left(session)
        self.finished(session)

    def finished(self, session: ClientSession) -> None:
        """A session is over, and so is its close notice."""
        self.replacements.forget(session)
        if session in self.registry.sessions or session in self.registry.ending:
            self.identity_assignment.leave(session.identity_index)
        self.registry.forget(session)
        # They refer to each other: without this only the garbage collector would free them and the connection.
        session.relay = session.stream = None
        if self.draining:
            self._drain.look()

    # the end

    def drain(self, window: float | None) -> Deferred[None]:
        """Close all sessions over ``window`` seconds, and send close notices.

        :param window: seconds; None: as many as the network needs, and as ``--drain-timeout`` leaves
        :return: fires when all close notices have ended, or are given up after ``window`` more seconds, at least five
        """
        return self._drain.begin(window)

    def skip_drain_window(self) -> None:
        """Close all sessions of a drain at once, and give their close notices two seconds."""
        self._drain.speed_up()


#: How sessions of principals end that the access lists do not admit.
_NOT_WELCOME = (CloseCode.POLICY, "this principal may not use this gateway")


def _not_served(canister: Principal) -> tuple[CloseCode, str]:
    return CloseCode.CANISTER_NOT_ALLOWED, f"canister {canister.text} is not served by this gateway"


def _end_unserved(session: ClientSession) -> None:
    assert session.poller is not None, "it was found by its poller"
    session.end(*_not_served(session.poller.canister))
