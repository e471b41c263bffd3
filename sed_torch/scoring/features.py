"""Closed-form numbers about a network's topology, from which accuracies are foretold (:mod:`sed_torch.calibration`).

Every trace gives them for free. They are the same for a module and for the topology that a search space writes, for
they count live operators only: those on a path from an input to an output. All are logarithms, means of logarithms or
shares, so that networks of any size can be compared. :data:`FEATURES` says what each is.

Two kinds of mean occur. A plain mean counts every operator once. A mean *by share* weighs each by what it adds to the
total amplitude Σ A·C_out·√(C_in/g·n_eff), which is what ``sed/1`` takes the logarithm of.

A matrix of networks holds behind them what a sketch of the wiring counts (:mod:`sed_torch.scoring.wiring`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sed_torch._frozen import FrozenMapping
from sed_torch.errors import DataError
from sed_torch.scoring.formula import Evaluation, Taps, Term, sed_and_taps
from sed_torch.scoring.wiring import BUCKETS, wiring_matrix
from sed_torch.topology import Topology

__all__ = [
    "FEATURES",
    "feature_matrix",
    "features_of",
    "pack_features",
    "scores_and_features",
    "unpack_features",
]

Array = NDArray[np.float64]

FEATURES: Mapping[str, str] = FrozenMapping(
    {
        "amplitude": "ln Σ A·C_out·√(C_in/g·n_eff), the total amplitude (what sed/1 is)",
        "activations": "ln Σ A·C_out, the output units of all operators",
        "macs": "ln of the multiply-accumulates a sample",
        "params": "ln of the parameters",
        "resolution": "ln of the positions of the largest map that an operator reads (A times its stride)",
        "operators": "ln of the number of convolutions and linear layers",
        "chain": "ln of the longest chain of them from an input to an output",
        "breadth": "ln of operators over chain: how many stand side by side",
        "spread": "ln Σ ln(1 + n_eff), the operators counted by the local entropy they read",
        "taps": "mean ln n_eff, the effective taps of an operator's patch",
        "taps_by_share": "the same by share",
        "suppression": "ln of Σ n_eff over Σ n: the share of local entropy that is kept",
        "centre": "by share, where on its longest chain an operator stands: 0 at the input, 1 at the output",
        "positions_by_share": "mean ln A by share: output positions",
        "channels_by_share": "mean ln C_out by share",
        "groups_by_share": "mean ln g by share",
        "fan_in": "mean ln(C_in/g·n_eff), the independent inputs that an output unit sums",
        "fan_in_by_share": "the same by share",
        "linear": "share of linear layers in the total amplitude",
        "attention": "1 where some operator attends, else 0",
        "positions": "mean ln A",
        "channels": "mean ln C_out",
        "stem": "ln A of the first operator",
        "smallest": "ln of the smallest A above 1: positions that are left at the end",
        "spatial": "share of operators that read more than one tap",
        "depthwise": "share of operators that read one channel each",
        "vectors": "share of operators with one position: heads, squeeze-and-excitation",
        "norms": "normalisations an operator",
        "positions_by_params": "mean ln A, each operator weighed by its parameters",
        "channels_by_params": "mean ln C_out, each operator weighed by its parameters",
        "tail": "ln of the largest A of an operator with one operator behind it",
        "head_channels": "ln of the most channels that an operator with none behind it reads",
        "joins": "concatenations an operator",
        "inputs": "number of inputs",
        "axes": "most axes along which an operator reads more than one tap: 2 for images, 1 for sound",
        "head": "ln of the largest A of an operator with none behind it: 0 for most classifiers",
    }
)
"""Name → what it is. A is an operator's output positions, C its channels, g its groups, n_eff its effective taps."""


@dataclass(frozen=True, slots=True)
class _Operators:
    """Live mixing operators of many networks, flat; ``owner`` is the network of each, the rest one row a network."""

    owner: NDArray[np.int64]
    columns: Array  # (operators, 10): A, C_in/g, C_out, g, stride, n, n_eff, place on its chain, linear or not, params
    networks: Array  # (networks, 11), as _of_network gives them


def features_of(evaluation: Evaluation) -> Mapping[str, float]:
    """The features of one evaluated topology, by name in the order of :data:`FEATURES`.

    A network without a live operator has none: every value is NaN.
    """
    row = _matrix(_flat([(evaluation.topology, evaluation.terms)]))[0]
    return FrozenMapping(dict(zip(FEATURES, row.tolist(), strict=True)))


def feature_matrix(networks: Iterable[Topology | Evaluation]) -> Array:
    """The features of many networks at once.

    Args:
        networks: topologies, such as :meth:`sed_torch.spaces.Space.topology` writes, or evaluations of them.

    Returns:
        An array of shape (networks, features + BUCKETS): columns in the order of :data:`FEATURES`, then the
        sketch of the wiring (:func:`sed_torch.scoring.wiring.wiring_matrix`); a row of NaN for a network without a
        live operator.
    """
    return _whole(
        [(n.topology, n.terms) if isinstance(n, Evaluation) else (n, sed_and_taps(n)[1]) for n in networks]
    )


def scores_and_features(topologies: Iterable[Topology]) -> tuple[Array, Array]:
    """Scores and features of many networks in one go, several times faster than by evaluating each.

    Args:
        topologies: such as :meth:`sed_torch.spaces.Space.topology` writes.

    Returns:
        Scores in nats of shape (networks,), NaN where SED is undefined, and features as :func:`feature_matrix` gives
        them.
    """
    listed = list(topologies)
    found = [sed_and_taps(t) for t in listed]
    scores = np.array([math.nan if total is None else total for total, _ in found], dtype=np.float64)
    return scores, _whole([(t, taps) for t, (_, taps) in zip(listed, found, strict=True)])


def pack_features(features: Mapping[str, float], wiring: Sequence[int]) -> str:
    """Features as text for a cell of a table: numbers with spaces between, in the order of :data:`FEATURES`.

    Behind a bar stands the wiring, as :func:`sed_torch.scoring.wiring.wiring_of` counts it.
    """
    return f"{' '.join(f'{features[name]:.9g}' for name in FEATURES)} | {' '.join(map(str, wiring))}"


def unpack_features(text: str) -> tuple[float, ...]:
    """A row of :func:`feature_matrix` from what :func:`pack_features` wrote.

    Versions before 0.4 wrote no wiring: its columns are NaN then.

    Raises:
        DataError: another number of them, or no numbers: the row is of another version.
    """
    first, bar, rest = text.partition("|")
    try:
        found, counts = ([float(cell) for cell in part.split()] for part in (first, rest))
    except ValueError as error:
        raise DataError(f"features: expected numbers, found {text!r:.60}") from error
    if len(found) != len(FEATURES) or len(counts) != (BUCKETS if bar else 0) or any(c < 0 for c in counts):
        raise DataError(
            f"features: expected {len(FEATURES)} numbers and {BUCKETS} counts, found {len(found)} and {len(counts)}; "
            "the row is of another version of sed_torch, score the model anew"
        )
    return (*found, *(map(math.log1p, counts) if bar else (math.nan,) * BUCKETS))


def _whole(networks: Sequence[tuple[Topology, Sequence[Taps | Term]]]) -> Array:
    """Features and wiring side by side."""
    features = _matrix(_flat(networks))
    wiring = wiring_matrix(topology for topology, _ in networks)
    return np.hstack([features, np.where(np.isfinite(features[:, :1]), wiring, np.nan)])


def _flat(networks: Sequence[tuple[Topology, Sequence[Taps | Term]]]) -> _Operators:
    rows: list[tuple[float, ...]] = []
    counts: list[int] = []
    totals: list[tuple[float, ...]] = []
    for topology, terms in networks:
        before, after = _chains(topology)
        for term in terms:
            step = topology.steps[term.step]
            first, rest = before[term.step], after[term.step]
            place = (first - 1) / (first + rest - 2) if first + rest > 2 else 0.5
            numbers = (
                step.positions * step.share,
                step.c_in,
                step.c_out,
                step.groups,
                math.prod(step.stride),
            )
            linear = step.op == "linear"
            rows.append((*numbers, term.taps, term.effective_taps, place, linear, step.params))
        counts.append(len(terms))
        totals.append(_of_network(topology, [t.step for t in terms], before, after))
    owner = np.repeat(np.arange(len(counts)), counts)
    columns = np.array(rows, dtype=np.float64).reshape(-1, 10)
    return _Operators(owner, columns, np.array(totals, dtype=np.float64).reshape(-1, 11))


def _of_network(
    topology: Topology, places: Sequence[int], before: list[int], after: list[int]
) -> tuple[float, ...]:
    live = [topology.steps[i] for i in topology.live]
    kinds = Counter(s.kind for s in live)
    mixes = [(topology.steps[i], after[i]) for i in places]
    return (
        math.fsum(s.macs for s in live),
        sum(s.params for s in live),
        max((before[i] + after[i] - 1 for i in places), default=0),
        kinds["attend"] > 0,
        kinds["norm"],
        kinds["input"],
        max((sum(k > 1 for k in s.window) for s, _ in mixes), default=0),
        max((s.positions for s, rest in mixes if rest == 1), default=1.0),
        max((s.positions for s, rest in mixes if rest == 2), default=1.0),
        max((s.c_in * s.groups for s, rest in mixes if rest == 1), default=1.0),
        kinds["cat"],
    )


def _chains(topology: Topology) -> tuple[list[int], list[int]]:
    """For each step: mixing operators on the longest chain from an input up to it, and from it on; itself in both."""
    steps, live = topology.steps, topology.live
    before, after = [0] * len(steps), [0] * len(steps)
    for i in sorted(live):
        mixes = steps[i].kind == "mix"
        before[i] = mixes + max((before[j] for j in steps[i].inputs if j in live), default=0)
    later = [0] * len(steps)  # the longest chain that begins behind a step
    for i in sorted(live, reverse=True):
        after[i] = later[i] + (steps[i].kind == "mix")
        for j in steps[i].inputs:
            later[j] = max(later[j], after[i])
    return before, after


def _matrix(ops: _Operators) -> Array:
    n = len(ops.networks)
    A, c_in, c_out, g, stride, taps, n_eff, place, linear, owned = ops.columns.T
    macs, params, chain, attention, norms, inputs, axes, head, tail, head_channels, joins = ops.networks.T

    def total(values: Array) -> Array:
        return np.bincount(ops.owner, values, minlength=n).astype(np.float64)

    # a map without local entropy gives its reader nothing; the floor keeps the logarithm of its taps finite
    n_eff = np.maximum(n_eff, 1e-9)
    amplitude = A * c_out * np.sqrt(c_in * n_eff)
    largest, smallest, stem = np.zeros(n), np.full(n, np.inf), np.ones(n)
    np.maximum.at(largest, ops.owner, A * stride)
    np.minimum.at(smallest, ops.owner, np.where(A > 1, A, np.inf))
    smallest = np.where(np.isfinite(smallest), smallest, 1.0)
    stem[ops.owner[::-1]] = A[::-1]  # the first of each network is written last
    owned = np.maximum(owned, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        count, sum_amplitude = total(np.ones(len(A))), total(amplitude)

        def mean(values: Array) -> Array:
            return total(values) / count

        def by_share(values: Array) -> Array:
            return total(amplitude * values) / sum_amplitude

        def by_params(values: Array) -> Array:
            return total(owned * values) / total(owned)

        found = {
            "amplitude": np.log(sum_amplitude),
            "activations": np.log(total(A * c_out)),
            "macs": np.log(macs),
            "params": np.log(params),
            "resolution": np.log(largest),
            "operators": np.log(count),
            "chain": np.log(chain),
            "breadth": np.log(count / chain),
            "spread": np.log(total(np.log1p(n_eff))),
            "taps": mean(np.log(n_eff)),
            "taps_by_share": by_share(np.log(n_eff)),
            "suppression": np.log(total(n_eff) / total(taps)),
            "centre": by_share(place),
            "positions_by_share": by_share(np.log(A)),
            "channels_by_share": by_share(np.log(c_out)),
            "groups_by_share": by_share(np.log(g)),
            "fan_in": mean(np.log(c_in * n_eff)),
            "fan_in_by_share": by_share(np.log(c_in * n_eff)),
            "linear": by_share(linear),
            "attention": attention,
            "positions": mean(np.log(A)),
            "channels": mean(np.log(c_out)),
            "stem": np.log(stem),
            "smallest": np.log(smallest),
            "spatial": mean(taps > 1.0),
            "depthwise": mean((g > 1.0) & (c_in == 1.0)),
            "vectors": mean(A == 1.0),
            "norms": norms / count,
            "positions_by_params": by_params(np.log(A)),
            "channels_by_params": by_params(np.log(c_out)),
            "tail": np.log(tail),
            "head_channels": np.log(head_channels),
            "joins": joins / count,
            "inputs": inputs,
            "axes": axes,
            "head": np.log(head),
        }
    assert list(found) == list(FEATURES)
    matrix = np.stack(list(found.values()), axis=1)
    return np.where(count[:, None] > 0, matrix, np.nan)
