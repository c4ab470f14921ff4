"""The gateway's parts are what sessions expect of them."""

from __future__ import annotations

import pytest

from icwsgw.gateway import session_owners
from icwsgw.gateway.gateway import Gateway
from icwsgw.gateway.polling.poller import Poller
from icwsgw.gateway.registry import Registry
from icwsgw.gateway.replacements import Replacements
from tests.memory.world import World


@pytest.mark.parametrize(
    ("interface", "kind"),
    [
        (session_owners.SessionGateway, Gateway),
        (session_owners.SessionPoller, Poller),
        (session_owners.SessionRegistry, Registry),
        (session_owners.SessionReplacements, Replacements),
    ],
)
def test_each_part_has_what_its_interface_names(interface: type, kind: type) -> None:
    world = World()
    (client,) = world.open()
    assert client.session is not None
    gateway = world.gateway
    parts = {Gateway: gateway, Poller: client.session.poller, Registry: gateway.registry}
    part = parts.get(kind, gateway.replacements)
    assert isinstance(part, kind)
    named = {name for name in (*vars(interface), *interface.__annotations__) if not name.startswith("_")}
    assert named
    assert {name for name in named if not hasattr(part, name)} == set()
