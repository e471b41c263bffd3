"""The modules of a scored network one by one: shapes, parameters, work, and their part of the score, as one table.

What a summary tool measures in a forward is read off the graph here. The numbers of a module are those of all it
holds, as in such tools; the score's part of it is the sum of its operators' parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, overload

from sed_torch import tables
from sed_torch.errors import InputError
from sed_torch.graph import itemsize
from sed_torch.scoring.formula import Evaluation, log_sum
from sed_torch.scoring.structure import Layer, Shape, Structure, upwards

__all__ = ["COLUMNS", "DEFAULT_COLUMNS", "LayerRow", "LayerTable", "tabled"]

SCHEMA = "sed_torch.layers/1"


@dataclass(frozen=True, slots=True)
class LayerRow:
    """A module with all that can be said of it; numbers are of all modules inside it too.

    Attributes:
        module: dotted path, ``""`` for the root.
        type: class name.
        depth: names in the path.
        input, output: shapes of the maps it reads and leaves, batch included.
        kernel, stride, dilation, groups: of its own convolutions and pools.
        params: parameters; a parameter that several modules share counts once, in the first.
        trainable: those of them with ``requires_grad``.
        param_shapes: names and shapes of its own parameters.
        bytes: of the parameters, in their dtypes.
        macs: multiply-accumulates a sample.
        activations: entries, a sample, of what convolutions, linear layers and matrix products leave.
        memory: bytes of what its operators leave, for the batch that was traced.
        taps, effective: Σ n and Σ n_eff of its live mixing operators; None without one.
        suppression: their quotient, in (0, 1], higher is better.
        share: of the score's amplitude, in [0, 1].
        sed: the score of its part alone, in nats; None without one.
        mode: ``"train"`` or ``"eval"``, as the model was found.
        called: whether the forward runs anything in it.
    """

    module: str
    type: str
    depth: int
    input: tuple[Shape, ...]
    output: tuple[Shape, ...]
    kernel: tuple[Shape, ...]
    stride: tuple[Shape, ...]
    dilation: tuple[Shape, ...]
    groups: tuple[int, ...]
    params: int
    trainable: int
    param_shapes: tuple[tuple[str, Shape], ...]
    bytes: float
    macs: float
    activations: float
    memory: float
    taps: float | None
    effective: float | None
    suppression: float | None
    share: float
    sed: float | None
    mode: str
    called: bool


def _by_path(values: Iterable[tuple[str, float]]) -> dict[str, list[float]]:
    """Values of a module and of all it lies in."""
    found: dict[str, list[float]] = {}
    for path, value in values:
        for outer in upwards(path):
            found.setdefault(outer, []).append(value)
    return found


def rows_of(layers: Sequence[Layer], evaluation: Evaluation) -> tuple[LayerRow, ...]:
    """One a module, in the order of ``named_modules()``."""
    steps = evaluation.topology.steps
    terms = [(steps[t.step].path, t) for t in evaluation.terms]
    total = math.fsum(t.amplitude for _, t in terms)
    macs = _by_path((s.path, s.macs) for s in steps)
    amplitude = _by_path((p, t.amplitude) for p, t in terms)
    taps = _by_path((p, t.taps) for p, t in terms)
    effective = _by_path((p, t.effective_taps) for p, t in terms)
    params = _by_path((x.path, p.numel) for x in layers for p in x.parameters)
    trainable = _by_path((x.path, p.numel) for x in layers for p in x.parameters if p.trainable)
    size = _by_path((x.path, p.numel * itemsize(p.dtype)) for x in layers for p in x.parameters)
    activations = _by_path((x.path, x.activations) for x in layers)
    memory = _by_path((x.path, x.memory) for x in layers)

    def row(x: Layer) -> LayerRow:
        read = math.fsum(taps.get(x.path, ()))
        free = math.fsum(effective.get(x.path, ()))
        part = math.fsum(amplitude.get(x.path, ()))
        return LayerRow(
            module=x.path,
            type=x.type,
            depth=len(x.path.split(".")) if x.path else 0,
            input=x.inputs,
            output=x.outputs,
            kernel=x.window,
            stride=x.stride,
            dilation=x.dilation,
            groups=x.groups,
            params=int(sum(params.get(x.path, ()))),
            trainable=int(sum(trainable.get(x.path, ()))),
            param_shapes=tuple((p.name.rpartition(".")[2], p.shape) for p in x.parameters),
            bytes=sum(size.get(x.path, ())),
            macs=math.fsum(macs.get(x.path, ())),
            activations=math.fsum(activations.get(x.path, ())),
            memory=math.fsum(memory.get(x.path, ())),
            taps=read or None,
            effective=free if read else None,
            suppression=free / read if read else None,
            share=part / total if total else 0.0,
            sed=log_sum([part]) if part else None,
            mode="train" if x.training else "eval",
            called=x.called,
        )

    return tuple(map(row, layers))


def _sizes(shape: Sequence[int]) -> str:
    return tables.shape_text(shape, "scalar")


def _shapes(shapes: Sequence[Sequence[int]]) -> str | None:
    """``1×64×56×56``; several with commas, beyond three their number."""
    if not shapes:
        return None
    words = [_sizes(s) for s in shapes]
    return ", ".join(words) if len(words) <= 3 else f"{', '.join(words[:2])}, … {len(words)} in all"


def _ratio(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def _memory(size: float) -> str:
    for limit, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= limit:
            return f"{size / limit:,.2f} {unit}"
    return f"{size:,.0f} B"


def _plain_shapes(row: LayerRow) -> str | None:
    return ", ".join(f"{n} {_sizes(s)}" for n, s in row.param_shapes) or None


Shown = Callable[[LayerRow, LayerRow], Any]

_SHOWN: Mapping[str, Shown] = {
    "module": lambda r, _: r.module or "(root)",
    "type": lambda r, _: r.type,
    "input": lambda r, _: _shapes(r.input),
    "output": lambda r, _: _shapes(r.output),
    "kernel": lambda r, _: _shapes(r.kernel),
    "stride": lambda r, _: _shapes(r.stride),
    "dilation": lambda r, _: _shapes(r.dilation),
    "groups": lambda r, _: ", ".join(map(str, r.groups)) or None,
    "params": lambda r, _: tables.quantity(r.params),
    "params %": lambda r, root: _ratio(r.params, root.params),
    "param shapes": lambda r, _: _plain_shapes(r),
    "trainable": lambda r, _: _trainable(r),
    "bytes": lambda r, _: _memory(r.bytes),
    "MACs": lambda r, _: tables.quantity(r.macs),
    "MACs %": lambda r, root: _ratio(r.macs, root.macs),
    "FLOPs": lambda r, _: tables.quantity(2 * r.macs),
    "activations": lambda r, _: tables.quantity(r.activations),
    "memory": lambda r, _: _memory(r.memory),
    "taps": lambda r, _: None if r.taps is None else tables.quantity(round(r.taps, 2)),
    "effective": lambda r, _: None if r.effective is None else tables.quantity(round(r.effective, 2)),
    "suppression": lambda r, _: r.suppression,
    "share": lambda r, _: f"{r.share:.1%}",
    "SED part": lambda r, _: r.sed,
    "mode": lambda r, _: r.mode,
    "called": lambda r, _: "yes" if r.called else "no",
}

COLUMNS: Mapping[str, str] = {
    "module": "path of the module",
    "type": "class of the module",
    "input": "shapes that it reads, batch included",
    "output": "shapes that it leaves, batch included",
    "kernel": "window of its own convolution or pool",
    "stride": "of its own convolution or pool",
    "dilation": "of its own convolution or pool",
    "groups": "of its own convolution",
    "params": "parameters of it and of all inside it",
    "params %": "the same, of the whole model's",
    "param shapes": "names and shapes of its own parameters",
    "trainable": "whether its parameters are trained: yes, no, or how many are",
    "bytes": "of its parameters, in their dtypes",
    "MACs": "multiply-accumulates a sample",
    "MACs %": "the same, of the whole model's",
    "FLOPs": "twice the MACs: a product and a sum each",
    "activations": "entries a sample of what convolutions, linear layers and matrix products leave",
    "memory": "bytes of what all its operators leave, for the batch that was traced",
    "taps": "positions that its live kernels read for one value they make, summed",
    "effective": "how many of these taps are free of each other",
    "suppression": "effective taps over taps, from 0 to 1: 1 is best",
    "share": "its share of exp(SED); the root has 100 %",
    "SED part": "the SED of this module alone, in nats",
    "mode": "train or eval, as the model was found",
    "called": "whether the forward runs anything in it",
}
"""Columns of :meth:`sed_torch.Score.table`, with what they hold."""

_ALIASES = {
    **{"input size": "input", "output size": "output", "num params": "params", "kernel size": "kernel"},
    **{"mult adds": "MACs", "params percent": "params %", "in sizes": "input", "out sizes": "output"},
    **{"name": "module", "path": "module", "sed": "SED part", "param bytes": "bytes"},
}
"""How torchinfo and Lightning call columns, which people have in their scripts."""

DEFAULT_COLUMNS = ("type", "output", "kernel", "params", "trainable", "MACs", "effective")

_SPARED = ("dilation", "stride", "groups", "mode", "called", "param shapes", "memory", "bytes", "activations")
_SPARED_NEXT = ("FLOPs", "MACs %", "params %", "taps", "SED part", "input", "type", "trainable", "effective")
_SPARED_LAST = ("kernel", "suppression", "share", "MACs", "output", "params")


def _trainable(row: LayerRow) -> str | None:
    if not row.params:
        return None
    if row.trainable in (0, row.params):
        return "yes" if row.trainable else "no"
    return tables.quantity(row.trainable)


@dataclass(frozen=True, repr=False)
class LayerTable(tables.Tabular):
    """The modules of a network as a table: what :meth:`sed_torch.Score.table` returns.

    Attributes:
        name: the network.
        rows: one a module, the root first.
        columns: what people see of it, from :data:`COLUMNS`, ``module`` first.
        tree: whether modules are shown as a tree.
        input_bytes: of the inputs.
        total: the score, in nats, or None.
    """

    schema: ClassVar = SCHEMA
    kind: ClassVar = "a table of layers"

    name: str
    rows: tuple[LayerRow, ...]
    columns: tuple[str, ...]
    tree: bool = False
    input_bytes: float = 0.0
    total: float | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[LayerRow]:
        return iter(self.rows)

    @overload
    def __getitem__(self, module: str | int) -> LayerRow: ...
    @overload
    def __getitem__(self, module: slice) -> tuple[LayerRow, ...]: ...
    def __getitem__(self, module: str | int | slice) -> LayerRow | tuple[LayerRow, ...]:
        """The row of a module by its path or by its place, or some rows."""
        if not isinstance(module, str):
            return self.rows[module]
        for row in self.rows:
            if row.module == module:
                return row
        raise KeyError(f"no module {module!r} in the table; deeper ones come with depth=")

    def to_dict(self) -> dict[str, Any]:
        """Plain data with a schema version, all columns; :meth:`from_dict` reads it back."""
        return {"schema": SCHEMA, **asdict(self)}

    def records(self) -> tuple[list[dict[str, Any]], Sequence[str]]:
        """One row a module with all columns, shapes as ``1×3×224×224``."""
        names = list(LayerRow.__dataclass_fields__)
        return [{n: _cell(r, n) for n in names} for r in self.rows], names

    def headline(self) -> str:
        """Name, score and size on one line."""
        score = "" if self.total is None else f"SED = {self.total:.4f} nats, "
        root = self.rows[0]
        return f"{self.name}: {score}{tables.quantity(root.params)} params, {tables.quantity(root.macs)} MACs a sample"

    def view(self) -> tables.View:
        """One row a module, as a tree if asked for; sums below it."""
        root = self.rows[0]
        labels = _tree_labels(self.rows) if self.tree else [r.module or "(root)" for r in self.rows]
        rows = tuple(
            {**{c: _SHOWN[c](r, root) for c in self.columns}, "module": label}
            for r, label in zip(self.rows, labels, strict=True)
        )
        spared = tuple(c for c in (*_SPARED, *_SPARED_NEXT, *_SPARED_LAST) if c in self.columns)
        pale = frozenset(i for i, r in enumerate(self.rows) if not r.called)
        grid = tables.Grid(self.columns, rows, spared=spared, pale=pale)
        return tables.View(self.headline(), grids=(grid,), notes=self._notes())

    def _notes(self) -> tuple[str, ...]:
        root = self.rows[0]
        frozen = root.params - root.trainable
        notes = [
            f"params {root.params:,}: trainable {root.trainable:,}, frozen {frozen:,}",
            f"MACs a sample {root.macs:,.0f}, FLOPs {2 * root.macs:,.0f}",
            f"input {_memory(self.input_bytes)}, maps of the forward {_memory(root.memory)}, "
            f"parameters {_memory(root.bytes)}",
        ]
        idle = [r.module for r in self.rows if not r.called and r.params]
        if idle:
            notes.append(f"never run by the forward: {', '.join(idle[:5])}{', …' if len(idle) > 5 else ''}")
        return tuple(notes)


def _cell(row: LayerRow, name: str) -> Any:
    if name == "param_shapes":
        return _plain_shapes(row)
    value = getattr(row, name)
    if not isinstance(value, tuple):
        return value
    return ", ".join(_sizes(v) if isinstance(v, tuple) else str(v) for v in value) or None


def _tree_labels(rows: Sequence[LayerRow]) -> list[str]:
    """``└─ conv1`` below what it lies in."""
    shown = {r.module for r in rows}
    children: dict[str, list[str]] = {}
    for r in rows:
        if r.module:
            outer = next(p for p in (*upwards(r.module.rpartition(".")[0]), "") if p in shown)
            children.setdefault(outer, []).append(r.module)
    labels: dict[str, str] = {}

    def walk(path: str, indent: str) -> None:
        below = children.get(path, [])
        for i, child in enumerate(below):
            last = i == len(below) - 1
            name = child[len(path) + 1 :] if path else child
            labels[child] = f"{indent}{'└─ ' if last else '├─ '}{name}"
            walk(child, f"{indent}{'   ' if last else '│  '}")

    walk("", "")
    return [labels[r.module] if r.module else r.type for r in rows]


def tabled(
    name: str,
    total: float | None,
    structure: Structure | None,
    evaluation: Evaluation,
    *,
    columns: Sequence[str] | str | None,
    depth: int | None,
    tree: bool,
) -> LayerTable:
    """The table of a scored network; see :meth:`sed_torch.Score.table`."""
    layers = structure.layers if structure is not None else ()
    if not layers:
        raise InputError(
            f"{name}: a score without its modules, as older files hold it: score the model again"
        )
    if depth is not None and depth < 0:
        raise InputError(f"depth must be 0 or more, found {depth}")
    rows = rows_of(layers, evaluation)
    if depth is not None:
        rows = tuple(r for r in rows if r.depth <= depth)
    return LayerTable(name, rows, _chosen(columns), tree, layers[0].input_bytes, total)


def _chosen(columns: Sequence[str] | str | None) -> tuple[str, ...]:
    """Columns by name, whatever their case; ``module`` always leads."""
    if columns is None:
        return ("module", *DEFAULT_COLUMNS)
    words = [w.strip() for w in columns.split(",")] if isinstance(columns, str) else list(columns)
    if words == ["all"]:
        return tuple(COLUMNS)
    known = {**_ALIASES, **{_folded(c): c for c in COLUMNS}}
    wrong = [w for w in words if _folded(w) not in known]
    if wrong or not words:
        import difflib

        near = difflib.get_close_matches(_folded(wrong[0]), known, n=1) if wrong else []
        hint = f" Did you mean {known[near[0]]!r}?" if near else ""
        found = repr(wrong[0]) if wrong else "nothing"
        raise InputError(f"expected columns of {', '.join(COLUMNS)}, or all; found {found}.{hint}")
    return tuple(dict.fromkeys(["module", *(known[_folded(w)] for w in words)]))


def _folded(word: str) -> str:
    return str(word).casefold().replace("_", " ").replace("-", " ").strip()
