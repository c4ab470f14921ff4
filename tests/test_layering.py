"""The arrows of the map (docs/architecture.md), read from the import statements of the sources.

    tap -> workers -> handover -> service -> {server, admin, acme, devnet} -> gateway -> agent -> core -> ic
    cli, testing -> client -> core, ic

``observe`` and ``errors`` may be imported by all and import none of them; ``core`` and ``ic`` are pure: no Twisted,
no clock, no randomness, no logging. Siblings do not know each other. A module that stands beside the packages belongs
to the unit of its own name.
"""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

#: It reads sources: what runs of the package runs in processes of its own.
pytestmark = pytest.mark.no_cover

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "icwsgw"

# What each unit may import from this package, besides itself. A unit is a package, a top-level module, or a part of a
# package that has arrows of its own: the deepest that holds a module counts.
LEAVES = {"errors", "_version", "close_codes", "close_hints", "escaping", "url_parts", "http_dates", "reactor.clock"}
LEAVES |= {"process.private_directory", "process.console", "process.secret_mode"}
CONFIG = {"config", "config.addresses", "config.quantities"}
PROCESS = {"process.private_directory", "process.rlimits", "process.startup", "process.systemd", "process.healthcheck"}
PROCESS |= {"process.reload", "process.check_config", "process.machine_checks", "process.local_choices"}
PROCESS |= {"process.signals", "process.ownership", "process.program_files", "process.secret_mode"}
GATEWAY = {"gateway", "gateway.polling", "gateway.calls"}
AGENT = {"agent", "agent.http"}
#: Modules that are the command line of a twistd plugin.
COMMAND_LINES = {"tap.py", "devnet/command_line.py"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "_version": set(),
    "close_codes": set(),
    "close_hints": {"close_codes"},
    "escaping": set(),
    "http_dates": set(),
    "url_parts": set(),
    "blocking_http": {"errors"},
    "reactor": set(),
    "reactor.clock": set(),
    "process": set(),
    "process.private_directory": set(),
    "process.console": set(),
    "process.secret_mode": set(),
    "process.rlimits": set(),
    # quick to start: nothing else is below it
    "process.healthcheck": {"errors", "blocking_http"},
    # twistd's plugin imports it before anything else
    "process.signals": set(),
    "process.startup": {"errors", "process.signals"},
    "process.ownership": set(),
    "process.program_files": set(),
    "process.reload": LEAVES | CONFIG | {"observe"},
    "process.local_choices": LEAVES | CONFIG | {"ic", "blocking_http", "process.machine_checks"},
    "process.systemd": LEAVES | CONFIG | {"observe"},
    "process.machine_checks": LEAVES | CONFIG | {"agent.http", "observe"},
    "process.check_config": LEAVES | CONFIG | GATEWAY | {"admin", "server", "observe", "process.machine_checks"},
    "observe": LEAVES,
    # no Twisted: the command line of the admin API uses it
    "config.addresses": LEAVES,
    "config.quantities": LEAVES,
    "config": LEAVES | CONFIG | {"ic", "observe"},
    "ic": LEAVES,
    "core": LEAVES | {"ic"},
    # knows nothing of the Internet Computer
    "agent.http": LEAVES | {"reactor", "observe"},
    "agent": LEAVES | AGENT | {"ic", "core", "observe"},
    "gateway": LEAVES | CONFIG | GATEWAY | AGENT | {"ic", "core", "observe"},
    "gateway.polling": LEAVES | CONFIG | GATEWAY | AGENT | {"ic", "core", "observe"},
    "gateway.calls": LEAVES | CONFIG | GATEWAY | AGENT | {"ic", "core", "observe"},
    "server": LEAVES | CONFIG | GATEWAY | {"ic", "core", "process.rlimits", "reactor", "observe"},
    "admin": LEAVES | CONFIG | GATEWAY | AGENT | {"ic", "core", "observe"},
    # no Twisted below it, so that it starts at once
    # a program of its own, with figures instead of a gateway
    "capacity": LEAVES | {"config.quantities"},
    "ctl": LEAVES | {"blocking_http", "config.addresses", "config.quantities"},
    # a program of its own, for other programs: nothing of the gateway is below it
    "cli": LEAVES | {"client", "ic"},
    "client": LEAVES | {"ic", "core", "blocking_http"},
    # its HTTP client is the gateway's, without what knows the Internet Computer
    "acme": LEAVES | CONFIG | {"admin", "agent", "agent.http", "core", "observe"},
    # for tests of other programs: it starts the programs of this package as processes
    "testing": LEAVES | {"client", "ic", "blocking_http"},
    "devnet": LEAVES | CONFIG | AGENT | {"ic", "core", "observe"},
}
# the agent with the values of the configuration, for the service
ALLOWED["network_access"] = LEAVES | CONFIG | AGENT | {"agent.http", "ic", "core", "observe"}
# listening sockets of another process, for workers and for handovers
ALLOWED["workers.sockets"] = LEAVES | CONFIG | {"server", "observe"}
EVERYTHING = {*ALLOWED, "service", "workers", "handover"}
ALLOWED["service"] = EVERYTHING - {"workers", "workers.sockets", "handover"}
# hands a whole service over
ALLOWED["handover"] = EVERYTHING - {"workers"}
# the supervisor stands beside the service, of which each of its workers runs one, and hands over one after the other
ALLOWED["workers"] = EVERYTHING
ALLOWED["tap"] = EVERYTHING


IMPURE = {
    *("twisted", "autobahn", "treq", "txaio", "asyncio", "socket", "ssl", "threading", "subprocess", "os"),
    *("time", "random", "secrets", "logging", "warnings"),
}


def sources() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py"))


def unit(path: Path) -> str:
    """The unit that a source belongs to: the deepest one of ALLOWED that holds it."""
    relative = path.relative_to(PACKAGE)
    if relative.as_posix() in COMMAND_LINES:
        # a command line stands above everything, wherever it is kept
        return "tap"
    return unit_of(".".join(relative.with_suffix("").parts))


def unit_of(dotted: str) -> str:
    """The deepest unit of ALLOWED that holds a module, or its first part where it is new."""
    parts = dotted.split(".")
    for size in range(len(parts), 0, -1):
        if (name := ".".join(parts[:size])) in ALLOWED:
            return name
    return parts[0]


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a source imports anywhere, also inside functions and under TYPE_CHECKING, with its line."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            assert node.module is not None
            if node.module == "icwsgw":
                for name in node.names:
                    yield f"icwsgw.{name.name}", node.lineno
            else:
                yield node.module, node.lineno


def modules_imported(path: Path, modules: set[str]) -> set[str]:
    """The modules of the package that a source imports, also inside functions and under TYPE_CHECKING."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for name in node.names:
                member = f"{node.module}.{name.name}"
                found.add(member if member in modules else node.module)
        elif isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
    return found & modules


def test_no_modules_import_each_other() -> None:
    """Each module can be read after those that it imports: there is no cycle, not even of names for type checkers."""
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in sources()
    }
    waiting = {name: modules_imported(path, set(paths)) - {name} for name, path in paths.items()}
    while ready := [name for name, needs in waiting.items() if not needs & waiting.keys()]:
        for name in ready:
            del waiting[name]
    # what is left imports itself by way of others, or imports what does
    assert {name: needs & waiting.keys() for name, needs in waiting.items()} == {}


def test_dependencies_point_one_way() -> None:
    wrong = []
    for path in sources():
        own = unit(path)
        if own == "__init__":
            continue
        assert own in ALLOWED, f"{path}: a new unit; say in this test what it may import"
        for module, line in imports(path):
            top, _, rest = module.partition(".")
            target = unit_of(rest)
            if top == "icwsgw" and target not in ("", own, "__version__") and target not in ALLOWED[own]:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {own} imports {module}")
    assert wrong == []


#: Modules of the client that have sockets; its others are as pure as ``core``.
WITH_SOCKETS = {
    "client/asyncio_client.py",
    "client/twisted_client.py",
    "client/root_key.py",
    "client/network_requests.py",
}


@pytest.mark.parametrize("pure", ["core", "ic", "client"])
def test_pure_packages_know_no_clock_chance_reactor_or_logger(pure: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: imports {module}"
        for path in sorted((PACKAGE / pure).rglob("*.py"))
        if path.relative_to(PACKAGE).as_posix() not in WITH_SOCKETS
        for module, line in imports(path)
        if module.partition(".")[0] in IMPURE
    ]
    assert wrong == []
    # datetime may be used for its formats, not for what the time is.
    for path in (PACKAGE / pure).rglob("*.py"):
        asked = {ast.unparse(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert asked.isdisjoint({"datetime.now", "datetime.utcnow", "datetime.today", "date.today"}), path


def test_one_module_imports_opentelemetry() -> None:
    """It is an extra: nothing else may import it, or that module by name at run time."""
    knowing = {
        path.relative_to(PACKAGE).as_posix()
        for path in sources()
        for module, _ in imports(path)
        if module.partition(".")[0] in ("opentelemetry", "grpc")
    }
    assert knowing == {"observe/tracing.py"}
    code = "import sys, icwsgw.service, icwsgw.tap; sys.exit('opentelemetry' in sys.modules or 'grpc' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_one_package_imports_wasmtime_and_is_loaded_when_a_canister_needs_it() -> None:
    """It is an extra, of which the gateway itself and the demo canisters have no use."""
    knowing = {
        path.relative_to(PACKAGE).parent.as_posix()
        for path in sources()
        for module, _ in imports(path)
        if module.partition(".")[0] == "wasmtime"
    }
    assert knowing == {"devnet/wasm"}
    code = "import sys, icwsgw.tap, icwsgw.devnet.command_line; sys.exit('wasmtime' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_command_line_of_the_admin_api_loads_no_reactor() -> None:
    code = "import sys, icwsgw.ctl.commands; sys.exit('twisted' in sys.modules or 'cbor2' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_each_source_has_its_test_file() -> None:
    missing = []
    for path in sources():
        relative = path.relative_to(PACKAGE)
        if relative.name in ("__init__.py", "_version.py"):
            continue
        expected = ROOT / "tests" / relative.with_name(f"test_{relative.name}")
        if not expected.exists():
            missing.append(f"{path.relative_to(ROOT)}: no {expected.relative_to(ROOT)}")
    assert missing == []


def test_modules_stay_readable() -> None:
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources()}
    assert {name: lines for name, lines in long.items() if lines > 500} == {}


#: Functions in which a call for each element would cost more than it explains.


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_setup_cfg_lists_every_package() -> None:
    listed = set(setup_cfg()["options"]["packages"].split())
    present = {".".join(path.parent.relative_to(ROOT).parts) for path in PACKAGE.rglob("__init__.py")}
    assert listed == present | {"twisted.plugins"}
    folders = {path.parent for path in sources()}
    assert all((folder / "__init__.py").exists() for folder in folders)
    assert not (ROOT / "twisted" / "plugins" / "__init__.py").exists(), "twisted.plugins is a namespace"


def test_setup_cfg_ships_every_data_file() -> None:
    shipped = {
        package: [pattern.strip() for pattern in patterns.replace("\n", ",").split(",") if pattern.strip()]
        for package, patterns in setup_cfg()["options.package_data"].items()
    }
    missing = []
    for path in PACKAGE.rglob("*"):
        if path.is_dir() or path.suffix in (".py", ".pyc") or path.name.startswith(".") or path.name == "ruff.toml":
            continue
        holder = next(folder for folder in path.parents if (folder / "__init__.py").exists())
        package = ".".join(holder.relative_to(ROOT).parts)
        name = path.relative_to(holder).as_posix()
        if not any(_matches(name, pattern) for pattern in shipped.get(package, [])):
            missing.append(str(path.relative_to(ROOT)))
    assert missing == []


def _matches(name: str, pattern: str) -> bool:
    return name.count("/") == pattern.count("/") and fnmatch(name, pattern)


def test_functions_are_short() -> None:
    """Every function has fewer than 50 lines."""
    long = {
        f"{path.relative_to(PACKAGE).as_posix()}:{node.name}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (node.end_lineno or node.lineno) - node.lineno + 1 >= 50
    }
    assert long == set()
