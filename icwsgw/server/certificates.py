"""Judges certificates: whether clients will accept them, and which of two a server should use.

What OpenSSL refuses is no subject here; :func:`icwsgw.server.tls.load` raises for it. These functions find what OpenSSL
serves without an error and clients refuse: wrong dates, a chain with gaps (RFC 8446, section 4.4.2), no name.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

#: When the renewal of a certificate is overdue: this many seconds before its expiry, or this part of its lifetime if
#: that is less, because some authorities issue for days or hours. Renewals come 20 to 30 days before the expiry, or
#: after two thirds of the lifetime.
OVERDUE, OVERDUE_PART = 14 * 86400.0, 1 / 6
#: When it is urgent, in the same way.
URGENT, URGENT_PART = 3 * 86400.0, 1 / 20


class RenewalState(Enum):
    """Whether a certificate should have been renewed; the values are those of a label of a metric."""

    TIMELY = "timely"
    OVERDUE = "overdue"
    URGENT = "urgent"


class Validity(NamedTuple):
    """When a certificate is valid, in seconds since 1970."""

    not_before: float
    not_after: float

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Validity:
        """Return the validity of a certificate."""
        return cls(certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp())

    def holds(self, now: float) -> bool:
        """Whether clients accept the dates at ``now``."""
        return self.not_before <= now <= self.not_after

    def renewal(self, now: float) -> RenewalState:
        """Whether the certificate should have been renewed; one with wrong dates is urgent."""
        left, lifetime = self.not_after - now, self.not_after - self.not_before
        if not self.holds(now) or left < min(URGENT, URGENT_PART * lifetime):
            return RenewalState.URGENT
        return RenewalState.OVERDUE if left < min(OVERDUE, OVERDUE_PART * lifetime) else RenewalState.TIMELY

    def fault(self, now: float) -> str | None:
        """Return what is wrong with the dates, or None: ``expired on 2026-01-02``."""
        if now > self.not_after:
            return f"expired on {_day(self.not_after)}"
        if now < self.not_before:
            return f"is not valid before {_day(self.not_before)}"
        return None


def is_better(new: Validity, old: Validity, now: float) -> bool:
    """Whether a server that uses ``old`` should use ``new``.

    A valid certificate is always taken, because the operator wants it. One that clients refuse replaces only one that
    they refuse as well and that ends earlier.
    """
    if new.holds(now):
        return True
    return not old.holds(now) and new.not_after > old.not_after


def chain_warnings(chain: Sequence[x509.Certificate], now: float) -> Iterator[str]:
    """Yield what makes clients refuse a chain, now or soon; each text continues the file's name.

    :param chain: the certificates that are sent, the server's first
    :param now: seconds since 1970
    """
    leaf = chain[0]
    validity = Validity.of(leaf)
    if (fault := validity.fault(now)) is not None:
        yield fault
    elif validity.renewal(now) is not RenewalState.TIMELY:
        yield f"expires on {_day(validity.not_after)}, in {int((validity.not_after - now) // 86400)} days"
    if not list(_names(leaf) or ()):
        yield "names no host (subjectAltName): browsers refuse it"
    for number, (below, above) in enumerate(pairwise(chain), 2):
        if (fault := Validity.of(above).fault(now)) is not None:
            yield f"has a chain whose certificate {number} {fault}"
        if not _issued(below, above):
            yield f"has a chain whose certificate {number} did not issue the one before it: clients may refuse it"
    if len(chain) == 1 and not _names_issuer(leaf, leaf):
        yield (
            f"has no certificate of its issuer ({issuer_name(leaf)}) behind it: clients refuse it unless "
            "they know this issuer; use the file with the full chain"
        )


def key_warning(path: Path) -> str | None:
    """Return what is wrong with the mode of the file of a private key or its passphrase, or None.

    A group may read it: that is how a service without root reads a key that certbot's hook hands to it.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return None
    if mode & (stat.S_IWGRP | stat.S_IRWXO):
        return f"is open to others (mode {stat.S_IMODE(mode):04o}); chmod 640 or 600 it"
    return None


def issuer_name(certificate: x509.Certificate) -> str:
    """Return the name of a certificate's issuer as text (RFC 4514)."""
    try:
        return certificate.issuer.rfc4514_string()
    except (ValueError, KeyError):
        # Names are decoded at this moment only; OpenSSL accepts more types of text than this library. The lowest
        # version raises KeyError.
        return "a name that cannot be decoded"


def host_names(certificate: x509.Certificate) -> list[str]:
    """Return the host names of a certificate in lower case; ``*.`` begins those that stand for a level of names."""
    names = _names(certificate)
    return [] if names is None else [name.lower() for name in names.get_values_for_type(x509.DNSName)]


def _names(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return None


def _issued(below: x509.Certificate, above: x509.Certificate) -> bool:
    try:
        below.verify_directly_issued_by(above)
    except (ValueError, KeyError, TypeError, InvalidSignature):
        return False
    except UnsupportedAlgorithm:
        return _names_issuer(below, above)
    return True


def _names_issuer(below: x509.Certificate, above: x509.Certificate) -> bool:
    try:
        return below.issuer == above.subject
    except (ValueError, KeyError):
        return False


def _day(seconds: float) -> str:
    # certificates may be valid until the year 9999, so this is always in range
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d")
