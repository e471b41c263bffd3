"""What :func:`sed_torch.score` returns: the number, where it comes from, and how far to trust it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sed_torch import tables
from sed_torch._plain import checked_schema, finite, revived
from sed_torch.errors import DataError, GraphError, InputError
from sed_torch.scoring.blocks import LEGEND, Block, OpRow, Unknown, blocks_of, folded, grid_of, ops_of
from sed_torch.scoring.definitions import DEFINITIONS
from sed_torch.scoring.features import features_of
from sed_torch.scoring.formula import Evaluation, evaluate
from sed_torch.scoring.layers import LayerTable, tabled
from sed_torch.scoring.shape import Shape
from sed_torch.scoring.standing import read_reference
from sed_torch.scoring.structure import Layer, Structure
from sed_torch.scoring.wiring import wiring_of
from sed_torch.topology import Topology

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LEGEND", "SCHEMA", "Block", "OpRow", "Scope", "Score", "Unknown"]

SCHEMA = "sed_torch.score/1"

Scope = Literal["convolutional", "extrapolated"]

_SCOPE_NOTE = {
    "convolutional": "a convolutional network, which the theory is about",
    "extrapolated": "more or other than convolutions: beyond what the theory was made for",
}


@dataclass(frozen=True)
class Score(tables.Tabular):
    """The SED score of a model, higher is better, with per-block diagnostics.

    How the live convolutions and linear layers come to one number, in nats, is told by the definition
    (:mod:`sed_torch.scoring.definitions`). The form is this project's, derived from the published claims of arXiv
    2411.06236. Scores compare architectures at the same task, input size and definition; they say nothing of data,
    recipe or weights.

    The score is blind to what leaves Γ as it is (:mod:`sed_torch.scoring.definitions` lists it), and it grows with the
    network's size and the input's. :attr:`shape` is what is left of it at equal size.

    Attributes:
        name: the model's name.
        total: the score in nats; -inf without a live path, None where SED is not defined (see ``reason``).
        reason: why ``total`` is -inf or None; else None.
        conv: the score as if no local entropy were lost.
        pool: what pooling costs (≤ 0), in nats.
        skip: what identity skips change; > 0 where they suppress a decrease, in nats.
        suppression: Σ n_eff / Σ n in (0, 1], higher is better.
        shape: nats beyond what its parameters, multiply-accumulates and input size predict; None where that is not
            known (:attr:`shape_note` says why).
        coverage: share of the parameters that the forward reads which are under a known rule, in [0, 1].
        node_coverage: the same, of operators.
        unknown: operators without a rule.
        params: all parameters of the model.
        unused_params: those that the forward never reads.
        macs: multiply-accumulates a sample.
        frontend: how the model was traced.
        assumed: what was not given and had to be assumed.
        inputs: input shapes.
        definition: name of the score's form, such as ``"sed/2"``.
        scope: ``"convolutional"``, or ``"extrapolated"`` for networks the theory was not made for.
        versions: of the packages involved.
        elapsed: seconds, tracing included.
        depth: default depth of blocks.
        evaluation: the calculus behind it.
        fingerprint: digest of the traced graph.
        expected: what a calibration foretells (:meth:`sed_torch.calibration.Calibration.told`), or None where none was
            asked.
        advice: what to change and at what cost, in sentences (:meth:`sed_torch.Sensitivity.advice`); empty where
            nobody asked.
        structure: the modules, from which :meth:`table` is made; None for a score that an older version wrote.
        memory: bytes at the peak of a training step of one sample with AdamW
            (:func:`sed_torch.costing.with_memory`); None where nobody counted them.
    """

    schema: ClassVar = SCHEMA
    kind: ClassVar = "a score"

    name: str
    total: float | None
    reason: str | None
    coverage: float
    node_coverage: float
    unknown: tuple[Unknown, ...]
    params: int
    unused_params: int
    frontend: str
    assumed: tuple[str, ...]
    inputs: tuple[tuple[int, ...], ...]
    definition: str
    scope: Scope
    versions: dict[str, str]
    elapsed: float
    depth: int
    fingerprint: str
    evaluation: Evaluation = field(repr=False, compare=False)
    expected: Mapping[str, Any] | None = field(default=None, compare=False)
    advice: tuple[str, ...] = field(default=(), compare=False)
    structure: Structure | None = field(default=None, repr=False, compare=False)
    memory: int | None = field(default=None, compare=False)

    def _checked(self, other: Score, doing: str) -> tuple[float, float]:
        """Both totals, which are of one definition and one input size.

        Raises:
            InputError: they are not, or one is undefined.
        """
        if self.definition != other.definition:
            raise InputError(f"cannot {doing} scores of {self.definition} and {other.definition}")
        if self.inputs != other.inputs:
            raise InputError(
                f"cannot {doing} scores at inputs {self.inputs} and {other.inputs}: score at one size"
            )
        if self.total is None or other.total is None:
            name = self.name if self.total is None else other.name
            raise InputError(f"cannot {doing} with {name}: its score is undefined")
        return self.total, other.total

    def __lt__(self, other: Score) -> bool:
        """Whether this score is the lower one; both must be of one definition and input size, else InputError."""
        if not isinstance(other, Score):
            return NotImplemented
        a, b = self._checked(other, "compare")
        return a < b

    def __gt__(self, other: Score) -> bool:
        """Whether this score is the higher one; as for ``<``."""
        return NotImplemented if not isinstance(other, Score) else other < self

    def __le__(self, other: Score) -> bool:
        """Whether this score is not the higher one; as for ``<``."""
        return NotImplemented if not isinstance(other, Score) else not other < self

    def __ge__(self, other: Score) -> bool:
        """Whether this score is not the lower one; as for ``<``."""
        return NotImplemented if not isinstance(other, Score) else not self < other

    def __sub__(self, other: Score) -> float:
        """The difference in nats of two scores of one definition and input size, else InputError."""
        if not isinstance(other, Score):
            return NotImplemented
        a, b = self._checked(other, "subtract")
        if a == b:
            return 0.0  # two of -inf too
        return a - b

    def __format__(self, spec: str) -> str:
        """The total by a number's format, as in ``f"{score:.2f}"``; the whole text without one."""
        return format(float(self), spec) if spec else str(self)

    def __hash__(self) -> int:
        return hash((self.name, self.definition, self.total, self.fingerprint))

    def __float__(self) -> float:
        """The total; NaN where it is undefined, as a float cannot be None."""
        return math.nan if self.total is None else self.total

    @property
    def conv(self) -> float | None:
        """The score as if no local entropy were lost, in nats."""
        return self.evaluation.conv

    @property
    def pool(self) -> float | None:
        """What pooling costs, in nats; ≤ 0."""
        return self.evaluation.pool

    @property
    def skip(self) -> float | None:
        """What identity skips change, in nats; > 0 where they suppress a decrease of local entropy."""
        return self.evaluation.skip

    @property
    def suppression(self) -> float | None:
        """Σ n_eff / Σ n in (0, 1], higher is better."""
        return self.evaluation.suppression

    @property
    def macs(self) -> float:
        """Multiply-accumulates a sample."""
        return self.evaluation.topology.macs

    @cached_property
    def _shape(self) -> tuple[Shape | None, str | None]:
        return read_reference().shape(self)

    @property
    def shape(self) -> float | None:
        """What is left of the score at equal size, in nats, higher is better (:mod:`sed_torch.scoring.shape`).

        It compares networks of like size, and is no score by itself: across sizes the larger one is usually better,
        which the shape leaves out. The population are torchvision's image classifiers. It hardly moves with the input,
        so that it compares where networks read images of different sizes. None outside the sizes of the population, and
        where the score is not finite or not of all operators; :attr:`shape_note` says why.
        """
        found, _ = self._shape
        return None if found is None else found.nats

    @property
    def shape_note(self) -> str:
        """:attr:`shape` in words, or why it is not known."""
        found, why = self._shape
        return found.sentence() if found is not None else f"not known: {why}"

    @cached_property
    def features(self) -> Mapping[str, float]:
        """Closed-form numbers about the topology, see :data:`sed_torch.scoring.features.FEATURES`."""
        return features_of(self.evaluation)

    @cached_property
    def wiring(self) -> tuple[int, ...]:
        """Which operators read which, in counts (:mod:`sed_torch.scoring.wiring`)."""
        return wiring_of(self.evaluation.topology)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Blocks at the default depth."""
        return self.by_block()

    def by_block(self, depth: int | None = None) -> tuple[Block, ...]:
        """Blocks by module path cut to ``depth`` names, in order of execution.

        Their amplitudes add up to ``exp(total)`` and their shares to 1.
        """
        depth = self.depth if depth is None else depth
        if depth < 0:
            raise InputError(f"depth must be 0 or more, found {depth}")
        return blocks_of(self.evaluation, depth)

    def table(
        self, columns: Sequence[str] | str | None = None, *, depth: int | None = None, tree: bool = False
    ) -> LayerTable:
        """The modules one by one, as summary tools list them: shapes, kernels, parameters, work, effective taps.

        Args:
            columns: names of :data:`sed_torch.scoring.layers.COLUMNS`, or ``"all"``; torchinfo's names are understood
                too. A few when None. ``module`` always leads.
            depth: leave out modules deeper than so many names; all of them when None.
            tree: show modules as a tree instead of by their paths.

        Raises:
            InputError: for a column that there is not, or a score read from a file without its modules.

        Example:
            >>> import sed_torch, torch
            >>> s = sed_torch.score(torch.nn.Sequential(torch.nn.Linear(4, 2)), input_size=(1, 4))
            >>> s.table(["output", "params"], tree=True)["0"].params
            10
        """
        return tabled(
            self.name, self.total, self.structure, self.evaluation, columns=columns, depth=depth, tree=tree
        )

    def by_op(self) -> tuple[OpRow, ...]:
        """Contributions by operator kind, largest share first."""
        return ops_of(self.evaluation)

    # -- views -------------------------------------------------------------------------------------------

    def to_dict(self, depth: int | None = None) -> dict[str, Any]:
        """Plain data with a schema version; :meth:`from_dict` reads it back.

        ``-inf`` is the string ``"-inf"``; what is missing is None. The topology is part of it, by which a score that
        was read back can be compared, varied and reported like one that was just computed.
        """
        return {
            "schema": SCHEMA,
            "name": self.name,
            "total": finite(self.total),
            "reason": self.reason,
            "unit": "nats",
            "higher_is_better": True,
            "conv": self.conv,
            "pool": self.pool,
            "skip": self.skip,
            "suppression": self.suppression,
            "shape": self.shape,
            "shape_note": self.shape_note,
            "definition": self.definition,
            "formula": DEFINITIONS[self.definition].formula,
            "source": DEFINITIONS[self.definition].source,
            "scope": self.scope,
            "coverage": self.coverage,
            "node_coverage": self.node_coverage,
            "unknown": [asdict(u) for u in self.unknown],
            "params": self.params,
            "unused_params": self.unused_params,
            "macs": self.macs,
            "frontend": self.frontend,
            "inputs": [list(s) for s in self.inputs],
            "assumed": list(self.assumed),
            "blocks": [asdict(b) for b in self.by_block(depth)],
            "ops": [asdict(o) for o in self.by_op()],
            "fingerprint": self.fingerprint,
            **({} if self.expected is None else {"expected": dict(self.expected)}),
            **({"advice": list(self.advice)} if self.advice else {}),
            **({} if self.memory is None else {"memory": self.memory}),
            "versions": dict(self.versions),
            "elapsed": self.elapsed,
            "depth": self.depth if depth is None else depth,
            "topology": self.evaluation.topology.to_dict(),
            "layers": [asdict(x) for x in self.structure.layers] if self.structure is not None else [],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Score:
        """Inverse of :meth:`to_dict`.

        Raises:
            DataError: for data of another kind or of an unknown definition, for a score that its own topology does not
                have, and for one that 0.1.0 wrote, without the topology.
        """
        checked_schema(data, SCHEMA, "a score")
        if "topology" not in data:
            raise DataError("a score without its topology, as 0.1.0 wrote it: score the model again")
        if data.get("definition") not in DEFINITIONS:
            raise DataError(
                f"a score of definition {data.get('definition')!r}: this version knows {', '.join(DEFINITIONS)}"
            )
        try:
            evaluation = evaluate(Topology.from_dict(data["topology"]), definition=data["definition"])
        except (GraphError, AttributeError, TypeError) as error:
            raise DataError(f"a score, its topology: {error}") from error
        layers = [revived(Layer, x, "a score: layers") for x in data.get("layers") or ()]
        made = {"evaluation": evaluation, "structure": Structure(layers=layers) if layers else None}
        read = revived(cls, {**data, **made}, "a score")
        if not _same(read.total, evaluation.total):
            raise DataError(
                f"a score of {read.total} whose topology scores {evaluation.total}: the file was changed, or written "
                f"by a version that computed {read.definition} otherwise"
            )
        return read

    def to_json(self, *, depth: int | None = None, indent: int | None = 2) -> str:
        """:meth:`to_dict` as strict JSON text."""
        return json.dumps(self.to_dict(depth), indent=indent, allow_nan=False)

    def records(self, depth: int | None = None) -> tuple[list[dict[str, Any]], Sequence[str]]:
        """One row a block."""
        return [asdict(b) for b in self.by_block(depth)], list(Block.__dataclass_fields__)

    def to_dataframe(self, depth: int | None = None) -> pd.DataFrame:
        """One row a block.

        Raises:
            MissingDependencyError: without pandas.
        """
        return tables.to_dataframe(*self.records(depth))

    def to_csv(self, depth: int | None = None) -> str:
        """One line a block."""
        return tables.to_csv(*self.records(depth))

    def to_markdown(self, depth: int | None = None) -> str:
        """Headline and block table in Markdown."""
        return self.view(depth).markdown()

    def to_text(self, depth: int | None = None, *, width: int | None = None) -> str:
        """The report as plain text, with blocks at ``depth``, in lines of at most ``width`` characters if given."""
        return self.view(depth).text(width)

    def view(self, depth: int | None = None) -> tables.View:
        """Headline, parts of the score, and one row a block."""
        blocks = folded(self.by_block(depth))
        return tables.View(self.headline(), self._lead(), (grid_of(blocks),), self._notes(blocks))

    def standing(self) -> str:
        """Where the score stands among named networks of like size, or why that cannot be said, in words."""
        found, why = read_reference().standing(self)
        return found.sentence() if found is not None else f"not known: {why}"

    def _lead(self) -> tuple[str, ...]:
        """What a person asks first."""
        shapes = ", ".join(tables.shape_text(s) for s in self.inputs)
        size = (
            f"size: {tables.quantity(self.params)} params ({tables.mebibytes(self.params * 4)} in float32), "
            f"{tables.quantity(self.macs)} MACs a sample, input {shapes}"
        )
        if self.memory is not None:
            size += f"; {tables.mebibytes(self.memory)} a training step of one sample, AdamW"
        shape = f"shape: {self.shape_note}" if self.total is not None and math.isfinite(self.total) else ""
        lines = [size, f"standing: {self.standing()}", shape, *self.advice, self._parts()]
        if self.unknown:
            count = sum(u.count for u in self.unknown)
            operators = "1 operator is" if count == 1 else f"{count} operators are"
            lines.append(f"Careful: {operators} without a rule; this is the score of the rest")
        return tuple(line for line in lines if line)

    def headline(self) -> str:
        """Name and score on one line."""
        if self.total is None:
            return f"{self.name}: SED undefined ({self.reason})"
        if self.total == -math.inf:
            return f"{self.name}: SED = -inf ({self.reason})"
        return f"{self.name}: SED = {self.total:.4f} nats (higher is better)"

    def _parts(self) -> str:
        if self.total is None or self.conv is None:
            return ""
        return (
            f"conv {self.conv:.4f}   pool {_signed(self.pool)}   skip {_signed(self.skip)}   "
            f"suppression {tables.cell(self.suppression)}"
        )

    def _notes(self, blocks: Sequence[Block]) -> tuple[str, ...]:
        lines = [
            f"coverage {self.coverage:.1%} of parameters, {self.node_coverage:.1%} of operators; "
            f"front-end {self.frontend}; {self.definition}; {self.scope}: {_SCOPE_NOTE[self.scope]}",
        ]
        if self.expected is not None:
            lines.insert(0, str(self.expected["sentence"]))
        if any(not b.path for b in blocks):
            lines.append(LEGEND["(root)"])
        if any((h or 0.0) < 0.0 for b in blocks for h in (b.entropy_in, b.entropy_out)):
            lines.append(
                "h below 0: of a continuous quantity; 1.419 is white noise, far below it nearly nothing varies"
            )
        lines += [f"assumed: {a}" for a in self.assumed]
        lines += [
            f"unknown operator: {u.target} ×{u.count} in {u.path or 'the root'}" for u in self.unknown[:8]
        ]
        if self.unused_params:
            lines.append(f"{tables.quantity(self.unused_params)} parameters are never read by the forward")
        return tuple(lines)

    def __repr__(self) -> str:
        total = "undefined" if self.total is None else f"{self.total:.4f}"
        return (
            f"Score({self.name}: sed={total}, coverage={self.coverage:.0%}, definition={self.definition!r})"
        )


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4f}"


def _same(a: float | None, b: float | None) -> bool:
    return a == b or (a is not None and b is not None and math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12))
