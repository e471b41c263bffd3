"""One table: what an operator is called, which rule lowers it, and which traits it has.

``nn.ReLU``, ``F.relu``, ``torch.relu``, ``x.relu_()`` and ``aten.relu`` are one row. An operator without effect
on local entropy is a row with the rule ``keep``, not an entry of a second set. What is not in the table is
*unknown*: it shows in the coverage of every result, and ``strict=True`` makes it an error.

Everything else that the package must know about an operator is a *trait* of its row, and whoever wants to know
asks the table::

    "relu" in OPS.having("saves_result")          # names of all rows that have the trait
    node.op in OPS.having("activation", "normalises")  # one of several traits
    OPS[node.op].has("nonlinear")                 # one row
    node.op in OPS.ruled("reshape", "permute")    # by the rule
    lookup("aten::relu_")                         # the row of a spelling

A new operator is one line in :mod:`sed_torch.ops.rows`; what a row may say is in :mod:`sed_torch.ops.row`.
"""

from __future__ import annotations

from sed_torch.ops.registry import Registry
from sed_torch.ops.row import Op, RuleName, Trait
from sed_torch.ops.rows import ROWS

__all__ = ["OPS", "Op", "Registry", "RuleName", "Trait", "canonical", "lookup", "table"]

OPS = Registry(ROWS)
"""The table in force."""

_NAMESPACES = frozenset(
    (
        *(
            "torch",
            "nn",
            "functional",
            "F",
            "Tensor",
            "TensorBase",
            "_TensorBase",
            "aten",
            "ops",
            "_C",
            "_nn",
        ),
        *("linalg", "fft", "special", "torchvision"),
    )
)


def canonical(spelling: str) -> str:
    """``"Tensor.add_"`` → ``"add"``: without namespace, overload (``"aten.add.Tensor"``) and in-place underscore."""
    known = OPS.plain  # of this moment: another thread may give a row its name meanwhile
    found = known.get(spelling)
    if found is None:
        found = known[spelling] = _canonical(spelling)
    return found


def _canonical(spelling: str) -> str:
    name = spelling.rsplit("::", 1)[-1]
    if "." in name:
        parts = name.split(".")
        named = [p for p in parts if p not in _NAMESPACES] or parts[-1:]
        # "aten.select.int": the overload may itself be the name of an operator, so the first known name counts
        name = next(
            (p for p in named if OPS.by_spelling(_plain(p))), named[0] if "::" in spelling else named[-1]
        )
    return _plain(name)


def _plain(name: str) -> str:
    name = name[:-1] if name.endswith("_") and not name.endswith("__") else name
    usual = name.removeprefix("special_")  # torch.special.erf is torch.erf
    return usual if usual != name and not OPS.by_spelling(name) and OPS.by_spelling(usual) else name


def lookup(spelling: str) -> Op | None:
    """The row for a spelling, however it is qualified; None when unknown."""
    return OPS.by_spelling(canonical(spelling))


def table() -> list[dict[str, str]]:
    """The table as plain rows: op, rule, spellings."""
    return [{"op": op.name, "rule": op.rule, "spellings": ", ".join(op.spellings)} for op in OPS]
