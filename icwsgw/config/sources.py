"""Sources of option values. Precedence: command line, environment, file, default.

Unknown keys of the ``--config`` file are refused. Unknown ``ICWS_`` variables are ignored, because container platforms
set such variables (``ICWS_SERVICE_HOST`` for a service named icws). Variables that look like a misspelt option are
logged (:func:`suspicious_variables`).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from icwsgw.config.addresses import tcp_port
from icwsgw.config.devnet_options import DEVNET_ADDRESS
from icwsgw.config.option import Option
from icwsgw.config.quotas import from_tables
from icwsgw.config.schema import BY_NAME, OPTIONS, REMOVED, GatewayConfig
from icwsgw.errors import ConfigError
from icwsgw.ic.networks import AUTO
from icwsgw.observe.levels import from_rust_log

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


#: Names of the variables that Kubernetes sets for a service.
_OF_A_SERVICE = re.compile(r"_SERVICE_(HOST|PORT)|_PORT(_\d+_(TCP|UDP).*)?$")


_REMOVED_NAMES = frozenset(entry.name for entry in REMOVED)


class Sourced(NamedTuple):
    """A configuration and the sources of its values.

    :ivar config: the configuration
    :ivar sources: the source of each value, by field
    :ivar ignored: a warning for each removed option that is still set
    """

    config: GatewayConfig
    sources: dict[str, str]
    ignored: tuple[str, ...] = ()


def load(given: Mapping[str, Any], environment: Mapping[str, str], file: Path | None = None) -> Sourced:
    """Load the configuration from all sources and check it.

    :param given: values of the command line by option name, already converted; for removed options, any value
    :param environment: the environment variables, for example ``os.environ``
    :param file: the ``--config`` file; None for the file that ICWS_CONFIG names, if any
    :raises ConfigError: the file cannot be read, a key is unknown, a value is invalid, or values contradict each other
    """
    if file is None and environment.get("ICWS_CONFIG", "").strip():
        file = Path(environment["ICWS_CONFIG"])
    from_file = dict(_read_file(file)) if file is not None else {}
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for entry in OPTIONS:
        if entry.name in given:
            values[entry.field], sources[entry.field] = given[entry.name], "command line"
        elif (found := _from_environment(entry, environment)) is not None:
            name, text = found
            values[entry.field], sources[entry.field] = entry.parse(text, name), name
        elif entry.name in from_file:
            source = f"{file}: {entry.name}"
            values[entry.field], sources[entry.field] = entry.parse_toml(from_file[entry.name], source), str(file)
        else:
            sources[entry.field] = "default"
    _point_at_devnet(values, sources)
    values.setdefault("data_dir", Path("data").absolute())
    return Sourced(GatewayConfig(**values), sources, tuple(_ignored(given, environment, from_file, file)))


def suggestion(name: str, prefix: str = "", known: Iterable[str] = BY_NAME) -> str:
    """Return a hint at the option with the most similar name, or an empty string.

    :param prefix: text before the option's name
    """
    near = get_close_matches(name, list(known), n=1, cutoff=0.75)
    return f"; did you mean {prefix}{near[0]}?" if near else ""


def likely_typos(error: Exception, options: Iterable[str]) -> str:
    """Return a hint for a misspelt option on the command line, or an empty string.

    :param error: the error that the command line raised
    :param options: the known options; those that take a value end with ``=``
    """
    found = re.fullmatch(r"option --(\S+) not recognized", str(error))
    known = {name.rstrip("=") for name in options}.difference(*((entry.name, f"no-{entry.name}") for entry in REMOVED))
    return suggestion(found[1], "--", sorted(known)) if found else ""


def suspicious_variables(environment: Mapping[str, str]) -> list[str]:
    """Return one line for each variable that sets no option but looks like a misspelt one."""
    known = {"ICWS_CONFIG", *(entry.variable for entry in OPTIONS)}
    removed = {entry.variable for entry in REMOVED}
    lines = []
    for name in sorted(environment):
        if name.startswith("ICWS_") and name not in known and name not in removed:
            meant = suggestion(name[5:], "ICWS_", (other[5:] for other in known))
            if meant and not _OF_A_SERVICE.search(name):
                lines.append(f"{name} in the environment is not an option{meant}")
    return lines


def _from_environment(entry: Option, environment: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the variable that sets an option, and its text; an empty variable counts as not set."""
    text = environment.get(entry.variable, "")
    if text.strip():
        return entry.variable, text
    for name in entry.variables:
        if text := from_rust_log(environment.get(name, "")):
            return name, text
    return None


def _read_file(file: Path) -> Iterator[tuple[str, Any]]:
    try:
        with file.open("rb") as stream:
            content = tomllib.load(stream)
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from None
    except ValueError as error:
        # also of what is not UTF-8, and of a number with thousands of digits
        raise ConfigError(f"{file} is not TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{file}: a value is nested too deeply") from None
    names = [key.replace("_", "-") for key in content]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"{file}: {min(twice)} is given twice, with - and with _")
    if "canister" in content:
        listed = content.get("canister-quota", content.get("canister_quota", []))
        texts = [*(listed if isinstance(listed, list) else [listed]), *from_tables(content.pop("canister"), str(file))]
        content = {**content, "canister-quota": texts}
    for key, value in content.items():
        name = key.replace("_", "-")
        if name not in BY_NAME and name not in _REMOVED_NAMES:
            raise ConfigError(f"{file}: {key!r} is not an option{suggestion(name)}")
        yield name, value


def _ignored(
    given: Mapping[str, Any], environment: Mapping[str, str], from_file: Mapping[str, Any], file: Path | None
) -> Iterator[str]:
    """Yield one line for each removed option that is still set, with all sources that set it."""
    for entry in REMOVED:
        places = []
        if entry.name in given:
            places.append("command line")
        if environment.get(entry.variable, "").strip():
            places.append(entry.variable)
        if entry.name in from_file:
            places.append(str(file))
        if places:
            yield f"--{entry.name} has no effect any more ({', '.join(places)}): {entry.instead}"


def _point_at_devnet(values: dict[str, Any], sources: dict[str, str]) -> None:
    """With ``--devnet``, set the network URL to the embedded replica's address."""
    if not values.get("devnet"):
        return
    port = tcp_port(values.get("devnet_listen", DEVNET_ADDRESS))
    if not port:
        raise ConfigError("--devnet-listen: the embedded replica needs a TCP port other than 0")
    url = f"http://127.0.0.1:{port}"
    if values.get("ic_network_url", url) not in (url, AUTO):
        raise ConfigError(f"--devnet means the replica at {url}: leave --ic-network-url out")
    values["ic_network_url"], sources["ic_network_url"] = url, "devnet"
