"""Writes the options table of README.md anew from the declarations in icwsgw/config.py.

A test says when the table is stale.
"""

from __future__ import annotations

from pathlib import Path

from icwsgw.config import OPTIONS
from icwsgw.options import Option

DOCUMENT = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- options: begin -->", "<!-- options: end -->"


def default(entry: Option) -> str:
    """The default as people read it."""
    shown = entry.kind.readable(entry.default)
    return shown if shown in ("on", "off", "none") else f"`{shown}`"


def table() -> str:
    """All options, with a heading for each group."""
    lines: list[str] = []
    group = ""
    for entry in OPTIONS:
        if entry.group != group:
            group = entry.group
            lines += ["", f"**{group}**", "", "| option | default | what it does |", "|---|---|---|"]
        words = entry.help.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")
        reason = f" *{entry.reason}*" if entry.reason else ""
        lines.append(f"| `--{entry.name}` | {default(entry)} | {words}{reason} |")
    return "\n".join(lines)


def with_table(document: str) -> str:
    """The document with the table made anew."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n\n{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(with_table(DOCUMENT.read_text()))
