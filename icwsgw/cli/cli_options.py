"""What the commands of ``icws`` have in common: where the gateway, the network and the canister are, and who asks."""

from __future__ import annotations

import os
import re
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from icwsgw.cli.message_format import MessageFormat
from icwsgw.client.client_errors import ClientError
from icwsgw.client.codecs import RawCodec
from icwsgw.client.network_requests import NetworkRequests
from icwsgw.client.root_key import MAINNET_ROOT_KEY, fetch_root_key
from icwsgw.errors import FormatError, IcwsError, SignatureInvalid
from icwsgw.ic.candid import Null, Type
from icwsgw.ic.candid.did import Interface, message_type, parse_did
from icwsgw.ic.delegated_identity import DelegatedIdentity
from icwsgw.ic.ecdsa_identity import identity_of_pem
from icwsgw.ic.envelope import Signer
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.ic.networks import is_loopback, is_mainnet_host, key_of
from icwsgw.ic.principal import Principal

LOCAL_GATEWAY: Final = "ws://127.0.0.1:8080"
LOCAL_NETWORK: Final = "http://127.0.0.1:4943"
MAINNET: Final = "https://icp-api.io"
CANDID_SERVICE: Final = b"candid:service"


class Places(NamedTuple):
    """Where everything is.

    :ivar gateway: the WebSocket URL of the gateway
    :ivar network: the URL of the network
    :ivar canister: the canister
    """

    gateway: str
    network: str
    canister: Principal


def places(parsed: Namespace, environment: Mapping[str, str]) -> Places:
    """Read where everything is. A gateway of this machine has a local network, any other one mainnet.

    :raises ClientError: a URL or the canister is none
    """
    gateway = parsed.gateway or environment.get("ICWS_GATEWAY") or LOCAL_GATEWAY
    host = _host(gateway, "ws", "wss")
    if not host:
        raise ClientError(f"{gateway} is not the URL of a gateway", "Give ws://HOST:PORT or wss://HOST.")
    network = parsed.network or environment.get("ICWS_NETWORK") or (LOCAL_NETWORK if is_loopback(host) else MAINNET)
    if not _host(network, "http", "https"):
        raise ClientError(f"{network} is not the URL of a network", "Give http://HOST:PORT or https://HOST.")
    try:
        return Places(gateway, network, Principal.from_text(parsed.canister))
    except FormatError as error:
        raise ClientError(f"{parsed.canister} is not a canister id", str(error)) from error


def _host(url: str, *schemes: str) -> str:
    """Return the host of a URL; empty: it is no URL of these schemes."""
    try:
        parts = urlsplit(url)
        # both raise ValueError too
        host, _ = parts.hostname, parts.port
    except ValueError:
        return ""
    return host or "" if parts.scheme in schemes else ""


def root_key(parsed: Namespace, network: str) -> bytes:
    """Return the root key: the one given, mainnet's, or that of the local network itself.

    :raises ClientError: it cannot be fetched, or the given one is none
    """
    if parsed.root_key is not None:
        given = parsed.root_key
        is_hex = re.fullmatch(r"(?:0x)?[0-9a-fA-F]+", given) is not None
        try:
            return key_of(given.encode() if is_hex else Path(given).read_bytes())
        except (FormatError, OSError) as error:
            raise ClientError(f"--root-key: {error}") from error
    host = urlsplit(network).hostname or ""
    if is_mainnet_host(host):
        return MAINNET_ROOT_KEY
    if not is_loopback(host):
        raise ClientError(
            f"the root key of {network} is not known", "Give it with --root-key: any server could answer there."
        )
    return fetch_root_key(network)


def identity(parsed: Namespace) -> Signer:
    """Return the identity that the command line names; a new one if it names none.

    :raises ClientError: a file cannot be read, or holds no identity
    """
    if parsed.identity is None:
        if parsed.delegation is not None:
            raise ClientError("--delegation needs --identity, the session key that the delegation is for")
        return Ed25519Identity.generate(os.urandom)
    try:
        session = identity_of_pem(Path(parsed.identity).read_bytes())
        if parsed.delegation is None:
            return session
        return DelegatedIdentity.from_json(session, Path(parsed.delegation).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, FormatError) as error:
        raise ClientError(f"the identity cannot be used: {error}") from error


def interface(parsed: Namespace, where: Places, key: bytes, *, check_time: bool = True) -> Interface | None:
    """Return the canister's interface: of the file that is given, or of its metadata; None: it has none.

    :param check_time: whether the metadata has to be certified now, by this machine's clock
    :raises ClientError: the file or the metadata is no interface
    """
    if parsed.did is not None:
        try:
            return parse_did(Path(parsed.did).read_bytes())
        except (OSError, FormatError) as error:
            raise ClientError(f"{parsed.did}: {error}") from error
    try:
        network = NetworkRequests(where.network, check_time=check_time)
        found = network.metadata(where.canister, CANDID_SERVICE, key)
        return None if found is None else parse_did(found)
    except SignatureInvalid as error:
        hint = "Check --root-key, and this machine's clock."
        raise ClientError(f"the canister's candid:service cannot be verified: {error}", hint) from error
    except (ClientError, FormatError):
        # private metadata, or a file that this program does not understand
        return None


def message_format(parsed: Namespace, found: Interface | None) -> tuple[MessageFormat, Type | None]:
    """Return the format of messages, and the canister's message type if it is known.

    :raises ClientError: the named type does not exist, or the format needs a type
    """
    kind = None
    if found is not None:
        kind = message_type(found) if parsed.type is None else found.types.get(parsed.type)
    if parsed.type is not None and kind is None:
        names = ", ".join(found.types) if found is not None else "no interface"
        raise ClientError(f"there is no type {parsed.type}", f"The canister has {names}.")
    name = parsed.format or ("json" if kind is not None else "hex")
    try:
        return MessageFormat(name, kind), kind
    except FormatError as error:
        hint = "Give it with --did FILE (and --type NAME), or use --format hex or text."
        raise ClientError(str(error), hint) from error


def explained(error: IcwsError) -> str:
    """Return an error for people, with what to do."""
    return error.explained() if isinstance(error, ClientError) else str(error)


class TypedBytes(RawCodec):
    """Messages are bytes of a type, which goes with them.

    :param kind: the canister's message type; None: it is not known
    """

    def __init__(self, kind: Type | None) -> None:
        self.message_type = Null if kind is None else kind
