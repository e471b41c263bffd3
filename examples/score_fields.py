"""Other calculi of Γ than the definition's, for ``score_search.py``: each takes a topology to its fields.

- ``rectified``: Γ behind a rectifier after every operator (the arc-cosine kernel, centred).
- ``smooth(β)``: a k×k operator leaves (1-β)·Γ + β·(Γ ⋆ triangle_k): some filters are near a mean of their window.
- ``shared``: branches that share a source add with their covariance; x + x is 2x, and x + mean(x) is one filter of x.
- ``attention``: softmax over N tokens with logits of unit variance weighs e^z: its participation ratio is N/e, and
  two queries share 1/e of the variance. So it leaves a constant part of 1/N and a white part of (e-1)/N.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import convolve2d

from sed_torch import entropy
from sed_torch.entropy import Field
from sed_torch.scoring import EFFECTS
from sed_torch.topology import Step, Topology

Array = NDArray[np.float64]
Fields = list[Field | None]
Calculus = Callable[[Topology], Fields]
After = Callable[[Step, Field], Field]
Kernels = dict[int, Array]
"""Filters that take independent sources, by the step that made them, to a map."""

WIDEST = 33  # filters of dozens of pools in a row are cut off as a new source


def propagated(net: Topology, after: After) -> Fields:
    """The definition's rules, each step's field passed through ``after``."""
    fields: Fields = [None] * len(net)
    for i, step in enumerate(net.steps):
        if i in net.live:
            fields[i] = after(step, by_rule(step, fields))
    return fields


def by_rule(step: Step, fields: Fields) -> Field:
    places = [p for p, j in enumerate(step.inputs) if fields[j] is not None]
    inputs = [f for p in places if (f := fields[step.inputs[p]]) is not None]
    return EFFECTS[step.kind](step, inputs, places, "full")


# --- after each step -----------------------------------------------------------------------------------------


def kappa(c: Array) -> Array:
    """Correlation behind a rectifier, centred: (√(1-c²) + c(π - arccos c) - 1)/(π - 1)."""
    c = np.clip(c, -1.0, 1.0)
    return np.asarray((np.sqrt(1 - c * c) + c * (np.pi - np.arccos(c)) - 1) / (np.pi - 1))


@lru_cache(maxsize=1 << 14)
def rectified_field(field: Field) -> Field:
    variance = field.variance
    if variance <= 0.0:
        return field
    rest = float(kappa(np.asarray(field.const / variance)))
    lags = np.asarray(kappa((field.lags + field.const) / variance) - rest)
    return Field(np.where(np.abs(lags) < 1e-6, 0.0, lags) * variance, rest * variance)


def rectified(net: Topology) -> Fields:
    return propagated(net, lambda step, field: rectified_field(field) if step.kind == "mix" else field)


@lru_cache(maxsize=1 << 14)
def smoothed(field: Field, window: tuple[int, ...], beta: float) -> Field:
    one = (1,) * field.ndim
    pooled = entropy.pool(field, window, one, one)
    return entropy.normalise(
        entropy.add([_scaled(field, 1 - beta), _scaled(pooled, beta)]),
    )


def _scaled(field: Field, factor: float) -> Field:
    return Field(field.lags * factor, field.const * factor)


def smooth(beta: float) -> Calculus:
    def after(step: Step, field: Field) -> Field:
        reads_a_patch = step.kind == "mix" and len(step.window) == field.ndim and math.prod(step.window) > 1
        strided = any(s > 1 for s in step.stride)
        return smoothed(field, step.window, beta) if reads_a_patch and not strided else field

    return lambda net: propagated(net, after)


def attention(net: Topology) -> Fields:
    def after(step: Step, field: Field) -> Field:
        if step.kind != "attend" or not field.const or field.ndim == 0:
            return field
        return Field(entropy.white(field.ndim).lags * (math.e - 1) * field.const, field.const)

    return propagated(net, after)


# --- sources that branches share -----------------------------------------------------------------------------


def shared(net: Topology) -> Fields:
    fields: Fields = [None] * len(net)
    made_of: dict[int, Kernels] = {}
    for i, step in enumerate(net.steps):
        if i not in net.live:
            continue
        field = by_rule(step, fields)
        parts = [made_of[j] for j in step.inputs if j in made_of]
        kernels = filters_of(step, parts, fields)
        if kernels is None:
            kernels = {i: np.ones((1, 1))}
        elif step.kind == "add" and overlap(parts):
            field = filtered(kernels, fields)
        fields[i], made_of[i] = field, kernels
    return fields


def overlap(parts: list[Kernels]) -> bool:
    return sum(map(len, parts)) > len(set().union(*parts))


def filters_of(step: Step, parts: list[Kernels], fields: Fields) -> Kernels | None:
    """What ``step`` makes of the sources of its inputs; None where its output counts as a new source."""
    if not parts or step.ndim != 2:
        return None
    if step.kind == "same":
        return parts[0]
    if step.kind == "norm":
        before = fields[step.inputs[0]]
        scale = 1 / math.sqrt(before.variance) if before is not None and before.variance > 0 else 1.0
        return {s: k * scale for s, k in parts[0].items()}
    if step.kind == "pool":
        odd = len(step.window) == 2 and all(p % 2 for p in step.window)
        plain = odd and all(v == 1 for v in (*step.stride, *step.dilation))
        box = np.full(step.window, 1 / math.prod(step.window))
        found = {s: convolve2d(k, box) for s, k in parts[0].items()} if plain else {}
        return found if found and all(max(k.shape) <= WIDEST for k in found.values()) else None
    if step.kind == "add" and all((f := fields[j]) is None or f.ndim == 2 for j in step.inputs):
        return summed(parts)
    return None


def summed(parts: list[Kernels]) -> Kernels:
    found: Kernels = {}
    for part in parts:
        for source, kernel in part.items():
            found[source] = centred_sum(found[source], kernel) if source in found else kernel
    return found


def centred_sum(a: Array, b: Array) -> Array:
    shape = tuple(max(m, n) for m, n in zip(a.shape, b.shape, strict=True))
    out = np.zeros(shape)
    for k in (a, b):
        out[tuple(slice((n - m) // 2, (n - m) // 2 + m) for n, m in zip(shape, k.shape, strict=True))] += k
    return out


def filtered(kernels: Kernels, fields: Fields) -> Field:
    sources = ((f, k) for s, k in kernels.items() if (f := fields[s]) is not None)
    return entropy.add([filter_field(f, k.tobytes(), k.shape) for f, k in sources], 2)


@lru_cache(maxsize=1 << 14)
def filter_field(field: Field, kernel: bytes, shape: tuple[int, int]) -> Field:
    """k ⋆ k(-·) ⋆ Γ, at lags that are not negative."""
    k = np.frombuffer(kernel).reshape(shape)
    lags: Array = np.asarray(field.lags)
    both = np.concatenate([lags[:0:-1], lags])
    both = np.concatenate([both[:, :0:-1], both], axis=1)
    out = convolve2d(both, convolve2d(k, k[::-1, ::-1]))
    rows, columns = out.shape
    return Field(out[rows // 2 :, columns // 2 :], field.const * float(k.sum()) ** 2)


CALCULI: dict[str, Calculus] = {
    "": lambda net: propagated(net, lambda step, field: field),
    "Γ rectified": rectified,
    "Γ smoothed, β=0.1": smooth(0.1),
    "Γ smoothed, β=0.3": smooth(0.3),
    "Γ smoothed, β=0.5": smooth(0.5),
    "sources shared": shared,
    "attention's taps": attention,
}
