"""In which line of the user's code a module or tensor is assigned."""

from __future__ import annotations

import ast
import functools
import inspect
import re
from collections.abc import Iterator, Mapping

from torch import nn

from sed_torch.tracing.code import source_tree

__all__ = ["assignment"]


def assignment(modules: Mapping[str, nn.Module], name: str) -> str | None:
    """``file:line`` of ``self.<name> = …`` in the class that holds it; of the class where no line says so.

    Args:
        modules: modules by path.
        name: dotted name of a module or tensor, as in ``"blocks.0.conv"``; a container of torch's own
            (``nn.Sequential``) is looked through to the class that made it.
    """
    path, _, attribute = name.rpartition(".")
    inner: list[str] = [attribute]
    while path in modules and type(modules[path]).__module__.startswith("torch."):
        if not path:
            return None
        path, _, attribute = path.rpartition(".")
        inner.insert(0, attribute)
    holder = modules.get(path)
    if holder is None:
        return None
    attribute = re.split(r"[\[.]", inner[0])[0]
    for kind in type(holder).__mro__:
        if kind is nn.Module:
            break
        line = _lines(kind).get(attribute)
        if line is not None:
            return f"{_file(kind)}:{_element(kind, attribute, inner[1:], line)}"
    return _class_line(type(holder))


def _file(kind: type) -> str | None:
    try:
        return inspect.getsourcefile(kind)
    except (OSError, TypeError):
        return None


def _class_line(kind: type) -> str | None:
    try:
        return f"{_file(kind)}:{inspect.getsourcelines(kind)[1]}" if _file(kind) else None
    except (OSError, TypeError):
        return None


def _assignments(tree: ast.AST) -> Iterator[tuple[str, ast.expr | None, int]]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for part, value in _unpacked(target, node.value):
                    if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
                        yield part.attr, value, part.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            registers = node.func.attr in (
                "register_buffer",
                "register_parameter",
                "add_module",
                "register_module",
            )
            first = node.args[0]
            if registers and isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value, None, node.lineno


def _unpacked(target: ast.expr, value: ast.expr | None) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    """Each name of ``self.a, self.b = …`` with what it is given, where both sides are written out."""
    if not isinstance(target, (ast.Tuple, ast.List)):
        yield target, value
        return
    written = isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == len(target.elts)
    for i, part in enumerate(target.elts):
        yield from _unpacked(part, value.elts[i] if written else None)  # type: ignore[union-attr]


@functools.lru_cache(maxsize=256)
def _lines(kind: type) -> Mapping[str, int]:
    tree, before = source_tree(kind)
    found: dict[str, int] = {}
    for name, _, line in _assignments(tree) if tree is not None else ():
        found.setdefault(name, line + before)
    return found


def _element(kind: type, attribute: str, inner: list[str], line: int) -> int:
    """The line of an element of ``self.net = nn.Sequential(a, b, …)``, where elements are written one by one."""
    tree, before = source_tree(kind)
    value = next((v for n, v, _ in _assignments(tree) if n == attribute), None) if tree is not None else None
    for name in inner:
        if not (name.isdigit() and isinstance(value, ast.Call)):
            break
        args = value.args
        if len(args) == 1 and isinstance(args[0], (ast.List, ast.Tuple)):
            args = args[0].elts
        if int(name) >= len(args) or any(isinstance(a, ast.Starred) for a in args):
            break
        value = args[int(name)]
        line = value.lineno + before
    return line
