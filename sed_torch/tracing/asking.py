"""Whether the training mode changes what a model's forward computes, as its code says.

A forward that asks for its mode to switch dropout, noise or running statistics on has the same operators, parameters
and gradients in both modes. Then the graph that was scored is that of training too, and a second trace is spared.
Whatever is not plainly of that kind counts as a change.
"""

from __future__ import annotations

import ast
import functools
import inspect
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import torch
from torch import nn

from sed_torch.tracing.code import functions_of, tree_of
from sed_torch.tracing.statements import called
from sed_torch.tracing.watching import ModeReads, Site, Switches, asked_in, switched_off, switches_off

__all__ = ["asks_for_mode", "mode_matters"]

_DEEPEST = 3
"""How many calls deep a helper is looked into for the mode that it is given."""
_CUTS = frozenset(
    "detach no_grad inference_mode set_grad_enabled data item argmax round sign getattr setattr".split()  # noqa: SIM905
)
_NOISE = frozenset(
    "add add_ bernoulli bernoulli_ clone contiguous div div_ dropout dropout_ empty empty_like expand float floor len "  # noqa: SIM905
    "mul mul_ new_empty new_full new_ones new_zeros normal_ ones ones_like rand rand_like randn randn_like size sub "
    "tuple type to uniform_ unsqueeze view zeros zeros_like stochastic_depth drop_path isinstance".split()
)
"""What noise is made of and put on with, where the data takes part in the call."""
_TABLES = frozenset(["__dict__", "vars"])
_PLAIN = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.If, ast.Expr, ast.Pass)


def mode_matters(model: nn.Module, reads: ModeReads) -> bool:
    """Whether the mode does more in a forward than to switch noise or statistics.

    Args:
        model: the module whose forward was followed.
        reads: what was seen while it was followed, in either mode: up to where the modes part, both run the same code.
    """
    by_kind: dict[type, list[nn.Module]] = {}
    for module in model.modules():
        by_kind.setdefault(type(module), []).append(module)
    if reads.hinted or any(_hides(kind, modules) for kind, modules in by_kind.items()):
        return True
    return any(not _harmless(site, off) for site, off in reads.sites.items())


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
def _harmless(site: Site, off: Switches) -> bool:
    reading = _Reading(site.code, site.names, off, _DEEPEST)
    return site.method and reading.asks() and reading.harmless()


@functools.lru_cache(maxsize=8192)
def _in_code(code: types.CodeType) -> bool:
    inner = (c for c in code.co_consts if isinstance(c, types.CodeType))
    return "training" in code.co_names or "training" in code.co_consts or any(map(_in_code, inner))


def _is_and(test: ast.AST) -> TypeGuard[ast.BoolOp]:
    return isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And)


_SWITCHES = frozenset(["set_grad_enabled", "inference_mode", "no_grad", "enable_grad"])
"""Of torch's functions, those by which a mode decides whether gradients flow."""


class _Reading:
    """Reads one function: what its mode, an attribute or a parameter, does in it.

    Args:
        code: the function.
        names: the names that it sees beside its own.
        off: attributes of ``self`` that are off.
        depth: how much deeper helpers may be read.
        parameter: the parameter that holds the mode, where it is not ``self.training``.
    """

    def __init__(
        self,
        code: types.CodeType,
        names: Mapping[str, Any],
        off: Switches,
        depth: int,
        parameter: str | None = None,
    ) -> None:
        self._globals, self._off, self._depth = names, off, depth
        self._tree, _ = tree_of(code)
        self._names = {parameter} if parameter else set()
        if self._tree is not None:
            self._parents = {c: n for n in ast.walk(self._tree) for c in ast.iter_child_nodes(n)}
            given = self._tree.args
            listed = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
            self._self = listed[0] if listed and not parameter else ""
            self._data = set(listed) - {self._self, *self._names}

    def asks(self) -> bool:
        """Whether the function's own text shows where it reads the mode."""
        return self._tree is not None and any(self._uses())

    def harmless(self) -> bool:
        """Whether the mode switches noise and statistics alone."""
        if self._tree is None:
            return False
        self._spread_data()
        known: set[str] = set()
        while True:
            if not all(self._use(n) for n in self._uses()):
                return False
            if self._names == known:
                return True
            known = set(self._names)

    def _spread_data(self) -> None:
        """Names that data is assigned to, or what is computed from it."""
        assert self._tree is not None
        before = -1
        while before != len(self._data):
            before = len(self._data)
            for node in ast.walk(self._tree):
                if isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.NamedExpr, ast.For)):
                    value = node.iter if isinstance(node, ast.For) else node.value
                    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                    if value is not None and self._holds_data(value) and not _is_size(value):
                        self._data |= {n for t in targets for n in _held_by(t)}
        self._data -= self._names

    def _holds_data(self, tree: ast.AST) -> bool:
        return any(isinstance(n, ast.Name) and n.id in self._data for n in ast.walk(tree))

    def _uses(self) -> Iterator[ast.expr]:
        assert self._tree is not None
        for node in ast.walk(self._tree):
            if (
                (isinstance(node, ast.Attribute) and node.attr == "training")
                or (isinstance(node, ast.Name) and node.id in self._names and isinstance(node.ctx, ast.Load))
                or (isinstance(node, ast.Constant) and node.value == "training")
            ):
                yield node

    def _use(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Constant):
            return False
        inner = node
        parent = self._parents[node]
        while isinstance(parent, (ast.BoolOp, ast.UnaryOp, ast.Compare)):
            if _is_and(parent) and self._never(parent):
                return True
            inner, parent = parent, self._parents[parent]
        if isinstance(parent, ast.keyword):
            return self._given(self._parents[parent], parent.arg)
        if isinstance(parent, ast.Call) and inner in parent.args:
            return self._given(parent, parent.args.index(inner))
        if isinstance(parent, ast.IfExp) and inner is parent.test:
            return not any(
                isinstance(n, ast.Call) for b in (parent.body, parent.orelse) for n in ast.walk(b)
            ) and (not self._holds_data(parent.body) and not self._holds_data(parent.orelse))
        if isinstance(parent, ast.If) and inner is parent.test:
            return self._branch(parent)
        if isinstance(parent, (ast.Assign, ast.AnnAssign)) and inner is parent.value:
            targets = parent.targets if isinstance(parent, ast.Assign) else [parent.target]
            return self._assigned(targets)
        return False

    def _never(self, test: ast.BoolOp) -> bool:
        """Whether an ``and`` has a switch of ``self`` in it that is off."""
        return any(switched_off(v, self._self, self._off) for v in test.values)

    def _assigned(self, targets: Sequence[ast.expr]) -> bool:
        """A local name holds the mode from now on."""
        if not all(isinstance(t, ast.Name) for t in targets):
            return False
        self._names |= {t.id for t in targets if isinstance(t, ast.Name)}
        return True

    def _branch(self, node: ast.If) -> bool:
        if len(node.body) == 1 and isinstance(node.body[0], ast.Return) and not node.orelse:
            value = node.body[0].value
            return isinstance(value, ast.Name) and value.id in self._data and self._is_noise(self._tree)
        blocks = [*node.body, *node.orelse]
        if not any(self._holds_data(s) for s in blocks) and not any(
            isinstance(n, ast.stmt) and not isinstance(n, _PLAIN) for s in blocks for n in ast.walk(s)
        ):
            return all(self._flags(s) for s in blocks)
        return not node.orelse and all(self._adds_noise(s) for s in node.body)

    def _flags(self, statement: ast.stmt) -> bool:
        """Statements that touch no data: they set flags, which are followed, or count steps."""
        for n in ast.walk(statement):
            if isinstance(n, (ast.Assign, ast.AnnAssign)):
                targets = n.targets if isinstance(n, ast.Assign) else [n.target]
                names = [t for t in targets if isinstance(t, ast.Name)]
                self._names |= {t.id for t in names}
                if len(names) != len(targets) and not _counts(targets):
                    return False
        return True

    def _adds_noise(self, statement: ast.stmt) -> bool:
        """``x = x * mask``: data stays in what it is assigned to, and no layer is called."""
        if not isinstance(statement, (ast.Assign, ast.AugAssign)) or not self._is_noise(statement):
            return False
        if isinstance(statement, ast.AugAssign):
            return True
        names = {t.id for t in statement.targets if isinstance(t, ast.Name)}
        if not names or any(not isinstance(t, ast.Name) for t in statement.targets):
            return False
        read = {n.id for n in ast.walk(statement.value) if isinstance(n, ast.Name)}
        assert self._tree is not None
        first = self._tree.args.args
        inputs = {a.arg for a in first}
        return not (names & inputs) or bool(names & read)

    def _is_noise(self, tree: ast.AST | None) -> bool:
        """Calls no layer, cuts nothing, and returns its data."""
        inside = list(ast.walk(tree)) if tree is not None else []
        raising = {m for n in inside if isinstance(n, ast.Raise) for m in ast.walk(n)}
        for n in (n for n in inside if n not in raising):
            if isinstance(n, ast.Attribute) and n.attr in _CUTS:
                return False
            if isinstance(n, ast.Call) and self._holds_data(n) and called(n) not in _NOISE:
                return False
            if isinstance(n, ast.Call) and _root(n.func) == self._self:
                return False
            if isinstance(n, ast.Return) and (n.value is None or not self._holds_data(n.value)):
                return False
        return True

    def _given(self, call: ast.AST, place: str | int | None) -> bool:
        """The mode is handed on: to an operator of torch, or to a function that is as harmless."""
        if not isinstance(call, ast.Call) or place is None:
            return False
        function = _resolved(call.func, self._globals)
        if function is None:
            return False
        module = str(getattr(function, "__module__", "") or "")
        if getattr(function, "__name__", "") in _SWITCHES:
            return False
        if module.startswith("torch.") or inspect.isbuiltin(function):
            return True
        if not isinstance(function, types.FunctionType) or self._depth <= 0:
            return False
        function = inspect.unwrap(function)
        code = function.__code__
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        name = place if isinstance(place, str) else names[place] if place < code.co_argcount else None
        if name not in names:
            return False
        return _Reading(code, function.__globals__, frozenset(), self._depth - 1, name).harmless()


def _held_by(target: ast.expr) -> Iterator[str]:
    """The names that an assignment writes to, themselves or an entry of theirs."""
    if isinstance(target, (ast.Tuple, ast.List)):
        for part in target.elts:
            yield from _held_by(part)
    elif isinstance(target, ast.Starred):
        yield from _held_by(target.value)
    elif (name := _root(target)) is not None:
        yield name


def _is_size(value: ast.AST) -> bool:
    return isinstance(value, ast.Attribute) and value.attr in ("shape", "ndim", "dtype", "device")


def _counts(targets: Sequence[ast.expr]) -> bool:
    return all("num_batches" in ast.unparse(t) for t in targets)


def _root(function: ast.expr) -> str | None:
    """The name that ``a.b[c].d`` begins with."""
    while isinstance(function, (ast.Attribute, ast.Subscript)):
        function = function.value
    return function.id if isinstance(function, ast.Name) else None


def _resolved(function: ast.expr, names: Mapping[str, Any]) -> Any:
    if isinstance(function, ast.Name):
        return names.get(function.id)
    if isinstance(function, ast.Attribute):
        holder = _resolved(function.value, names)
        return getattr(holder, function.attr, None) if isinstance(holder, types.ModuleType) else None
    return None
