"""Cells of four nodes and six edges: which edges are live."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["EDGES", "live_edges"]

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""(from, to), in the order of the strings of NAS-Bench-201 and TransNAS-Bench-101."""


def live_edges(there: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Edges on a path from node 0 to node 3.

    Args:
        there: (N, 6), whether an edge has an operation other than "none".

    Returns:
        (N, 6); a row without a single live edge is a cell that returns zeros.
    """
    yes, no = np.ones(len(there), dtype=bool), np.zeros(len(there), dtype=bool)
    reached, needed = [yes, no, no, no], [no, no, no, yes]
    for e, (i, j) in enumerate(EDGES):
        reached[j] = reached[j] | (there[:, e] & reached[i])
    # backwards, each node's outgoing edges before its incoming ones
    for e, (i, j) in sorted(enumerate(EDGES), key=lambda edge: -edge[1][1]):
        needed[i] = needed[i] | (there[:, e] & needed[j])
    return np.stack([there[:, e] & reached[i] & needed[j] for e, (i, j) in enumerate(EDGES)], axis=1)
