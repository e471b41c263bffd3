"""What the training mode does in one function, by its text: it switches noise and statistics, or it does more.

Harmless is what is plainly so: the mode is handed to an operator that drops entries or keeps statistics, it chooses the
rate of one, or lines that run in training alone put random numbers on a map, entry by entry. All else counts as more.
"""

from __future__ import annotations

import ast
import inspect
import types
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sed_torch.tracing.code import tree_of
from sed_torch.tracing.noise import DATA, FREE, OTHER, Kinds, root_of
from sed_torch.tracing.statements import called
from sed_torch.tracing.watching import Switches, equals_false, switched_off, switched_on

__all__ = ["Lines", "Switched", "switched_in"]

Lines = tuple[str, int, int]
"""A file, and the first and the last of some lines of it."""

_DEEPEST = 3
"""How many calls deep a helper is looked into for the mode that it is given."""
_RATES = frozenset(["training", "train", "p", "dropout", "dropout_p", "use_input_stats", "momentum"])
"""Parameters of torch's functions that say whether, and how often, entries are dropped or statistics are taken."""
_COUNTERS = "num_batches"
_DROPPING = frozenset(
    "dropout alpha_dropout feature_dropout feature_alpha_dropout native_dropout batch_norm instance_norm rrelu".split()  # noqa: SIM905
)
"""Torch's functions that have no names for what they are given by place."""
_TELLING = frozenset(["logger", "logging", "warnings", "print", "log"])
_UPDATES = (ast.Add, ast.Sub, ast.Mult, ast.Div)


@dataclass(frozen=True)
class Switched:
    """What a harmless mode does.

    Attributes:
        gated: lines that run in training alone.
        given: calls that are told the mode, or a rate that hangs on it.
    """

    gated: frozenset[Lines] = frozenset()
    given: frozenset[Lines] = frozenset()

    def __or__(self, other: Switched) -> Switched:
        return Switched(self.gated | other.gated, self.given | other.given)


@dataclass(frozen=True)
class _Given:
    """A parameter that holds the mode, and whether it is false in evaluation, as the mode itself is."""

    name: str
    follows: bool


def switched_in(
    code: types.CodeType,
    names: Mapping[str, Any],
    off: Switches,
    given: _Given | None = None,
    depth: int = _DEEPEST,
) -> Switched | None:
    """What the mode does in a function, where that is noise and statistics alone; None where it may be more.

    Args:
        code: the function.
        names: the names that it sees beside its own.
        off: what is known of the attributes of its ``self``, see :func:`sed_torch.tracing.watching.switches_off`.
        given: the parameter that holds the mode, where it is not ``self.training``.
        depth: how much deeper helpers may be read.
    """
    tree, before = tree_of(code)
    if tree is None:
        return None
    reading = _Reading(tree, code.co_filename, before, names, off, given, depth)
    if given is None and not any(reading.uses()):
        return None  # the mode is read where the text does not show it
    return reading.result()


@dataclass
class _Reading:
    tree: ast.FunctionDef
    file: str
    before: int
    globals: Mapping[str, Any]
    off: Switches
    given: _Given | None
    depth: int
    names: dict[str, bool] = field(default_factory=dict)  # a name that holds the mode → whether it follows it
    gates: list[Sequence[ast.stmt]] = field(default_factory=list)
    found: Switched = field(default_factory=Switched)

    def __post_init__(self) -> None:
        self.parents = {c: n for n in ast.walk(self.tree) for c in ast.iter_child_nodes(n)}
        listed = self.tree.args
        first = [a.arg for a in (*listed.posonlyargs, *listed.args)][:1]
        self.own = first[0] if first and self.given is None else ""
        if self.given is not None:
            self.names[self.given.name] = self.given.follows
        self.kinds = Kinds(self.tree, self.own, self.off, self.names, self.globals)

    def result(self) -> Switched | None:
        """Reads until no further name is found to hold the mode."""
        known = -1
        while known != len(self.names):
            known = len(self.names)
            for node in list(self.uses()):
                if not self._is_gated(node) and not self._use(node):
                    return None
        return self.found

    def uses(self) -> Iterator[ast.expr]:
        """Where the mode is read: the attribute, its name as a text, or a name that holds it."""
        for node in ast.walk(self.tree):
            if (
                (isinstance(node, ast.Attribute) and node.attr == "training")
                or (isinstance(node, ast.Name) and node.id in self.names and isinstance(node.ctx, ast.Load))
                or (isinstance(node, ast.Constant) and node.value == "training")
            ):
                yield node

    def _is_gated(self, node: ast.AST) -> bool:
        """Whether it stands where training alone comes by, which was found harmless."""
        around = {id(node)}
        while node in self.parents:
            node = self.parents[node]
            around.add(id(node))
        return any(id(s) in around for gate in self.gates for s in gate)

    # -- one use ---------------------------------------------------------------------------------------------

    def _use(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Constant):  # asked for by its name: who knows of whom
            return False
        whole, parent = node, self.parents[node]
        while isinstance(parent, (ast.BoolOp, ast.UnaryOp, ast.Compare, ast.IfExp)):
            if isinstance(parent, ast.IfExp):
                if whole is parent.test and self._is_fixed(whole):
                    return True
                if any(_calls(a) or self._maps_in(a) for a in (parent.body, parent.orelse) if a is not whole):
                    return False
            whole, parent = parent, self.parents[parent]
        return self._used(whole, parent)

    def _used(self, whole: ast.expr, parent: ast.AST) -> bool:
        """Whether the largest expression that the mode decides stands where it is harmless."""
        tested = isinstance(parent, (ast.If, ast.While, ast.Assert)) and whole is parent.test
        if self._is_fixed(whole) and (tested or self._is_one_value(whole)):
            return True
        if isinstance(parent, ast.keyword):
            call = self.parents[parent]
            return isinstance(call, ast.Call) and self._told(call, parent.arg, whole)
        if isinstance(parent, ast.Call) and whole in parent.args:
            return self._told(parent, parent.args.index(whole), whole)
        if isinstance(parent, ast.If) and tested:
            return self._branch(parent)
        if isinstance(parent, (ast.Assign, ast.AnnAssign)) and whole is parent.value:
            targets = parent.targets if isinstance(parent, ast.Assign) else [parent.target]
            return self._assigned(targets, self._truth(whole, False) is False)
        return isinstance(parent, ast.Assert)

    def _is_fixed(self, test: ast.expr) -> bool:
        """Whether a test comes to the same in both modes."""
        found = self._truth(test, False)
        return found is not None and found == self._truth(test, True)

    def _is_one_value(self, value: ast.expr) -> bool:
        """Whether an ``and`` comes to one value in both modes: a switch that is off is asked first, or is a False."""
        if not isinstance(value, ast.BoolOp) or not isinstance(value.op, ast.And):
            return False
        first = self._truth(value.values[0], True) is False
        return first or any(equals_false(v, self.own, self.off) for v in value.values)

    def _truth(self, test: ast.expr, training: bool) -> bool | None:
        """What a test comes to in a mode; None where that hangs on more."""
        if switched_off(test, self.own, self.off):
            return False
        if switched_on(test, self.own, self.off):
            return True
        if isinstance(test, ast.Constant):
            return bool(test.value)
        if isinstance(test, ast.Attribute) and test.attr == "training":
            return training
        if isinstance(test, ast.Name):
            return training if self.names.get(test.id) else None
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            inner = self._truth(test.operand, training)
            return None if inner is None else not inner
        if isinstance(test, ast.BoolOp):
            decides = isinstance(test.op, ast.Or)
            found = [self._truth(v, training) for v in test.values]
            return decides if decides in found else None if None in found else not decides
        if isinstance(test, ast.IfExp):
            asked = self._truth(test.test, training)
            return None if asked is None else self._truth(test.body if asked else test.orelse, training)
        return None

    def _assigned(self, targets: Sequence[ast.expr], follows: bool) -> bool:
        """Local names hold the mode from now on."""
        if not all(isinstance(t, ast.Name) for t in targets):
            return False
        for name in (t.id for t in targets if isinstance(t, ast.Name)):
            self.names[name] = follows and self.names.get(name, True) and self._is_set_once(name)
        return True

    def _is_set_once(self, name: str) -> bool:
        stores = [n for n in ast.walk(self.tree) if isinstance(n, ast.Name) and n.id == name]
        return sum(isinstance(n.ctx, ast.Store) for n in stores) == 1

    # -- branches --------------------------------------------------------------------------------------------

    def _branch(self, node: ast.If) -> bool:
        ends = node.body[-1]
        if len(node.body) == 1 and isinstance(ends, ast.Return) and not node.orelse:
            return self._returns_early(node, ends)
        gated = not node.orelse and self._truth(node.test, False) is False
        if gated and all(self._is_noise(s, None) for s in node.body):
            self._gate(node.body)
            return True
        return all(self._only_flags(s) for s in (*node.body, *node.orelse))

    def _returns_early(self, node: ast.If, ends: ast.Return) -> bool:
        """``if not training: return x``: all that follows runs in training alone."""
        after = self.tree.body[self.tree.body.index(node) + 1 :] if node in self.tree.body else []
        back = ends.value
        if not isinstance(back, ast.Name) or self.kinds.of(back) != DATA or not after:
            return False
        known = {back.id}
        if self._truth(node.test, False) is not True or not all(self._is_noise(s, known) for s in after):
            return False
        if not isinstance(after[-1], ast.Return):
            return False
        self._gate(after)
        return True

    def _gate(self, statements: Sequence[ast.stmt]) -> None:
        self.gates.append(statements)
        last = statements[-1].end_lineno or statements[-1].lineno
        lines = (self.file, statements[0].lineno + self.before, last + self.before)
        self.found |= Switched(gated=frozenset([lines]))

    def _is_noise(self, statement: ast.stmt, known: set[str] | None) -> bool:
        """Whether a statement makes random numbers or puts them on a map, which keeps its name.

        Args:
            statement: the statement.
            known: where the function ends behind it, the names that hold that map by now; more may come.
        """
        if isinstance(statement, ast.Assign):
            named = [t.id for t in statement.targets if isinstance(t, ast.Name)]
            return len(named) == len(statement.targets) and self._sets(statement, named, known)
        if isinstance(statement, ast.AugAssign):
            target, held = statement.target, self.kinds.of(statement.target)
            plain = isinstance(target, ast.Name) and isinstance(statement.op, _UPDATES)
            return plain and held != FREE and self._puts_on(statement, known or {str(root_of(target))})
        if isinstance(statement, ast.If):
            parts = (*statement.body, *statement.orelse)
            own = _calls_of(statement.test, self.own)
            return not own and all(isinstance(s, ast.Raise) or self._is_noise(s, known) for s in parts)
        if isinstance(statement, ast.Expr):
            return _is_aside(statement) or self._puts_on(statement, known or self._receiver(statement))
        if isinstance(statement, ast.Return) and known is not None and statement.value is not None:
            return self.kinds.of(statement.value) == DATA and self._puts_on(statement, known)
        return isinstance(statement, ast.Pass)

    def _sets(self, statement: ast.Assign, named: Sequence[str], known: set[str] | None) -> bool:
        kind = self.kinds.of(statement.value)
        if kind == DATA:
            maps = known if known is not None else {*named[:1]}
            puts_on = self._puts_on(statement.value, maps)
            maps.update(named if known is not None else ())
            return puts_on and (known is not None or len(named) == 1)
        elsewhere = known is None and any(self._is_read_elsewhere(n, statement) for n in named)
        return kind < DATA and not elsewhere

    def _puts_on(self, tree: ast.AST, maps: Collection[str]) -> bool:
        """Whether the data that take part are those maps alone, and nothing but noise and numbers is put on them."""
        inside = [n for n in ast.iter_child_nodes(tree) if isinstance(n, ast.expr)]
        whole = inside if isinstance(tree, ast.stmt) else [tree]
        return all(self.kinds.of(v) < OTHER for v in whole) and self._maps_in(tree) <= {*maps}

    def _maps_in(self, tree: ast.AST) -> set[str]:
        """Names of the data in it."""
        names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and self.kinds.of(n) == DATA}
        return names - {self.own}

    @staticmethod
    def _receiver(statement: ast.Expr) -> set[str]:
        """The name whose method is called: ``x`` of ``x.mul_(mask)``."""
        call = statement.value
        return {str(root_of(call.func))} if isinstance(call, ast.Call) else set()

    def _is_read_elsewhere(self, name: str, statement: ast.stmt) -> bool:
        """Whether a name that a branch sets is read outside of that branch."""
        branch = self.parents[statement]
        inside = {id(n) for n in ast.walk(branch)}
        return any(
            isinstance(n, ast.Name) and n.id == name and id(n) not in inside for n in ast.walk(self.tree)
        )

    def _only_flags(self, statement: ast.stmt) -> bool:
        """Whether a statement touches no data: it sets names, which hold the mode from now on, or counts steps."""
        if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            value = statement.value
            if all(_COUNTERS in ast.unparse(t) for t in targets):
                return True
            if value is not None and (self.kinds.of(value) >= DATA or _calls_of(value, self.own)):
                return False
            return self._assigned(targets, False)
        if isinstance(statement, ast.If):
            return all(self._only_flags(s) for s in (*statement.body, *statement.orelse))
        counts = isinstance(statement, ast.Expr) and ast.unparse(statement).startswith(
            f"{self.own}.{_COUNTERS}"
        )
        return isinstance(statement, ast.Pass) or counts or _is_aside(statement)

    # -- calls -----------------------------------------------------------------------------------------------

    def _told(self, call: ast.Call, place: str | int | None, value: ast.expr) -> bool:
        """The mode is handed on: to an operator that drops, or to a function that is as harmless."""
        lines = (self.file, call.lineno + self.before, (call.end_lineno or call.lineno) + self.before)
        function = _resolved(call.func, self.globals)
        if function is None or place is None:
            harmless = isinstance(place, str) and self._is_rate(place, value)
        elif str(getattr(function, "__module__", "") or "").startswith("torch.") or inspect.isbuiltin(
            function
        ):
            harmless = _place_named(function, place, call) in _RATES
        elif isinstance(function, types.FunctionType) and self.depth > 0:
            return self._read_helper(inspect.unwrap(function), place, value)
        else:
            harmless = False
        if harmless:
            self.found |= Switched(given=frozenset([lines]))
        return harmless

    def _is_rate(self, name: str, value: ast.expr) -> bool:
        """``dropout=self.p if self.training else 0.0``, whoever is called: a rate, by its name, that is 0 at rest."""
        return "drop" in name and isinstance(value, ast.IfExp) and self._truth(value, False) is False

    def _read_helper(self, function: types.FunctionType, place: str | int, value: ast.expr) -> bool:
        code = function.__code__
        listed = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        name = place if isinstance(place, str) else listed[place] if place < code.co_argcount else None
        if name not in listed:
            return False
        given = _Given(str(name), self._truth(value, False) is False)
        found = switched_in(code, function.__globals__, frozenset(), given, self.depth - 1)
        if found is not None:
            self.found |= found
        return found is not None


def _is_aside(statement: ast.stmt) -> bool:
    """A text, or a word to the user."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) or (
        isinstance(value, ast.Call) and root_of(value.func) in _TELLING
    )


def _place_named(function: Any, place: str | int, call: ast.Call) -> str | None:
    """The name of the parameter that an argument is given for."""
    if isinstance(place, str):
        return place
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is not None:
        return str(code.co_varnames[place]) if place < code.co_argcount else None
    return "p" if called(call).rstrip("_") in _DROPPING else None


def _calls(tree: ast.AST) -> bool:
    return any(isinstance(n, ast.Call) for n in ast.walk(tree))


def _calls_of(tree: ast.AST, own: str) -> bool:
    """Whether something of a module's own is called."""
    return any(isinstance(n, ast.Call) and own and root_of(n.func) == own for n in ast.walk(tree))


def _resolved(function: ast.expr, names: Mapping[str, Any]) -> Any:
    if isinstance(function, ast.Name):
        return names.get(function.id)
    if isinstance(function, ast.Attribute):
        holder = _resolved(function.value, names)
        return getattr(holder, function.attr, None) if isinstance(holder, types.ModuleType) else None
    return None
