"""A client of the admin API: one request to one endpoint."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from icwsgw.config.addresses import normalise, parse_description
from icwsgw.errors import ConfigError

#: Timeout of a request in seconds; longer than the gateway waits for its workers.
TIMEOUT = 15.0
#: Longest answer in bytes; a thousand sessions are half a megabyte.
MAX_ANSWER = 16 << 20

#: Sends the bytes of a command line's argument as they are, UTF-8 or not.
_AS_GIVEN = "surrogateescape"


class Failed(Exception):
    """A request has failed; the message is for people."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def connection(endpoint: str, seconds: float = TIMEOUT) -> http.client.HTTPConnection:
    """Make a connection to an endpoint, without opening it.

    :param endpoint: a value of the gateway's ``--admin-endpoint``, a path, or an http:// or https:// URL
    :param seconds: the timeout
    :raises ConfigError: ``endpoint`` is none of these
    """
    if endpoint.startswith(("/", "./")):
        return _UnixConnection(endpoint, seconds)
    if endpoint.startswith(("http://", "https://")):
        return _by_url(endpoint, seconds)
    kind, args, options = parse_description(normalise(endpoint))
    if kind == "unix":
        return _UnixConnection(args[0] if args else options.get("address", ""), seconds)
    if kind in ("tcp", "tcp6"):
        port = int(args[0] if args else options["port"])
        host = options.get("interface") or (args[1] if kind == "tcp" and len(args) > 1 else "")
        if host in ("", "0.0.0.0", "::"):
            host = "::1" if kind == "tcp6" else "127.0.0.1"
        return http.client.HTTPConnection(host, port, timeout=seconds)
    raise ConfigError(f"endpoint {endpoint!r} is not one that can be reached; with TLS, say https://HOST:PORT")


def _by_url(url: str, seconds: float) -> http.client.HTTPConnection:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"endpoint {url!r}: {error}") from None
    if not host or parts.path.strip("/") or parts.query:
        raise ConfigError(f"endpoint {url!r} is not a URL of a host and a port")
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=seconds, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, port, timeout=seconds)


class AdminClient:
    """A client of the admin API of one gateway.

    :param endpoint: see :func:`connection`
    :param token_file: file with the token, if the gateway requires one
    :param seconds: how long the gateway may take
    """

    def __init__(self, endpoint: str, token_file: Path | None = None, seconds: float = TIMEOUT) -> None:
        self._seconds = seconds
        self._endpoint = endpoint
        self._token_file = token_file

    def get(self, *path: str, **query: object) -> dict[str, Any]:
        """Send a GET request and return the answer.

        :param path: the parts of the path after /v1
        :param query: the query parameters
        :raises Failed: the gateway cannot be reached, or has refused
        :raises ConfigError: the endpoint or the token file is invalid
        """
        given = {name: str(value) for name, value in query.items() if value is not None}
        return self._request("GET", _target(path) + (f"?{urlencode(given, errors=_AS_GIVEN)}" if given else ""), None)

    def post(self, *path: str, **body: object) -> dict[str, Any]:
        """Send a POST request with a JSON body; see :meth:`get`."""
        given = {name: value for name, value in body.items() if value is not None}
        return self._request("POST", _target(path), given)

    def put(self, *path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._request("PUT", _target(path), body)

    def _request(self, method: str, target: str, body: dict[str, Any] | None) -> dict[str, Any]:
        headers = {"Accept": "application/json", "Connection": "close"}
        if self._token_file is not None:
            headers["Authorization"] = f"Bearer {_token(self._token_file)}"
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body)
        try:
            with closing(connection(self._endpoint, self._seconds)) as asked:
                asked.request(method, target, content, headers)
                response = asked.getresponse()
                answer = response.read(MAX_ANSWER)
        # a ValueError is one about the host or the path of the endpoint
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or "no answer"
            raise Failed(f"cannot reach {self._endpoint}: {reason}") from None
        if response.status == 401 and self._token_file is None:
            raise Failed("the gateway wants a token: --token-file, or ICWS_ADMIN_TOKEN_FILE in the environment")
        return _document(response.status, answer)


def _document(status: int, answer: bytes) -> dict[str, Any]:
    try:
        document = json.loads(answer)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise Failed(f"HTTP {status} with an answer that is not the admin API's")
    if status >= 400:
        raise Failed(str(document.get("error", f"HTTP {status}")))
    return document


def _target(path: tuple[str, ...]) -> str:
    return "/v1/" + "/".join(quote(part, safe="", errors=_AS_GIVEN) for part in path)


def _token(path: Path) -> str:
    try:
        (token,) = path.read_text(encoding="ascii").split()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"{path} holds no token of one word in ASCII") from None
    return token
