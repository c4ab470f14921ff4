"""Makes mutants of a source, with the operators of mutmut and three of our own."""

from __future__ import annotations

import ast
import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import libcst as cst
from libcst import matchers as m
from libcst.metadata import CodeRange, MetadataWrapper, ParentNodeProvider, PositionProvider
from mutmut.mutation.file_mutation import (
    NEVER_MUTATE_FUNCTION_NAMES,
    Mutation,
    MutationVisitor,
    OuterFunctionProvider,
    deep_replace,
)
from mutmut.mutation.mutators import mutation_operators, operator_arg_removal, operator_string
from mutmut.mutation.pragma_handling import IgnoredCode

# Decorators of functions whose code can be exchanged nevertheless.
DECORATORS = {"property", "classmethod", "staticmethod", "cache", "lru_cache", "cached_property", "override"}
# A change shorter than this is shown with its whole line.
SHORT = 20
LEVELS = {"debug", "info", "warn", "warning", "error", "failure", "critical", "exception"}


@dataclass(frozen=True)
class Mutant:
    """One small error in a function."""

    module: str
    function: str  # its qualified name: Class.method
    change: str  # the source before and after, on one line: it identifies the mutant, also when lines have moved
    digest: str  # of the whole function, so that a result becomes invalid when the function changes
    lines: range  # a test has to execute one of these to be able to notice the mutant
    _make: Callable[[], str] = field(compare=False, repr=False)

    @property
    def source(self) -> str:
        """The function with the error, in its class if it has one."""
        return self._make()

    @property
    def key(self) -> tuple[str, str, str]:
        """The identity of the mutant, which does not depend on line numbers."""
        return self.module, self.function, self.change


def without_statement(node: cst.SimpleStatementLine) -> Iterator[cst.SimpleStatementLine]:
    """``self.timer.cancel()`` becomes ``pass``: mutmut removes arguments, but no statements."""
    if m.matches(node, m.SimpleStatementLine(body=[m.Expr(value=m.Call() | m.Await())])):
        yield node.with_changes(body=[cst.Pass()])


def negated_condition(node: cst.If | cst.While) -> Iterator[cst.CSTNode]:
    """``if waiting:`` becomes ``if not (waiting):``, if it has no operator that mutmut exchanges."""
    if isinstance(node.test, cst.Name | cst.Attribute | cst.Call | cst.Subscript | cst.NamedExpr):
        test = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        space = cst.SimpleWhitespace(" ")
        negated = cst.UnaryOperation(operator=cst.Not(whitespace_after=space), expression=test)
        changes: dict[str, Any] = {"test": negated}
        if isinstance(node, cst.If):
            changes["whitespace_before_test"] = space
        else:
            changes["whitespace_after_while"] = space
        yield node.with_changes(**changes)


def none_returned(node: cst.Return) -> Iterator[cst.Return]:
    """``return found`` becomes ``return None``."""
    if node.value is not None and not m.matches(node.value, m.Name("None")):
        yield node.with_changes(value=cst.Name("None"), whitespace_after_return=cst.SimpleWhitespace(" "))


def arguments_changed(node: cst.Call) -> Iterator[cst.Call]:
    """mutmut's operator, without texts for people: each argument becomes None, or is removed."""
    words = [_is_prose(arg.value) for arg in node.args]
    for mutated in operator_arg_removal(node):
        if len(mutated.args) < len(node.args):
            changed = next((i for i, arg in enumerate(mutated.args) if arg is not node.args[i]), len(mutated.args))
        else:
            changed = next(i for i, arg in enumerate(mutated.args) if arg is not node.args[i])
        if not words[changed]:
            yield mutated


def damaged_string(node: cst.BaseString) -> Iterable[cst.BaseString]:
    """mutmut's first operator on strings, for strings that a program reads: texts for people contain a space."""
    if isinstance(node, cst.SimpleString) and not _is_prose(node):
        yield from list(operator_string(node))[:1]


def _is_prose(node: cst.BaseExpression) -> bool:
    if isinstance(node, cst.SimpleString):
        return " " in node.raw_value
    if isinstance(node, cst.FormattedString):
        return any(isinstance(part, cst.FormattedStringText) and " " in part.value for part in node.parts)
    return isinstance(node, cst.ConcatenatedString) and (_is_prose(node.left) or _is_prose(node.right))


OWN_OPERATORS = [
    (cst.SimpleStatementLine, without_statement),
    (cst.If, negated_condition),
    (cst.While, negated_condition),
    (cst.Return, none_returned),
    (cst.Call, arguments_changed),
    (cst.BaseString, damaged_string),
]
REPLACED = (operator_string, operator_arg_removal)
OPERATORS = [*((kind, made) for kind, made in mutation_operators if made not in REPLACED), *OWN_OPERATORS]


class _Visitor(MutationVisitor):
    """mutmut's visitor, which also visits properties and cached functions, and skips the log."""

    METADATA_DEPENDENCIES = (PositionProvider, OuterFunctionProvider)

    def __init__(self) -> None:
        super().__init__(OPERATORS, IgnoredCode(set(), set(), set()))  # type: ignore[arg-type]

    def _skip_node_and_children(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.FunctionDef) and node.decorators:
            return node.name.value in NEVER_MUTATE_FUNCTION_NAMES or not _is_exchangeable(node)
        if isinstance(node, cst.Call) and (_is_log(node) or m.matches(node.func, m.Name("cast"))):
            return True
        if isinstance(node, cst.SimpleStatementLine) and m.matches(node.body[0], m.Expr(value=m.Call())):
            return _is_log(cst.ensure_type(cst.ensure_type(node.body[0], cst.Expr).value, cst.Call))
        if isinstance(node, cst.If) and m.matches(node.test, m.Name("TYPE_CHECKING")):
            return True
        return bool(super()._skip_node_and_children(node))


def _is_exchangeable(function: cst.FunctionDef) -> bool:
    for each in function.decorators:
        decorator = each.decorator.func if isinstance(each.decorator, cst.Call) else each.decorator
        if not (isinstance(decorator, cst.Name) and decorator.value in DECORATORS):
            return False
    return True


def _is_log(call: cst.Call) -> bool:
    if not isinstance(call.func, cst.Attribute) or call.func.attr.value not in LEVELS:
        return False
    of = call.func.value
    name = of.attr.value if isinstance(of, cst.Attribute) else of.value if isinstance(of, cst.Name) else ""
    return "log" in name


def only_functions(source: str, functions: Collection[str]) -> str:
    """Return a source with blank lines in place of all but some functions, which takes less time to mutate.

    :param source: the text of a module
    :param functions: the qualified names of the functions that stay, with the heads of their classes
    """
    lines = source.splitlines(keepends=True)
    kept: set[int] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            inner = [each for each in node.body if _is_one_of(each, functions, f"{node.name}.")]
            if inner:
                kept.update(range(_first_line(node), _first_line(node.body[0])), *map(_all_lines, inner))
        elif _is_one_of(node, functions, ""):
            kept.update(_all_lines(node))
    return "".join(line if number in kept else "\n" for number, line in enumerate(lines, 1))


def _is_one_of(node: ast.stmt, functions: Collection[str], owner: str) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and owner + node.name in functions


def _first_line(node: ast.stmt) -> int:
    return min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])


def _all_lines(node: ast.stmt) -> range:
    return range(_first_line(node), (node.end_lineno or node.lineno) + 1)


def mutants_of(module: str, source: str) -> list[Mutant]:
    """Return all mutants of a module, in the order of its lines.

    :param module: its dotted name
    :param source: its text
    """
    wrapper = MetadataWrapper(cst.parse_module(source))
    visitor = _Visitor()
    tree = wrapper.visit(visitor)
    positions = wrapper.resolve(PositionProvider)
    parents = wrapper.resolve(ParentNodeProvider)
    owners = _owners(wrapper.module)
    lines = source.splitlines()
    made: list[Mutant] = []
    seen: Counter[tuple[str, str]] = Counter()
    digests: dict[str, str] = {}
    for mutation in visitor.mutations:
        function = mutation.contained_by_top_level_function
        if not isinstance(function, cst.FunctionDef) or function not in owners:
            continue
        owner = owners[function]
        name = f"{owner}.{function.name.value}" if owner else function.name.value
        if name not in digests:
            digests[name] = hashlib.sha256(tree.code_for_node(function).encode()).hexdigest()[:16]
        before = _one_line(tree.code_for_node(_head(mutation.original_node)))
        after = _one_line(tree.code_for_node(_head(mutation.mutated_node)))
        if before == after:
            continue
        place: CodeRange = positions[mutation.original_node]
        change = f"{before} -> {after}"
        line = lines[place.start.line - 1].strip()
        if len(before) <= SHORT and before != line:
            change = f"{line} | {change}"
        seen[name, change] += 1
        if seen[name, change] > 1:
            change += f" #{seen[name, change]}"
        made.append(
            Mutant(
                module=module,
                function=name,
                change=change,
                digest=digests[name],
                lines=_lines(mutation.original_node, function, positions, parents),
                _make=partial(_alone, tree, owner, function, mutation),
            )
        )
    return made


def _lines(
    node: cst.CSTNode,
    function: cst.FunctionDef,
    positions: Mapping[cst.CSTNode, CodeRange],
    parents: Mapping[cst.CSTNode, cst.CSTNode],
) -> range:
    """Return the lines of the statement that contains a node; of the whole function for a parameter's default."""
    while node is not function and not isinstance(node, cst.SimpleStatementLine | cst.BaseCompoundStatement):
        if isinstance(node, cst.SimpleStatementSuite):
            break
        node = parents[node]
    place = positions[node]
    first, last = place.start.line, place.end.line
    if node is not function and isinstance(node, cst.BaseCompoundStatement):
        # the body of the statement does not count
        last = max(first, positions[node.body].start.line - 1)
    return range(first, last + 1)


def _owners(module: cst.Module) -> dict[cst.FunctionDef, str]:
    owners: dict[cst.FunctionDef, str] = {}
    for node in module.body:
        if isinstance(node, cst.FunctionDef):
            owners[node] = ""
        elif isinstance(node, cst.ClassDef) and isinstance(node.body, cst.IndentedBlock):
            owners.update({inner: node.name.value for inner in node.body.body if isinstance(inner, cst.FunctionDef)})
    return owners


def _head(node: cst.CSTNode) -> cst.CSTNode:
    """Return a compound statement without its body: the changed part is its condition."""
    if isinstance(node, cst.If):
        return node.with_changes(body=cst.SimpleStatementSuite([cst.Pass()]), orelse=None, leading_lines=[])
    if isinstance(node, cst.While):
        return node.with_changes(body=cst.SimpleStatementSuite([cst.Pass()]), orelse=None, leading_lines=[])
    if isinstance(node, cst.SimpleStatementLine):
        return node.with_changes(leading_lines=[], trailing_whitespace=cst.TrailingWhitespace())
    return node


def _one_line(code: str) -> str:
    return " ".join(code.split())


def _alone(tree: cst.Module, owner: str, function: cst.FunctionDef, mutation: Mutation) -> str:
    """Return the function as a separate source: undecorated, in a class of the same name for mangled names."""
    changed = deep_replace(function, mutation.original_node, mutation.mutated_node)
    bare = cst.ensure_type(changed, cst.FunctionDef).with_changes(
        decorators=[], leading_lines=[], lines_after_decorators=[]
    )
    if not owner:
        return tree.code_for_node(bare)
    return tree.code_for_node(cst.ClassDef(name=cst.Name(owner), body=cst.IndentedBlock([bare])))


def selected(mutants: Sequence[Mutant], sample: int | None, seed: int) -> list[Mutant]:
    """Return a random sample of ``sample`` mutants; None: all of them.

    Digests of their keys choose them, so a change of the sources changes only a small part of a sample.
    """

    def drawn(mutant: Mutant) -> bytes:
        return hashlib.sha256("\n".join((str(seed), *mutant.key)).encode()).digest()

    if sample is None:
        return list(mutants)
    chosen = set(sorted(mutants, key=drawn)[:sample])
    return [mutant for mutant in mutants if mutant in chosen]
