"""Imports the programs of scripts/ as modules, since scripts/ is not a package."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

from tests.test_layering import ROOT


def load_script(name: str) -> ModuleType:
    """Execute ``scripts/<name>.py`` as a module; its main part does not run."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # a script finds modules beside itself when it runs as a program
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module
