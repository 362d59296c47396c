"""The text of functions and classes, and of all that they need, so that it stands alone.

Here belongs what may stand in such a file: what the standard library and torch have is imported, functions, classes and
plain constants beside the thing are included, and everything else is refused. Nothing is executed.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import math
import symtable
import sys
import textwrap
import types
from collections.abc import Callable, Collection, Mapping
from typing import Any

from nas.errors import ExportError

Thing = Callable[..., Any]  # a function or a class
OWN = ("nas.layers", "nas.preprocess", "nas.export.python.standalone")  # our modules whose text may be included
PUBLIC = ("torch", "torch.nn", "torch.nn.functional")  # where a name of torch is looked for first


class Sources:
    """Grows, thing by thing, the imports and definitions of a file; ``given`` are names the file defines itself."""

    def __init__(self, given: Collection[str] = ()) -> None:
        self.given = frozenset(given)
        self.imports: dict[str, str] = {}  # name -> line
        self.texts: dict[str, str] = {}  # name -> definition, each after what it needs
        self._bound: dict[str, Any] = {}

    def add(self, thing: Thing) -> str:
        """Returns the name of ``thing``, whose text, with all that it needs, is now among ``texts``.

        Raises:
            ExportError: its text is not at hand, or needs something that may not stand in the file.
        """
        name = thing.__name__
        if name.isidentifier() and self._claim(name, thing):
            text = text_of(thing)
            self.need(text, scope_of(thing), thing)
            self.texts[name] = text
        return name

    def define(self, name: str, text: str) -> str:
        """Returns ``name``, which ``text`` defines in the file, after all that is there already."""
        self._claim(name, text)
        self.texts[name] = text
        return name

    def need(self, text: str, scope: Mapping[str, Any], user: Thing) -> None:
        """Adds everything that ``text``, which belongs to ``user``, finds in ``scope``."""
        tree = ast.parse(text)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = (
                    [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
                )
                for module in modules:
                    if not _is_free(module) or (isinstance(node, ast.ImportFrom) and node.level):
                        raise _refused(user, f"imports {module or 'a module beside it'}")
        needed = _free_names(ast.unparse(_Bare().visit(tree)))
        for name in sorted(_free_names(text) - self.given):
            if name in scope:
                try:
                    self.bind(name, scope[name], user)
                except ExportError:
                    if name in needed:  # what stands in annotations alone is never looked up
                        raise
            elif name in needed and not hasattr(builtins, name):
                raise _refused(user, f"uses {name!r}, which is not to be found")

    def bind(self, name: str, value: Any, user: Thing) -> None:
        """Makes ``name`` mean ``value`` in the file: by an import, a definition or a constant."""
        if isinstance(value, types.ModuleType):
            if not _is_free(value.__name__):
                raise _refused(user, f"uses {value.__name__}")
            if self._claim(name, value):
                self.imports[name] = _import_line(value.__name__, name)
        elif inspect.isclass(value) or inspect.isroutine(value):
            self._bind_definition(name, value, user)
        elif (constant := constant_text(value)) is not None:
            if self._claim(name, value):
                self.texts[name] = f"{name} = {constant}\n"
        elif not self._bind_import(name, value):
            raise _refused(user, f"uses {name!r}, a {type(value).__name__}")

    def _bind_definition(self, name: str, value: Any, user: Thing) -> None:
        module = getattr(value, "__module__", None) or ""
        if self._bind_import(name, value):
            return
        if module.partition(".")[0] != user.__module__.partition(".")[0] and not module.startswith(OWN):
            raise _refused(user, f"uses {name!r} of {module or 'an unknown module'}")
        if name != value.__name__:
            raise _refused(user, f"calls {value.__name__!r} by another name, {name!r}")
        self.add(value)

    def _bind_import(self, name: str, value: Any) -> bool:
        """Imports ``value`` where torch or the standard library has it under its own name; returns whether it did."""
        own = getattr(value, "__name__", name)
        home = (getattr(value, "__module__", None) or "").partition("._")[0]
        places = (*PUBLIC, home) if not home or home.startswith("torch") else (home,)
        for place in places:
            module = sys.modules.get(place)
            if module is not None and _is_free(place) and getattr(module, own, None) is value:
                if self._claim(name, value):
                    self.imports[name] = f"from {place} import {own}" + (f" as {name}" if own != name else "")
                return True
        return False

    def _claim(self, name: str, value: Any) -> bool:
        """Returns whether ``name`` is new; ExportError where it means something else already."""
        if name in self.given or (name in self._bound and self._bound[name] is not value):
            raise ExportError(
                f"in a stand-alone .py each name has one meaning, but {name!r} would have two; rename that of your"
                " operation, or export .onnx or .pt2."
            )
        new = name not in self._bound
        self._bound[name] = value
        return new


def text_of(thing: Thing) -> str:
    """Returns the source of a function or class, not indented; ExportError where it is not at hand."""
    try:
        text = textwrap.dedent(inspect.getsource(thing))
        tree = ast.parse(text)
    except (OSError, TypeError, SyntaxError) as error:
        raise _refused(thing, f"has no source at hand ({error})") from error
    if len(tree.body) != 1 or not isinstance(tree.body[0], ast.FunctionDef | ast.ClassDef):
        raise _refused(thing, "is no function or class with a text of its own, such as `def` and `class` give")
    return text


def scope_of(thing: Thing) -> dict[str, Any]:
    """Returns the names that a function or the methods of a class can see, by name."""
    functions = [inspect.unwrap(thing)]
    if inspect.isclass(thing):
        members = [getattr(value, "__func__", getattr(value, "fget", value)) for value in vars(thing).values()]
        functions = [member for member in members if inspect.isfunction(member)]
    scope = dict(vars(sys.modules[thing.__module__])) if thing.__module__ in sys.modules else {}
    for function in functions:
        scope |= getattr(function, "__globals__", {})
    for function in functions:
        if inspect.isfunction(function):
            scope |= inspect.getclosurevars(function).nonlocals
    return scope


def constant_text(value: Any) -> str | None:
    """Returns the source of a plain constant (numbers, text, None, and tuples of them), None for anything else."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if value is None or type(value) in (bool, int, float, str):
        return repr(value)
    if type(value) is tuple:
        parts = [constant_text(item) for item in value]
        if None not in parts:
            return f"({', '.join(map(str, parts))}{',' if len(parts) == 1 else ''})"
    return None


class _Bare(ast.NodeTransformer):
    """Removes annotations, which are never looked up."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)


def _free_names(text: str) -> set[str]:
    """Returns the names that ``text`` looks up and does not define."""
    top = symtable.symtable(text, "source", "exec")
    defined = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    names: set[str] = set()
    tables = [top]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        names |= {s.get_name() for s in table.get_symbols() if s.is_referenced() and (s.is_global() or table is top)}
    return names - defined


def _is_free(module: str) -> bool:
    """Whether a file that stands alone may import ``module``."""
    root = module.partition(".")[0]
    return root == "torch" or root in sys.stdlib_module_names


def _import_line(module: str, name: str) -> str:
    parent, _, leaf = module.rpartition(".")
    if module == name:
        return f"import {module}"
    if parent:
        return f"from {parent} import {leaf}" + (f" as {name}" if leaf != name else "")
    return f"import {module} as {name}"


def _refused(user: Thing, why: str) -> ExportError:
    return ExportError(
        "an operation is written into a stand-alone .py where its source uses torch and the standard library alone, but"
        f" {getattr(user, '__qualname__', repr(user))!r} {why}; write it so, or export .onnx or .pt2."
    )
