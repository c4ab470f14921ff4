"""What the mock replica can be told, by JSON objects with ``op``:

``config``   query_ms, call_ms, calls ("200" or "202"), real, echo, max_messages (the last three of new canisters)
``base``     base_ns: what messages' stamps count from
``push``     count, size: messages now, to all clients in turn; hold: ready but not shown
``show``     at_ns: show what was held, at a time
``flow``     rate a second, count, size, start_ns: open-loop, each stamped with the time it was meant to leave
``round``    at_ns, seconds: acknowledgements to everybody; those that have not answered after so long are removed
``clear``    forget statistics
``stats``    the statistics
``clients``  how many clients and messages the canisters have
``forget``   drop canisters without clients
``quit``     end the process
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from bench.loop import Timer
from bench.queues import Client
from bench.stats import STAMP

if TYPE_CHECKING:
    from bench.replica import Replica

_FLOW_GRAIN = 0.0005


class Control:
    """The replica's operator."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._flow: Timer | None = None

    def handle(self, command: dict[str, Any]) -> dict[str, Any]:
        """Do as told; the answer."""
        act = getattr(self, "_do_" + str(command.pop("op", "")), None)
        if act is None:
            return {"error": "no such op"}
        try:
            result = act(**command)
        except (TypeError, ValueError, ZeroDivisionError) as error:
            return {"error": str(error)}
        return {"ok": True} if result is None else result

    def _do_config(
        self,
        query_ms: float = 0.0,
        call_ms: float = 0.0,
        calls: str = "202",
        real: bool = False,
        echo: bool = True,
        max_messages: int = 50,
    ) -> dict[str, Any]:
        replica = self._replica
        replica.set_latency(query_ms / 1000, call_ms / 1000)
        replica.synchronous = calls == "200"
        replica.settings.real = real
        replica.settings.echo = echo
        replica.settings.max_messages = max_messages
        return {"bench": True, "pid": os.getpid(), "root_key": replica.authority.root_key_der.hex()}

    def _do_base(self, base_ns: int) -> None:
        self._replica.base_ns = base_ns

    def _clients(self) -> list[Client]:
        """All clients, those of different canisters by turns."""
        columns = [list(canister.clients.values()) for canister in self._replica.canisters.values()]
        longest = max(map(len, columns), default=0)
        return [column[row] for row in range(longest) for column in columns if row < len(column)]

    def _do_push(self, count: int, size: int = 200, hold: bool = False) -> dict[str, Any]:
        clients = self._clients()
        queues = {client.queue for client in clients}
        if hold:
            for queue in queues:
                queue.hide()
        filling = bytes(max(0, size - STAMP))
        # what is held is meant to leave when it is shown
        stamp = (0 if hold else time.monotonic_ns()).to_bytes(STAMP, "big")
        for at in range(count if clients else 0):
            client = clients[at % len(clients)]
            client.queue.send(client, stamp + filling)
        if hold:
            for queue in queues:
                queue.prepare()
        self._replica.stats.events["pushed"] = self._replica.stats.events.get("pushed", 0) + count
        return {"pushed": count if clients else 0}

    def _do_show(self, at_ns: int) -> None:
        self._replica.loop.call_at(at_ns / 1e9, self._show)

    def _show(self) -> None:
        for canister in self._replica.canisters.values():
            for queue in canister.queues.values():
                queue.show()

    def _do_flow(self, rate: float, count: int, start_ns: int, size: int = 200) -> dict[str, Any]:
        if self._flow is not None:
            self._flow.cancel()
        clients = self._clients()
        if not clients:
            return {"error": "no clients"}
        filling = bytes(max(0, size - STAMP))
        self._flow = self._replica.loop.call_at(
            start_ns / 1e9, self._flow_on, clients, 0, count, 1e9 / rate, start_ns, filling
        )
        return {"count": count}

    def _flow_on(
        self, clients: list[Client], done: int, count: int, gap_ns: float, start_ns: int, filling: bytes
    ) -> None:
        events = self._replica.stats.events
        due = min(count, int((time.monotonic_ns() - start_ns) / gap_ns) + 1)
        sent = 0
        for at in range(done, due):
            client = clients[at % len(clients)]
            if client.alive:
                meant = start_ns + int(at * gap_ns)
                client.queue.send(client, meant.to_bytes(STAMP, "big") + filling)
                sent += 1
        events["pushed"] = events.get("pushed", 0) + sent
        events["not_pushed"] = events.get("not_pushed", 0) + due - done - sent
        if due < count:
            when = max((start_ns + due * gap_ns) / 1e9, time.monotonic() + _FLOW_GRAIN)
            self._flow = self._replica.loop.call_at(when, self._flow_on, clients, due, count, gap_ns, start_ns, filling)
        else:
            self._flow = None
            self._replica.stats.note("flow_done")

    def _do_round(self, at_ns: int, seconds: float = 60.0) -> None:
        self._replica.loop.call_at(at_ns / 1e9, self._round, at_ns, seconds)

    def _round(self, at_ns: int, seconds: float) -> None:
        for canister in self._replica.canisters.values():
            canister.round(at_ns)
            self._replica.loop.call_later(seconds, canister.check, at_ns)
        self._replica.stats.note("rounds")

    def _do_clear(self) -> None:
        self._replica.stats.clear()

    def _do_stats(self) -> dict[str, Any]:
        return self._replica.stats.to_json()

    def _do_clients(self) -> dict[str, Any]:
        canisters = self._replica.canisters.values()
        return {
            "canisters": len(canisters),
            "clients": sum(len(canister.clients) for canister in canisters),
            "messages": sum(queue.next for canister in canisters for queue in canister.queues.values()),
        }

    def _do_forget(self) -> None:
        canisters = self._replica.canisters
        for id in [id for id, canister in canisters.items() if not canister.clients]:
            del canisters[id]

    def _do_quit(self) -> None:
        self._replica.loop.call_later(0.05, self._replica.loop.stop)
