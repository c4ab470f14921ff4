"""Formats text for manual pages in mdoc(7), for mandoc and groff, where each sentence starts a new line."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator


def roff(text: str) -> str:
    """Escape text for a line without a macro."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("&lt;", "<").replace("&gt;", ">")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def sentences(text: str) -> Iterator[str]:
    """Split text into short lines; each sentence starts a new line (mandoc: "new sentence, new line")."""
    for sentence in re.split(r"(?<=[.;:?]) +", text):
        for line in textwrap.wrap(sentence, 72, break_on_hyphens=False, break_long_words=False):
            yield roff(line)
