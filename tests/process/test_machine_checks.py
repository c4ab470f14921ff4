import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from icwsgw.config.schema import GatewayConfig
from icwsgw.process.machine_checks import address_fault, machine_warnings

FREE = ("tcp:0:interface=127.0.0.1",)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of loopback that somebody listens on."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def config(tmp_path: Path, **values: Any) -> GatewayConfig:
    return GatewayConfig(**{"data_dir": tmp_path, "gateway_addresses": FREE, "prometheus_endpoint": None, **values})


def resolve_none(host: str, *rest: Any, **named: Any) -> None:
    raise socket.gaierror(-2, "Name or service not known")


def test_what_fits_has_no_warnings(tmp_path: Path) -> None:
    assert list(machine_warnings(config(tmp_path))) == []


@pytest.mark.parametrize(
    "form",
    [
        "tcp:{}",
        "tcp:{}:interface=127.0.0.1",
        "tcp:{}:127.0.0.1",
        "tcp:port={}:interface=localhost",
        "ssl:{}:interface=127.0.0.1",
        "tls:{}",
        "tls:/directory:{}",
        "haproxy:tls:/directory:{}:interface=127.0.0.1",
        "haproxy:tcp:{}:interface=127.0.0.1",
        "tcp6:{}",
    ],
)
def test_a_taken_port(taken: int, form: str) -> None:
    assert address_fault(form.format(taken)) == "Address already in use, unless this gateway has it"
    assert address_fault(form.format(0)) is None


def test_interfaces_that_are_none() -> None:
    # TEST-NET-1 (RFC 5737) is no address of any machine
    assert address_fault("tcp:0:interface=192.0.2.1") == "Cannot assign requested address"
    assert address_fault("tcp:0:interface=name.invalid") is not None
    for name in ("\u00e9..", "a..b", "a\0b", "\udce9"):
        assert address_fault(f"tcp:0:interface={name}"), name


def test_forms_that_cannot_be_tried() -> None:
    assert address_fault("systemd:domain=INET:name=icws") is None
    assert address_fault("unix:\\0abstract") is None


def test_unix_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "icws.sock"
    assert address_fault(f"unix:{path}") is None
    assert address_fault(f"unix:{tmp_path}/missing/icws.sock") == f"there is no directory {tmp_path}/missing"
    with socket.socket(socket.AF_UNIX) as holder:
        holder.bind(str(path))
        assert address_fault(f"unix:{path}") is None, "left behind"
        holder.listen()
        assert address_fault(f"unix:{path}:mode=660") == "Address already in use, unless this gateway has it"
    monkeypatch.setattr(os, "access", lambda place, mode: False)
    assert address_fault(f"unix:{path}") == f"this user may not write to {tmp_path}"


def test_each_address_is_named(tmp_path: Path, taken: int) -> None:
    missing = f"unix:{tmp_path}/run/admin.sock"
    busy = f"tcp:{taken}:interface=127.0.0.1"
    given = config(tmp_path, gateway_addresses=(busy, *FREE), admin_endpoint=missing)
    in_use = f"{busy}: Address already in use, unless this gateway has it"
    assert list(machine_warnings(given)) == [
        f"--gateway-address {in_use}",
        f"--admin-endpoint {missing}: there is no directory {tmp_path}/run",
    ]
    devnet = config(tmp_path, devnet=True, devnet_listen=busy, ic_network_url=f"http://127.0.0.1:{taken}")
    assert list(machine_warnings(devnet)) == [f"--devnet-listen {in_use}"]
    metrics = config(tmp_path, prometheus_endpoint=busy)
    assert list(machine_warnings(metrics)) == [f"--prometheus-endpoint {in_use}"]


def test_a_data_directory_that_the_start_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (warning,) = machine_warnings(config(tmp_path, data_dir=tmp_path / "dta"))
    assert warning == (
        f"there is no directory {tmp_path}/dta yet: the first start makes it, with a new key and principal"
    )
    monkeypatch.chdir(tmp_path)
    assert list(machine_warnings(config(tmp_path, data_dir=tmp_path / "data"))) == [], (
        "so it is before each first start"
    )


def test_a_data_directory_that_this_user_may_not_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = tmp_path / "private" / "data"
    stat = Path.stat

    def refuse(path: Path, **named: Any) -> os.stat_result:
        if path == hidden:
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **named)

    monkeypatch.setattr(Path, "stat", refuse)
    assert list(machine_warnings(config(tmp_path, data_dir=hidden))) == [f"--data-dir {hidden}: Permission denied"]


def test_names_that_do_not_resolve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    given = config(
        tmp_path, ic_network_url="https://icp-api.invalid", opentelemetry_collector_endpoint="grpc://collector:4317"
    )
    assert list(machine_warnings(given, resolve_none)) == [
        "--ic-network-url: the host icp-api.invalid cannot be resolved: Name or service not known",
        "--opentelemetry-collector-endpoint: the host collector cannot be resolved: Name or service not known",
    ]
    assert list(machine_warnings(given, lambda *words, **named: [])) == []
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:3128")
    quiet = replace(given, opentelemetry_collector_endpoint=None)
    assert list(machine_warnings(quiet, resolve_none)) == [], "the proxy resolves it"
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:none")
    assert len(list(machine_warnings(quiet, resolve_none))) == 1


def test_a_key_that_is_not_there(tmp_path: Path) -> None:
    given = config(tmp_path, key_file=tmp_path / "key")
    assert list(machine_warnings(given)) == [
        f"there is no key file {tmp_path}/key yet: the first start makes it, with a new principal"
    ]
    (tmp_path / "key").touch()
    assert list(machine_warnings(given)) == []
