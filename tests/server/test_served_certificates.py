from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from icwsgw.observe import labels
from icwsgw.server.certificates import RenewalState, Validity
from icwsgw.server.served_certificates import ServedCertificates
from icwsgw.server.tls import PemFiles, ServerTls
from tests.support import pem

DAY = 86400.0


class FakeTls:
    """What a listener has for TLS."""

    def __init__(self, name: str = "", validities: list[Validity] | None = None) -> None:
        self.name = name
        self.validities = validities or []
        self.reloads = {"ok": 1, "failed": 2}
        self.looks = 0

    def rows(self) -> list[dict[str, str]]:
        return [{"certificate": self.name}]

    def reload_if_changed(self) -> bool:
        self.looks += 1
        return True


def served(*parts: FakeTls | None, now: float = 0.0) -> ServedCertificates:
    listeners: list[Any] = [SimpleNamespace(tls=tls, address=f"tcp:{number}") for number, tls in enumerate(parts, 1)]
    return ServedCertificates(listeners, lambda: now)


def test_a_certificate_of_several_addresses_counts_once() -> None:
    one, other = FakeTls("/a.pem", [Validity(0, 90 * DAY)]), FakeTls("/b.pem", [Validity(0, 80 * DAY)])
    certificates = served(one, None, other, one)
    assert certificates.rows() == [
        {"certificate": "/a.pem", "addresses": ["tcp:1", "tcp:4"]},
        {"certificate": "/b.pem", "addresses": ["tcp:3"]},
    ]
    assert certificates.renewals() == {"timely": 2, "overdue": 0, "urgent": 0}
    assert certificates.expiry() == 80 * DAY
    assert certificates.reloads() == {"ok": 2, "failed": 4}
    certificates.reload_if_changed()
    assert (one.looks, other.looks) == (1, 1)


def test_without_certificates() -> None:
    certificates = served(None)
    assert certificates.expiry() is None
    assert certificates.rows() == []
    assert certificates.renewals() == dict.fromkeys(labels.RENEWAL_STATES, 0)


@pytest.mark.parametrize("lifetime", [365 * DAY, 90 * DAY, 47 * DAY, 6 * DAY, DAY, 3600.0])
def test_a_certificate_that_is_renewed_in_time_is_never_overdue(lifetime: float) -> None:
    """An authority's clients renew when a third of the lifetime is left; what comes after that is too late."""
    tls = FakeTls("", [Validity(0, lifetime)])

    def state(now: float) -> str:
        counts = served(tls, now=now).renewals()
        (found,) = (name for name, count in counts.items() if count)
        return found

    assert state(0) == state(lifetime * 2 / 3) == state(lifetime * 0.8) == "timely"
    assert state(lifetime - min(14 * DAY, lifetime / 6) + 1) == "overdue"
    assert state(lifetime - min(3 * DAY, lifetime / 20) - 1) == "overdue"
    assert state(lifetime - min(3 * DAY, lifetime / 20) + 1) == "urgent"
    assert state(lifetime + 1) == state(-1) == "urgent"


def test_a_short_lived_certificate_does_not_hide_a_late_one() -> None:
    short, late = Validity(0, 6 * DAY), Validity(-85 * DAY, 5 * DAY)
    assert served(FakeTls("", [short, late])).renewals() == {"timely": 1, "overdue": 1, "urgent": 0}


def test_the_states_are_values_of_the_label() -> None:
    assert tuple(state.value for state in RenewalState) == labels.RENEWAL_STATES


def test_with_real_files(tmp_path: Path) -> None:
    files = PemFiles(*pem.server(pem.authority(), days=2).write(tmp_path))
    listeners: list[Any] = [SimpleNamespace(tls=ServerTls(files), address="tcp:1")]
    certificates = ServedCertificates(listeners)
    (row,) = certificates.rows()
    assert row["addresses"] == ["tcp:1"]
    assert certificates.expiry() == row["not_after"]
