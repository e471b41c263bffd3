"""Whether the training mode changes what a model's forward computes, as its code says.

A forward that asks for its mode to switch dropout, noise or running statistics on has the same operators, parameters
and gradients in both modes. Then the graph that was scored is that of training too, and a second trace is spared.
Whatever is not plainly of that kind counts as a change.
"""

from __future__ import annotations

import ast
import functools
import types
from collections.abc import Sequence
from typing import TypeGuard

import torch
from torch import nn

from sed_torch.tracing.code import functions_of, tree_of
from sed_torch.tracing.switching import Switched, switched_in
from sed_torch.tracing.watching import ModeReads, Site, Switches, asked_in, switched_off, switches_off

__all__ = ["asks_for_mode", "mode_matters", "switched_by_mode"]

_TABLES = frozenset(["__dict__", "vars"])


def mode_matters(model: nn.Module, reads: ModeReads) -> bool:
    """Whether the mode does more in a forward than to switch noise or statistics. As :func:`switched_by_mode`."""
    return switched_by_mode(model, reads) is None


def switched_by_mode(model: nn.Module, reads: ModeReads) -> Switched | None:
    """Where the mode switches noise or statistics; None where it may do more.

    Args:
        model: the module whose forward was followed.
        reads: what was seen while it was followed, in either mode: up to where the modes part, both run the same code.
    """
    by_kind: dict[type, list[nn.Module]] = {}
    for module in model.modules():
        by_kind.setdefault(type(module), []).append(module)
    if reads.hinted or any(_hides(kind, modules) for kind, modules in by_kind.items()):
        return None
    found = Switched()
    for site, off in reads.sites.items():
        switched = _switched_at(site, off)
        if switched is None:
            return None
        found |= switched
    return found


def asks_for_mode(kind: type) -> bool:
    """Whether code of a module's class, not torch's, asks for its mode at all."""
    return any(_in_code(f.__code__) for f in functions_of(kind))


def _hides(kind: type, modules: Sequence[nn.Module]) -> bool:
    """Whether the mode may act where no read of it is seen: in ``train()``, an attribute of the class, or a script."""
    if issubclass(kind, torch.jit.ScriptModule):
        return any(_script_asks(m) for m in modules)
    own = [k for k in kind.__mro__ if not k.__module__.startswith("torch.") and k is not object]
    if any("training" in vars(k) for k in own) or any("train" in vars(m) for m in modules):
        return True
    if _looks_it_up(kind):
        return True
    trains = [vars(k)["train"] for k in own if "train" in vars(k)]
    return bool(trains) and not all(_sets_modes_alone(t, modules) for t in trains)


def _looks_it_up(kind: type) -> bool:
    """Whether code takes the mode from the table of a module's attributes, where nobody sees it read."""
    for function in functions_of(kind):
        named = (function.__globals__.get(n) for n in function.__code__.co_names)
        helpers = (f for f in named if isinstance(f, types.FunctionType))
        if any(
            "training" in f.__code__.co_consts and _TABLES & {*f.__code__.co_names}
            for f in (function, *helpers)
        ):
            return True
    return False


def _script_asks(module: nn.Module) -> bool:
    try:
        return 'name="training"' in str(module.inlined_graph)
    except (AttributeError, RuntimeError):  # no forward to be read
        return True


def _sets_modes_alone(function: object, modules: Sequence[nn.Module]) -> bool:
    """Whether a ``train()`` of the user's hands on to torch's and does no more, its switches being off."""
    if not isinstance(function, types.FunctionType):
        return False
    tree, _ = tree_of(function.__code__)
    if tree is None or not tree.args.args:
        return False
    off = frozenset.intersection(*(switches_off(m, asked_in(function.__code__)) for m in modules))
    return all(_is_plain_train(s, tree.args.args[0].arg, off) for s in tree.body)


def _is_plain_train(statement: ast.stmt, own: str, off: Switches) -> bool:
    if isinstance(statement, ast.If):
        tests = statement.test.values if _is_and(statement.test) else [statement.test]
        never = any(switched_off(t, own, off) for t in tests)
        return never and all(_is_plain_train(s, own, off) for s in statement.orelse)
    if isinstance(statement, ast.Assign):
        plain = all(isinstance(t, ast.Name) for t in statement.targets)
    else:
        plain = isinstance(statement, (ast.Expr, ast.Return, ast.Pass))
    calls = [n for n in ast.walk(statement) if isinstance(n, ast.Call)]
    return plain and all(_is_super(c) for c in calls)


def _is_super(call: ast.Call) -> bool:
    """``super()``, and ``train`` of it."""
    inner = call.func
    if isinstance(inner, ast.Attribute) and inner.attr == "train" and isinstance(inner.value, ast.Call):
        inner = inner.value.func
    return isinstance(inner, ast.Name) and inner.id == "super"


@functools.lru_cache(maxsize=8192)
def _switched_at(site: Site, off: Switches) -> Switched | None:
    return switched_in(site.code, site.names, off) if site.method else None


@functools.lru_cache(maxsize=8192)
def _in_code(code: types.CodeType) -> bool:
    inner = (c for c in code.co_consts if isinstance(c, types.CodeType))
    return "training" in code.co_names or "training" in code.co_consts or any(map(_in_code, inner))


def _is_and(test: ast.AST) -> TypeGuard[ast.BoolOp]:
    return isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And)
