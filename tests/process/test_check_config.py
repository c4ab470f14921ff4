import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from icwsgw.config.canister_files import CANISTER_FILES
from icwsgw.config.schema import GatewayConfig
from icwsgw.errors import ConfigError
from icwsgw.ic.identity import Ed25519Identity
from icwsgw.process.check_config import UNUSED_CERTIFICATE, check_files, configured_tls
from tests.support import pem


def test_tls_of_the_pem_paths(tmp_path: Path) -> None:
    assert configured_tls(GatewayConfig()) is None
    certificate, key = pem.server(pem.authority()).write(tmp_path)
    config = GatewayConfig(tls_certificate_pem_path=certificate, tls_certificate_key_pem_path=key)
    tls: Any = configured_tls(config, observe_handshake=print)
    assert tls is not None
    assert tls.files[:2] == (certificate, key)
    (tmp_path / "encrypted").mkdir()
    pair = pem.server(pem.authority(), password=b"x")
    (tmp_path / "encrypted" / "a.pem").write_bytes(pair.certificate + pair.key)
    with pytest.raises(ConfigError, match=r"encrypted/a\.pem is encrypted: --tls-passphrase-file names"):
        configured_tls(GatewayConfig(tls_certificate_dir=tmp_path / "encrypted"))


def test_encrypted_keys_wherever_they_are_named(tmp_path: Path) -> None:
    pair = pem.server(pem.authority(), password=b"secret")
    certificate, key = pair.write(tmp_path)
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "a.pem").write_bytes(pair.certificate + pair.key)
    (tmp_path / "all" / "a.pem").chmod(0o600)
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("secret\n")
    passphrase.chmod(0o600)
    named = f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}"
    ways: list[dict[str, Any]] = [
        {"tls_certificate_pem_path": certificate, "tls_certificate_key_pem_path": key},
        {"tls_certificate_dir": tmp_path / "all"},
        {"gateway_addresses": (named,)},
        {"gateway_addresses": (f"tls:{tmp_path}/all:0:interface=127.0.0.1",)},
        {"gateway_addresses": (named,), "workers": 2},
    ]
    for way in ways:
        config = GatewayConfig(
            **{"data_dir": tmp_path, "prometheus_endpoint": None, "gateway_addresses": ("tcp:0",), **way}
        )
        passphrase.write_text("secret\n")
        check_files(replace(config, tls_passphrase_file=passphrase))
        with pytest.raises(ConfigError, match="is encrypted: --tls-passphrase-file names"):
            check_files(config)
        passphrase.write_text("wrong\n")
        with pytest.raises(ConfigError, match=r"cannot be decrypted by the passphrase in .*/passphrase"):
            check_files(replace(config, tls_passphrase_file=passphrase))


def test_what_is_of_use_passes_and_nothing_is_made(tmp_path: Path) -> None:
    addresses = ("tcp:8080", "systemd:domain=INET:name=icws")
    check_files(GatewayConfig(data_dir=tmp_path / "data", gateway_addresses=addresses))
    check_files(GatewayConfig(data_dir=tmp_path / "data", prometheus_endpoint=None))
    assert list(tmp_path.iterdir()) == []


def test_a_canister_of_the_devnet_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.wasm").write_bytes(b"")
    files = CANISTER_FILES.parse(f"a={tmp_path}/a.wasm")
    check_files(GatewayConfig(data_dir=tmp_path / "data", devnet=True, devnet_canisters=files))
    for missing in (f"a={tmp_path}/b.wasm", f"a={tmp_path}/a.wasm:{tmp_path}/a.did", f"a={tmp_path}"):
        config = GatewayConfig(data_dir=tmp_path / "data", devnet=True, devnet_canisters=CANISTER_FILES.parse(missing))
        with pytest.raises(ConfigError, match="--devnet-canister a: cannot read"):
            check_files(config)


def test_a_key_file_that_could_not_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(ConfigError, match=f"cannot make key file .*: this user may not write to {tmp_path}$"):
        check_files(GatewayConfig(data_dir=tmp_path / "some" / "data"))
    (tmp_path / "some").mkdir()
    check_files(GatewayConfig(data_dir=tmp_path / "some" / "data"))


def test_traces_need_opentelemetry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = GatewayConfig(data_dir=tmp_path, opentelemetry_collector_endpoint="grpc://collector:4317")
    check_files(config)
    monkeypatch.delitem(sys.modules, "icwsgw.observe.tracing")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    check_files(GatewayConfig(data_dir=tmp_path))
    with pytest.raises(ConfigError, match=r"pip install '\.\[otel\]'"):
        check_files(config)


def test_what_workers_share(tmp_path: Path) -> None:
    addresses = ("tcp:8080", "unix:/s", "systemd:domain=INET:name=icws")
    check_files(GatewayConfig(data_dir=tmp_path, gateway_addresses=addresses, workers=2))
    pair = pem.server(pem.authority())
    (tmp_path / "localhost.pem").write_bytes(pair.key + pair.certificate)
    check_files(GatewayConfig(data_dir=tmp_path, gateway_addresses=(f"tls:{tmp_path}:8443",), workers=2))


def test_what_is_of_no_use(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="colour is not known"):
        check_files(GatewayConfig(data_dir=tmp_path, prometheus_endpoint="tcp:1:colour=red"))
    with pytest.raises(ConfigError, match="Unknown endpoint type: 'fd'"):
        check_files(GatewayConfig(data_dir=tmp_path, gateway_addresses=("fd:domain=INET:index=0",)))
    missing = tmp_path / "missing.pem"
    with pytest.raises(ConfigError, match=r"missing\.pem: No such file"):
        check_files(
            GatewayConfig(data_dir=tmp_path, tls_certificate_pem_path=missing, tls_certificate_key_pem_path=missing)
        )
    with pytest.raises(ConfigError, match="colour is not known"):
        check_files(GatewayConfig(data_dir=tmp_path, admin_endpoint="tcp:1:interface=127.0.0.1:colour=red"))
    with pytest.raises(ConfigError, match="cannot read the admin token file"):
        check_files(GatewayConfig(data_dir=tmp_path, admin_endpoint="tcp:1", admin_token_file=missing))
    (tmp_path / "key_pair").write_bytes(b"nonsense")
    with pytest.raises(ConfigError, match="is not an Ed25519 key"):
        check_files(GatewayConfig(data_dir=tmp_path))


def test_warnings_do_not_stop_the_check(tmp_path: Path) -> None:
    certificate, key = pem.server(pem.authority(), days=-3).write(tmp_path)
    key.chmod(0o644)
    (tmp_path / "token").write_text("0123456789abcdef")
    (tmp_path / "token").chmod(0o644)
    (tmp_path / "key_pair").write_bytes(Ed25519Identity(b"\x01" * 32).to_pkcs8_der())
    (tmp_path / "key_pair").chmod(0o644)
    config = GatewayConfig(
        data_dir=tmp_path,
        gateway_addresses=("tcp:0", f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}"),
        prometheus_endpoint=None,
        tls_certificate_pem_path=certificate,
        tls_certificate_key_pem_path=key,
        admin_endpoint=f"unix:{tmp_path}/run/admin.sock",
        admin_token_file=tmp_path / "token",
    )
    begins = [
        f"key file {tmp_path}/key_pair is open to others (mode 0644)",
        f"others on this machine may read the admin token ({tmp_path}/token, mode 644)",
        *2
        * (
            f"TLS certificate {certificate} expired on 20",
            f"TLS certificate {certificate} has no certificate of its issuer",
            f"TLS key {key} is open to others",
        ),
        f"--admin-endpoint unix:{tmp_path}/run/admin.sock: there is no directory {tmp_path}/run",
    ]
    warnings = check_files(config)
    assert [warning[: len(begin)] for warning, begin in zip(warnings, begins, strict=True)] == begins


def test_a_certificate_that_no_address_uses(tmp_path: Path) -> None:
    certificate, key = pem.server(pem.authority(), days=20).write(tmp_path)
    key.chmod(0o600)
    config = GatewayConfig(
        data_dir=tmp_path,
        gateway_addresses=("haproxy:tcp:0:interface=127.0.0.1",),
        prometheus_endpoint=None,
        tls_certificate_pem_path=certificate,
        tls_certificate_key_pem_path=key,
    )
    assert UNUSED_CERTIFICATE in check_files(config)
    for address in ("haproxy:ssl:0:interface=127.0.0.1", "tcp:0", "haproxy:systemd:domain=INET:index=0"):
        assert UNUSED_CERTIFICATE not in check_files(replace(config, gateway_addresses=(address,)))


def test_acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = GatewayConfig(
        data_dir=tmp_path / "data",
        gateway_addresses=("tcp:0",),
        prometheus_endpoint=None,
        acme_domains=("localhost",),
        acme_agree_terms=True,
        acme_http_endpoint="tcp:0",
    )
    assert [warning for warning in check_files(config) if "--acme" in warning or "certificate" in warning] == []
    assert not (tmp_path / "data").exists(), "a check makes nothing"
    with pytest.raises(ConfigError, match="colour is not known"):
        check_files(replace(config, acme_http_endpoint="tcp:1:colour=red"))
    with pytest.raises(ConfigError, match=r"cannot read .*missing"):
        check_files(replace(config, acme_ca_file=tmp_path / "missing"))
    (warning,) = (each for each in check_files(replace(config, acme_domains=("name.invalid",))) if "--acme" in each)
    assert warning.startswith("--acme-domain: the host name.invalid cannot be resolved")
    monkeypatch.delitem(sys.modules, "icwsgw.acme.setup")
    monkeypatch.setitem(sys.modules, "josepy.errors", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[acme\]'"):
        check_files(config)
