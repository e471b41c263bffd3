"""Costs → sections of a page: the parts of a step's memory, its time line, blocks and operators."""

from __future__ import annotations

from sed_torch.costing import Cost
from sed_torch.report import plots
from sed_torch.report.parts import Card, Column, Facts, Figure, Notes, Part, Section, table_of
from sed_torch.report.style import inline_svg
from sed_torch.report.words import quantity
from sed_torch.tables import mebibytes

__all__ = ["costed", "memory_figure"]


def memory_figure(cost: Cost, key: str) -> Figure:
    """The time line of a step's memory, as a part of a page."""
    drawn = plots.memory_timeline(cost, theme="css")
    alt = (
        f"Memory of a training step of {cost.name}: {mebibytes(cost.peak)} at its peak, {cost.place_of_peak}"
    )
    return Figure(
        inline_svg(drawn, f"{key}-memory", alt),
        "Memory of a training step",
        f"What is held while each operator runs, batch {cost.batch}, {cost.precision}, {cost.optimizer}: first the "
        "forward pass, then backward in reverse, then the optimizer's step. Workspace of kernels, the CUDA context and "
        "fragmentation come on top.",
    )


def costed(cost: Cost, key: str) -> Section:
    """A cost: what the step holds at its peak, its parts, when, and where it comes from."""
    view = cost.view()
    facts = [(name, mebibytes(size), "") for name, size in cost.parts().items()]
    facts += [
        (
            "inference peak",
            mebibytes(cost.inference_peak),
            "weights and activations of a forward without gradients",
        )
    ]
    parts: list[Part] = [
        Card("peak of a training step", mebibytes(cost.peak), cost.place_of_peak, view.lines[2:]),
        Facts(tuple(facts)),
        memory_figure(cost, key),
        table_of(f"{key}-blocks", "Blocks", _BLOCKS, [_block(r) for r in cost.by_block()], filter=True),
        table_of(
            f"{key}-ops", "Operators", _OPERATORS, [_operator(r) for r in cost.by_operator()], filter=False
        ),
        Notes(view.notes, "Read with care"),
    ]
    return Section(f"{key}-cost", "Cost", tuple(parts), subtitle=view.headline)


_SAVED = Column("saved", "saved", "what autograd keeps for the backward pass")
_SHARE = Column("share", "share", "of all that is kept", bar=True)
_FLOPS = Column("flops", "FLOPs", "of a forward over the whole batch")
_BLOCKS = (
    Column("block", "block", "module path", number=False),
    Column("params", "params"),
    Column("size", "their size"),
    _SAVED,
    _SHARE,
    _FLOPS,
)
_OPERATORS = (Column("operator", "operator", number=False), _SAVED, _SHARE, _FLOPS)


def _block(row: dict[str, object]) -> dict[str, object]:
    return {
        "block": row["block"],
        "params": quantity(row["params"]),  # type: ignore[arg-type]
        "size": _size(row["params MiB"]),
        **_work(row),
    }


def _operator(row: dict[str, object]) -> dict[str, object]:
    return {"operator": row["operator"], **_work(row)}


def _work(row: dict[str, object]) -> dict[str, object]:
    return {
        "saved": _size(row["saved MiB"]),
        "share": (f"{row['share']:.1%}", row["share"]),
        "flops": quantity(row["GFLOPs"] * 1e9),  # type: ignore[operator]
    }


def _size(mib: object) -> tuple[str, float]:
    size = float(mib) * 2**20  # type: ignore[arg-type]
    return mebibytes(size), size
