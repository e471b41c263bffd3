"""Topology → SED score. Takes no model, runs no network.

    SED = ln Σ_v  A_v · C_out,v · √( (C_in,v / g_v) · n_eff,v )      [nats, higher is better]

over the live mixing operators v (convolutions, linear layers): A_v output positions, C channels, g groups
and n_eff the effective taps of the patch that v reads (:mod:`sed_torch.entropy`). In words: an output unit
sums (C_in/g)·n_eff independent unit-variance inputs, so its amplitude is the square root of that number; SED
is the log of the total amplitude over all output units. A map without local entropy gives its reader none.
The form is this project's own, derived from the published claims of arXiv 2411.06236 with no fitted constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from sed_torch import entropy
from sed_torch.entropy import Field
from sed_torch.scoring.definitions import DEFAULT_DEFINITION, definition_of
from sed_torch.topology import Step, Topology

__all__ = ["Evaluation", "Term", "evaluate", "sed"]

Mode = Literal["full", "no_pool", "no_skip"]

NO_PATH = "no live path from an input to an output passes a convolution or linear layer"
NO_OPERATOR = "the network has no operator that SED defines (no convolution, no linear layer)"


@dataclass(frozen=True, slots=True)
class Term:
    """What one live mixing operator adds to the sum inside the logarithm.

    Attributes:
        step: index of the step in the topology.
        amplitude: A · C_out · √(C_in/g · n_eff).
        conv: the same with n_eff = n, had nothing decreased.
        no_pool: the same with pooling taken as plain subsampling.
        no_skip: the same with identity skips left out of Γ at the merges they feed.
        taps: n.
        effective_taps: n_eff.
    """

    step: int
    amplitude: float
    conv: float
    no_pool: float
    no_skip: float
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
    """

    topology: Topology
    terms: tuple[Term, ...]
    fields: tuple[Field | None, ...]
    total: float | None
    reason: str | None

    @property
    def conv(self) -> float | None:
        """SED had no local entropy decreased (n_eff = n everywhere), in nats."""
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
    definition_of(definition)
    fields = _propagate(topology, "full")
    live = topology.live
    return log_sum(
        _amplitude(s, *_effective(s, fields))
        for i, s in enumerate(topology.steps)
        if s.kind == "mix" and i in live
    )


def evaluate(topology: Topology, *, definition: str = DEFAULT_DEFINITION) -> Evaluation:
    """Run the calculus three times over a topology: as it is, without pooling, without skips.

    Raises:
        SedTorchError: for an unknown definition.
    """
    definition_of(definition)
    full = _propagate(topology, "full")
    no_pool = _propagate(topology, "no_pool") if _has_pool(topology) else full
    no_skip = _propagate(topology, "no_skip") if topology.skips else full
    terms = tuple(
        _term(i, step, full, no_pool, no_skip)
        for i, step in enumerate(topology.steps)
        if step.kind == "mix" and i in topology.live
    )
    if terms:
        total: float | None = log_sum(t.amplitude for t in terms)
        reason = None
    elif any(s.kind == "mix" for s in topology.steps):
        total, reason = -math.inf, NO_PATH
    else:
        total, reason = None, NO_OPERATOR
    return Evaluation(topology, terms, tuple(full), total, reason)


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


def _effective(step: Step, fields: list[Field | None]) -> tuple[float, float]:
    """(effective taps, √-mean of them): equal but for the phases of a transposed convolution."""
    field = fields[step.inputs[0]]
    if field is None:
        return 0.0, 0.0
    if not step.patches:
        n_eff = entropy.effective_taps(field, step.window, step.dilation)
        return n_eff, math.sqrt(n_eff)
    taps = [(share, entropy.effective_taps(field, p, step.dilation)) for share, p in step.patches]
    return sum(w * n for w, n in taps), sum(w * math.sqrt(n) for w, n in taps)


def _amplitude(step: Step, _: float, root_taps: float) -> float:
    return step.positions * step.c_out * math.sqrt(step.c_in) * root_taps


def _term(
    i: int, step: Step, full: list[Field | None], no_pool: list[Field | None], no_skip: list[Field | None]
) -> Term:
    n_eff, root = _effective(step, full)
    phases = step.patches or ((1.0, step.window),)
    root_n = sum(share * math.sqrt(math.prod(p)) for share, p in phases)
    return Term(
        step=i,
        amplitude=_amplitude(step, n_eff, root),
        conv=_amplitude(step, step.taps, root_n),
        no_pool=_amplitude(step, *_effective(step, no_pool))
        if no_pool is not full
        else _amplitude(step, n_eff, root),
        no_skip=_amplitude(step, *_effective(step, no_skip))
        if no_skip is not full
        else _amplitude(step, n_eff, root),
        taps=step.taps,
        effective_taps=n_eff,
    )
