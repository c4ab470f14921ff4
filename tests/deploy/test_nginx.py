"""nginx, the real one, with the configuration of deploy/, before real gateways."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.acceptance.conftest import Devnet
from tests.acceptance.processes import free_port
from tests.deploy.fleet import PORTS, Certificate, Gateway, Program, Reconnecting, gateways_of, replaced
from tests.deploy.tools import DEPLOY, run, tool
from tests.support.raw_client import RawClient
from tests.support.ws_wire import HANDSHAKE

pytestmark = pytest.mark.deploy

NGINX = DEPLOY / "nginx"


def nginx_files(directory: Path, certificate: Certificate, changes: Mapping[str, str]) -> Path:
    """The shipped files in a directory of their own; the main one's path."""
    site = directory / "conf.d"
    site.mkdir()
    files = {
        "/etc/nginx/certs/fullchain.pem": str(certificate.chain),
        "/etc/nginx/certs/privkey.pem": str(certificate.key),
    }
    (site / "icws.conf").write_text(replaced((NGINX / "icws.conf").read_text(), {**files, **changes}))
    main = directory / "nginx.conf"
    # temporary files and pid where a test may write, and the user it runs as
    places = "".join(
        f"    {kind}_temp_path {directory}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = replaced(
        (NGINX / "nginx.conf").read_text(),
        {
            "/etc/nginx/conf.d": str(site),
            "user www-data;\n": f"pid {directory}/nginx.pid;\n",
            "worker_processes auto": "worker_processes 1",
            "worker_rlimit_nofile 140000": "worker_rlimit_nofile 1000",
            "worker_connections 131072": "worker_connections 500",
            "    access_log off;\n": "    access_log off;\n" + places,
        },
    )
    main.write_text(text)
    return main


def test_nginx_takes_its_configuration(tmp_path: Path, certificate: Certificate) -> None:
    main = nginx_files(tmp_path, certificate, {})
    nginx = tool("nginx", "nginx-light")
    said = run(nginx, "-t", "-c", main, "-p", tmp_path, "-e", tmp_path / "error.log")
    assert "warn" not in said
    text = (NGINX / "icws.conf").read_text()
    for port, _ in PORTS:
        assert f"server 127.0.0.1:{port} " in text
    for timeout in re.findall(r"proxy_(?:read|send)_timeout (\d+)s", text):
        assert int(timeout) > 25 + 10


def test_gateways_behind_nginx(tmp_path: Path, devnet: Devnet, certificate: Certificate) -> None:
    """Clients of a gateway that drains go on at another one; what it refuses, nginx takes to the next."""
    gateways = gateways_of(tmp_path, devnet.network, "{}")
    port = free_port()
    changes = {
        f"127.0.0.1:{shipped} ": f"127.0.0.1:{gateway.port} "
        for (shipped, _), gateway in zip(PORTS, gateways, strict=True)
    }
    changes["listen 443 ssl"] = f"listen 127.0.0.1:{port} ssl"
    changes["    listen [::]:443 ssl;\n"] = ""
    main = nginx_files(tmp_path, certificate, changes)
    words = [tool("nginx", "nginx-light"), "-c", str(main), "-p", str(tmp_path), "-e", "stderr", "-g", "daemon off;"]
    nginx = Program(words, tmp_path / "nginx.log")
    crowd: list[Reconnecting] = []
    try:
        nginx.until((tmp_path / "nginx.pid").exists)
        for _ in range(6):
            crowd += [Reconnecting(port, certificate.trust, devnet.echo).running()]
        assert [gateway.clients for gateway in gateways] == [2, 2, 2]
        assert gateways[0].server.stop() == 0, gateways[0].server.output
        for client in crowd:
            client.progress()
        assert gateways[1].clients + gateways[2].clients == 6
        assert sum(client.broken for client in crowd) == 0
        assert [code for client in crowd for code in client.codes] in ([1001] * 2, [4100] * 2)
        # it wears the client's address, not nginx's word for it
        spoofed = RawClient(port, tls=certificate.trust)
        assert spoofed.shake("X-Forwarded-For: 203.0.113.9").status == 101
        assert "203.0.113.9" not in "\n".join(gateway.server.output for gateway in gateways)
    finally:
        for client in crowd:
            client.stop()
        nginx.stop()
        for gateway in gateways:
            gateway.server.kill()
    for client in crowd:
        client.check()


def test_no_client_behind_nginx_chooses_its_address(tmp_path: Path, devnet: Devnet, certificate: Certificate) -> None:
    """A byte that Python takes for the end of a line begins no X-Forwarded-For: all are one address, with its bound."""
    gateway = Gateway(tmp_path / "gateway", devnet.network, "{}", "--max-connections-per-ip=3")
    port = free_port()
    changes = {f"127.0.0.1:{shipped} ": f"127.0.0.1:{gateway.port} " for shipped, _ in PORTS}
    changes["listen 443 ssl"] = f"listen 127.0.0.1:{port} ssl"
    changes["    listen [::]:443 ssl;\n"] = ""
    main = nginx_files(tmp_path, certificate, changes)
    words = [tool("nginx", "nginx-light"), "-c", str(main), "-p", str(tmp_path), "-e", "stderr", "-g", "daemon off;"]
    nginx = Program(words, tmp_path / "nginx.log")
    clients: list[RawClient] = []
    try:
        gateway.wait()
        nginx.until((tmp_path / "nginx.pid").exists)
        for number in range(8):
            client = RawClient(port, tls=certificate.trust)
            clients.append(client)
            client.socket.sendall(HANDSHAKE + b"X-A: b\x85X-Forwarded-For: 10.9.8.%d\r\n\r\n" % number)
            client.answer()
        assert [client.status for client in clients] == [101] * 3 + [429] * 5
    finally:
        for client in clients:
            client.close()
        nginx.stop()
        gateway.server.kill()
