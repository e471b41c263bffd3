"""What losses written by hand, and steps that a module holds itself, expect of the output; read as syntax trees.

A loss of one's own says what it takes by what it does with its first argument: it gives it to a loss of torch's, or
applies a softmax, a sigmoid or a logarithm. What is not plain counts as not known.
"""

from __future__ import annotations

import ast
import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn
from torch.nn.modules.loss import _Loss

from sed_torch.tracing.code import functions_of, source_tree, tree_of

__all__ = ["first_use", "losses_of_steps"]

_Function = ast.FunctionDef | ast.Lambda


def first_use(
    loss: Any, kind_of_name: Callable[[str], str | None], kind_of: Callable[[Any], str | None]
) -> str | None:
    """What a function, or a module's forward, does with its first argument; None where that is not plain.

    Args:
        loss: a function, a lambda or a module.
        kind_of_name: name of a call → what it expects of its first argument.
        kind_of: a module that the loss holds → the same.
    """
    holder = loss if isinstance(loss, nn.Module) else None
    function = (
        inspect.unwrap(type(loss).forward)
        if holder is not None
        else inspect.unwrap(loss)
        if callable(loss)
        else None
    )
    if not isinstance(function, types.FunctionType):
        return None
    tree = _tree(function)
    arguments = [a.arg for a in (*tree.args.posonlyargs, *tree.args.args)] if tree is not None else []
    first = arguments[1:] if holder is not None else arguments
    if tree is None or not first:
        return None
    found = {
        k for call in _given(tree, first[0]) if (k := _kind(call, holder, kind_of_name, kind_of)) is not None
    }
    return found.pop() if len(found) == 1 else None


def _tree(function: types.FunctionType) -> _Function | None:
    tree, _ = tree_of(function.__code__)
    if tree is not None:
        return tree
    module, _ = source_tree(function.__code__)
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    lambdas = [n for n in ast.walk(module) if isinstance(n, ast.Lambda)] if module is not None else []
    own = [n for n in lambdas if tuple(a.arg for a in n.args.args) == names]
    return own[0] if len(own) == 1 else None


def _given(tree: _Function, name: str) -> Iterator[ast.Call]:
    """The calls whose first argument, or whose object, is a name, before the name is given anew."""
    until = min(
        (
            n.lineno
            for n in ast.walk(tree)
            if isinstance(n, (ast.Assign, ast.AugAssign, ast.AnnAssign)) and name in _bound(n)
        ),
        default=1 << 30,
    )
    for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call) and n.lineno <= until):
        of = call.func.value if isinstance(call.func, ast.Attribute) else None
        read = call.args[0] if call.args else next((k.value for k in call.keywords if k.arg == "input"), None)
        if any(isinstance(n, ast.Name) and n.id == name for n in (of, _unguarded(read))):
            yield call


def _unguarded(value: ast.expr | None) -> ast.expr | None:
    """``x`` of ``x + 1e-8``."""
    guarded = isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add)
    return value.left if guarded and isinstance(value.right, ast.Constant) else value  # type: ignore[union-attr]


def _bound(statement: ast.Assign | ast.AugAssign | ast.AnnAssign) -> set[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}


def _kind(
    call: ast.Call,
    holder: nn.Module | None,
    kind_of_name: Callable[[str], str | None],
    kind_of: Callable[[Any], str | None],
) -> str | None:
    function = call.func
    if isinstance(function, ast.Call):  # nn.CrossEntropyLoss()(x, y)
        return kind_of_name(_name(function))
    held = (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and function.value.id == "self"
    )
    if held and holder is not None:
        return kind_of(getattr(holder, _name(call), None))
    return kind_of_name(_name(call))


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def losses_of_steps(model: nn.Module, is_loss: Callable[[str], bool]) -> list[Any]:
    """The losses that methods of a module beside its forward apply to what the module returns, as it returns it.

    Also a loss of torch's that the module holds and no method of its own applies: the training script does.

    Args:
        model: the module, for example one of Lightning's.
        is_loss: whether a name is that of a loss of torch's.

    Returns:
        Modules and names.
    """
    held = {name: m for name, m in model._modules.items() if isinstance(m, _Loss)}
    kind: Any = type(model)
    forward = {f.__code__ for f in functions_of(kind)}
    found: list[Any] = []
    applied: set[str] = set()
    for function in _methods(kind):
        names = function.__code__.co_names
        if not any(n in held or is_loss(n) for n in names):
            continue  # a tree is dear: most methods have nothing to do with a loss
        tree = _tree(function)
        for call in ast.walk(tree) if tree is not None else ():
            if not isinstance(call, ast.Call):
                continue
            own = _of_self(call.func) and _name(call) in held
            applied |= {_name(call)} if own else set()
            if (
                tree is None
                or function.__code__ in forward
                or not call.args
                or not _is_output(tree, call.args[0])
            ):
                continue
            found += [held[_name(call)]] if own else [_name(call)] if is_loss(_name(call)) else []
    unused = [m for name, m in held.items() if name not in applied]
    return found or (unused if len(held) == 1 else [])


def _methods(kind: type) -> Iterator[types.FunctionType]:
    for base in kind.__mro__:
        if not base.__module__.startswith(("torch.", "lightning.", "pytorch_lightning.")):
            yield from (
                f
                for v in vars(base).values()
                if isinstance(f := inspect.unwrap(v) if callable(v) else v, types.FunctionType)
            )


def _of_self(value: ast.expr) -> bool:
    return isinstance(value, ast.Attribute) and isinstance(value.value, ast.Name) and value.value.id == "self"


def _is_output(tree: _Function, value: ast.expr) -> bool:
    """Whether an expression is what the module's own call returned, and nothing else."""
    if isinstance(value, ast.Call):
        whole = isinstance(value.func, ast.Name) and value.func.id == "self"
        return whole or (_of_self(value.func) and _name(value) == "forward")
    if not isinstance(value, ast.Name):
        return False
    given = [
        n
        for n in ast.walk(tree)
        if isinstance(n, (ast.Assign, ast.AugAssign, ast.AnnAssign)) and value.id in _bound(n)
    ]
    if len(given) != 1 or not isinstance(given[0], ast.Assign):
        return False
    plain = all(isinstance(t, ast.Name) for t in given[0].targets)
    return plain and isinstance(given[0].value, ast.Call) and _is_output(tree, given[0].value)
