from typing import get_args

from icwsgw.client import client_events
from icwsgw.client.client_events import ForApplication, ForTransport, Output


def test_each_output_is_for_the_transport_or_for_the_application() -> None:
    transport, application = set(get_args(ForTransport)), set(get_args(ForApplication))
    assert not transport & application
    assert set(get_args(Output)) == transport | application
    defined = {
        each for each in vars(client_events).values() if getattr(each, "__module__", "") == client_events.__name__
    }
    assert {each for each in defined if isinstance(each, type)} <= transport | application
