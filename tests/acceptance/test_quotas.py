"""A noisy canister on a real gateway meets its quota in both directions, and its neighbour goes on as before."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from icwsgw.core.close_reasons import CloseCode
from icwsgw.devnet.canisters import app_message
from tests.acceptance.conftest import Stack
from tests.acceptance.crowd import connect, echoes, ends, eventually, sample
from tests.acceptance.processes import http_post_json
from tests.acceptance.test_admin_api import Ctl
from tests.support.raw_client import RawSdkClient

pytestmark = pytest.mark.acceptance

MESSAGES = 300
#: More than half a minute at the quota's rate, so that the client is still held when icwsctl has started and looks.
SENT = 45


class Noisy(threading.Thread):
    """A client of the noisy canister that reads until it has so many messages, in order, as the SDK checks."""

    def __init__(self, client: RawSdkClient, count: int) -> None:
        super().__init__(daemon=True)
        self.client = client
        self.count = count
        self.failure: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.client.until(lambda: len(self.client.received) >= self.count)
        except BaseException as error:
            self.failure = error


def test_a_noisy_canister_meets_its_quota_and_its_neighbour_does_not_notice(
    tmp_path: Path, stacks: Callable[..., Stack]
) -> None:
    file, socket = tmp_path / "icws.toml", tmp_path / "admin.sock"
    file.write_text("")
    stack = stacks(f"--config={file}", f"--admin-endpoint=unix:{socket}")
    ctl = Ctl(socket)
    quota = "max-connections = 1\ndelivery_rate = 50\nmessage-rate = 1\n"
    file.write_text(f'[canister."{stack.chat}"]\n{quota}')
    stack.server.process.send_signal(signal.SIGHUP)
    stack.server.wait_for_line("configuration reloaded changed=canister-quota")
    neighbour = connect(stack)
    noisy = connect(stack, canister=stack.chat)
    with pytest.raises(AssertionError, match="as many clients here as it may"):
        connect(stack, canister=stack.chat)

    # down: the canister sends six seconds' worth at once
    began, had = time.monotonic(), len(noisy.received)
    http_post_json(f"{stack.network}/_/push", {"canister": stack.chat, "clients": "all", "count": MESSAGES})
    reader = Noisy(noisy, had + MESSAGES)
    echoed = 0
    while reader.is_alive():
        echoes(neighbour)
        # the burst, the rate, and what is in flight
        assert len(noisy.received) - had <= 100 + 50 * (time.monotonic() - began) + 50
        echoed += len(noisy.received) - had < MESSAGES
    assert reader.failure is None, reader.failure
    assert echoed >= 4, "the neighbour was served while the noisy canister's messages waited"
    assert (sample(stack, 'icws_polls_over_quota_total{limit="messages"}') or 0) > 0

    # up: the client sends more than the burst at once
    had = len(noisy.received)
    for number in range(SENT):
        noisy.send_message(app_message(str(number)))
    eventually(
        lambda: sample(stack, 'icws_client_pushbacks_total{limit="canister_messages"}'), "the client is held", 30
    )
    echoes(neighbour)
    (row,) = ctl.json("canisters", "--canister", stack.chat)["canisters"]
    assert (row["quota"]["max_connections"], row["quota"]["message_rate"]) == (1, 1)
    assert "messages up" in row["quota"]["reached"]
    reader = Noisy(noisy, had + SENT)

    # an operator lifts it for the running gateway
    ctl("set", "canister-quota", f"{stack.chat}:delivery-rate=1000")
    reader.join(60)
    assert (reader.is_alive(), reader.failure) == (False, None)
    (row,) = ctl.json("canisters", "--canister", stack.chat)["canisters"]
    assert row["quota"] == {"delivery_rate": 1000, "reached": [], "clients_held": 0}
    other = connect(stack, canister=stack.chat)
    ctl("kick", "--canister", stack.chat)
    assert ends(other) == CloseCode.POLICY
    assert stack.server.stop() == 0, stack.server.output
    assert "Traceback" not in stack.server.output
