# ruff: noqa: RUF009 - option() makes a dataclass field, not a shared default
"""Options for TLS towards clients: certificates in files, and certificates by ACME.

Part of :class:`icwsgw.config.schema.GatewayConfig`, in its own module because of its length.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import idna

from icwsgw.config.option import CONNECTIONS, FILE, FLAG, OPTIONAL_ADDRESS, URL, Kind, each, option
from icwsgw.errors import ConfigError

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
#: Names that a gateway asks for at most; each has a certificate of its own.
MAX_DOMAINS = 100
#: The directories of certificates and of answers to challenges, in that of an ACME server.
CERTIFICATES, CHALLENGES = "certificates", "challenges"

_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", re.ASCII)
_EMAIL = re.compile(r"[^@\s,?]+@[^@\s,?]+", re.ASCII)


def _host(text: str) -> str:
    name = text.strip().rstrip(".").lower()
    if name.startswith("*."):
        raise ConfigError(f"{text!r}: a wildcard needs the challenge dns-01, which the gateway does not answer")
    try:
        name = name if name.isascii() else idna.encode(name, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise ConfigError(f"{text!r} is not a host name: {error}") from None
    if not _HOST.fullmatch(name) or name.rpartition(".")[2].isdecimal():
        raise ConfigError(f"{text!r} is not a host name")
    return name


def _email(text: str) -> str:
    if text and not _EMAIL.fullmatch(text):
        raise ConfigError(f"{text!r} is not an e-mail address")
    return text


HOSTS = each(_host, "host names", "icws.example.com")
EMAIL = Kind("text", _email, example="admin@example.com")


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
    acme_domains: tuple[str, ...] = option(
        (),
        HOSTS,
        "acme-domain",
        "Host name for which the gateway gets a certificate by ACME and renews it; repeatable. Turns plain TCP "
        "addresses into TLS, except haproxy: ones. Needs icwsgw[acme].",
        "A proxy, or certbot, may see to certificates.",
        group=CONNECTIONS,
    )
    acme_agree_terms: bool = option(
        False,
        FLAG,
        "acme-agree-terms",
        "Agree to the terms of service of the certificate authority. Required for --acme-domain.",
        "Only the operator can agree.",
        group=CONNECTIONS,
    )
    acme_email: str = option(
        "",
        EMAIL,
        "acme-email",
        "Where the certificate authority may write to.",
        "Let's Encrypt does not write any more; others may require it.",
        group=CONNECTIONS,
        example="admin@example.com",
    )
    acme_directory: str = option(
        LETS_ENCRYPT,
        URL,
        "acme-directory",
        "ACME directory of the certificate authority. To try it out: "
        "https://acme-staging-v02.api.letsencrypt.org/directory.",
        "Let's Encrypt: free, and known to all browsers.",
        group=CONNECTIONS,
        example="https://acme-staging-v02.api.letsencrypt.org/directory",
    )
    acme_http_endpoint: str | None = option(
        None,
        OPTIONAL_ADDRESS,
        "acme-http-endpoint",
        "Address at which port 80 of the names arrives, for example tcp:80. The gateway then proves its names by "
        "HTTP-01, and answers nothing else there. None: by TLS-ALPN-01, at its TLS address, where port 443 of the "
        "names arrives.",
        "One port is enough.",
        group=CONNECTIONS,
        example="tcp:80",
    )
    acme_ca_file: Path | None = option(
        None,
        FILE,
        "acme-ca-file",
        "Further authorities (PEM) that may have signed the certificate of the ACME server itself.",
        "For a private authority.",
        group=CONNECTIONS,
        example="/etc/icws/private-ca.pem",
    )
    acme_eab_file: Path | None = option(
        None,
        FILE,
        "acme-eab-file",
        "File with the key id and the MAC key (base64url) of external account binding, separated by a blank.",
        "For authorities that have an account of the operator already.",
        group=CONNECTIONS,
        example="/etc/icws/acme-eab",
    )


def acme_directory_name(url: str) -> str:
    """Return the name of the directory for one ACME server, so that another one begins anew.

    The hash tells servers apart whose names differ only in other characters.
    """
    name = re.sub(r"[^a-z0-9.]+", "-", url.lower().partition("://")[2])
    return f"{name.strip('-.')[:80]}-{zlib.crc32(url.encode()):08x}"


def check_tls_options(config: TlsOptions) -> None:
    """Refuse values that contradict each other.

    :raises ConfigError: they do
    """
    if (config.tls_certificate_pem_path is None) != (config.tls_certificate_key_pem_path is None):
        raise ConfigError("--tls-certificate-pem-path and --tls-certificate-key-pem-path go together")
    if config.tls_certificate_dir is not None and config.tls_certificate_pem_path is not None:
        raise ConfigError("--tls-certificate-dir takes the place of --tls-certificate-pem-path: leave out one of them")
    if config.acme_domains:
        _check_acme(config)
    elif others := [name for name in ("acme_email", "acme_http_endpoint", "acme_eab_file") if getattr(config, name)]:
        raise ConfigError(f"--{others[0].replace('_', '-')} needs --acme-domain")


def _check_acme(config: TlsOptions) -> None:
    if config.tls_certificate_pem_path is not None or config.tls_certificate_dir is not None:
        raise ConfigError("--acme-domain takes the place of certificate files: leave out one of them")
    if not config.acme_agree_terms:
        raise ConfigError(
            "--acme-domain needs --acme-agree-terms: read the terms of service of the certificate authority "
            f"({config.acme_directory}) first"
        )
    if len(config.acme_domains) > MAX_DOMAINS:
        raise ConfigError(f"--acme-domain: {len(config.acme_domains)} names, at most {MAX_DOMAINS}")
