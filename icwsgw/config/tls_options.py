# ruff: noqa: RUF009 - option() makes a dataclass field, not a shared default
"""Options for TLS towards clients: certificates in files, and certificates by ACME.

Part of :class:`icwsgw.config.schema.GatewayConfig`, in its own module because of its length.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from icwsgw.config.option import CONNECTIONS, FILE, option
from icwsgw.errors import ConfigError


@dataclass(frozen=True)
class TlsOptions:
    """Where the certificates come from."""

    tls_certificate_pem_path: Path | None = option(
        None,
        FILE,
        "tls-certificate-pem-path",
        "Certificate chain (PEM). Turns plain TCP addresses into TLS, except haproxy: ones. The gateway reads it again "
        "when the file changes.",
        "A proxy may terminate TLS, and a local gateway needs none.",
        group=CONNECTIONS,
    )
    tls_certificate_key_pem_path: Path | None = option(
        None,
        FILE,
        "tls-certificate-key-pem-path",
        "Private key (PEM) of the certificate.",
        "Set it together with the certificate.",
        group=CONNECTIONS,
        example="/etc/icws/tls/privkey.pem",
    )
    tls_certificate_dir: Path | None = option(
        None,
        FILE,
        "tls-certificate-dir",
        "Directory of certificates, in place of the two PEM options: NAME.pem with chain and key, or "
        "NAME/fullchain.pem and NAME/privkey.pem. Clients get the one for the name that they ask for (SNI); others get "
        "default. Files may come, change and go.",
        "For a gateway with several names.",
        group=CONNECTIONS,
        example="/etc/icws/tls",
    )
    tls_passphrase_file: Path | None = option(
        None,
        FILE,
        "tls-passphrase-file",
        "File whose first line is the passphrase of encrypted TLS keys, also of those that addresses name. The gateway "
        "reads it with the keys.",
        "Keys are encrypted seldom, because their passphrase is on the same machine.",
        group=CONNECTIONS,
        example="/etc/icws/tls/passphrase",
    )


def check_tls_options(config: TlsOptions) -> None:
    """Refuse values that contradict each other.

    :raises ConfigError: they do
    """
    if (config.tls_certificate_pem_path is None) != (config.tls_certificate_key_pem_path is None):
        raise ConfigError("--tls-certificate-pem-path and --tls-certificate-key-pem-path go together")
    if config.tls_certificate_dir is not None and config.tls_certificate_pem_path is not None:
        raise ConfigError("--tls-certificate-dir takes the place of --tls-certificate-pem-path: leave out one of them")
