"""Makes the service that renews certificates, from the options."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from josepy.errors import DeserializationError
from josepy.json_util import decode_b64jose
from twisted.internet.ssl import Certificate

from icwsgw.acme.acme_client import AccountRequest, ExternalAccount
from icwsgw.acme.http_challenge import ChallengeSite
from icwsgw.acme.renewals import Renewals
from icwsgw.acme.storage import AcmeStorage
from icwsgw.agent.http.transport import Transport
from icwsgw.agent.http.tunnel import chosen_proxy
from icwsgw.config.schema import GatewayConfig
from icwsgw.errors import ConfigError
from icwsgw.observe.certificate_metrics import CertificateMetrics
from icwsgw.process.secret_mode import is_open_to_others

#: Longest file that is read, and longest answer of an authority, bytes.
MAX_FILE, MAX_ANSWER = 1 << 20, 1 << 20
_PEM_END = b"-----END CERTIFICATE-----"


def make_renewals(
    config: GatewayConfig, reactor: Any, metrics: CertificateMetrics, obtained: Callable[[], object] = lambda: None
) -> tuple[Renewals, ChallengeSite]:
    """Return the service that renews certificates, and the server for HTTP-01 challenges.

    :param metrics: as of :class:`~icwsgw.acme.renewals.Renewals`
    :param obtained: as of :class:`~icwsgw.acme.renewals.Renewals`
    :raises ConfigError: a file is invalid
    """
    storage = AcmeStorage(config.acme_dir)
    transport = Transport(
        reactor,
        extra_trust_roots=read_authorities(config.acme_ca_file),
        max_connections=2,
        max_body=MAX_ANSWER,
        proxy=chosen_proxy(config.acme_directory, os.environ, "the ACME server"),
    )
    renewals = Renewals(
        config.acme_domains,
        storage,
        transport.fetch,
        config.acme_directory,
        "tls-alpn-01" if config.acme_http_endpoint is None else "http-01",
        reactor,
        metrics,
        wanted=AccountRequest(config.acme_agree_terms, config.acme_email, read_external_account(config.acme_eab_file)),
        obtained=obtained,
        close=transport.close,
        now=time.time,
    )
    return renewals, ChallengeSite(storage, config.acme_domains, reactor)


def read_authorities(path: Path | None) -> list[Certificate]:
    """Return the certificates of a PEM file, in which the ACME server's own may be trusted; none without a file.

    :raises ConfigError: the file cannot be read, or has none
    """
    if path is None:
        return []
    texts = [text + _PEM_END for text in _read(path).split(_PEM_END)[:-1]]
    try:
        found = [Certificate.loadPEM(text) for text in texts]
    except Exception:
        found = []  # OpenSSL's errors have no class in common
    if not found:
        raise ConfigError(f"--acme-ca-file: {path} has no certificates in PEM")
    return found


def read_external_account(
    path: Path | None, warn: Callable[[str], object] = lambda text: None
) -> ExternalAccount | None:
    """Return the external account in a file: its key id and its MAC key, two words; None without a file.

    :param warn: called with a text if others may read the file
    :raises ConfigError: the file cannot be read, or has something else
    """
    if path is None:
        return None
    parts = _read(path).decode("ascii", "replace").split()
    try:
        fits = len(parts) == 2 and len(decode_b64jose(parts[1].rstrip("="))) >= 16
    except DeserializationError:
        fits = False
    if not fits:
        raise ConfigError(f"--acme-eab-file: {path} has not two words, a key id and a MAC key in base64url")
    if is_open_to_others(os.stat(path)):
        warn(f"--acme-eab-file: {path} is open to others; chmod 600 it")
    return ExternalAccount(parts[0], parts[1].rstrip("="))


def check_acme_files(config: GatewayConfig, warn: Callable[[str], object]) -> None:
    """Read the files that the options name.

    :raises ConfigError: one is invalid
    """
    read_authorities(config.acme_ca_file)
    read_external_account(config.acme_eab_file, warn)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_FILE)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
