"""Which code reads the training mode of a module while a forward is followed, torch's own aside.

What the mode changes begins with a read of it: before the first, a forward does the same in both modes. So what is not
read, as behind a switch that is off, need not be understood.
"""

from __future__ import annotations

import ast
import functools
import sys
import threading
import types
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from sed_torch.tracing.code import tree_of

__all__ = [
    "ModeReads",
    "Site",
    "Switches",
    "asked_in",
    "equals_false",
    "is_plain",
    "mode_reads",
    "note_hint_of_mode",
    "switched_off",
    "switched_on",
    "switches_off",
]

Switches = frozenset[str]
"""What is known of attributes: the names of those whose plain value is off (None, False or zero), and more in words."""
_PLAIN_LAYERS = "torch.nn.modules."
"""Whose layers switch noise and statistics alone; more of torch does more (the power steps of spectral_norm)."""
_OURS = (_PLAIN_LAYERS, "sed_torch.")
_CALLS_ANYTHING = "torch.nn.modules.module"
"""Whose frames also run what they are given, as ``apply`` does."""
_DEEPEST = 2
"""How many properties an attribute is looked up through."""
_IS_NONE, _IS_ON, _IS_PLAIN = " is None", " is on", " is plain"
_UNKNOWN = object()
_INLINE = ("<listcomp>", "<genexpr>", "<setcomp>", "<dictcomp>")


class Site:
    """A function that read a mode.

    Attributes:
        code: its code.
        names: the names that it sees beside its own.
        method: whether its first argument was a module, each time.
    """

    __slots__ = ("code", "method", "names")

    def __init__(self, code: types.CodeType, names: dict[str, Any], method: bool) -> None:
        self.code, self.names, self.method = code, names, method

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Site) and (self.code, self.method) == (other.code, other.method)

    def __hash__(self) -> int:
        return hash((self.code, self.method))


class ModeReads:
    """What was seen.

    Attributes:
        sites: each function that read a mode, with the attributes of its ``self`` that were off.
        hinted: whether the forward was told something else by which it could tell the modes apart.
    """

    def __init__(self) -> None:
        self.sites: dict[Site, Switches] = {}
        self.hinted = False

    def add(self, frame: types.FrameType) -> None:
        """A read in this frame."""
        while frame.f_code.co_name in _INLINE and frame.f_back is not None:
            if frame.f_code not in frame.f_back.f_code.co_consts:
                break
            frame = frame.f_back  # where the comprehension stands
        code = frame.f_code
        first = _first_argument(frame) if code.co_argcount else None
        site = Site(code, frame.f_globals, isinstance(first, nn.Module))
        off = switches_off(first, asked_in(code)) if isinstance(first, nn.Module) else frozenset()
        self.sites[site] = off & self.sites.get(site, off)


def _first_argument(frame: types.FrameType) -> Any:
    """What a function was called with first, or what its name holds now.

    Before Python 3.13 a frame keeps the table of its locals that it was asked for, and so all that they held: tensors
    would live on that the forward lets go of. It is emptied again, unless the forward asked for it too.
    """
    table = frame.f_locals
    first = table.get(frame.f_code.co_varnames[0])
    if sys.version_info < (3, 13) and sys.getrefcount(table) <= _REFERENCES:
        table.clear()
    return first


_REFERENCES = 3
"""To a frame's table that nobody else holds: the frame's, the name's, and that of the call which counts them."""


@functools.lru_cache(maxsize=4096)
def asked_in(code: types.CodeType) -> tuple[str, ...]:
    """Names that a function may ask its ``self`` for, in either way; the mode itself is no switch."""
    texts = (c for c in code.co_consts if isinstance(c, str) and c.isidentifier())
    return tuple(n for n in (*code.co_names, *(f"{t}?" for t in texts)) if n.rstrip("?") != "training")


@contextmanager
def mode_reads() -> Iterator[ModeReads]:
    """Sees, for a while, who reads ``module.training``; what is read stays what it is."""
    reads = ModeReads()
    with _LOCK:
        if not _WATCHING:
            nn.Module.training = _Training()  # type: ignore[assignment]
        _WATCHING.append(reads)
    try:
        yield reads
    finally:
        with _LOCK:
            _WATCHING.remove(reads)
            if not _WATCHING:
                del nn.Module.training


def note_hint_of_mode() -> None:
    """The forward asked for what hangs on the mode, though not for the mode: whether a gradient is wanted."""
    for reads in _WATCHING:
        reads.hinted = True


_LOCK = threading.Lock()
_WATCHING: list[ModeReads] = []


class _Training:
    """Stands before the instances' own ``training``, as only a data descriptor of the class can."""

    def __get__(self, module: nn.Module | None, kind: type | None = None) -> Any:
        if module is None:  # torch's class has no such attribute
            raise AttributeError("training")
        frame = sys._getframe(1)
        name = frame.f_globals.get("__name__", "")
        if not name.startswith(_OURS) or name == _CALLS_ANYTHING:
            for reads in _WATCHING:
                reads.add(frame)
        try:
            return module.__dict__["training"]
        except KeyError:
            return module.__getattr__("training")

    def __set__(self, module: nn.Module, value: Any) -> None:
        module.__dict__["training"] = value

    def __delete__(self, module: nn.Module) -> None:
        del module.__dict__["training"]


def switches_off(module: nn.Module, names: Iterable[str]) -> Switches:
    """What is known of the named attributes, first of all which are off.

    They are the module's own, its class's, or properties that read such.

    A name with a question mark, as :func:`switch_named` gives it, is off also where the module has no such attribute.
    """
    found: set[str] = set()
    for name in names:
        value = _held(module, name)
        if value is None:
            found |= {name, name + _IS_NONE, name + _IS_PLAIN}
        elif isinstance(value, (bool, int, float, str)):
            found |= {name if not value else name + _IS_ON, name + _IS_PLAIN}
    return frozenset(found)


def is_plain(name: str, known: Switches) -> bool:
    """Whether an attribute is known to hold a number or a text."""
    return name + _IS_PLAIN in known


def equals_false(test: ast.expr | None, own: str, known: Switches) -> bool:
    """Whether a test is switched off, and not by a None, so that it comes to what ``False`` comes to."""
    return switched_off(test, own, known) and (switch_named(test, own) or "") + _IS_NONE not in known


def switched_on(test: ast.expr | None, own: str, known: Switches) -> bool:
    """Whether a test asks ``own`` for a switch that is on."""
    name = switch_named(test, own)
    return name is not None and name + _IS_ON in known


def switched_off(test: ast.expr | None, own: str, off: Switches) -> bool:
    """Whether a test asks ``own`` for a switch that is off: as it is, or by ``> 0`` or ``is not None``."""
    ending = ""
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.comparators[0], ast.Constant):
        bound = test.comparators[0].value
        if isinstance(test.ops[0], ast.IsNot) and bound is None:
            ending = _IS_NONE
        elif not (isinstance(test.ops[0], ast.Gt) and isinstance(bound, (int, float)) and bound >= 0):
            return False
        test = test.left
    name = switch_named(test, own)
    return name is not None and name + ending in off


def switch_named(test: ast.expr | None, own: str) -> str | None:
    """The attribute of ``own`` that an expression reads: "a" of ``self.a``, "a?" of ``getattr(self, "a", False)``."""
    if isinstance(test, ast.Attribute) and isinstance(test.value, ast.Name) and test.value.id == own:
        return test.attr
    if not isinstance(test, ast.Call) or ast.unparse(test.func) != "getattr" or len(test.args) != 3:
        return None
    held, name, default = test.args
    if not (isinstance(held, ast.Name) and held.id == own and isinstance(name, ast.Constant)):
        return None
    return f"{name.value!s}?" if isinstance(default, ast.Constant) and not default.value else None


def _held(module: nn.Module, name: str, depth: int = _DEEPEST) -> Any:
    """The plain value of an attribute; a value of no meaning where it would have to be computed."""
    plain = name.rstrip("?")
    for holder in (module, *type(module).__mro__):
        if plain in vars(holder):
            value = vars(holder)[plain]
            if not isinstance(value, property):
                return value
            asked = _read_by(value)
            return _held(module, asked, depth - 1) if asked is not None and depth > 0 else _UNKNOWN
    if plain == name or type(module).__getattr__ is not nn.Module.__getattr__:
        return _UNKNOWN
    tables = (module._modules, module._parameters, module._buffers)
    return _UNKNOWN if any(plain in table for table in tables) else None


def _read_by(getter: property) -> str | None:
    """The one attribute that a property returns as it is."""
    if not isinstance(getter.fget, types.FunctionType):
        return None
    tree, _ = tree_of(getter.fget.__code__)
    told = [s for s in tree.body if not _is_docstring(s)] if tree is not None else []
    if tree is None or not tree.args.args or len(told) != 1 or not isinstance(told[0], ast.Return):
        return None
    return switch_named(told[0].value, tree.args.args[0].arg)


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
