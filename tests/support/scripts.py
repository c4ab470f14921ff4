"""The programs of scripts/, which are no package, as modules."""

from __future__ import annotations

import importlib.util
from types import ModuleType

from tests.test_layering import ROOT


def load_script(name: str) -> ModuleType:
    """Execute ``scripts/<name>.py`` as a module; its main part does not run."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
