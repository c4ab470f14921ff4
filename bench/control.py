"""Control commands of the mock replica. A command is a JSON object with ``op`` and these fields:

``config``   query_ms, call_ms, block_ms (0: no blocks), calls ("200" or "202"), fine (timers of microseconds), and for
             new canisters real, echo, max_messages
``base``     base_ns: the time from which the messages' timestamps count
``push``     count, size: send messages now, to all clients in turn; hold: prepare them, but hide them from polls
``show``     at_ns: at this time, show polls the messages that are on hold
``flow``     rate per second, count, size, start_ns: open-loop; each message has its scheduled time as timestamp
``round``    at_ns, seconds: send all clients an acknowledgement; remove those that do not answer within ``seconds``
``clear``    reset the statistics
``stats``    return the statistics
``latest``   return by how many ms the replica was late at most since the last time, because it did not get the CPU
``clients``  return the numbers of the canisters' clients and messages
``forget``   remove canisters without clients
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
    """Executes control commands on the replica."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._flow: Timer | None = None

    def handle(self, command: dict[str, Any]) -> dict[str, Any]:
        """Execute a command and return its answer."""
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
        block_ms: float = 0.0,
        fine: bool = True,
    ) -> dict[str, Any]:
        replica = self._replica
        replica.set_latency(query_ms / 1000, call_ms / 1000, block_ms / 1000)
        replica.loop.fine = fine
        replica.synchronous = calls == "200"
        replica.settings.real = real
        replica.settings.echo = echo
        replica.settings.max_messages = max_messages
        return {"bench": True, "pid": os.getpid(), "root_key": replica.authority.root_key_der.hex()}

    def _do_base(self, base_ns: int) -> None:
        self._replica.base_ns = base_ns

    def _clients(self) -> list[Client]:
        """All clients, alternating between canisters."""
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
        # The scheduled time of a message on hold is the time at which it is shown.
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

    def _do_latest(self) -> dict[str, Any]:
        return {"latest_ms": self._replica.loop.take_latest() * 1000}

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
