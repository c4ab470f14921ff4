"""``--check-config``: checks the addresses and files of the configuration without starting anything."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from icwsgw.admin.access import TokenFile
from icwsgw.config.addresses import parse_description
from icwsgw.config.schema import GatewayConfig
from icwsgw.errors import ConfigError
from icwsgw.gateway.identities import IdentityPool, check_key_file
from icwsgw.observe.tracing_extra import load_tracing
from icwsgw.process.machine_checks import machine_warnings
from icwsgw.server.access_files import read_access_list
from icwsgw.server.acme_directory import AcmeDirectory
from icwsgw.server.endpoints import make_endpoint, socket_endpoint
from icwsgw.server.tls import PemFiles, ServerTls, Tls
from icwsgw.server.tls_directory import CertificateDirectory

#: A warning: addresses with ``haproxy:`` have TLS only where they say so.
UNUSED_CERTIFICATE = (
    "no address uses the TLS certificate of the options: haproxy: and unix: addresses are plain, "
    "haproxy:ssl:PORT has TLS behind the PROXY header"
)


def configured_tls(config: GatewayConfig, **keywords: Any) -> Tls | None:
    """Make the TLS of the options: PEM paths, a directory or ACME; or None without them.

    :param keywords: passed on to :class:`~icwsgw.server.tls.ServerTls`
    :raises ConfigError: the certificate or its key is invalid
    """
    if config.acme_domains:
        return AcmeDirectory(config.acme_dir, config.acme_domains, **keywords)
    certificate, key = config.tls_certificate_pem_path, config.tls_certificate_key_pem_path
    if config.tls_certificate_dir is not None:
        return CertificateDirectory(config.tls_certificate_dir, passphrase=config.tls_passphrase_file, **keywords)
    if certificate is None or key is None:
        return None
    return ServerTls(PemFiles(certificate, key, passphrase=config.tls_passphrase_file), **keywords)


def load_acme() -> Any:
    """Import :mod:`icwsgw.acme.setup`.

    :raises ConfigError: the libraries of ACME are not installed
    """
    try:
        return import_module("icwsgw.acme.setup")
    except ImportError as error:
        raise ConfigError(
            f"--acme-domain needs ACME's libraries ({error}): install the extra 'acme', in a clone by"
            " pip install '.[acme]'"
        ) from None


def check_files(config: GatewayConfig) -> list[str]:
    """Check the addresses, the certificates and the key files, and whether the packages for traces are installed.

    :return: warnings, one sentence each: what does not stop the start, or stops it only now and on this machine
    :raises ConfigError: for the first that is invalid or missing
    """
    from twisted.internet import reactor

    warnings: list[str] = []
    tls = configured_tls(config)
    certificates: list[Tls | None] = []
    addresses = list(config.gateway_addresses)
    addresses += [address for address in (config.prometheus_endpoint, config.acme_http_endpoint) if address]
    for address in filter(_can_be_made, addresses):
        clients = address in config.gateway_addresses
        made = make_endpoint(reactor, address, tls if clients else None, passphrase=config.tls_passphrase_file)
        certificates.append(made.tls)
        if config.workers > 1 and clients:
            socket_endpoint(reactor, address)
    if tls is not None and tls not in certificates and all(map(_can_be_made, addresses)):
        warnings.append(UNUSED_CERTIFICATE)
    if check_key_file(config.key_path, warnings.append) is None:
        _check_room(config.key_path)
    if config.admin_endpoint and _can_be_made(config.admin_endpoint):
        make_endpoint(reactor, config.admin_endpoint)
    if config.admin_token_file is not None:
        TokenFile(config.admin_token_file, lambda text, path, mode: warnings.append(f"{text} ({path}, mode {mode})"))
    if config.acme_domains:
        load_acme().check_acme_files(config, warnings.append)
    for canister in config.devnet_canisters:
        for path in filter(None, (canister.code, canister.candid)):
            if not os.access(path, os.R_OK) or not path.is_file():
                raise ConfigError(f"--devnet-canister {canister.name}: cannot read {path}")
    for listed in filter(None, (config.deny_list, config.allow_list)):
        read_access_list(listed)
    if config.exports_traces:
        load_tracing()
    for certificate in {id(each): each for each in (tls, *certificates) if each is not None}.values():
        warnings += certificate.warnings()
    return [*warnings, *machine_warnings(config)]


def _can_be_made(address: str) -> bool:
    """Whether an endpoint can be made already. systemd passes its sockets at the start; they do not exist yet."""
    description = parse_description(address)
    return "systemd" not in (description.kind, *description.args[:1])


def _check_room(path: Path) -> None:
    """Check whether the file and its missing parent directories could be created."""
    place = next(each for each in path.parents if each.exists())
    if not os.access(place, os.W_OK | os.X_OK):
        raise ConfigError(f"cannot make key file {path}: this user may not write to {place}")


def principals(config: GatewayConfig) -> list[str]:
    """Return the principals of this gateway as text, those of worker 0 first (``--print-principal``).

    :raises ConfigError: the key file is invalid, or does not exist yet
    """
    key = check_key_file(config.key_path)
    if key is None:
        raise ConfigError(f"there is no key file {config.key_path} yet: the first start makes it")
    pool = IdentityPool.derived(key, range(config.workers * config.identities))
    return [identity.principal.text for identity in pool]
