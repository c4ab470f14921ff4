"""Exchanges the code of one function in the running process: every reference to the function calls the mutant."""

from __future__ import annotations
import __future__

import sys
from types import CellType, CodeType, FunctionType
from typing import Any

from tests.mutation.mutants import Mutant


def exchange(mutant: Mutant) -> None:
    """Replace the original by the mutant for the rest of this process.

    The function object stays the same, so every import, bound method and callback calls the mutant.

    :raises LookupError: there is no such function
    :raises SyntaxError: the mutant does not compile
    """
    module = sys.modules[mutant.module]
    owner, _, name = mutant.function.rpartition(".")
    holder = getattr(module, owner) if owner else module
    found = vars(holder).get(name)
    if found is None:
        raise LookupError(mutant.function)
    function = _plain(found)
    code = compile(
        mutant.source, module.__file__ or "?", "exec", __future__.annotations.compiler_flag, dont_inherit=True
    )
    names: dict[str, Any] = dict(vars(module))
    exec(code, names)
    made: Any = vars(names[owner])[name] if owner else names[name]
    made = _plain(made)
    function.__defaults__ = made.__defaults__
    function.__kwdefaults__ = made.__kwdefaults__
    _set_code(holder, name, function, made.__code__)


def _plain(found: Any) -> FunctionType:
    """Return the function of a property, a class method or a cached function, whose cache is emptied."""
    if isinstance(found, property):
        return _plain(found.fget)
    if isinstance(found, (classmethod, staticmethod)):
        return _plain(found.__func__)
    if hasattr(found, "cache_clear"):
        found.cache_clear()
    if not isinstance(found, FunctionType):
        found = getattr(found, "__wrapped__", None) or getattr(found, "func", None)
    if not isinstance(found, FunctionType):
        raise LookupError(f"{found!r} is no function")
    return found


def _set_code(holder: Any, name: str, function: FunctionType, code: CodeType) -> None:
    if code.co_freevars == function.__code__.co_freevars:
        function.__code__ = code
        return
    # the mutant has no super() any more, or a new one: the free variable is __class__, as functions are top-level
    cells = tuple(CellType(holder) for _ in code.co_freevars)
    made = FunctionType(code, function.__globals__, name, function.__defaults__, cells)
    made.__kwdefaults__ = function.__kwdefaults__
    setattr(holder, name, made)
