"""All fuzz targets by name: each parser of foreign bytes.

A target accepts any bytes. It ignores the errors that its parser documents; any other exception is a bug. A target also
does with the result what the gateway does, and compares it with a second implementation if there is one (decision
0047).
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

from tests.fuzz.target import Target

#: CPU seconds that an input of some kilobytes may take: far more than any needs, far less than a bomb would need.
MOST_SECONDS = 5.0

#: The targets of each module.
MODULES: dict[str, tuple[str, ...]] = {
    "ic_targets": ("cbor", "candid", "batch", "arguments", "client_frame", "envelope", "signed_call", "call_answer",
                   "query_answer", "principal"),
    "certificate_targets": ("tree", "certificate", "signed_tree", "keys", "webauthn", "canister_signature"),
    "http_targets": ("http", "answer", "request_head", "forwarded", "origin", "host", "tunnel"),
    "server_targets": ("frame", "connection", "proxy_header"),
    "admin_targets": ("admin_request", "admin_parameters"),
    "text_targets": ("config_file", "address", "url", "log_directives"),
    "client_targets": ("did", "candid_text", "json_line", "script", "gateway_message", "identity_file", "wasm_module",
                       "project_file", "access_list", "words"),
}  # fmt: skip


def _made(module: str) -> dict[str, Target]:
    made: dict[str, Target] = import_module(f"tests.fuzz.{module}").make()
    return made


def one(name: str) -> Target:
    """Make a target without importing the modules of the others."""
    (module,) = (module for module, names in MODULES.items() if name in names)
    return _made(module)[name]


@cache
def every() -> dict[str, Target]:
    """Make all targets."""
    return {name: target for module in MODULES for name, target in _made(module).items()}
