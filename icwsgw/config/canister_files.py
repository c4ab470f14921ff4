"""Parses ``--devnet-canister``: the canisters that a developer runs on the local replica.

``NAME=FILE`` names a module in WebAssembly (``.wasm``, also compressed with gzip) or a Python file (``.py``).
``NAME=FILE:FILE.did`` adds the description of its interface. Paths are made absolute, because a daemon changes its
directory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from icwsgw.config.option import Kind
from icwsgw.errors import ConfigError

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
#: Where one text has several canisters. Names of files may contain commas and blanks.
_BETWEEN = re.compile(rf",\s*(?={_NAME.pattern}=)")
_DID = ".did"


@dataclass(frozen=True, slots=True)
class CanisterFile:
    """A canister of the local replica that comes from a file.

    :ivar name: its name in the log, on the demo page and in the control interface
    :ivar code: absolute path of a module in WebAssembly, or of a Python file
    :ivar candid: absolute path of its Candid interface, or None
    """

    name: str
    code: Path
    candid: Path | None = None

    def __str__(self) -> str:
        return f"{self.name}={self.code}" + (f":{self.candid}" if self.candid is not None else "")

    @property
    def is_python(self) -> bool:
        """Whether the code is in Python."""
        return self.code.suffix == ".py"


def check_names(files: Iterable[CanisterFile]) -> None:
    """Check that no two canisters have the same name.

    :raises ConfigError: two have
    """
    seen = set()
    for file in files:
        if file.name in seen:
            raise ConfigError(f"--devnet-canister: two canisters are named {file.name}")
        seen.add(file.name)


def _canister_file(text: str) -> CanisterFile:
    name, equals, path = text.strip().partition("=")
    if not equals or not path:
        raise ConfigError(f"{text!r} is not NAME=FILE, such as chat=chat.wasm")
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is not a name of up to 40 letters, digits, - and _ that begins with a letter")
    code, colon, candid = path.rpartition(":")
    if colon and code and candid.endswith(_DID):
        return CanisterFile(name, Path(code).absolute(), Path(candid).absolute())
    return CanisterFile(name, Path(path).absolute())


def _canister_files(text: str) -> tuple[CanisterFile, ...]:
    return tuple(_canister_file(part) for part in _BETWEEN.split(text.strip()) if part)


def _show(files: tuple[CanisterFile, ...]) -> str:
    return ",".join(map(str, files))


CANISTER_FILES = Kind(
    "NAME=FILE[:FILE.did]",
    _canister_files,
    _show,
    repeatable=True,
    example="hello=target/wasm32-unknown-unknown/release/hello.wasm",
)
