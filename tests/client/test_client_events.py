from typing import get_args

from icwsgw.client import client_events
from icwsgw.client.client_errors import ClientError, SessionEnded
from icwsgw.client.client_events import Disconnected, ForApplication, ForTransport, Output


def test_a_lost_connection_is_explained_in_sentences() -> None:
    assert Disconnected(ClientError("lost", "Wait."), 1.24).explained() == "lost. Wait. Connecting again in 1.2 s."
    assert Disconnected(ClientError("lost"), 1.0).explained() == "lost. Connecting again in 1.0 s."
    # the client does it by itself
    assert (
        Disconnected(SessionEnded(4105, "reset [a]"), 1.0).explained() == "reset [a] (4105). Connecting again in 1.0 s."
    )


def test_each_output_is_for_the_transport_or_for_the_application() -> None:
    transport, application = set(get_args(ForTransport)), set(get_args(ForApplication))
    assert not transport & application
    assert set(get_args(Output)) == transport | application
    defined = {
        each for each in vars(client_events).values() if getattr(each, "__module__", "") == client_events.__name__
    }
    assert {each for each in defined if isinstance(each, type)} <= transport | application
