"""A client of the admin API: one request to one endpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from icwsgw.blocking_http import request
from icwsgw.config.addresses import normalise, parse_description
from icwsgw.errors import ConfigError, ConnectFailed, TransportError

#: Time limit of a request in seconds; longer than the gateway waits for its workers.
TIMEOUT = 15.0
#: Longest answer in bytes; a thousand sessions are half a megabyte.
MAX_ANSWER = 16 << 20

#: Sends the bytes of a command line's argument as they are, UTF-8 or not.
_AS_GIVEN = "surrogateescape"


class Failed(Exception):
    """A request has failed; the message is for people."""


class AdminEndpoint(NamedTuple):
    """Where an admin API is.

    :ivar url: its URL, without a path
    :ivar unix_path: the path of its Unix socket, or None
    """

    url: str
    unix_path: str | None = None


def parse_endpoint(text: str) -> AdminEndpoint:
    """Find where an admin API is.

    :param text: a value of the gateway's ``--admin-endpoint``, a path, or an http:// or https:// URL
    :raises ConfigError: ``text`` is none of these
    """
    if text.startswith(("/", "./")):
        return _unix(text)
    if text.startswith(("http://", "https://")):
        return _by_url(text)
    kind, args, options = parse_description(normalise(text))
    if kind == "unix":
        return _unix(args[0] if args else options.get("address", ""))
    if kind in ("tcp", "tcp6"):
        port = int(args[0] if args else options["port"])
        host = options.get("interface") or (args[1] if kind == "tcp" and len(args) > 1 else "")
        if host in ("", "0.0.0.0", "::"):
            host = "::1" if kind == "tcp6" else "127.0.0.1"
        return AdminEndpoint(f"http://{_in_url(host)}:{port}")
    raise ConfigError(f"endpoint {text!r} is not one that can be reached; with TLS, say https://HOST:PORT")


def _unix(path: str) -> AdminEndpoint:
    return AdminEndpoint("http://localhost", path)


def _by_url(url: str) -> AdminEndpoint:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"endpoint {url!r}: {error}") from None
    if not host or parts.path.strip("/") or parts.query:
        raise ConfigError(f"endpoint {url!r} is not a URL of a host and a port")
    origin = f"{parts.scheme}://{_in_url(host)}"
    return AdminEndpoint(origin if port is None else f"{origin}:{port}")


def _in_url(host: str) -> str:
    """Return a host as part of a URL.

    :raises ConfigError: it is not ASCII, and not a valid internationalised name either
    """
    if ":" in host:
        # a scope begins with a percent sign
        return f"[{quote(host, safe=':')}]"
    try:
        return quote(host if host.isascii() else host.encode("idna"))
    except UnicodeError as error:
        raise ConfigError(f"host {host!r}: {error}") from None


class AdminClient:
    """A client of the admin API of one gateway.

    :param endpoint: see :func:`parse_endpoint`
    :param token_file: file with the token, if the gateway requires one
    :param seconds: time limit of a request as a whole
    """

    def __init__(self, endpoint: str, token_file: Path | None = None, seconds: float = TIMEOUT) -> None:
        self._seconds = seconds
        self._endpoint = endpoint
        self._token_file = token_file

    def get(self, *path: str, **query: object) -> dict[str, Any]:
        """Send a GET request and return the answer.

        :param path: the parts of the path after /v1
        :param query: the query parameters
        :raises Failed: the gateway cannot be reached, does not answer in time, or refuses
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
        headers = {"Accept": "application/json"}
        if self._token_file is not None:
            headers["Authorization"] = f"Bearer {_token(self._token_file)}"
        endpoint = parse_endpoint(self._endpoint)
        try:
            answer = request(
                endpoint.url + target,
                None if body is None else json.dumps(body).encode(),
                timeout=self._seconds,
                max_bytes=MAX_ANSWER,
                content_type="application/json",
                method=method,
                headers=headers,
                unix_path=endpoint.unix_path,
                direct=True,
            )
        except ConnectFailed as error:
            raise Failed(f"cannot reach {self._endpoint}: {error}") from None
        except TransportError as error:
            raise Failed(f"no answer from {self._endpoint}: {error}") from None
        if answer.status == 401 and self._token_file is None:
            raise Failed("the gateway wants a token: --token-file, or ICWS_ADMIN_TOKEN_FILE in the environment")
        return _document(answer.status, answer.body)


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
