"""nginx, the real one, with the configuration of deploy/, before real gateways."""

from __future__ import annotations

import re
import socketserver
import threading
from collections.abc import Iterator, Mapping, Sequence
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


def start_nginx(directory: Path, certificate: Certificate, ports: Sequence[int]) -> tuple[Program, int]:
    """Start nginx before gateways at ``ports``; return its process and the port for clients."""
    port = free_port()
    changes = {
        f"127.0.0.1:{shipped} ": f"127.0.0.1:{behind} " for (shipped, _), behind in zip(PORTS, ports, strict=True)
    }
    changes["listen 443 ssl"] = f"listen 127.0.0.1:{port} ssl"
    changes["    listen [::]:443 ssl;\n"] = ""
    main = nginx_files(directory, certificate, changes)
    words = [tool("nginx", "nginx-light"), "-c", str(main), "-p", str(directory), "-e", "stderr", "-g", "daemon off;"]
    nginx = Program(words, directory / "nginx.log")
    try:
        nginx.until((directory / "nginx.pid").exists)
    except BaseException:
        nginx.stop()
        raise
    return nginx, port


def test_nginx_takes_its_configuration(tmp_path: Path, certificate: Certificate) -> None:
    main = nginx_files(tmp_path, certificate, {})
    nginx = tool("nginx", "nginx-light")
    output = run(nginx, "-t", "-c", main, "-p", tmp_path, "-e", tmp_path / "error.log")
    assert "warn" not in output
    text = (NGINX / "icws.conf").read_text()
    for port, _ in PORTS:
        assert f"server 127.0.0.1:{port} " in text
    for timeout in re.findall(r"proxy_(?:read|send)_timeout (\d+)s", text):
        assert int(timeout) > 25 + 10


def test_gateways_behind_nginx(tmp_path: Path, devnet: Devnet, certificate: Certificate) -> None:
    """Clients of a gateway that drains go on at another one; what it refuses, nginx takes to the next."""
    gateways = gateways_of(tmp_path, devnet.network, "{}")
    nginx, port = start_nginx(tmp_path, certificate, [gateway.port for gateway in gateways])
    crowd: list[Reconnecting] = []
    try:
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
        assert spoofed.do_handshake("X-Forwarded-For: 203.0.113.9").status == 101
        assert "203.0.113.9" not in "\n".join(gateway.server.output for gateway in gateways)
    finally:
        for client in crowd:
            client.stop()
        nginx.stop()
        for gateway in gateways:
            gateway.server.kill()
    for client in crowd:
        client.check()


class Upstream:
    """What nginx takes for a gateway: it answers each request with 200, and can be away.

    :ivar heads: the heads of the requests, as they came
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.heads: list[bytes] = []
        self._server: socketserver.TCPServer | None = None
        self.start()

    def start(self) -> None:
        heads = self.heads

        class Answer(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                lines = list(iter(self.rfile.readline, b"\r\n"))
                heads.append(b"".join(lines))
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        class Listening(socketserver.ThreadingTCPServer):
            allow_reuse_address = True

        self._server = Listening(("127.0.0.1", self.port), Answer)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@pytest.fixture
def upstreams(tmp_path: Path, certificate: Certificate) -> Iterator[tuple[list[Upstream], int]]:
    """The shipped configuration before three :class:`Upstream`, and nginx's port."""
    behind = [Upstream() for _ in PORTS]
    nginx, port = start_nginx(tmp_path, certificate, [each.port for each in behind])
    try:
        yield behind, port
    finally:
        nginx.stop()
        for each in behind:
            each.stop()


def test_a_rolling_restart_is_no_outage_however_fast_it_is(
    upstreams: tuple[list[Upstream], int], certificate: Certificate
) -> None:
    """Each is away for a moment. A failure that nginx remembers for longer would leave it with none at the third."""
    behind, port = upstreams
    statuses = []
    for _ in range(2):
        for each in behind:
            each.stop()
            for _ in range(2 * len(behind)):
                client = RawClient(port, tls=certificate.trust)
                statuses.append(client.do_handshake().status)
                client.close()
            each.start()
    assert statuses == [200] * 36
    # and nginx did ask those that were away
    assert all(each.heads for each in behind)


def test_nginx_passes_on_what_a_handshake_needs_and_nothing_else(
    upstreams: tuple[list[Upstream], int], certificate: Certificate
) -> None:
    behind, port = upstreams
    client = RawClient(port, tls=certificate.trust)
    client.do_handshake(
        "Origin: https://app.example", "Sec-WebSocket-Protocol: a, b", "X-Forwarded-For: 203.0.113.9", "X-A: b"
    )
    assert client.status == 200
    (head,) = [head for each in behind for head in each.heads]
    request, *lines = head.decode("ascii").splitlines()
    assert request == "GET / HTTP/1.1"
    assert {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)} == {
        "upgrade": "websocket",
        "connection": "upgrade",
        "host": "gateway",
        "origin": "https://app.example",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-version": "13",
        "sec-websocket-protocol": "a, b",
        "x-forwarded-for": "127.0.0.1",
    }


@pytest.mark.parametrize(
    "request_of_a_stranger",
    [
        HANDSHAKE + b"Origin: https://app.example\x85X-Forwarded-For: 10.9.8.7\r\n\r\n",
        HANDSHAKE + b"Sec-WebSocket-Protocol: a\xe2\x80\xa8X-Forwarded-For: 10.9.8.7\r\n\r\n",
        HANDSHAKE.replace(b"GET /", b"GET /\x85X-Forwarded-For:10.9.8.7") + b"\r\n",
        HANDSHAKE.replace(b"websocket", b"websocket\x85X-Forwarded-For: 10.9.8.7") + b"\r\n",
    ],
)
def test_nginx_refuses_bytes_that_a_handshake_has_no_use_for(
    upstreams: tuple[list[Upstream], int], certificate: Certificate, request_of_a_stranger: bytes
) -> None:
    behind, port = upstreams
    client = RawClient(port, tls=certificate.trust)
    client.socket.sendall(request_of_a_stranger)
    assert client.answer().status == 400
    assert not [head for each in behind for head in each.heads]


def test_no_client_behind_nginx_chooses_its_address(tmp_path: Path, devnet: Devnet, certificate: Certificate) -> None:
    """A byte that Python takes for the end of a line begins no X-Forwarded-For: all are one address, with its bound."""
    gateway = Gateway(tmp_path / "gateway", devnet.network, "{}", "--max-connections-per-ip=3")
    nginx, port = start_nginx(tmp_path, certificate, [gateway.port] * 3)
    clients: list[RawClient] = []
    try:
        gateway.wait()
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
