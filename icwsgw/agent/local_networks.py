"""Looks for local networks of developers' tools when the configured network does not answer.

icp-cli and dfx listen on different ports of this machine, and each has changed its port; see
:data:`icwsgw.ic.networks.LOCAL_PORTS`. The gateway only names what it finds, and the operator decides.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from icwsgw.agent.http.connection import ParsedResponse
from icwsgw.agent.http.protocols import NetworkTransport
from icwsgw.agent.http.url import Url
from icwsgw.agent.outcome import decoded
from icwsgw.errors import IcwsError
from icwsgw.ic.networks import LOCAL_PORTS, is_loopback

#: Seconds for a look. This machine answers at once or not at all.
TIMEOUT = 1.0


class LocalNetworks:
    """Looks for the networks of developers' tools on this machine.

    :param transport: carries the requests
    :param url: the configured network, which is left out
    """

    def __init__(self, transport: NetworkTransport, url: str) -> None:
        self._transport = transport
        base = Url.parse(url)
        here = is_loopback(base.host)
        #: where to look, by tool; nowhere if the configured network is on another machine
        self.places = {
            tool: f"http://127.0.0.1:{port}" for tool, port in LOCAL_PORTS.items() if here and port != base.port
        }

    def look(self) -> Deferred[str]:
        """Look once; never fails.

        :returns: what was found, in a sentence; empty if nothing
        """
        looks = [self._probe(place) for place in self.places.values()]
        return DeferredList(looks).addCallback(self._summary)

    def _probe(self, place: str) -> Deferred[bool]:
        url = Url.parse(place + "/api/v2/status")
        answer: Deferred[Any] = self._transport.fetch(b"GET", url, timeout=TIMEOUT)
        return answer.addCallbacks(_is_network, lambda _: False)

    def _summary(self, results: list[tuple[bool, bool]]) -> str:
        if not self.places:
            return ""
        names = [f"{tool}'s at {place}" for tool, place in self.places.items()]
        found = [name for name, (_, there) in zip(names, results, strict=True) if there]
        if found:
            return f"a local network answers, {' and '.join(found)}: see --ic-network-url"
        return f"no other local network answers either ({', '.join(names)})"


def _is_network(answer: ParsedResponse) -> bool:
    try:
        return answer.status == 200 and isinstance(decoded(answer.body).get("root_key"), bytes)
    except IcwsError:
        return False
