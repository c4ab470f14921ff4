"""Runs a canister on the devnet: its methods, its status (running, stopped, reset) and its part of the state tree.

Reject codes and error codes are those of the IC's replica: 5 ``IC0503`` for a trap, 5 ``IC0536`` for a missing method,
5 ``IC0508`` for a stopped canister, 5 ``IC0504`` for a reply to a query longer than 3 MiB or to a call longer than
2 MiB.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

from twisted.internet.defer import Deferred

from icwsgw.devnet.canisters import Canister, CanisterFactory, MethodNotFound, module_hash
from icwsgw.devnet.cdk import ACK_INTERVAL_MS, KEEP_ALIVE_TIMEOUT_MS, MAX_RETURNED_MESSAGES, QueueView, WebSocketCdk
from icwsgw.devnet.cdk_types import ClientKey, Output, Page, Trap, WsError
from icwsgw.devnet.pausable_clock import PausableClock
from icwsgw.errors import FormatError, Rejected
from icwsgw.ic import cbor, hashtree, ws
from icwsgw.ic.hashtree import Tree
from icwsgw.ic.network_limits import MAX_CALL_REPLY_BYTES, MAX_REPLY_BYTES
from icwsgw.ic.principal import Principal
from icwsgw.reactor.clock import Clock

_T = TypeVar("_T")

PageFilter = Callable[[Page, int], Page]
"""Applies a fault to the answer to a poll. Takes the page and the requested nonce, and returns another page."""
#: The public metadata that describes a canister's interface.
CANDID_SECTION: Final = b"candid:service"

_CDK_METHODS: Final = frozenset(("ws_open", "ws_message", "ws_close", "ws_get_messages"))

Certifier = Callable[[Principal], bytes]
"""Returns the certificate of a canister's certified data."""


def stopped(canister: Principal) -> Rejected:
    """Return the reject of a stopped canister."""
    return Rejected(5, f"Canister {canister} is stopped", "IC0508")


def trapped(canister: Principal, text: str) -> Rejected:
    """Return the reject of a canister that trapped."""
    return Rejected(5, f"Error from Canister {canister}: Canister called `ic0.trap` with message: '{text}'.", "IC0503")


def no_method(canister: Principal, kind: str, method: str) -> Rejected:
    """Return the reject of a call or query (``kind`` is ``update`` or ``query``) of a method that there is not."""
    return Rejected(5, f"Error from Canister {canister}: Canister has no {kind} method '{method[:100]}'.", "IC0536")


class CdkSettings:
    """Settings of each canister's CDK. Times are in ms; the defaults are those of the CDK.

    :raises ValueError: the interval is not longer than the timeout, or a value is not positive
    """

    __slots__ = ("ack_interval_ms", "keep_alive_timeout_ms", "max_messages")

    def __init__(
        self,
        ack_interval_ms: int = ACK_INTERVAL_MS,
        keep_alive_timeout_ms: int | None = None,
        max_messages: int = MAX_RETURNED_MESSAGES,
    ) -> None:
        if keep_alive_timeout_ms is None:
            # Tests use short intervals and then need not set the timeout as well.
            keep_alive_timeout_ms = min(KEEP_ALIVE_TIMEOUT_MS, ack_interval_ms // 2)
        if not 0 < keep_alive_timeout_ms < ack_interval_ms:
            raise ValueError("the acknowledgement interval must be longer than the keep-alive time-out, both above 0")
        if max_messages < 1:
            raise ValueError("a poll returns at least one message")
        self.ack_interval_ms = ack_interval_ms
        self.keep_alive_timeout_ms = keep_alive_timeout_ms
        self.max_messages = max_messages


class CanisterHost(Protocol):
    """A canister as the replica runs it, whatever its code is.

    :ivar running: False: stopped, calls and queries are rejected
    :ivar candid: the description of its interface, public metadata ``candid:service``; None: there is none
    """

    id: Principal
    running: bool
    candid: str | None

    def check_running(self) -> None:
        """Pass if the canister runs.

        :raises Rejected: it is stopped
        """
        ...

    def inspect(self, method: str, caller: Principal, arg: bytes) -> None:
        """Ask the canister whether it takes a call from a user.

        :raises Rejected: it does not
        """
        ...

    def update(self, method: str, caller: Principal, arg: bytes) -> bytes | Deferred[bytes]:
        """Run an update method and return its reply, now or later; what it did is undone when it traps.

        :raises Rejected: stopped, no such method, trapped, reply too large; a Deferred fails with it
        """
        ...

    def query(
        self,
        method: str,
        caller: Principal,
        arg: bytes,
        certify: Certifier,
        page_filter: PageFilter | None = None,
        view: Any = None,
    ) -> bytes:
        """Run a query method and return its reply.

        :param certify: gives the data certificate
        :param page_filter: a fault to be put on the answer of ws_get_messages
        :param view: the canister in an older state, from :meth:`view`
        :raises Rejected: as :meth:`update`
        """
        ...

    @property
    def private_metadata(self) -> frozenset[str]:
        """Names of the metadata sections that only controllers may read."""
        ...

    def view(self) -> Any:
        """Copy what queries on an older state need."""
        ...

    def state(self) -> Tree:
        """Return what stands under ``/canister/<id>``."""
        ...

    def reset(self) -> None:
        """Upgrade the canister with the code that it has."""
        ...

    def close(self) -> None:
        """Stop all timers."""
        ...


class Host:
    """One canister id and its application in Python.

    :ivar ws: the CDK's state since the last reset
    :ivar app: the application since the last reset

    :param changed: called with the host when the canister's certified data may have changed
    :param log: takes what the canister prints, and the texts of its traps
    """

    def __init__(
        self,
        canister_id: Principal,
        factory: CanisterFactory,
        clock: Clock,
        now_ns: Callable[[], int],
        settings: CdkSettings,
        changed: Callable[[Host], None],
        log: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.id = canister_id
        self._factory = factory
        self._clock = PausableClock(clock)
        self._now_ns = now_ns
        self._settings = settings
        self._changed = changed
        self._log = log
        self._fixed: list[tuple[bytes, Tree]] = [
            (b"controllers", hashtree.leaf(cbor.dumps_tagged([]))),
            (b"module_hash", hashtree.leaf(module_hash(factory))),
        ]
        self.ws, self.app = self._live()
        self.candid: str | None = self.app.candid

    @property
    def running(self) -> bool:
        """False if the canister is stopped: calls and queries are rejected, and its timers wait."""
        return not self._clock.paused

    @running.setter
    def running(self, value: bool) -> None:
        self._clock.paused = not value

    def _live(self) -> tuple[WebSocketCdk, Canister]:
        cdk = WebSocketCdk(
            self._clock,
            self._now_ns,
            max_messages=self._settings.max_messages,
            ack_interval_ms=self._settings.ack_interval_ms,
            keep_alive_timeout_ms=self._settings.keep_alive_timeout_ms,
            changed=lambda: self._changed(self),
            debug_print=self._log,
        )
        try:
            app = self._factory(cdk)
        except BaseException:
            # timers that it has set already
            cdk.stop()
            raise
        cdk.handlers = app
        cdk.start()
        return cdk, app

    def reset(self) -> None:
        """Reset the canister, as an upgrade does: the CDK loses all its state because it keeps it on the heap.

        :raises FormatError: the application cannot be created; nothing has changed
        """
        live = self._live()
        self.ws.stop()
        self.ws, self.app = live
        self._changed(self)

    def close(self) -> None:
        self.ws.stop()

    def state(self) -> Tree:
        """Return the part of the state tree under ``/canister/<id>``."""
        entries = [(b"certified_data", hashtree.leaf(self.ws.certified_data())), *self._fixed]
        if self.candid is not None:
            metadata = hashtree.label_map([(CANDID_SECTION, hashtree.leaf(self.candid.encode()))])
            entries.insert(2, (b"metadata", metadata))
        return hashtree.label_map(entries)

    @property
    def private_metadata(self) -> frozenset[str]:
        """None: a canister in Python has public metadata only."""
        return frozenset()

    def check_running(self) -> None:
        """Check that the canister runs.

        :raises Rejected: the canister is stopped
        """
        if not self.running:
            raise stopped(self.id)

    def inspect(self, method: str, caller: Principal, arg: bytes) -> None:
        """Take any call."""

    def view(self) -> QueueView:
        """Return the queues as they are now."""
        return self.ws.view()

    def update(self, method: str, caller: Principal, arg: bytes) -> bytes:
        """Run an update method and return its reply. If it does not reply, its changes are undone.

        A :class:`WsError` is an answer of the CDK's methods; in a method of the application it is a trap.

        :raises Rejected: the canister is stopped, has no such method or trapped, or its reply is too large
        """
        self.check_running()
        try:
            with self.ws.transaction():
                return self._checked(self._update(method, caller, arg), MAX_CALL_REPLY_BYTES)
        except Trap as trap:
            self._log(f"trapped: {trap}")
            raise trapped(self.id, str(trap)) from trap
        except MethodNotFound:
            raise no_method(self.id, "update", method) from None

    def _update(self, method: str, caller: Principal, arg: bytes) -> bytes:
        if method not in _CDK_METHODS:
            return self._own(lambda: self.app.update(method, caller, arg))
        try:
            if method == "ws_open":
                opening = _decoded(ws.decode_open_args, arg)
                self.ws.ws_open(caller, opening.client_nonce, Principal(opening.gateway_principal))
            elif method == "ws_message":
                message = _decoded(ws.decode_message_args, arg)
                key = ClientKey(message.client_principal, message.client_nonce)
                self.ws.ws_message(caller, key, message.sequence_num, message.is_service_message, message.content)
            elif method == "ws_close":
                self.ws.ws_close(caller, ClientKey(*_decoded(ws.decode_close_args, arg)))
            else:
                # The IC allows an update call of a query method, but the canister then has no data certificate.
                page = self.ws.ws_get_messages(caller, _decoded(ws.decode_get_args, arg))
                if page.messages:
                    raise Trap("Panicked at 'called `Option::unwrap()` on a `None` value'")
                return _batch((), b"", b"", page.is_end_of_queue)
        except WsError as error:
            return ws.encode_result_err(str(error))
        return ws.encode_result_ok()

    @staticmethod
    def _own(act: Callable[[], bytes]) -> bytes:
        """Run a method of the application, in which an error of the CDK is a trap."""
        try:
            return act()
        except WsError as error:
            raise Trap(f"unhandled: {error}") from error

    def query(
        self,
        method: str,
        caller: Principal,
        arg: bytes,
        certify: Certifier,
        page_filter: PageFilter | None = None,
        view: QueueView | None = None,
    ) -> bytes:
        """Run a query method and return its reply.

        :param certify: returns the data certificate
        :param page_filter: applies a fault to the answer of ws_get_messages
        :param view: the queues in an older state; the application's methods always use the newest state
        :raises Rejected: as for :meth:`update`
        """
        self.check_running()
        try:
            if method != "ws_get_messages":
                with self.ws.discarded():
                    return self._checked(self._own(lambda: self.app.query(method, caller, arg)))
            nonce = _decoded(ws.decode_get_args, arg)
            queues = self.ws if view is None else view
            page = queues.ws_get_messages(caller, nonce)
            messages: Sequence[Output] = page.messages
            if page_filter is not None:
                page = page_filter(page, nonce)
                messages = page.messages
            if not messages:
                return _batch((), b"", b"", page.is_end_of_queue)
            tree = queues.witness(messages[0].key, messages[-1].key)
            return self._checked(_batch(messages, certify(self.id), tree, page.is_end_of_queue))
        except Trap as trap:
            self._log(f"trapped: {trap}")
            raise trapped(self.id, str(trap)) from trap
        except MethodNotFound:
            raise no_method(self.id, "query", method) from None

    def _checked(self, reply: bytes, most: int = MAX_REPLY_BYTES) -> bytes:
        if len(reply) > most:
            raise Rejected(
                5,
                f"Error from Canister {self.id}: Canister violated contract: ic0.msg_reply_data_append: application "
                f"payload size ({len(reply)}) cannot be larger than {most}.",
                "IC0504",
            )
        return reply


def _decoded(decode: Callable[[bytes], _T], arg: bytes) -> _T:
    try:
        return decode(arg)
    except FormatError as error:
        raise Trap(f"failed to decode call arguments: {error}") from error


def _batch(messages: Sequence[Output], cert: bytes, tree: bytes, is_end: bool) -> bytes:
    return ws.encode_batch(messages, cert, tree, is_end)
