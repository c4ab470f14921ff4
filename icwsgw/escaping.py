"""Escapes text of others before a person, a terminal or a log collector reads it.

A terminal obeys controls (U+0000 to U+001F, U+007F, U+0080 to U+009F), viewers break lines at U+2028 and U+2029, text
with directional controls is shown in another order than it has (Trojan Source, CVE-2021-42574), and characters without
a width hide in words. Such characters are written as JSON escapes them, so that the same text may stand in a line of
text and within a JSON string.
"""

from __future__ import annotations

import re

# What Python's str.isprintable refuses (categories Cc, Cf, Cs, Co, Cn, Zl, Zp, and Zs but the space), and what Unicode
# calls ignorable though it is of another category (DerivedCoreProperties.txt, Default_Ignorable_Code_Point).
_IGNORABLE = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
_SUSPECT = re.compile("[^ -~]")
_IGNORED = re.compile(f"[{_IGNORABLE}]")
_SHORT = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


def escape_invisible(text: str) -> str:
    """Write out, as a JSON escape each, the characters that are not plainly seen; the others stay as they are.

    A text that has no such characters is given back itself, so applying it twice is the same as once.
    """
    if text.isascii() and text.isprintable():
        return text
    return _SUSPECT.sub(_shown, text)


def is_visible(text: str) -> bool:
    """Whether all characters are plainly seen."""
    return text.isprintable() and (text.isascii() or _IGNORED.search(text) is None)


def _shown(found: re.Match[str]) -> str:
    character = found[0]
    if is_visible(character):
        return character
    if character in _SHORT:
        return _SHORT[character]
    number = ord(character)
    if number < 0x10000:
        return f"\\u{number:04x}"
    number -= 0x10000
    return f"\\u{0xD800 + (number >> 10):04x}\\u{0xDC00 + (number & 0x3FF):04x}"
