"""Renewals with an authority in memory, on a clock that the test advances."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.task import Clock

from icwsgw.acme.acme_client import AccountRequest, ExternalAccount
from icwsgw.acme.renewals import Renewals
from icwsgw.acme.storage import AcmeStorage
from icwsgw.observe.metrics import Metrics
from tests.acme.small_ca import ROOT, SmallCa

EPOCH = 1_800_000_000.0


class World:
    """A gateway's names and their authority.

    :ivar obtained: the number of notifications of a new certificate
    """

    def __init__(self, directory: Path, names: tuple[str, ...] = ("a.example",), challenge: str = "http-01") -> None:
        self.clock = Clock()
        self.directory = directory
        self.names = names
        self.challenge = challenge
        self.ca = SmallCa(self.now, self.lookup)
        self.external: ExternalAccount | None = None
        self.wrong_answers = False
        self.obtained = 0
        self.begin()

    def now(self) -> float:
        return EPOCH + self.clock.seconds()

    def lookup(self, kind: str, name: str, token: str) -> bytes | None:
        if self.wrong_answers:
            return None
        if kind == "http-01":
            return self.storage.answer(token)
        return (self.directory / "challenges" / f"{name}.pem").read_bytes()

    def begin(self, start: bool = False) -> None:
        """Make a new service, as a restart does."""
        self.storage = AcmeStorage(self.directory)
        self.metrics = Metrics()
        clock: Any = self.clock
        self.service = Renewals(
            self.names,
            self.storage,
            self.ca.fetch,
            f"{ROOT}/dir",
            self.challenge,
            clock,
            self.metrics,
            wanted=AccountRequest(True, "admin@example.com", self.external),
            obtained=self._note,
            now=self.now,
        )
        if start:
            self.service.startService()

    def _note(self) -> None:
        self.obtained += 1

    def advance(self, seconds: float, step: float = 1.0) -> None:
        for _ in range(int(seconds / step)):
            self.clock.advance(step)

    @property
    def orders(self) -> int:
        return len(self.ca.orders)

    def count(self, outcome: str) -> float:
        return self.metrics.acme_orders.values[outcome]

    @property
    def missing(self) -> float | None:
        return self.metrics.acme_missing.value
