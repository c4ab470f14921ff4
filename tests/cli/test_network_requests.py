from __future__ import annotations

import pytest

from icwsgw.cli.network_requests import NetworkRequests
from icwsgw.client.client_errors import ClientError
from icwsgw.ic import cbor
from icwsgw.ic.bls import MAINNET_ROOT_KEY_DER
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.principal import Principal
from tests.acceptance.processes import free_port
from tests.client.test_root_key import answering

ID = Principal.from_text("bkyz2-fmaaa-aaaaa-qaaaq-cai")
SIGNER = Ed25519Identity(b"\1" * 32)


def test_a_status() -> None:
    with answering(cbor.dumps_tagged({"impl_version": "1"})) as url:
        assert NetworkRequests(url + "/").status() == {"impl_version": "1"}
    for status, body in ((200, b"hello"), (500, cbor.dumps({})), (200, cbor.dumps([1]))):
        with answering(body, status) as url, pytest.raises(ClientError, match=f"answers HTTP {status} instead"):
            NetworkRequests(url).status()


def test_networks_that_are_none() -> None:
    with pytest.raises(ClientError, match="not the URL of a network"):
        NetworkRequests("ftp://a")
    silent = NetworkRequests(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ClientError, match="cannot be reached"):
        silent.query(ID, "a", b"", SIGNER)
    with answering(b"") as url:
        # this server has no other path than that of the status
        other = NetworkRequests(url)
        with pytest.raises(ClientError, match="answers HTTP 501"):
            other.query(ID, "a", b"", SIGNER)
        with pytest.raises(ClientError, match="answers HTTP 501"):
            other.metadata(ID, b"candid:service", MAINNET_ROOT_KEY_DER)
