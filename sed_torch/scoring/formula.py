"""Topology → SED score. Takes no model, runs no network.

Every live mixing operator (convolution, linear layer) reads a patch of n taps whose n_eff effective taps the calculus
of local entropy tells (:mod:`sed_torch.entropy`). What an operator with them adds to the score, and how a network's
operators come to one number, is a definition's (:mod:`sed_torch.scoring.definitions`). In every definition a map
without local entropy gives its reader nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sed_torch import entropy
from sed_torch.entropy import Field
from sed_torch.scoring.definitions import DEFAULT_DEFINITION, Definition, definition_of
from sed_torch.topology import Step, Topology

__all__ = ["Evaluation", "Taps", "Term", "evaluate", "sed", "sed_and_taps", "share_out"]

Array = NDArray[np.float64]
Mode = Literal["full", "no_pool", "no_skip"]

NO_PATH = "no live path from an input to an output passes a convolution or linear layer"
NO_OPERATOR = "the network has no operator that SED defines (no convolution, no linear layer)"


@dataclass(frozen=True, slots=True)
class Term:
    """What one live mixing operator adds to the score.

    Amplitudes of all terms add up to exp of a score: that of the network as it is (``amplitude``), that which it
    would have if no map lost local entropy (``conv``), and so on. An operator's amplitude over their sum is the share
    of the score that it carries: the nats by which the score moves where its norm moves by one part in a hundred,
    times a hundred.

    Attributes:
        step: index of the step in the topology.
        norm: what the operator itself adds to the sum of its map size, whatever the others are
            (:attr:`Definition.addend`).
        amplitude: its part of exp(SED). Equal to ``norm`` under ``sed/1``.
        conv: the same with n_eff = n, as if no map had lost any local entropy.
        no_pool: the same with pooling taken as plain subsampling.
        no_skip: the same with identity skips left out of Γ at the merges they feed.
        pool: its part of what pooling costs, in nats; the parts add up to :attr:`Evaluation.pool`.
        skip: its part of what identity skips change, in nats; the parts add up to :attr:`Evaluation.skip`.
        lost: its part of the score minus the conv part, in nats, ≤ 0; the parts add up to that difference.
        taps: n.
        effective_taps: n_eff.
    """

    step: int
    norm: float
    amplitude: float
    conv: float
    no_pool: float
    no_skip: float
    pool: float
    skip: float
    lost: float
    taps: float
    effective_taps: float


@dataclass(frozen=True)
class Evaluation:
    """The calculus run over a topology.

    Attributes:
        topology: what was evaluated.
        terms: one a live mixing operator, in order.
        fields: the field each live step leaves; None for dead steps.
        total: SED in nats; -inf without a live path, None without any operator that SED defines.
        reason: why ``total`` is -inf or None, else None.
        definition: name of the form of the score.
    """

    topology: Topology
    terms: tuple[Term, ...]
    fields: tuple[Field | None, ...]
    total: float | None
    reason: str | None
    definition: str = DEFAULT_DEFINITION

    @property
    def conv(self) -> float | None:
        """SED if no map had lost any local entropy (n_eff = n everywhere), in nats."""
        return log_sum(t.conv for t in self.terms) if self.terms else None

    @property
    def pool(self) -> float | None:
        """What pooling costs, in nats: SED minus SED with pooling as plain subsampling. ≤ 0 for a cost."""
        return self._difference("no_pool")

    @property
    def skip(self) -> float | None:
        """SED minus SED without identity skips, in nats. > 0 where skips suppress a decrease."""
        return self._difference("no_skip")

    @property
    def suppression(self) -> float | None:
        """Σ n_eff / Σ n in (0, 1]: the share of the possible local entropy that the topology keeps."""
        taps = math.fsum(t.taps for t in self.terms)
        return math.fsum(t.effective_taps for t in self.terms) / taps if taps else None

    def _difference(self, other: str) -> float | None:
        if not self.terms or self.total is None:
            return None
        return self.total - log_sum(getattr(t, other) for t in self.terms)


def log_sum(amplitudes: object) -> float:
    """ln of a sum; -inf for an empty or zero one."""
    total = math.fsum(amplitudes)  # type: ignore[arg-type]
    return math.log(total) if total > 0.0 else -math.inf


def sed(topology: Topology, *, definition: str = DEFAULT_DEFINITION) -> float:
    """SED of a topology in nats, higher is better; nothing but the number.

    Returns:
        The score; -inf when no live path from input to output passes a mixing operator.

    Raises:
        SedTorchError: for an unknown definition.
    """
    form = definition_of(definition)
    mixes = _mixes(topology)
    if not mixes:
        return -math.inf
    taps = [root for _, root in _effective(mixes, _propagate(topology, "full"))]
    return _total(form, *_sums(mixes, _addends(form, mixes, taps)))


class Taps(NamedTuple):
    """What one live mixing operator reads: index of its step, n and n_eff."""

    step: int
    taps: float
    effective_taps: float


def sed_and_taps(
    topology: Topology, *, definition: str = DEFAULT_DEFINITION
) -> tuple[float | None, tuple[Taps, ...]]:
    """SED, as :attr:`Evaluation.total` is, and the taps behind it; without the parts, in a fraction of their time.

    Raises:
        SedTorchError: for an unknown definition.
    """
    form = definition_of(definition)
    places = [i for i, s in enumerate(topology.steps) if s.kind == "mix" and i in topology.live]
    if not places:
        return (-math.inf if any(s.kind == "mix" for s in topology.steps) else None), ()
    mixes = [topology.steps[i] for i in places]
    found = _effective(mixes, _propagate(topology, "full"))
    total = _total(form, *_sums(mixes, _addends(form, mixes, [root for _, root in found])))
    return total, tuple(
        Taps(i, step.taps, n_eff) for i, step, (n_eff, _) in zip(places, mixes, found, strict=True)
    )


def evaluate(topology: Topology, *, definition: str = DEFAULT_DEFINITION) -> Evaluation:
    """Run the calculus three times over a topology: as it is, without pooling, without skips.

    Raises:
        SedTorchError: for an unknown definition.
    """
    form = definition_of(definition)
    full = _propagate(topology, "full")
    no_pool = _propagate(topology, "no_pool") if _has_pool(topology) else full
    no_skip = _propagate(topology, "no_skip") if topology.skips else full
    terms: tuple[Term, ...] = ()
    if mixes := _mixes(topology):
        terms = _terms(form, topology, mixes, (full, no_pool, no_skip))
        norms = np.array([t.norm for t in terms])
        total: float | None = _total(form, *_sums(mixes, norms))
        reason = None
    elif any(s.kind == "mix" for s in topology.steps):
        total, reason = -math.inf, NO_PATH
    else:
        total, reason = None, NO_OPERATOR
    return Evaluation(topology, terms, tuple(full), total, reason, definition)


def _mixes(topology: Topology) -> list[Step]:
    """The live mixing operators."""
    return [s for i, s in enumerate(topology.steps) if s.kind == "mix" and i in topology.live]


def share_out(before: Evaluation, after: Evaluation) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """The difference of two scores by operator: (what those of ``before`` take away, what those of ``after`` add).

    In nats; all of them add up to the score of ``after`` minus that of ``before``. Operators that both networks have
    cancel out where the largest maps are equal; where they are not, every amplitude changes with the range of scales.
    None where a score is not finite, or the definitions differ.
    """
    finite = all(e.total is not None and math.isfinite(e.total) for e in (before, after))
    if not finite or before.definition != after.definition:
        return None
    form = definition_of(before.definition)
    mixes, other = _mixes(before.topology), _mixes(after.topology)
    addends = np.array([*(t.norm for t in before.terms), *(t.norm for t in after.terms)])
    mine = np.arange(len(addends)) < len(mixes)
    both = [*mixes, *other]
    old, sizes = _sums(both, np.where(mine, addends, 0.0))
    new, _ = _sums(both, np.where(mine, 0.0, addends))
    parts = addends * _at(both, form.weights(new, old, sizes), sizes)
    change = (after.total or 0.0) - (before.total or 0.0)
    if not math.isclose(parts[~mine].sum() - parts[mine].sum(), change, rel_tol=1e-9, abs_tol=1e-9):
        parts = np.array([*(t.amplitude for t in before.terms), *(t.amplitude for t in after.terms)])
        gap = parts[~mine].sum() - parts[mine].sum()
        parts = parts * (change / gap) if gap else parts * 0.0
    return tuple((-parts[mine]).tolist()), tuple(parts[~mine].tolist())


def _has_pool(topology: Topology) -> bool:
    return any(s.kind == "pool" for s in topology.steps)


def _propagate(topology: Topology, mode: Mode) -> list[Field | None]:
    """The field that each live step leaves."""
    live = topology.live
    skips = topology.skips if mode == "no_skip" else {}
    fields: list[Field | None] = [None] * len(topology.steps)
    for i, step in enumerate(topology.steps):
        if i not in live and step.kind != "learned":
            continue
        left_out = skips.get(i, frozenset())
        places = [p for p, j in enumerate(step.inputs) if fields[j] is not None and p not in left_out]
        inputs = [fields[step.inputs[p]] for p in places]
        fields[i] = EFFECTS[step.kind](step, [f for f in inputs if f is not None], places, mode)
    return fields


Effect = Callable[[Step, list[Field], list[int], Mode], Field]


def _mix(step: Step, inputs: list[Field], places: list[int], mode: Mode) -> Field:
    field = entropy.subsample(entropy.normalise(inputs[0]), step.stride)
    # Γ(s·d)/Γ(0): subsampling keeps Γ(0), so one normalisation is enough.
    return field


def _pool(step: Step, inputs: list[Field], places: list[int], mode: Mode) -> Field:
    if mode == "no_pool":
        return entropy.subsample(inputs[0], step.stride)
    return entropy.pool(inputs[0], step.window, step.stride, step.dilation)


def _cat(step: Step, inputs: list[Field], places: list[int], mode: Mode) -> Field:
    return entropy.mean(inputs, [step.weights[p] for p in places], step.ndim)


def _mul(step: Step, inputs: list[Field], places: list[int], mode: Mode) -> Field:
    field = inputs[0]
    for other in inputs[1:]:
        field = entropy.multiply(field, other)
    return field


def _dilate(step: Step, inputs: list[Field], places: list[int], mode: Mode) -> Field:
    return entropy.dilate(inputs[0], tuple(int(f) for f in step.factor))


EFFECTS: Mapping[str, Effect] = {
    "input": lambda step, *_: entropy.white(step.ndim),
    "learned": lambda step, *_: entropy.white(step.ndim),
    "mix": _mix,
    "norm": lambda step, inputs, *_: entropy.normalise(inputs[0]),
    "pool": _pool,
    "add": lambda step, inputs, *_: entropy.add(inputs, step.ndim),
    "cat": _cat,
    "mul": _mul,
    "upsample": lambda step, inputs, *_: entropy.upsample(inputs[0], step.factor),
    "dilate": _dilate,
    "average": lambda step, inputs, *_: entropy.average(inputs[0], step.counts),
    "attend": lambda step, inputs, *_: entropy.average(inputs[0], step.counts),
    "view": lambda step, inputs, *_: entropy.reindex(inputs[0], step.axes),
    "same": lambda step, inputs, *_: inputs[0],
}
"""How each kind of step changes Γ."""


def _effective(mixes: Sequence[Step], fields: list[Field | None]) -> list[tuple[float, float]]:
    """(effective taps, mean of their roots) of each: they differ for the phases of a transposed convolution only."""
    return [_effective_taps(step, fields[step.inputs[0]]) for step in mixes]


def _effective_taps(step: Step, field: Field | None) -> tuple[float, float]:
    if field is None:
        return 0.0, 0.0
    if not step.patches:
        n_eff = entropy.effective_taps(field, step.window, step.dilation)
        return n_eff, math.sqrt(n_eff)
    taps = [(share, entropy.effective_taps(field, p, step.dilation)) for share, p in step.patches]
    return sum(w * n for w, n in taps), sum(w * math.sqrt(n) for w, n in taps)


# --- from operators to a number ------------------------------------------------------------------------------


def _addends(form: Definition, mixes: Sequence[Step], root_taps: Sequence[float]) -> Array:
    numbers = np.array([(s.positions, s.c_in, s.c_out, s.groups, s.share) for s in mixes], dtype=np.float64)
    positions, c_in, c_out, groups, share = numbers.T
    return np.asarray(share * form.addend(positions, c_in, c_out, np.asarray(root_taps), groups))


def _sums(mixes: Sequence[Step], addends: Array) -> tuple[Array, Array]:
    """(sums by map size, map sizes)."""
    positions = np.array([s.positions for s in mixes], dtype=np.float64)
    sizes, where = np.unique(positions, return_inverse=True)
    sums = np.bincount(where.reshape(-1), addends, minlength=len(sizes))
    return np.asarray(sums, dtype=np.float64), sizes


def _total(form: Definition, sums: Array, sizes: Array) -> float:
    return float(form.total(sums[None], sizes)[0])


def _terms(
    form: Definition, topology: Topology, mixes: Sequence[Step], fields: Sequence[list[Field | None]]
) -> tuple[Term, ...]:
    """Terms from the fields as they are, without pooling and without skips."""
    full = fields[0]
    taps = {id(f): _effective(mixes, f) for f in fields}
    roots = [sum(w * math.sqrt(math.prod(p)) for w, p in s.patches or ((1.0, s.window),)) for s in mixes]
    norms = [_addends(form, mixes, [root for _, root in taps[id(f)]]) for f in fields]
    norms.append(_addends(form, mixes, roots))
    amplitudes = [_amplitudes(form, mixes, a) for a in norms]
    pool, skip, lost = (_parts(form, mixes, norms[0], other) for other in norms[1:])
    places = [i for i, s in enumerate(topology.steps) if s.kind == "mix" and i in topology.live]
    columns = (norms[0], *amplitudes, pool, skip, lost)
    return tuple(
        Term(
            step=i,
            norm=norm,
            amplitude=amplitude,
            conv=conv,
            no_pool=no_pool,
            no_skip=no_skip,
            pool=by_pool,
            skip=by_skip,
            lost=by_loss,
            taps=step.taps,
            effective_taps=n_eff,
        )
        for i, step, (n_eff, _), (norm, amplitude, no_pool, no_skip, conv, by_pool, by_skip, by_loss) in zip(
            places, mixes, taps[id(full)], zip(*(c.tolist() for c in columns), strict=True), strict=True
        )
    )


def _amplitudes(form: Definition, mixes: Sequence[Step], addends: Array) -> Array:
    """Each operator's part of exp(score): its share of the score's slope."""
    sums, sizes = _sums(mixes, addends)
    total = _total(form, sums, sizes)
    if total == -math.inf:
        return np.zeros(len(addends))
    return math.exp(total) * addends * _at(mixes, form.weights(sums, sums, sizes), sizes)


def _parts(form: Definition, mixes: Sequence[Step], addends: Array, others: Array) -> Array:
    """What each operator adds to the difference of two scores; the parts add up to it."""
    if not addends.any() or not others.any():
        return np.zeros(len(addends))
    (sums, sizes), (other_sums, _) = _sums(mixes, addends), _sums(mixes, others)
    return np.asarray((addends - others) * _at(mixes, form.weights(sums, other_sums, sizes), sizes))


def _at(mixes: Sequence[Step], weights: Array, sizes: Array) -> Array:
    return weights[np.searchsorted(sizes, [s.positions for s in mixes])]
