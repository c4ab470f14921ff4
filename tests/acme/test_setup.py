import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock

from icwsgw.acme import setup
from icwsgw.acme.acme_client import ExternalAccount
from icwsgw.acme.setup import check_acme_files, make_renewals, read_authorities, read_external_account
from icwsgw.config.schema import GatewayConfig
from icwsgw.errors import ConfigError
from icwsgw.observe.metrics import Metrics
from tests.acme.small_ca import ROOT, SmallCa
from tests.support import pem

MAC = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


def config(tmp_path: Path, **values: Any) -> GatewayConfig:
    return GatewayConfig(data_dir=tmp_path, acme_domains=("a.example",), acme_agree_terms=True, **values)


def test_the_parts_belong_together(tmp_path: Path) -> None:
    clock: Any = Clock()
    made = config(tmp_path, acme_http_endpoint="tcp:80")
    renewals, site = make_renewals(made, clock, Metrics())
    assert renewals.concern() == "no valid TLS certificate for a.example"
    assert site.resource is not None
    assert sorted(path.name for path in made.acme_dir.iterdir()) == ["certificates", "challenges", "orders"]


@pytest.mark.parametrize(("endpoint", "challenge"), [("tcp:80", "http-01"), (None, "tls-alpn-01")])
def test_names_are_proven_where_the_options_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endpoint: str | None, challenge: str
) -> None:
    kinds: list[str] = []

    def lookup(kind: str, name: str, token: str) -> None:
        kinds.append(kind)

    ca, clock = SmallCa(time.time, lookup), Clock()
    monkeypatch.setattr(setup, "Transport", lambda *_, **__: SimpleNamespace(fetch=ca.fetch, close=list))
    made = config(tmp_path, acme_http_endpoint=endpoint, acme_directory=f"{ROOT}/dir")
    renewals, _ = make_renewals(made, clock, Metrics())
    renewals.startService()
    renewals.stopService()
    assert kinds == [challenge]


def test_authorities(tmp_path: Path) -> None:
    assert read_authorities(None) == []
    path = tmp_path / "ca.pem"
    path.write_bytes(b"# two\n" + pem.authority().pem + b"\n" + pem.authority().pem)
    assert len(read_authorities(path)) == 2
    for content in (b"", b"nonsense", pem.server(pem.authority()).key, b"-----END CERTIFICATE-----"):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=r"ca\.pem has no certificates in PEM"):
            read_authorities(path)
    with pytest.raises(ConfigError, match=r"cannot read .*missing"):
        read_authorities(tmp_path / "missing")


def test_an_external_account(tmp_path: Path) -> None:
    assert read_external_account(None) is None
    path = tmp_path / "eab"
    path.touch(0o600)
    for text in (f"kid-1 {MAC}", f"kid-1\n{MAC}==\n"):
        path.write_text(text)
        assert read_external_account(path) == ExternalAccount("kid-1", MAC)
    for text in ("", "kid-1", f"kid-1 {MAC} more", "kid-1 %%%%%%%%%%%%%%%%%%%%%%%", "kid-1 c2hvcnQ", "kid-1 \xe9\xe9"):
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(ConfigError, match="has not two words") as caught:
            read_external_account(path)
        assert MAC not in str(caught.value)


def test_a_file_without_an_end_is_not_read_for_ever() -> None:
    with pytest.raises(ConfigError, match="has no certificates in PEM"):
        read_authorities(Path("/dev/zero"))


def test_files_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "eab"
    path.write_text(f"kid-1 {MAC}")
    path.chmod(0o644)
    warnings: list[str] = []
    check_acme_files(config(tmp_path, acme_eab_file=path), warnings.append)
    assert warnings == [f"--acme-eab-file: {path} is open to others; chmod 600 it"]
    with pytest.raises(ConfigError, match="cannot read"):
        check_acme_files(config(tmp_path, acme_ca_file=tmp_path / "missing"), warnings.append)
