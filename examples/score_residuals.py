"""What sed/1 leaves unexplained, for ``score_search.py``: what goes with accuracy among networks of equal score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sed_torch.evidence.correlation import partial_spearman

if TYPE_CHECKING:
    from score_search import Nets

Array = NDArray[np.float64]


def share_of(kind: str) -> Callable[[Nets], Array]:
    return lambda x: np.array([sum(s.kind == kind for s in t.steps) / len(t) for t in x.topologies])


def mean_of(values: Callable[[Nets], Array]) -> Callable[[Nets], Array]:
    return lambda x: x.sum(values(x)) / np.maximum(x.counts, 1)


FEATURES: dict[str, Callable[[Nets], Array]] = {
    "operators": lambda x: x.sum(np.ones_like(x.f)),
    "mean ln A": mean_of(lambda x: np.log(x.A)),
    "mean ln C_out": mean_of(lambda x: np.log(x.cout)),
    "mean n_eff": mean_of(lambda x: x.neff),
    "suppression": lambda x: x.sum(x.neff) / np.maximum(x.sum(x.n), 1),
    "short paths": mean_of(lambda x: x.passed("0.95")[2]),
    "mean ln g": mean_of(lambda x: np.log(x.g)),
    "weights": lambda x: x.sum(x.cin * x.n * x.cout),
    "MACs": lambda x: x.sum(x.A * x.cin * x.n * x.cout),
    "attention": share_of("attend"),
}
"""Of a network; short paths: what reaches the output when each operator passes 95 % on."""


def partial(feature: Array, accuracy: Array, score: Array) -> float | None:
    """Spearman's partial correlation given the score; None where nothing varies."""
    return partial_spearman(feature, accuracy, {"score": score}, n_bootstrap=0).value


def residuals(
    nets: Nets, score: Array, sets: Mapping[str, tuple[NDArray[np.int64], Array]]
) -> dict[str, dict[str, float | None]]:
    """By set of rows: partial correlation of each feature with accuracy, given the score."""
    values = {name: feature(nets) for name, feature in FEATURES.items()}
    return {
        key: {name: partial(v[i], accuracy, score[i]) for name, v in values.items()}
        for key, (i, accuracy) in sets.items()
    }
