"""Parses the dates of HTTP headers."""

from __future__ import annotations

from datetime import timezone
from email.utils import parsedate_to_datetime


def http_date(value: str) -> float | None:
    """Parse an HTTP date in any of its three forms (RFC 9110, section 5.6.7).

    :return: seconds since 1970; None if it is invalid
    """
    try:
        date = parsedate_to_datetime(value)
        if date.tzinfo is None:
            # asctime's form names no zone; HTTP dates are in UTC whatever the machine's zone
            date = date.replace(tzinfo=timezone.utc)
        return date.timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
