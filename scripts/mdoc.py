"""Text of manual pages in mdoc(7), as mandoc and groff read it; a sentence is a line of its own there."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator


def roff(text: str) -> str:
    """Escape text for a line that is no macro."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("&lt;", "<").replace("&gt;", ">")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def sentences(text: str) -> Iterator[str]:
    """A sentence begins a line, and lines are short (mandoc: "new sentence, new line")."""
    for sentence in re.split(r"(?<=[.;:?]) +", text):
        for line in textwrap.wrap(sentence, 72, break_on_hyphens=False, break_long_words=False):
            yield roff(line)
