from pathlib import Path
from typing import Any

import pytest

from icwsgw.config.schema import BY_NAME, GatewayConfig
from icwsgw.config.tls_options import LETS_ENCRYPT, MAX_DOMAINS, acme_directory_name
from icwsgw.errors import ConfigError

PATH = Path("/x")


def parse(name: str, text: str) -> Any:
    return BY_NAME[name].parse(text, "here")


def test_one_source_of_certificates() -> None:
    with pytest.raises(ConfigError, match="go together"):
        GatewayConfig(tls_certificate_pem_path=PATH)
    with pytest.raises(ConfigError, match="leave out one"):
        GatewayConfig(tls_certificate_pem_path=PATH, tls_certificate_key_pem_path=PATH, tls_certificate_dir=PATH)
    acme: dict[str, Any] = {"acme_domains": ("a.example",), "acme_agree_terms": True}
    GatewayConfig(**acme)
    others: list[dict[str, Any]] = [
        {"tls_certificate_dir": PATH},
        {"tls_certificate_pem_path": PATH, "tls_certificate_key_pem_path": PATH},
    ]
    for other in others:
        with pytest.raises(ConfigError, match="--acme-domain takes the place of certificate files"):
            GatewayConfig(**acme, **other)


def test_only_the_operator_agrees() -> None:
    with pytest.raises(ConfigError, match=r"needs --acme-agree-terms: read the terms .*acme-v02"):
        GatewayConfig(acme_domains=("a.example",))


@pytest.mark.parametrize(
    "given", [{"acme_email": "a@b"}, {"acme_http_endpoint": "tcp:80"}, {"acme_eab_file": PATH}], ids=str
)
def test_options_that_would_do_nothing(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="needs --acme-domain"):
        GatewayConfig(**given)


def test_names() -> None:
    assert parse("acme-domain", "A.Example., b.example x-1.c.example") == ("a.example", "b.example", "x-1.c.example")
    assert parse("acme-domain", "bücher.example") == ("xn--bcher-kva.example",)
    assert parse("acme-domain", "localhost") == ("localhost",)
    for text in (
        "*.example.com",
        "a_b.example",
        "-a.example",
        "a..example",
        "127.0.0.1",
        "[::1]",
        "a/b",
        "../x",
        "x" * 64,
    ):
        with pytest.raises(ConfigError):
            parse("acme-domain", text)
    many = tuple(f"{number}.example" for number in range(MAX_DOMAINS + 1))
    with pytest.raises(ConfigError, match="101 names, at most 100"):
        GatewayConfig(acme_domains=many, acme_agree_terms=True)


def test_addresses_for_letters() -> None:
    assert parse("acme-email", "admin@example.com") == "admin@example.com"
    for text in ("admin", "a@b?c", "a@b,c@d", "a b@c"):
        with pytest.raises(ConfigError, match="is not an e-mail address"):
            parse("acme-email", text)


def test_each_server_has_a_directory_of_its_own() -> None:
    staging = LETS_ENCRYPT.replace("acme-v02", "acme-staging-v02")
    names = {acme_directory_name(url) for url in (LETS_ENCRYPT, staging, "https://ca/a-b", "https://ca/a/b")}
    assert len(names) == 4
    assert acme_directory_name(LETS_ENCRYPT).startswith("acme-v02.api.letsencrypt.org-directory-")
    assert all("/" not in name and not name.startswith(".") for name in names)
    long = acme_directory_name("https://" + "x" * 300)
    assert len(long) < 100
    config = GatewayConfig(data_dir=Path("/data"))
    assert config.acme_dir == Path("/data/acme") / acme_directory_name(LETS_ENCRYPT)
