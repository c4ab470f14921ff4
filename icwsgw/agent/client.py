"""The Internet Computer's HTTP interface: skeleton with the final interface."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from icwsgw.agent.outcome import CallOutcome
from icwsgw.agent.interfaces import NetworkTransport

if TYPE_CHECKING:
    from icwsgw.ic.certificate import Certificate
    from icwsgw.ic.envelope import SignedRequest
    from icwsgw.ic.identity import Ed25519Identity
    from icwsgw.ic.principal import Principal


class IcAgent:
    """The network as the gateway sees it."""

    def __init__(
        self,
        reactor: IReactorTime,
        transport: NetworkTransport,
        network_url: str,
        *,
        now_ns: Callable[[], int],
        rng: Callable[[], float] = random.random,
        root_key: bytes | None = None,
        verify_query_signatures: bool | None = None,
    ) -> None:
        raise NotImplementedError

    clock_skew_ns: int | None
    mainnet: bool

    @property
    def ready(self) -> bool:
        """Whether there is a root key to trust."""
        raise NotImplementedError

    @property
    def root_key(self) -> bytes | None:
        """The root key in DER, or None as long as it is not known."""
        raise NotImplementedError

    def start(self) -> None:
        """Begin fetching the root key."""
        raise NotImplementedError

    def stop(self) -> Deferred[None]:
        """Stop what start() began."""
        raise NotImplementedError

    def when_ready(self) -> Deferred[None]:
        """Wait for the root key."""
        raise NotImplementedError

    def status(self, *, timeout: float = 5.0) -> Deferred[dict[str, Any]]:
        """Ask for the replica's status."""
        raise NotImplementedError

    def query(self, canister: Principal, request: SignedRequest, *, timeout: float) -> Deferred[bytes]:
        """Send a signed query."""
        raise NotImplementedError

    def call(self, canister: Principal, body: bytes, *, wait: bool, timeout: float) -> Deferred[CallOutcome]:
        """Relay a ready call envelope."""
        raise NotImplementedError

    def update(
        self, identity: Ed25519Identity, canister: Principal, method: str, arg: bytes, *, timeout: float
    ) -> Deferred[bytes]:
        """Make a call of our own."""
        raise NotImplementedError

    def read_state(
        self,
        canister: Principal,
        paths: Sequence[Sequence[bytes]],
        *,
        timeout: float,
        identity: Ed25519Identity | None = None,
    ) -> Deferred[Certificate]:
        """Read certified paths."""
        raise NotImplementedError
