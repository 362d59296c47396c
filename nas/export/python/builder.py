"""The call that makes a node's module, as a person would write it: ``nn.Linear(16, 128)``, not ``build(shape, ...)``.

Here belongs reading the function that builds an operation. Where it is a straight line (imports, names given once, one
``return``), its shape and parameters are known numbers, and what can be worked out from them is. Anything else stays a
function, which is included and called.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import operator
import re
import types
from collections.abc import Callable, Mapping
from typing import Any

from nas.errors import ExportError
from nas.export.python.sources import Sources, Thing, constant_text, scope_of, text_of
from nas.operations import Shape, Value

MAX_TEXT = 2000  # letters of the lines that a lambda stands in
_BINARY: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}


def call(build: Thing, shape: Shape, parameters: Mapping[str, Value], sources: Sources) -> str:
    """Returns the expression for ``build(shape, **parameters)``; what it needs is added to ``sources``.

    Raises:
        ExportError: the source of ``build`` is not at hand, or needs more than torch.
    """
    if inspect.isfunction(build):
        straight = _straight(build, shape, parameters)
        if straight is not None:
            expression, scope = straight
            sources.need(expression, scope, build)
            return expression
    elif not inspect.isclass(build):
        raise ExportError(
            f"an operation is written into a stand-alone .py where a function or class builds it, but a"
            f" {type(build).__name__} does; write a function, or export .onnx or .pt2."
        )
    arguments = [f"{name}={constant_text(value)}" for name, value in parameters.items()]
    return f"{sources.add(build)}({', '.join([str(constant_text(tuple(shape))), *arguments])})"


def _straight(build: Thing, shape: Shape, parameters: Mapping[str, Value]) -> tuple[str, dict[str, Any]] | None:
    """Returns the expression that a straight function returns and the names it sees, None for another function."""
    function = _definition(build)
    if function is None:
        return None
    bound = inspect.signature(build).bind(tuple(shape), **parameters)
    bound.apply_defaults()
    known: dict[str, ast.expr] = {}
    for name, value in bound.arguments.items():
        text = constant_text(value)
        if text is None:
            return None
        known[name] = ast.parse(text, mode="eval").body
    scope = scope_of(build)
    for statement in function.body[:-1]:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            scope |= _imported(statement)
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name = statement.targets[0].id
            uses = sum(isinstance(node, ast.Name) and node.id == name for node in ast.walk(function))
            if len(statement.targets) > 1 or uses > 2 or name in known:  # a module used twice is one module
                return None
            known[name] = _Fold(known, scope).visit(statement.value)
        elif not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            return None
    last = function.body[-1]
    if not isinstance(last, ast.Return) or last.value is None:
        return None
    return ast.unparse(_Fold(known, scope).visit(last.value)), scope


def _definition(build: Thing) -> ast.FunctionDef | None:
    """Returns the syntax of a function, a lambda among them; None where it is decorated."""
    if build.__name__ == "<lambda>":
        node = _lambda(build)
        function = ast.FunctionDef("build", node.args, [ast.Return(node.body)], [])
        return ast.fix_missing_locations(ast.copy_location(function, node))
    function_like = ast.parse(text_of(build)).body[0]
    if isinstance(function_like, ast.FunctionDef) and not function_like.decorator_list:
        return function_like
    return None


def _lambda(build: Thing) -> ast.Lambda:
    """Returns the syntax of a lambda, cut out of the lines it stands in; ExportError where it cannot be told."""
    try:
        text = inspect.getsource(build)[:MAX_TEXT]
    except OSError:
        text = ""
    found = {}
    for start in (match.start() for match in re.finditer(r"\blambda\b", text)):
        for end in range(len(text), start, -1):  # the longest piece that is an expression
            try:
                node = ast.parse(text[start:end].strip(), mode="eval").body
            except SyntaxError:
                continue
            node = node.elts[0] if isinstance(node, ast.Tuple) else node  # what follows a comma is not the lambda's
            if isinstance(node, ast.Lambda) and _is_code_of(node, build):
                found[ast.dump(node)] = node
            break
    if len(found) != 1:
        raise ExportError(
            "an operation is written into a stand-alone .py where its source is at hand, but that of a lambda cannot be"
            " told; write it with `def`, or export .onnx or .pt2."
        )
    return next(iter(found.values()))


def _is_code_of(node: ast.Lambda, build: Thing) -> bool:
    """Whether a lambda, one of several in a statement perhaps, has the names and constants of ``build``."""
    one = compile(ast.Expression(node), "lambda", "eval").co_consts[0]
    two = build.__code__
    names = [{*code.co_names, *code.co_freevars} for code in (one, two)]
    constants = [[c for c in code.co_consts if not isinstance(c, types.CodeType)] for code in (one, two)]
    return names[0] == names[1] and constants[0] == constants[1] and one.co_varnames == two.co_varnames


def _imported(statement: ast.Import | ast.ImportFrom) -> dict[str, Any]:
    """Returns what an import inside a function that has run already makes known."""
    if isinstance(statement, ast.Import):
        named = {alias.asname or alias.name.partition(".")[0]: alias for alias in statement.names}
        return {name: importlib.import_module(alias.name if alias.asname else name) for name, alias in named.items()}
    module = importlib.import_module(statement.module or "")
    found = {}
    for alias in statement.names:
        if not hasattr(module, alias.name):
            importlib.import_module(f"{statement.module}.{alias.name}")
        found[alias.asname or alias.name] = getattr(module, alias.name)
    return found


class _Fold(ast.NodeTransformer):
    """Puts known values in the place of names, and works out what they decide.

    ``layers.Mish`` of our own layers becomes ``Mish``, and ``scope`` learns it.
    """

    def __init__(self, known: Mapping[str, ast.expr], scope: dict[str, Any]) -> None:
        self.known = known
        self.scope = scope

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.Name) and node.id in self.known:
            return self.known[node.id]
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = self.scope.get(node.value.id)
            if getattr(module, "__name__", "") == "nas.layers" and hasattr(module, node.attr):
                self.scope[node.attr] = getattr(module, node.attr)
                return ast.Name(node.attr, ast.Load())
        node = self.generic_visit(node)
        if isinstance(node, ast.BoolOp | ast.IfExp | ast.Compare | ast.BinOp | ast.UnaryOp | ast.Subscript | ast.Call):
            return self._worked_out(node)
        return node

    def _worked_out(self, node: ast.expr) -> ast.expr:
        try:
            value = _value(node)
        except (_UnknownError, ArithmeticError, LookupError, TypeError):
            if isinstance(node, ast.IfExp):
                try:
                    return node.body if _value(node.test) else node.orelse
                except _UnknownError:
                    pass
            return node
        text = constant_text(value)
        return node if text is None else ast.parse(text, mode="eval").body


class _UnknownError(Exception):
    """An expression that is no plain constant."""


def _value(node: ast.expr) -> Any:
    """Returns the value of an expression of plain constants; _UnknownError for any other."""
    match node:
        case ast.Constant():
            return node.value
        case ast.Tuple():
            return tuple(map(_value, node.elts))
        case ast.BoolOp():
            stop = isinstance(node.op, ast.Or)  # the first value that is true (or), or false (and), ends it
            for part in node.values[:-1]:
                if bool(value := _value(part)) is stop:
                    return value
            return _value(node.values[-1])
        case ast.IfExp():
            return _value(node.body if _value(node.test) else node.orelse)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _BINARY:
            return _BINARY[type(op)](_value(left), _value(right))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](_value(left), _value(right))
        case ast.UnaryOp(op=ast.USub()):
            return -_value(node.operand)
        case ast.UnaryOp(op=ast.Not()):
            return not _value(node.operand)
        case ast.Call(func=ast.Name("len"), args=[argument], keywords=[]):
            return len(_value(argument))
        case ast.Subscript():
            return _value(node.value)[_value(node.slice)]
        case _:
            raise _UnknownError
