"""Defines an option: its kind (how its text is parsed, shown and bounded) and its explanation.

An option's value is text from the command line or the environment, or a typed value from a TOML file. Its
:class:`Kind` converts it into the value that the program uses, in the program's units (seconds, bytes). For an invalid
value, a kind raises :class:`~icwsgw.errors.ConfigError` with a message for the operator.
The options are the fields of :class:`icwsgw.config.schema.GatewayConfig`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from icwsgw.config import addresses, origins, quantities
from icwsgw.errors import ConfigError, FormatError
from icwsgw.ic.networks import AUTO, FETCH, MAINNET, key_of
from icwsgw.ic.principal import Principal
from icwsgw.observe.peers import parse_network
from icwsgw.url_parts import split_url

T = TypeVar("T")

#: Headings of the documentation and of ``--help``, in this order: the most common options first, then by subject.
GROUPS = MOST_USED, NETWORK, CONNECTIONS, TIMES, QUEUES, LOGS, ADMIN = (
    "Most used",
    "Network",
    "Connections",
    "Timeouts of clients",
    "Messages and queues",
    "Logs and traces",
    "Administration",
)

#: Text of this form is always a hex key, even if it is invalid, and never a file name.
_HEX = re.compile(r"(?:0x)?[0-9a-fA-F]{64,}")
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_NONE = frozenset({"", "none", "off"})
#: Unit symbols written after a number, by the unit of the kind.
_UNITS = {"milliseconds": "ms", "seconds": "s", "bytes": "bytes"}


@dataclass(frozen=True, slots=True)
class Kind:
    """How the text of an option is converted to its value and back.

    :ivar unit: the unit of a bare number ("seconds", "bytes"), or the form of the text
    :ivar parse: converts text to the value; raises ConfigError
    :ivar show: converts the value to text that ``parse`` reads as the same value
    :ivar repeatable: whether the value is a tuple collected from several texts
    :ivar bounds: the minimum and maximum as text for the documentation, or an empty string
    :ivar example: a text that ``parse`` accepts, for the manual
    """

    unit: str
    parse: Callable[[str], Any]
    show: Callable[[Any], str] = str
    repeatable: bool = False
    bounds: str = ""
    example: str = ""

    @property
    def is_quantity(self) -> bool:
        """Whether ``unit`` is a unit of measurement, to be shown with the value."""
        return self.unit in _UNITS

    def readable(self, value: Any) -> str:
        """Return a value as text with its unit: ``100 ms``, ``4 MiB``, ``off``, ``none``."""
        if isinstance(value, bool):
            return "on" if value else "off"
        shown = self.show(value)
        if self.unit == "bytes":
            return quantities.exact_size(int(shown))
        if self.is_quantity and shown.replace(".", "").isdecimal():
            return f"{shown} {_UNITS[self.unit]}"
        return shown or "none"


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    :ivar name: its name on the command line, without the dashes; also its key in the file
    :ivar field: the attribute of the configuration
    :ivar default: the value if no source sets it
    :ivar help: its effect
    :ivar reason: the reason for the default, or an empty string
    :ivar group: its heading in the documentation
    :ivar variables: environment variables that also set it, parsed leniently (the Rust gateway's RUST_LOG_*)
    :ivar example: an example value, if the example of its kind is not helpful
    :ivar reloaded: whether a running gateway takes a new value at SIGHUP
    :ivar shared: whether it limits all clients together; each of several workers then gets a share of it
    """

    name: str
    field: str
    kind: Kind
    default: Any
    help: str
    reason: str
    group: str
    variables: tuple[str, ...] = ()
    example: str = ""
    reloaded: bool = False
    shared: bool = False

    @property
    def variable(self) -> str:
        """The environment variable of this option."""
        return variable_of(self.name)

    @property
    def usage(self) -> str:
        """Its effect and its default, for ``--help``."""
        unit = f" {self.kind.unit}" if self.kind.is_quantity else ""
        return f"{self.help} [default: {self.kind.show(self.default) or 'none'}{unit}]"

    @property
    def is_flag(self) -> bool:
        """Whether the command line accepts it without a value."""
        return self.kind is FLAG

    def parse(self, text: str, source: str) -> Any:
        """Parse the option's text.

        :param source: where the text comes from, for the error message
        :raises ConfigError: the text is invalid
        """
        try:
            return self.kind.parse(text)
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from None

    def parse_toml(self, value: object, source: str) -> Any:
        """Convert the option's value from a TOML file.

        :raises ConfigError: the value is invalid
        """
        if isinstance(value, list):
            if not self.kind.repeatable:
                raise ConfigError(f"{source}: takes one value, not a list")
            parts = [self.parse(_toml_text(item, source), source) for item in value]
            return tuple(item for part in parts for item in part)
        return self.parse(_toml_text(value, source), source)


@dataclass(frozen=True, slots=True)
class RemovedOption:
    """An option of an earlier version. All sources still accept it; its only effect is a warning.

    :ivar name: its name on the command line, without the dashes
    :ivar instead: the present behaviour, for the warning: a clause without a full stop
    :ivar is_flag: whether the command line accepts it, and its opposite, without a value
    """

    name: str
    instead: str
    is_flag: bool = False

    @property
    def variable(self) -> str:
        """The environment variable of this option."""
        return variable_of(self.name)


def variable_of(name: str) -> str:
    """Return the environment variable of an option's name."""
    return "ICWS_" + name.upper().replace("-", "_")


def _toml_text(value: object, source: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return quantities.digits(value)
    if isinstance(value, (str, int)):
        return str(value)
    raise ConfigError(f"{source}: {type(value).__name__} is not a value an option takes")


def option(
    default: T,
    kind: Kind,
    name: str,
    help: str,
    reason: str = "",
    *,
    group: str = "",
    variables: tuple[str, ...] = (),
    example: str = "",
    reloaded: bool = False,
    shared: bool = False,
) -> T:
    """Declare a dataclass field that is an option; see :func:`options_of`."""
    declared = {"kind": kind, "name": name, "help": help, "reason": reason, "group": group}
    declared |= {"variables": variables, "example": example, "reloaded": reloaded, "shared": shared}
    field: T = dataclasses.field(default=default, metadata={"option": declared})
    return field


def options_of(config: type[Any]) -> tuple[Option, ...]:
    """List the options that the fields of a dataclass declare, in their order."""
    return tuple(
        Option(field=field.name, default=field.default, **field.metadata["option"])
        for field in dataclasses.fields(config)
        if "option" in field.metadata
    )


# Kinds


def _durations(name: str, unit: float, least: float, most: float) -> Kind:
    """A kind for durations; a bare number is in units of ``unit`` seconds."""
    bounds = f"{quantities.exact_duration(least)} to {quantities.exact_duration(most)}"

    def parse(text: str) -> float:
        value = quantities.parse_duration(text, unit)
        if not least <= value <= most:
            raise ConfigError(f"{text!r} is outside {bounds}")
        return value

    def show(value: float) -> str:
        # the shortest text that is read as the same value
        for digits in (6, 15):
            text = quantities.digits(float(f"{value / unit:.{digits}g}"))
            if float(text) * unit == value:
                return text
        return f"{quantities.digits(value)}s"

    return Kind(name, parse, show, bounds=bounds, example="2m" if least <= 120 <= most else "500ms")


def seconds(least: float = 0.0, most: float = 86_400.0) -> Kind:
    """A kind for durations in seconds, as float; ``250ms``, ``10s``, ``2m`` and ``1h`` are accepted."""
    return _durations("seconds", 1.0, least, most)


def milliseconds(least: float, most: float) -> Kind:
    """A kind for durations in seconds; a bare number is in milliseconds (the Rust gateway's --polling-interval)."""
    return _durations("milliseconds", 0.001, least, most)


def count(least: int = 0, most: int = 10_000_000) -> Kind:
    """A kind for whole numbers within bounds."""

    def parse(text: str) -> int:
        try:
            value = int(text.strip().replace("_", ""))
        except ValueError:
            raise ConfigError(f"{text!r} is not a whole number") from None
        if not least <= value <= most:
            raise ConfigError(f"{text!r} is outside {least} to {most}")
        return value

    return Kind("number", parse, bounds=f"{least} to {most}", example=str(min(most, max(least, 2))))


def automatic(kind: Kind) -> Kind:
    """Extend a kind by the word ``auto``, whose value is None: the gateway chooses the value."""

    def parse(text: str) -> Any:
        return None if text.strip().lower() == "auto" else kind.parse(text)

    def show(value: Any) -> str:
        return "auto" if value is None else kind.show(value)

    return dataclasses.replace(kind, unit=f"{kind.unit} | auto", parse=parse, show=show)


def size(least: int, most: int = 1 << 32) -> Kind:
    """A kind for numbers of bytes; ``64K``, ``4MiB`` and ``1G`` are accepted."""
    bounds = f"{quantities.exact_size(least)} to {quantities.exact_size(most)}"

    def parse(text: str) -> int:
        value = quantities.parse_size(text)
        if not least <= value <= most:
            raise ConfigError(f"{text!r} is outside {bounds}")
        return value

    return Kind("bytes", parse, bounds=bounds, example="8M")


def ratio() -> Kind:
    """A kind for ratios from 0 to 1; ``25%`` is accepted."""

    def parse(text: str) -> float:
        number = text.strip()
        try:
            value = float(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
        except ValueError:
            raise ConfigError(f"{text!r} is not a number") from None
        if not 0 <= value <= 1:
            raise ConfigError(f"{text!r} is outside 0 to 1")
        return value

    return Kind("0 to 1", parse, example="1%")


def choice(*values: str) -> Kind:
    """A kind for one of several words."""

    def parse(text: str) -> str:
        word = text.strip().lower()
        if word not in values:
            raise ConfigError(f"{text!r} is none of {', '.join(values)}")
        return word

    return Kind(" | ".join(values), parse, example=values[-1])


def _flag(text: str) -> bool:
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ConfigError(f"{text!r} is neither true nor false")


def _file(text: str) -> Path | None:
    return None if text.strip().lower() in _NONE else Path(text).absolute()


def _directory(text: str) -> Path:
    if not text.strip():
        raise ConfigError("the directory is empty")
    return Path(text).absolute()


def _optional_address(text: str) -> str | None:
    return None if text.strip().lower() in _NONE else addresses.normalise(text)


def _url(text: str) -> str:
    text = text.strip()
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{text!r} is not an http:// or https:// URL")
    if parts.username is not None or parts.query or parts.fragment or port == 0:
        raise ConfigError(f"{text!r}: a network URL has a host, a port and a path, nothing else")
    try:
        split_url(text)
    except ValueError as error:
        raise ConfigError(f"{text!r}: {error}") from None
    return text.rstrip("/")


def _root_key(text: str) -> str:
    text = text.strip()
    if text.lower() in (AUTO, MAINNET, FETCH):
        return text.lower()
    try:
        return key_of(text.encode()).hex()
    except FormatError as error:
        if _HEX.fullmatch(text):
            raise ConfigError(str(error)) from None
    try:
        return key_of(Path(text).read_bytes()).hex()
    except OSError as error:
        raise ConfigError(
            f"{text!r} is not auto, mainnet, fetch, a key in hex, or a file that can be read: {error.strerror}"
        ) from None
    except FormatError as error:
        raise ConfigError(f"{text}: {error}") from None


def _principal(text: str) -> str:
    try:
        return Principal.from_text(text).text
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a canister id: {error}") from None


def _proxy(text: str) -> str:
    if text.lower() == "unix":
        return "unix"
    try:
        return str(parse_network(text))
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a network such as 10.0.0.0/8: {error}") from None


def each(parse: Callable[[str], Any], unit: str, example: str) -> Kind:
    """A kind for several values: the option is repeated, or one text separates them by commas or blanks."""

    def parse_all(text: str) -> tuple[Any, ...]:
        return tuple(parse(word) for word in re.split(r"[\s,]+", text.strip()) if word)

    def show(values: tuple[Any, ...]) -> str:
        return ",".join(str(value) for value in values)

    return Kind(unit, parse_all, show, repeatable=True, example=example)


def _show_optional(value: object) -> str:
    return "" if value is None else str(value)


TEXT = Kind("text", str)
FLAG = Kind("true | false", _flag, lambda value: "true" if value else "false", example="true")
FILE = Kind("path", _file, _show_optional, example="/etc/icws/tls/fullchain.pem")
DIRECTORY = Kind("path", _directory, example="/var/lib/icws")
ADDRESS = Kind("address", addresses.normalise, example="127.0.0.1:8081")
OPTIONAL_ADDRESS = Kind("address", _optional_address, _show_optional, example="127.0.0.1:9090")
ROOT_KEY = Kind("auto | mainnet | fetch | hex | path", _root_key, example="mainnet")
URL = Kind("URL", _url, example="https://icp-api.io")
NETWORK_URL = Kind(
    "URL | auto", lambda text: AUTO if text.strip().lower() == AUTO else _url(text), example="https://icp-api.io"
)
ADDRESSES = each(addresses.normalise, "addresses", "0.0.0.0:8080")
ORIGINS = each(origins.canonical, "origins", "https://app.example.com")
CANISTERS = each(_principal, "canister ids", "bkyz2-fmaaa-aaaaa-qaaaq-cai")
PROXIES = each(_proxy, "networks", "10.0.0.0/8")
