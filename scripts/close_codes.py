"""Writes docs/close-codes.md and the JavaScript client's tables from icwsgw/close_codes.py and icwsgw/close_hints.py.

A test fails if one of them is out of date.
"""

from __future__ import annotations

import json
from pathlib import Path

from icwsgw.close_codes import CLOSE_CODES, CloseCode, CloseCodeInfo, Reconnect
from icwsgw.close_hints import REJECT_HINTS

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "close-codes.md"
SCRIPT = ROOT / "clients" / "js" / "src" / "close_codes.js"

HEAD = """\
# Close codes

Made by `scripts/close_codes.py` from `icwsgw/close_codes.py`. A close frame carries one of these codes and a reason:
one plain sentence with the session id in brackets. The gateway's log has the same id. The
[operator's guide](runbook.md#by-close-code) says what an operator looks at for each code. The
[JavaScript client](build.md#the-client) connects again by itself as the table says; "later" begins with a longer pause.

## Codes of the gateway
"""

COLUMNS = """
| code | name | when | caused by | connect again by itself? | what a client should do |
|---|---|---|---|---|---|
"""

FOOT = """
## Other codes

The gateway never sends these. Its log and metrics show them when a client sends them, or when no close frame arrives.
"""


def row(info: CloseCodeInfo) -> str:
    """One line of the table."""
    name = info.code.name if isinstance(info.code, CloseCode) else ""
    cells = [
        str(int(info.code)),
        f"`{name}`" if name else "",
        info.when,
        info.fault.value,
        info.reconnect.value,
        info.action,
    ]
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


def page() -> str:
    """Return the text of docs/close-codes.md."""
    ours = [row(info) for info in CLOSE_CODES if isinstance(info.code, CloseCode)]
    others = [row(info) for info in CLOSE_CODES if not isinstance(info.code, CloseCode)]
    return f"{HEAD}{COLUMNS}" + "\n".join(ours) + f"\n{FOOT}{COLUMNS}" + "\n".join(others) + "\n"


def script() -> str:
    """Return the text of the JavaScript module that the client imports."""
    entries = "".join(f"  {int(info.code)}: {json.dumps(_entry(info), ensure_ascii=False)},\n" for info in CLOSE_CODES)
    return (
        "// Made by scripts/close_codes.py from icwsgw/close_codes.py and icwsgw/close_hints.py.\n\n"
        "/** @typedef {"
        + " | ".join(json.dumps(reconnect.name.lower()) for reconnect in Reconnect)
        + "} Reconnect whether to connect again after a code */\n\n"
        "/** @type {Record<number, {name: string, message: string, hint: string, reconnect: Reconnect}>} */\n"
        f"export const CLOSE_CODES = {{\n{entries}}};\n\n"
        "/** What to do about a network's error code in a reason. @type {Record<string, string>} */\n"
        f"export const REJECT_HINTS = {json.dumps(REJECT_HINTS, indent=2)};\n"
    )


def _entry(info: CloseCodeInfo) -> dict[str, str]:
    return {
        "name": info.code.name if isinstance(info.code, CloseCode) else "",
        "message": info.message,
        "hint": info.action,
        "reconnect": info.reconnect.name.lower(),
    }


if __name__ == "__main__":
    DOCUMENT.write_text(page())
    SCRIPT.write_text(script())
