from __future__ import annotations

import json
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from icwsgw.cli import cli_options
from icwsgw.client.client_errors import ClientError
from icwsgw.client.root_key import MAINNET_ROOT_KEY
from icwsgw.devnet.topology import Topology
from icwsgw.ic.candid.did import parse_did
from icwsgw.ic.delegated_identity import DelegatedIdentity, sign_delegation
from icwsgw.ic.ecdsa_identity import EcdsaIdentity
from icwsgw.ic.identity import Ed25519Identity
from tests.ic.test_delegated_identity import as_json

ID = "bkyz2-fmaaa-aaaaa-qaaaq-cai"
ECHO = parse_did((Path(__file__).parents[2] / "icwsgw" / "devnet" / "echo.did").read_text())


def words(**given: Any) -> Namespace:
    names = ("gateway", "network", "root_key", "identity", "delegation", "did", "type", "format")
    return Namespace(**{**dict.fromkeys(names), "canister": ID, **given})


def test_where_everything_is() -> None:
    here = cli_options.places(words(), {})
    assert here == ("ws://127.0.0.1:8080", "http://127.0.0.1:4943", here.canister)
    assert here.canister.text == ID
    assert cli_options.places(words(gateway="wss://gateway.example"), {}).network == "https://icp-api.io"
    environment = {"ICWS_GATEWAY": "ws://localhost:1", "ICWS_NETWORK": "http://127.0.0.1:2"}
    assert cli_options.places(words(), environment)[:2] == ("ws://localhost:1", "http://127.0.0.1:2")
    assert cli_options.places(words(gateway="ws://localhost:3", network="http://a"), environment)[:2] == (
        "ws://localhost:3",
        "http://a",
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"gateway": "https://gateway.example"}, "not the URL of a gateway"),
        ({"gateway": "ws://"}, "not the URL of a gateway"),
        ({"gateway": "ws://[::1"}, "not the URL of a gateway"),
        ({"gateway": "ws://host:99999"}, "not the URL of a gateway"),
        ({"network": "http://[::1"}, "not the URL of a network"),
        ({"network": "icp-api.io"}, "not the URL of a network"),
        ({"canister": "bkyz2"}, "not a canister id"),
        ({"canister": ID.upper()}, "not a canister id"),
    ],
)
def test_places_that_are_none(given: dict[str, str], message: str) -> None:
    with pytest.raises(ClientError, match=message) as wrong:
        cli_options.places(words(**given), {})
    assert wrong.value.hint


def test_root_keys(tmp_path: Path) -> None:
    key = Topology(b"test", "by-version").root_key_der
    file = tmp_path / "key.der"
    file.write_bytes(key)
    assert cli_options.root_key(words(root_key=key.hex()), "http://a.example") == key
    assert cli_options.root_key(words(root_key=str(file)), "http://a.example") == key
    assert cli_options.root_key(words(), "https://icp-api.io") == MAINNET_ROOT_KEY
    with pytest.raises(ClientError, match="is not known") as unknown:
        cli_options.root_key(words(), "http://a.example")
    assert "--root-key" in unknown.value.hint
    with pytest.raises(ClientError, match="--root-key"):
        cli_options.root_key(words(root_key="abc"), "http://a.example")


def test_identities(tmp_path: Path) -> None:
    assert isinstance(cli_options.identity(words()), Ed25519Identity)
    session, root = EcdsaIdentity.generate("secp256k1"), Ed25519Identity.generate(os.urandom)
    pem, chain = tmp_path / "key.pem", tmp_path / "chain.json"
    pem.write_text(session.to_pem())
    chain.write_text(as_json(root.public_key_der, [sign_delegation(root, session.public_key_der, 10**19)]))
    assert cli_options.identity(words(identity=str(pem))).principal == session.principal
    delegated = cli_options.identity(words(identity=str(pem), delegation=str(chain)))
    assert isinstance(delegated, DelegatedIdentity)
    assert delegated.principal == root.principal
    with pytest.raises(ClientError, match="needs --identity"):
        cli_options.identity(words(delegation=str(chain)))
    chain.write_text(json.dumps({}))
    for given in ({"identity": str(tmp_path / "none")}, {"identity": str(pem), "delegation": str(chain)}):
        with pytest.raises(ClientError, match="cannot be used"):
            cli_options.identity(words(**given))


def test_the_format_of_messages() -> None:
    form, kind = cli_options.message_format(words(), ECHO)
    assert kind is ECHO.types["AppMessage"]
    assert form.read('{"text": "a"}').startswith(b"DIDL")
    form, kind = cli_options.message_format(words(), None)
    assert (form.read("01"), kind) == (b"\x01", None)
    _, kind = cli_options.message_format(words(type="ClientKey"), ECHO)
    assert kind is ECHO.types["ClientKey"]
    with pytest.raises(ClientError, match="no type Other") as missing:
        cli_options.message_format(words(type="Other"), ECHO)
    assert "AppMessage" in missing.value.hint
    with pytest.raises(ClientError, match="needs the canister's message type") as needed:
        cli_options.message_format(words(format="json"), None)
    assert "--did" in needed.value.hint


def test_an_interface_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "a.did"
    file.write_text("service : { go : () -> () }")
    where = cli_options.places(words(), {})
    found = cli_options.interface(words(did=str(file)), where, MAINNET_ROOT_KEY)
    assert found is not None
    assert found.method("go") is not None
    file.write_text("service :")
    for name in (file, tmp_path / "none"):
        with pytest.raises(ClientError):
            cli_options.interface(words(did=str(name)), where, MAINNET_ROOT_KEY)


def test_errors_for_people() -> None:
    assert cli_options.explained(ClientError("a", "b.")) == "a. b."
