import pytest

from icwsgw.client.client_errors import SessionEnded
from icwsgw.client.client_events import ClientOpened, Disconnected
from icwsgw.client.codecs import CandidCodec
from icwsgw.ic.candid import Record, Text

MESSAGES = CandidCodec(Record({"text": Text}))


@pytest.fixture
def client(icws_client):
    return icws_client("counter", codec=MESSAGES)


def test_it_counts(client):
    for number in ("1", "2", "3"):
        client.send({"text": "count"})
        assert client.receive() == {"text": number}


def test_it_reminds_every_minute(client, icws_devnet):
    client.send({"text": "count"})
    assert client.receive() == {"text": "1"}
    icws_devnet.advance(60)
    assert client.receive() == {"text": "still 1"}


def test_another_message_traps(client, icws_devnet):
    client.send({"text": "run"})
    assert client.wait_for(Disconnected).error.code == 4111
    assert "ValueError" in icws_devnet.logs("counter")[-1]


def test_a_trap_that_is_injected_disconnects(client, icws_devnet):
    with icws_devnet.fault("trap", method="ws_message", count=1), pytest.raises(SessionEnded):
        client.request({"text": "count"}, lambda reply: True)


def test_a_slow_network_loses_nothing(client, icws_devnet):
    icws_devnet.add_fault("http", status=503, on="query", count=3)
    icws_devnet.configure(query_latency_ms=200)
    client.send({"text": "count"})
    assert client.receive() == {"text": "1"}


def test_a_gateway_that_crashes_means_a_new_session(client, icws_gateway):
    client.wait_for(ClientOpened)
    icws_gateway.kill()
    client.wait_for(Disconnected)
    icws_gateway.start()
    assert client.wait_for(ClientOpened).resumed
    client.send({"text": "count"})
    assert client.receive() == {"text": "1"}
