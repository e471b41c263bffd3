"""The forms of the score: what one operator adds, and what a network's sums come to.

A definition is a few functions over arrays, so that one place serves a single network
(:mod:`sed_torch.scoring.formula`) and many side by side (:mod:`sed_torch.spaces`). Takes no model, needs no torch.
Both forms are this project's own.

``sed/1`` is the log of the total amplitude: each of an operator's A·C_out output units sums (C_in/g)·n_eff independent
inputs of unit variance, so its amplitude is the root of that number. Positions count as a number, so that the widest
maps, those before the first strides, rule the sum.

``sed/2`` is derived in four steps.

1. *Norm.* At one position an operator leaves a vector of C_out numbers, each the sum of f = (C_in/g)·n_eff
   independent inputs. Its norm is √(C_out·f): the root of the operator's effective weights, those that read
   independent taps.
2. *Groups.* g groups side by side are g operators, whose norms add: g·√(C_out/g · f) = √g · √(C_out·f). Counted as
   one operator they have √(C_out·f). No derivation was found that prefers one reading; the geometric mean is taken,
   a = g^¼ · √(C_out·f). This exponent was chosen on trained networks, between the two derived ones.
3. *Positions.* Looked at in r cells, a map is r such vectors, of norm √r · a. It can be looked at in as many cells as
   it has positions. N(r) = Σ √r·a_v is taken over the operators whose map resolves r cells.
4. *Scales.* Natural images hold about equal power in every octave (Field, 1987), so every octave of r weighs the
   same, however many maps it has: the score is the mean of ln N(r) over ln r. A map of A positions stands for the
   octave around its own, from A/√2 to A·√2, which gives a vector (A = 1, and
   what fewer than one position a sample passes through) an octave too; r runs from 1/√2 to √2·A_max.

With the distinct map sizes A_1 > … > A_m, the sums S_k of a over the operators with A ≥ A_k, the widths
d_k = ln(A_k/A_{k+1}) and d_m = ln(2·A_m), this is Σ d_k ln S_k / Σ d_k + ¼ ln A_1, with Σ d_k = ln(2·A_1): the mean
of ½ ln r over the scales is ¼ ln A_1. Twice the side of every map adds ½ ln 2, and what the finer scales gain in
weight, where ``sed/1`` gains 2 ln 2: scores still compare at one input size only. What is left of a score at equal
size (:mod:`sed_torch.scoring.shape`) hardly moves with the input.

The form is blind to what leaves Γ as it is: normalisations and activations outside residual sums, the order of
operators of one map size, how deep each stands, and how much of a residual stream a branch renews. Weighing a branch
by its share of the variance of the sum it joins was tried and lost on trained networks, see
``examples/results/score-scales.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sed_torch.errors import SedTorchError

__all__ = ["DEFAULT_DEFINITION", "DEFINITIONS", "Addend", "Definition", "definition_of"]

Array = NDArray[np.float64]

Addend = Callable[[Any, Any, Any, Any, Any], Any]


@dataclass(frozen=True, slots=True)
class Definition:
    """A named, versioned form of the score, so that a number can be traced to what computed it.

    Attributes:
        name: such as ``"sed/2"``; results carry it.
        formula: one line.
        source: where it comes from.
        addend: (A, C_in/g, C_out, √n_eff, g) → what an operator adds to the sum of its map size: output positions,
            input channels a group, output channels, the root of the effective taps, and the groups; numbers or arrays
            of any shape that broadcast.
        total: (sums, A) → the scores in nats, higher is better, of shape (networks,). ``sums`` is (networks, L): of
            each network, the sum of its operators' addends for each of the L map sizes; ``A`` is (L,), the distinct
            numbers of positions, in any order. -inf for a network whose sums are all 0.
        weights: (sums, others, A) → of shape (L,), for one network: the score of ``sums`` minus that of ``others`` is
            exactly Σ_v weight[A_v] · (addend_v − other addend_v). With ``others`` equal to ``sums`` it is the slope of
            the score, so that weight · addend is an operator's share of it, and shares add up to 1.
    """

    name: str
    formula: str
    source: str
    addend: Addend
    total: Callable[[Array, Array], Array]
    weights: Callable[[Array, Array, Array], Array]


# --- sed/1 ---------------------------------------------------------------------------------------------------


def _amplitude(positions: Any, c_in: Any, c_out: Any, root_taps: Any, groups: Any) -> Any:
    return positions * c_out * np.sqrt(c_in) * root_taps


def _log_of_sum(sums: Array, positions: Array) -> Array:
    return _log(sums.sum(axis=1))


def _one_weight(sums: Array, others: Array, positions: Array) -> Array:
    weight: Array = np.ones(len(positions)) / _log_mean(sums.sum(), others.sum())
    return weight


# --- sed/2 ---------------------------------------------------------------------------------------------------


def _norm(positions: Any, c_in: Any, c_out: Any, root_taps: Any, groups: Any) -> Any:
    return np.sqrt(c_out * c_in * np.sqrt(groups)) * root_taps


def _mean_over_scales(sums: Array, positions: Array) -> Array:
    if not len(sums):
        return np.zeros(0)
    order = np.argsort(-positions)
    resolved = np.cumsum(sums[:, order], axis=1)
    logs = np.log(np.maximum(positions[order], 1.0))
    widths = np.where(resolved > 0.0, logs - np.append(logs[1:], -np.log(2.0)), 0.0)
    scales = widths.sum(axis=1)  # ln(2·A_max) of each network
    found = (widths * _log(resolved, 0.0)).sum(axis=1)
    alive = scales > 0.0
    mean = np.divide(found, scales, out=np.full(len(sums), -np.inf), where=alive)
    return np.asarray(mean + 0.25 * (scales - np.log(2.0)))


def _scale_weights(sums: Array, others: Array, positions: Array) -> Array:
    order = np.argsort(-positions)
    logs = np.log(np.maximum(positions[order], 1.0))
    widths = logs - np.append(logs[1:], -np.log(2.0))
    between = _log_mean(np.cumsum(sums[order]), np.cumsum(others[order]))
    used = between > 0.0
    density = np.divide(widths, between, out=np.zeros_like(widths), where=used)
    found: Array = np.empty_like(widths)
    found[order] = np.cumsum(density[::-1])[::-1] / widths[used].sum()  # every scale that a map resolves
    return found


def _log(values: Array, empty: float = -np.inf) -> Array:
    return np.asarray(np.log(values, out=np.full(values.shape, empty), where=values > 0.0))


def _log_mean(a: Array, b: Array) -> Array:
    """(a - b)/ln(a/b), which is a where both are equal, and 0 where one is 0."""
    low, high = np.minimum(a, b), np.maximum(a, b)
    alive = low > 0.0
    ratio = np.divide(high, low, out=np.ones(np.shape(high)), where=alive) - 1.0
    near = ratio < 1e-6  # the quotient loses its digits there: its series instead
    apart = np.where(near, 1.0, ratio)
    factor = np.where(near, 1.0 + 0.5 * ratio, apart / np.log1p(apart))
    return np.asarray(np.where(alive, low * factor, 0.0))


_OURS = "this project's, derived from the published claims of arXiv 2411.06236; not the authors' formula"

DEFINITIONS: Mapping[str, Definition] = {
    "sed/1": Definition(
        "sed/1",
        "ln Σ_v A_v · C_out,v · √((C_in,v / g_v) · n_eff,v)  [nats, higher is better]",
        _OURS,
        _amplitude,
        _log_of_sum,
        _one_weight,
    ),
    "sed/2": Definition(
        "sed/2",
        "mean over ln r, r from 1/√2 to √2·A_max, of ln Σ_{v: √2·A_v ≥ r} √r · g_v^¼ · "
        "√(C_out,v · (C_in,v / g_v) · n_eff,v)  [nats, higher is better]",
        _OURS,
        _norm,
        _mean_over_scales,
        _scale_weights,
    ),
}
"""The definitions by name."""

DEFAULT_DEFINITION = "sed/2"


def definition_of(name: str) -> Definition:
    """The definition of a name.

    Raises:
        SedTorchError: there is none.
    """
    if name not in DEFINITIONS:
        raise SedTorchError(f"unknown definition {name!r}: expected one of {', '.join(DEFINITIONS)}")
    return DEFINITIONS[name]
