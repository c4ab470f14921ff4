"""Targets of what operators write: the configuration file, addresses, URLs, log directives."""

from __future__ import annotations

import contextlib
import io
from typing import Any

from twisted.internet.endpoints import _parse

from icwsgw.agent.http.tunnel import proxy_for
from icwsgw.agent.http.url import Url
from icwsgw.config.addresses import exposure, normalise, open_to_all, parse_description, private, tcp_port
from icwsgw.config.origins import canonical, parse_origin
from icwsgw.config.sources import load
from icwsgw.errors import ConfigError
from icwsgw.observe.levels import from_rust_log, parse_levels
from tests.fuzz.target import Target


class _File:
    """A configuration file in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def open(self, mode: str) -> io.BytesIO:
        assert mode == "rb"
        return io.BytesIO(self._data)

    def __str__(self) -> str:
        return "gateway.toml"


def _config_file(data: bytes) -> None:
    """Any file is a configuration or is refused with a reason."""
    file: Any = _File(data)
    with contextlib.suppress(ConfigError):
        load({}, {}, file)


def _address(data: bytes) -> None:
    """Endpoint strings are parsed as Twisted parses them."""
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(ConfigError):
        address = normalise(text)
        description = parse_description(address)
        with contextlib.suppress(UnicodeEncodeError):
            # no endpoint has a name that is not ASCII
            args, options = _parse(address)
            assert (args[0], tuple(args[1:]), options) == (description.kind, description.args, description.options)
        assert parse_description(str(description)) == description
        tcp_port(address)
        exposure(address)
        private(address)
        open_to_all(address)


def _url(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(ValueError):
        url = Url.parse(text)
        assert Url.parse(str(url)).origin == url.origin
        assert not set(url.head(b"POST", b"application/cbor")) & set(b"\x00\x01\x0b\x7f")
    with contextlib.suppress(ValueError):
        proxy_for(Url.parse("https://icp0.io"), {"https_proxy": text, "no_proxy": text[::-1]})
    with contextlib.suppress(ConfigError):
        written = canonical(text)
        assert written == "null" or parse_origin(written, pattern=True) is not None


def _log_directives(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(ConfigError):
        parse_levels(from_rust_log(text) or text)


def make() -> dict[str, Target]:
    """Make the targets of this module, by name."""
    file = b'gateway-address = ["tcp:8080"]\npolling-interval = 0.1\nworkers = 2\n[x]\ny = 1979-05-27T07:32:00Z\n'
    addresses = [
        b"tcp:8080:interface=127.0.0.1",
        b"[::1]:8080",
        b"0.0.0.0:8080",
        b"unix:/run/x:mode=660",
        b"haproxy:tcp:1",
    ]
    urls = [b"https://icp0.io/x?y", b"http://[::1]:4943", b"https://*.app.example", b"http://user:p%40@proxy:3128"]
    levels = [b"info,icwsgw::gateway=debug", b"gateway=trace"]
    return {
        "config_file": Target(_config_file, [file], (b"data-dir", b"verify-batches", b" = ", b"[[", b"nan", b"inf")),
        "address": Target(_address, addresses, (b"ssl:", b"systemd:", b"\\:", b"port=", b"interface=")),
        "url": Target(_url, urls, (b"%", b"//", b"@")),
        "log_directives": Target(_log_directives, levels, (b"=", b"off", b",")),
    }
