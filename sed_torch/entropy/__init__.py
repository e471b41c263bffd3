"""The local-entropy calculus: how the autocovariance of a feature map changes from operator to operator.

A feature map is modelled as independent, stationary Gaussian channels over positions, with autocovariance
Γ(d) at spatial offset d (0 to 3 dimensions). Every rule here is closed form and even in each component of
d, so a :class:`Field` stores non-negative lags only.

An operator that reads a patch of n taps sees an n-dimensional Gaussian with correlation matrix R. Its local
entropy is ``h = ½ ln((2πe Γ(0))ⁿ det R)`` in nats, and

    effective taps  n_eff = n · det(R)^(1/n),    0 < n_eff ≤ n

equals n on a white map and tends to 0 on a constant one, which acts on its reader as a bias.

The rules are this project's, derived from the published claims of arXiv 2411.06236 and from what random
zero-mean filters do to second moments. Nothing here needs torch.
"""

from __future__ import annotations

from sed_torch.entropy.fields import (
    EQUAL,
    INDEPENDENT,
    MAX_LAG,
    AxisRead,
    Field,
    add,
    average,
    box_average,
    correlated,
    dilate,
    mean,
    multiply,
    normalise,
    pool,
    reindex,
    subsample,
    upsample,
    white,
)
from sed_torch.entropy.patches import effective_taps, local_entropy

__all__ = [
    "EQUAL",
    "INDEPENDENT",
    "MAX_LAG",
    "AxisRead",
    "Field",
    "add",
    "average",
    "box_average",
    "correlated",
    "dilate",
    "effective_taps",
    "local_entropy",
    "mean",
    "multiply",
    "normalise",
    "pool",
    "reindex",
    "subsample",
    "upsample",
    "white",
]
