"""Access lists from a file and from a URL that nginx serves, for real processes with workers; restarts without it."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.acceptance.conftest import Devnet
from tests.acceptance.crowd import eventually
from tests.acceptance.processes import free_port, http_get
from tests.deploy.fleet import Certificate, Gateway, Program
from tests.deploy.tools import tool
from tests.support.raw_client import RawClient

pytestmark = pytest.mark.deploy

NGINX = """
{user}
pid {directory}/nginx.pid;
events {{ worker_connections 50; }}
http {{
    access_log {directory}/access.log;
    default_type text/plain;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {chain};
        ssl_certificate_key {key};
        root {directory}/served;
    }}
    {temporary}
}}
"""


class ListServer:
    """nginx, which serves files by https."""

    def __init__(self, directory: Path, certificate: Certificate) -> None:
        self.directory, self.port = directory, free_port()
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"    {kind}_temp_path {directory}/{kind};\n" for kind in kinds)
        # its workers would be another user, who may not read the files
        user = "user root;" if os.geteuid() == 0 else ""
        names = {"user": user, "directory": directory, "port": self.port, "temporary": temporary}
        config = NGINX.format(chain=certificate.chain, key=certificate.key, **names)
        (directory / "nginx.conf").write_text(config)
        (directory / "served").mkdir()
        self.start()

    def start(self) -> None:
        nginx = tool("nginx", "nginx-light")
        words = [nginx, "-c", f"{self.directory}/nginx.conf", "-p", str(self.directory), "-e", "stderr"]
        self._program = Program([*words, "-g", "daemon off;"], self.directory / "nginx.log")
        self._program.until((self.directory / "nginx.pid").exists)

    def stop(self) -> None:
        self._program.stop()

    def put(self, name: str, text: str) -> None:
        new = self.directory / "served" / f"{name}.new"
        new.write_text(text)
        os.replace(new, new.with_suffix(""))

    def url(self, name: str) -> str:
        return f"https://localhost:{self.port}/{name}"

    def statuses(self) -> list[int]:
        found = re.findall(r'" (\d{3}) ', (self.directory / "access.log").read_text())
        return [int(status) for status in found]


def status(gateway: Gateway, source: str) -> int:
    client = RawClient(gateway.port, source=source)
    try:
        return client.do_handshake().status
    finally:
        client.close()


def judged(gateway: Gateway, wanted: Mapping[str, int]) -> bool:
    """Whether all workers answer each address as wanted, as far as some connections tell."""
    return all({host: status(gateway, host) for host in wanted} == wanted for _ in range(4))


def test_lists_from_a_file_and_a_url(
    tmp_path: Path, devnet: Devnet, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    # which OpenSSL trusts in place of the system's authorities
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.authority))
    directory = tmp_path / "lists"
    directory.mkdir()
    server = ListServer(directory, certificate)
    file = tmp_path / "deny.list"
    file.write_text("127.0.0.2\n")
    urls = (f"--deny-list-url={server.url('deny')}", f"--allow-list-url={server.url('allow')}")
    words = ("--workers=2", f"--deny-list={file}", *urls, "--drain-window=0")
    gateway = Gateway(tmp_path / "gateway", devnet.network, "{}", *words)
    try:
        # neither list is there: the gateway runs, and lets nobody in
        gateway.server.wait_for_line("access list not fetched list=deny")
        gateway.server.wait_for_line("access list not fetched list=allow")
        eventually(lambda: status(gateway, "127.0.0.1") == 503, "nobody may connect")
        # the supervisor gets a worker's reason some time after the worker refuses
        readiness = f"http://127.0.0.1:{gateway.admin}/health/ready"
        reason = b"the allow list has not been fetched yet"
        eventually(lambda: reason in http_get(readiness)[1], "the reason is known")
        assert http_get(readiness)[0] == 503
        assert gateway.metric("icws_access_list_age_seconds") == float("inf")

        # both are there now
        server.put("deny", "127.0.0.3\n")
        server.put("allow", "127.0.0.0/29\n")
        gateway.server.process.send_signal(signal.SIGHUP)
        # each worker reads them by itself, and is ready when it has the allow list
        eventually(lambda: gateway.metric("icws_workers") == 2, "both workers have the lists")
        eventually(lambda: status(gateway, "127.0.0.3") == 403, "the denied of the URL are refused")
        wanted = {"127.0.0.1": 101, "127.0.0.2": 403, "127.0.0.3": 403, "127.0.0.9": 403}
        eventually(lambda: judged(gateway, wanted), "both workers judge by them")
        assert gateway.metric("icws_access_list_age_seconds") < 60

        # the same again costs no body, and a damaged one changes nothing
        eventually(lambda: server.statuses().count(200) == 2, "the server has noted both answers")
        before = len(server.statuses())
        gateway.server.process.send_signal(signal.SIGHUP)
        eventually(lambda: len(server.statuses()) == before + 2, "both were requested again")
        assert server.statuses()[before:] == [304, 304]
        server.put("allow", "<html>maintenance</html>")
        gateway.server.process.send_signal(signal.SIGHUP)
        gateway.server.wait_for_line("<html>maintenance</html>")
        assert {host: status(gateway, host) for host in wanted} == wanted

        # clients that are denied now are closed
        client = RawClient(gateway.port, source="127.0.0.4")
        assert client.do_handshake().status == 101
        file.write_text("127.0.0.2\n127.0.0.4\n")
        gateway.server.process.send_signal(signal.SIGHUP)
        assert client.close_code() == 1008

        # a restart without the server has the last good lists
        server.stop()
        assert gateway.server.stop() == 0, gateway.server.output
        gateway.start()
        gateway.wait()
        wanted["127.0.0.4"] = 403
        assert {host: status(gateway, host) for host in wanted} == wanted
        gateway.server.wait_for_line("the list fetched before stays in force")
    finally:
        server.stop()
        gateway.server.kill()
