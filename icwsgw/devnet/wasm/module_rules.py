"""What the network asks of a canister's module, beyond what WebAssembly does.

Source: IC interface specification, "WebAssembly module requirements"; the texts and the limit of the code are those of
the replica (dfinity/ic, ``rs/embedders/src/wasm_utils/validation.rs``). The types of functions are in
:mod:`icwsgw.devnet.wasm.import_types`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from icwsgw.devnet.wasm.import_types import ENTRY_POINTS, METHODS
from icwsgw.errors import FormatError

MAX_FUNCTIONS: Final = 50_000
MAX_GLOBALS: Final = 1_000
MAX_METHODS: Final = 1_000
#: Bytes of the names of all methods.
MAX_METHOD_NAMES: Final = 20_000
#: Custom sections ``icp:``, and the bytes of their names and contents.
MAX_SECTIONS: Final = 16
MAX_SECTION_BYTES: Final = 1 << 20
#: Bytes of the code section.
MAX_CODE: Final = 12 << 20

_PREFIX: Final = "icp:"
_PUBLIC: Final = "icp:public "
_PRIVATE: Final = "icp:private "
_ALL_METHODS: Final = "`canister_update <name>`, `canister_query <name>`, or `canister_composite_query <name>`"


@dataclass
class ModuleContents:
    """What there are rules for.

    :ivar exports: names of the exported functions
    :ivar functions: number of those that the module defines
    :ivar globals: number of those that the module defines
    :ivar code: bytes of the code section
    :ivar sections: names of the custom sections and the bytes of their contents
    """

    exports: Sequence[str]
    functions: int
    globals: int
    code: int
    sections: Sequence[tuple[str, int]]


def visibility(section: str) -> tuple[str, bool] | None:
    """Return the name of a custom section without its prefix, and whether it is public; None: it is no metadata.

    :raises FormatError: it begins with ``icp:``, but is neither public nor private
    """
    if not section.startswith(_PREFIX):
        return None
    for prefix, public in ((_PUBLIC, True), (_PRIVATE, False)):
        if section.startswith(prefix):
            return section.removeprefix(prefix), public
    if section in (_PUBLIC.strip(), _PRIVATE.strip()):
        raise _section_error("'icp:' section names must have a space after the public/private scope")
    raise _section_error(f"Invalid custom section: Custom section '{section}' has no public/private scope defined.")


def check_module(contents: ModuleContents) -> None:
    """Pass if the network would take a module.

    :raises FormatError: it would not
    """
    if contents.code > MAX_CODE:
        raise FormatError(
            f"Wasm module code section size of {contents.code} exceeds the maximum allowed size of {MAX_CODE}."
        )
    _check_exports(contents.exports)
    if contents.globals > MAX_GLOBALS:
        raise FormatError(
            f"Wasm module defined {contents.globals} globals which exceeds the maximum number allowed {MAX_GLOBALS}."
        )
    if contents.functions > MAX_FUNCTIONS:
        raise FormatError(
            f"Wasm module defined {contents.functions} functions, which exceeds the maximum number allowed "
            f"{MAX_FUNCTIONS}."
        )
    _check_sections(contents.sections)


def _check_exports(exports: Sequence[str]) -> None:
    seen: set[str] = set()
    for export in exports:
        kind = next((each for each in METHODS if export.startswith(each)), None)
        if kind is None:
            if export.startswith("canister_") and export not in ENTRY_POINTS:
                raise _export_error(f"Exporting reserved function '{export}' with \"canister_\" prefix")
            continue
        name = export.removeprefix(kind)
        if name in seen:
            raise _export_error(
                f"Duplicate function '{name}' exported multiple times with different call types: update, query, or "
                "composite_query."
            )
        seen.add(name)
    if len(seen) > MAX_METHODS:
        raise _export_error(f"The number of exported functions called {_ALL_METHODS} exceeds {MAX_METHODS}.")
    if sum(len(name.encode()) for name in seen) > MAX_METHOD_NAMES:
        raise _export_error(
            f"The sum of `<name>` lengths in exported functions called {_ALL_METHODS} exceeds {MAX_METHOD_NAMES}."
        )


def _check_sections(sections: Sequence[tuple[str, int]]) -> None:
    seen: set[str] = set()
    total = 0
    for section, size in sections:
        found = visibility(section)
        if found is None:
            continue
        name, _ = found
        if name in seen:
            raise _section_error(f"Invalid custom section: name {name} already exists")
        seen.add(name)
        total += len(name.encode()) + size
        if total > MAX_SECTION_BYTES:
            raise _section_error(
                "Invalid custom sections: total size of the custom sections exceeds the maximum allowed: size "
                f"{total} bytes, allowed {MAX_SECTION_BYTES} bytes"
            )
    if len(seen) > MAX_SECTIONS:
        raise FormatError(
            f"Wasm module defined {len(seen)} custom sections which exceeds the maximum number allowed {MAX_SECTIONS}."
        )


def _export_error(text: str) -> FormatError:
    return FormatError(f"Wasm module has an invalid export section. {text}")


def _section_error(text: str) -> FormatError:
    return FormatError(f"Wasm module has an invalid custom section. {text}")
