"""What is known of operators stands in their table: a set of their names elsewhere has a reason, or is a trait."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import sed_torch
from sed_torch.ops import OPS, RuleName

PACKAGE = Path(sed_torch.__file__).parent
NAMES = {op.name for op in OPS} | {s for op in OPS for s in op.spellings}
RULES = set(get_args(RuleName))
SEVERAL = 4
"""So many names are a set; fewer are cases that a line tells apart."""

_NUMBERS = "a function by operator: what it computes, not what it is"
_BY_HAND = "steps of one pattern, as people write it by hand"
_SPELLED = "spellings, asked before a call has a row"
_SOURCE = "names in a user's source text, many of them no operators"

ELSEWHERE = {
    ("batching/mixing.py", "_FROM_THE_LEFT"): "a number by operator: how many dimensions its result ends in",
    (
        "batching/doubts.py",
        "RUNS",
    ): "what runs along a named dimension: asked by two rooms that follow the batch alone",
    (
        "costing/precision.py",
        "_AS_GIVEN",
    ): "products that torch's own lists for autocast leave out, by spelling",
    ("costing/precision.py", "_FULL_ON_CUDA"): "torch's own list for autocast, by spelling",
    ("costing/precision.py", "_FULL_ON_CPU"): "torch's own list for autocast, by spelling",
    ("costing/precision.py", "_promoted"): "spellings of one row that change the dtype",
    ("diagnostics/constants.py", "softmax_over_one"): "the family that one finding is about",
    (
        "diagnostics/constants.py",
        "_ZERO_STAYS",
    ): "a finding's own choice among functions with f(0) = 0",
    ("diagnostics/constants.py", "_SUMS"): _BY_HAND,
    ("diagnostics/heads.py", "_KEPT"): _BY_HAND,
    ("diagnostics/modes.py", "_OF_MASKS"): _BY_HAND,
    ("diagnostics/roots.py", "_PLACES"): _BY_HAND,
    ("diagnostics/roots.py", "_of_nothing"): _BY_HAND,
    ("diagnostics/losses.py", "_RECTIFIED"): "what a network ends in by mistake: the finding's own choice",
    ("diagnostics/losses.py", "_BOUNDED"): "what a network ends in by mistake: the finding's own choice",
    ("diagnostics/losses.py", "_PLAIN"): "layers whose results are taken as logits: the finding's own choice",
    ("diagnostics/losses.py", "_misfit"): _BY_HAND,
    ("diagnostics/masks.py", "_to_softmax"): _BY_HAND,
    ("diagnostics/masks.py", "_EVALUATED"): _NUMBERS,
    ("diagnostics/shapes.py", "_SAME"): _BY_HAND,
    ("diagnostics/sharing.py", "_is_split"): _BY_HAND,
    ("diagnostics/signal.py", "ACTIVATIONS"): _NUMBERS,
    ("diagnostics/signal.py", "_TO_STATISTIC"): _BY_HAND,
    ("diagnostics/signal.py", "normalised_by_hand"): _BY_HAND,
    (
        "diagnostics/signal.py",
        "_after",
    ): "after these the second moment is taken as one: cases of one function",
    ("tracing/calls.py", "_permute"): "spellings of one row whose order of dimensions is fixed",
    ("tracing/calls.py", "_slice"): "rows whose result has another order than its operand",
    ("tracing/choosing.py", "_PLACE"): "a number by spelling: which of its results are indices",
    ("tracing/choosing.py", "_ONE_OF_MANY"): "spellings of the above that take one entry",
    ("tracing/facts.py", "_READERS"): "a reader of arguments by operator",
    ("tracing/fast_shapes.py", "_ARITHMETIC"): _NUMBERS,
    ("tracing/fast_shapes.py", "FAST_SHAPES"): _NUMBERS,
    ("tracing/gates.py", "_ASKS"): _SPELLED,
    ("tracing/gates.py", "_KEEPS_SIGN"): _SPELLED,
    ("tracing/gates.py", "_MOVES"): _SPELLED,
    ("tracing/gates.py", "_POSITIVE"): _SPELLED,
    ("tracing/healthy.py", "(_NEVER, _ALWAYS)"): _SPELLED,
    ("tracing/healthy.py", "_KEEPS"): _SPELLED,
    ("tracing/healthy.py", "_ARITHMETIC"): _SOURCE,
    ("tracing/healthy.py", "_constant"): _SOURCE,
    ("tracing/healthy.py", "_sizes"): _SOURCE,
    ("tracing/names.py", "CHOOSES"): _SPELLED,
    ("tracing/names.py", "RANDOM_OF_TENSORS"): _SPELLED,
    ("tracing/names.py", "SHAPED_LIKE"): _SPELLED,
    ("tracing/names.py", "SIZED"): _SPELLED,
    ("tracing/names.py", "VIEWS"): _SPELLED,
    ("tracing/recorder.py", "Recorder._attribute"): "attributes of a tensor, which torch.fx records as calls",
}
"""Each set outside the table, by file and by what it stands in, and why it is no trait."""


def _owners(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """What stands at the top of a file, methods of classes one by one, with names."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{getattr(inner, 'name', 'body')}", inner) for inner in node.body)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node
        elif isinstance(node, ast.Assign):
            yield ast.unparse(node.targets[0]), node
        elif isinstance(node, ast.AnnAssign):
            yield ast.unparse(node.target), node


def _words(node: ast.AST) -> Iterator[str]:
    """Strings of a literal collection, or keys of a mapping, with those of collections that are spread in it."""
    parts = node.keys if isinstance(node, ast.Dict) else getattr(node, "elts", ())
    for part in parts:
        if isinstance(part, ast.Starred):
            yield from _words(part.value)
        elif isinstance(part, ast.Constant) and isinstance(part.value, str) and part.value:
            yield part.value


def _sets_of_names(text: str) -> set[str]:
    """What the sets of operators' names of a file stand in."""
    found = set()
    for owner, top in _owners(ast.parse(text)):
        for node in ast.walk(top):
            words = list(_words(node))
            known = [w for w in words if w in NAMES]
            if len(known) >= max(SEVERAL, 0.75 * len(words)) and not set(words) <= RULES:
                found.add(owner)
    return found


def test_the_walk_sees_sets_of_names() -> None:
    assert _sets_of_names('_A = frozenset(["relu", "gelu", *("silu", "mish")])') == {"_A"}
    assert _sets_of_names('def f(n):\n    return n.op in ("relu", "gelu", "silu", "mish", "odd")') == {"f"}
    assert _sets_of_names('_RULES = {"conv": 1, "linear": 2, "pool": 3, "norm": 4}') == set()
    assert _sets_of_names('_FEW = ("relu", "gelu", "silu")\n_OTHER = ("a", "b", "relu", "gelu")') == set()


def test_sets_of_operators_outside_the_table_have_a_reason() -> None:
    found = {
        (path.relative_to(PACKAGE).as_posix(), owner)
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.parent.name != "ops"
        for owner in _sets_of_names(path.read_text(encoding="utf-8"))
    }
    assert found - set(ELSEWHERE) == set(), "make it a trait in ops/row.py, or say here why it is none"
    assert set(ELSEWHERE) - found == set(), "these are gone: take them off the list"
