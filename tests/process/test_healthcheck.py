from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from icwsgw.process import healthcheck
from icwsgw.process.healthcheck import failure
from tests.support.scripted_http import HttpExchange, scripted_http

ROOT = Path(__file__).resolve().parents[2]
NOBODY = "http://127.0.0.1:1/health/live"


class Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/other":
            self.wfile.write(b"SSH-2.0-x\r\n")
            return
        self.send_response(200 if self.path == "/health/live" else 503)
        self.end_headers()

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def server() -> Iterator[str]:
    served = HTTPServer(("127.0.0.1", 0), Health)
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    thread.join()
    served.server_close()


def test_one_that_answers_is_enough(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", NOBODY)
    assert failure([f"{server}/health/live"]) is None
    assert failure([NOBODY, f"{server}/health/live"]) is None
    # another program may have the first port
    assert failure([f"{server}/other", f"{server}/health/live"]) is None


def test_what_is_wrong_is_reported(server: str) -> None:
    assert failure([f"{server}/health/ready", NOBODY]) == f"{NOBODY}: Connection refused"
    assert "503" in (failure([f"{server}/health/ready"]) or "")
    assert "SSH-2.0" in (failure([f"{server}/other"]) or "")
    assert "nonsense" in (failure(["nonsense"]) or "")
    assert failure([]) == "no URL to ask"


def test_a_redirect_is_no_health() -> None:
    with scripted_http(lambda exchange: exchange.answer(status=302, headers="Location: /login\r\n")) as url:
        assert failure([url]) == f"{url}: status 302"


def test_an_answer_that_drips_is_no_health(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time, and the server ends its answer after 10 seconds."""

    def drip(exchange: HttpExchange) -> None:
        exchange.link.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        exchange.drip(b"x")

    monkeypatch.setattr(healthcheck, "TIMEOUT", 0.3)
    with scripted_http(drip) as url:
        assert failure([url]) == f"{url}: timed out"


def test_the_image_asks_where_the_original_serves_metrics_too() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    urls = [f"http://127.0.0.1:{port}/health/live" for port in (9090, 9000)]
    assert f'ENV ICWS_HEALTH_URL="{" ".join(urls)}"\n' in dockerfile
    assert "CMD python -m icwsgw.process.healthcheck $ICWS_HEALTH_URL\n" in dockerfile
    run = subprocess.run(
        [sys.executable, "-m", "icwsgw.process.healthcheck", NOBODY], cwd=ROOT, capture_output=True, text=True
    )
    assert (run.returncode, run.stderr) == (1, f"{NOBODY}: Connection refused\n")
