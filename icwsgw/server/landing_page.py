"""The page that a browser gets from the WebSocket port: what this is, and where the rest is.

Its status stays 426, because the address is for WebSockets only, and health checks rely on it. Programs that do not ask
for HTML get a line of text.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from icwsgw.server.request_head import RequestHead

#: Principals that the page names; a gateway may have thousands.
MOST_PRINCIPALS: Final = 4

_PAGE: Final = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>IC WebSocket Gateway</title>
<style>body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 42rem; margin: 3rem auto; padding: 0 1rem }}
code {{ overflow-wrap: anywhere }}</style>
<h1>IC WebSocket Gateway</h1>
<p>This address is for WebSockets: it connects clients to canisters of the Internet Computer. It works, but it has no
pages. A client uses it as the address of its gateway.</p>
<p>Version {version}. {principals}</p>
{links}</html>
"""


def accepts_page(request: RequestHead) -> bool:
    """Whether a request is a browser's that shows what comes: a GET that accepts HTML and does not upgrade."""
    if request.method != b"GET":
        return False
    headers = dict(request.headers)
    return b"upgrade" not in headers and b"text/html" in headers.get(b"accept", b"")


def landing_page(version: str, principals: Sequence[str], *, demo: str | None, status: str | None) -> bytes:
    """Return the page as HTML.

    :param version: of the gateway
    :param principals: of the gateway, as text
    :param demo: URL of the devnet's demo page, if there is one
    :param status: URL of the status page; None: the page does not show it
    """
    named = ", ".join(f"<code>{escape(text)}</code>" for text in principals[:MOST_PRINCIPALS])
    more = len(principals) - MOST_PRINCIPALS
    links = [("demo page of the local replica", demo), ("status page", status)]
    items = "".join(f'<li><a href="{escape(url)}">{label}</a>\n' for label, url in links if url is not None)
    return _PAGE.format(
        version=escape(version),
        principals=f"Canisters know it as {named}{f' and {more} others' if more > 0 else ''}.",
        links=f"<ul>\n{items}</ul>\n" if items else "",
    ).encode()
