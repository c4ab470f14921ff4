"""Escapes untrusted text before a person, a terminal or a log collector reads it.

Terminals execute control characters (U+0000 to U+001F, U+007F, U+0080 to U+009F). Viewers break lines at U+2028 and
U+2029. Directional controls change the order in which text is displayed (Trojan Source, CVE-2021-42574). Characters
without a width are invisible within words. This module replaces such characters by JSON escapes, so that the same
text is valid in a plain line and in a JSON string.
"""

from __future__ import annotations

import re

# str.isprintable refuses the categories Cc, Cf, Cs, Co, Cn, Zl, Zp, and Zs except the space. These are the ignorable
# characters of other categories (Unicode, DerivedCoreProperties.txt, Default_Ignorable_Code_Point).
_IGNORABLE = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
_SUSPECT = re.compile("[^ -~]")
_IGNORED = re.compile(f"[{_IGNORABLE}]")
_SHORT = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}


def escape_invisible(text: str) -> str:
    """Replace each invisible or control character by its JSON escape; keep the other characters.

    A text without such characters is returned unchanged. A second application therefore changes nothing.
    """
    if text.isascii() and text.isprintable():
        return text
    return _SUSPECT.sub(_shown, text)


def is_visible(text: str) -> bool:
    """Return whether all characters are visible, or spaces."""
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
