"""Access control of the admin API.

    listens on         access without --admin-token-file      access with it
    -----------------  -------------------------------------  ----------------
    unix socket        users with access to the socket file   the token
    loopback           programs on this machine               the token
    other addresses    none: the gateway does not start       the token

On loopback, web pages are a danger. A page can make the browser send requests to this machine. If the name of the page
resolves to 127.0.0.1 (DNS rebinding), the page can also read the answers. Without a token, the API therefore refuses a
request that has an Origin header, or whose Host header does not name this machine. A request that changes something
must be JSON, because HTML forms cannot send JSON.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from icwsgw.config.addresses import Exposure, exposure, is_this_machine, open_to_all
from icwsgw.config.schema import GatewayConfig
from icwsgw.errors import ConfigError
from icwsgw.observe.logs import get_logger
from icwsgw.process.secret_mode import is_open_to_others

#: Minimum length of a token in characters; 16 hex digits are 64 bits.
MIN_TOKEN = 16
MAX_TOKEN = 4096

_log = get_logger("admin")


class Refused(Exception):
    """A refused request.

    :ivar status: HTTP status code
    :ivar text: reason in plain words
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Caller(NamedTuple):
    """What a request says about its sender.

    :ivar headers: header values by lower-case name; the values of a repeated header are joined with commas
    """

    method: str
    headers: Mapping[str, str]


class TokenFile:
    """The secret token, read from a file; surrounding whitespace is ignored.

    :raises ConfigError: the file cannot be read, or its token is invalid
    """

    def __init__(self, path: Path, warn: Callable[..., object] = lambda message, **fields: None) -> None:
        self._path = path
        self._warn = warn
        self._token = self._read()

    def read_again(self) -> None:
        """Read the file again; if it is invalid, keep the previous token and log an error."""
        try:
            self._token = self._read()
        except ConfigError as error:
            _log.error("invalid admin token file ignored", reason=error)

    def fits(self, word: str) -> bool:
        """Return whether ``word`` is the token; compares in constant time."""
        return hmac.compare_digest(word.encode("utf-8", "replace"), self._token)

    def _read(self) -> bytes:
        path = self._path
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                token = file.read(MAX_TOKEN + 1).strip()
        except OSError as error:
            raise ConfigError(f"cannot read the admin token file {path}: {error.strerror}") from None
        if not MIN_TOKEN <= len(token) <= MAX_TOKEN:
            raise ConfigError(f"the token in {path} has {len(token)} characters, not {MIN_TOKEN} to {MAX_TOKEN}")
        if not token.isascii() or len(token.split()) != 1:
            raise ConfigError(f"the token in {path} is not one word of ASCII characters")
        if is_open_to_others(status):
            mode = f"{status.st_mode & 0o777:o}"
            self._warn("others on this machine may read the admin token", path=path, mode=mode)
        return token


class Access:
    """Decides whether to allow a request, before its body is read.

    :param exposure: from where the endpoint can be reached
    :param token: the token that callers must send; required if ``exposure`` is anywhere
    """

    def __init__(self, exposure: Exposure, token: TokenFile | None) -> None:
        if exposure is Exposure.ANYWHERE and token is None:
            raise ConfigError("an admin endpoint that other machines may reach needs a token")
        self._exposure = exposure
        self._token = token

    def read_again(self) -> None:
        """Read the token file again."""
        if self._token is not None:
            self._token.read_again()

    def check(self, caller: Caller) -> None:
        """Check a request; return if it is allowed.

        :raises Refused: with 401 or 403, or with 415 for a change whose body is not JSON
        """
        headers = caller.headers
        if self._token is not None:
            scheme, _, word = headers.get("authorization", "").partition(" ")
            if not word:
                raise Refused(401, "token required: Authorization: Bearer ...")
            if scheme.lower() != "bearer" or not self._token.fits(word.strip()):
                raise Refused(401, "wrong token")
        elif self._exposure is Exposure.LOOPBACK:
            if "origin" in headers:
                raise Refused(403, "requests from web pages are not allowed")
            if not is_this_machine(headers.get("host", "")):
                raise Refused(403, "the request's Host is not this machine: use 127.0.0.1, [::1] or localhost")
        if caller.method not in ("GET", "HEAD"):
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":
                raise Refused(415, "Content-Type must be application/json")


def admin_access(config: GatewayConfig) -> Access:
    """Make the access to the admin endpoint of a configuration.

    :raises ConfigError: the token file is invalid
    """
    assert config.admin_endpoint is not None
    file = config.admin_token_file
    if file is None and open_to_all(config.admin_endpoint):
        _log.warn("every local user can use the admin endpoint", address=config.admin_endpoint)
    return Access(exposure(config.admin_endpoint), TokenFile(file, _log.warn) if file is not None else None)
