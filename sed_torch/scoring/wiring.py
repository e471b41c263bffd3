"""Which operators read which, as numbers: a sketch of a topology's wiring, in which networks can be compared.

Features (:mod:`sed_torch.scoring.features`) are sums and means over operators, and do not tell how these are wired.
A sketch counts neighbourhoods, as Weisfeiler and Lehman's colours do (Shervashidze et al., JMLR 2011; for search
spaces Ru et al., arXiv 2006.07556): the label of an operator is first what it is (kind, window, stride, dilation,
groups), then that with the labels of those that it reads, then once more. Steps that do nothing to who reads whom
(norms, views) are passed over. Each label falls into one of :data:`BUCKETS` buckets by a hash that is the same
everywhere, so that sketches of all networks have one length and need no list of labels.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sed_torch.topology import Step, Topology

__all__ = ["BUCKETS", "wiring_matrix", "wiring_of"]

BUCKETS = 64
"""Buckets of a sketch."""

_TURNS = 2
_KINDS = frozenset({"input", "mix", "pool", "average", "attend", "add", "cat", "mul", "upsample"})


def wiring_of(topology: Topology) -> tuple[int, ...]:
    """How many labels fall into each bucket, over all turns and live operators; as long as :data:`BUCKETS`."""
    reads = _reads(topology)
    labels = {i: _first(topology.steps[i]) for i in reads}
    counts = [0] * BUCKETS
    for turn in range(_TURNS + 1):
        if turn:
            labels = {i: _hashed(label, *sorted(labels[j] for j in reads[i])) for i, label in labels.items()}
        for label in labels.values():
            counts[(label + turn) % BUCKETS] += 1
    return tuple(counts)


def _reads(topology: Topology) -> dict[int, list[int]]:
    """Each live operator → those whose maps it reads. A sum of sums is one sum, and a sum of one map is that map."""
    reads: dict[int, list[int]] = {}
    stands_for: dict[int, list[int]] = {}  # step → the operators whose maps it hands on
    readers = Counter(j for i in topology.live for j in topology.steps[i].inputs)
    for i in sorted(topology.live):
        step = topology.steps[i]
        inputs = [j for j in step.inputs if j in topology.live]
        sources = [k for j in inputs for k in stands_for[j]]
        if step.kind == "add":
            sums = {j for j in inputs if j in reads and topology.steps[j].kind == "add" and readers[j] == 1}
            sources = [k for j in inputs for k in (reads.pop(j) if j in sums else stands_for[j])]
        if step.kind not in _KINDS or (step.kind == "add" and len(sources) == 1):
            stands_for[i] = sources
        else:
            reads[i], stands_for[i] = sources, [i]
    return reads


def wiring_matrix(topologies: Iterable[Topology]) -> NDArray[np.float64]:
    """ln(1 + count) of each bucket, shape (networks, :data:`BUCKETS`)."""
    counts = np.array([wiring_of(t) for t in topologies], dtype=np.float64)
    return np.log1p(counts.reshape(-1, BUCKETS))


def _first(step: Step) -> int:
    groups = "one" if step.groups == 1 else "each" if step.c_in == 1 else "some"
    return _hashed(step.kind, *map(_beyond_one, (step.window, step.stride, step.dilation)), groups)


def _beyond_one(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """No sizes where all are 1: a window of one tap may be written as one of 1 × 1 or as none."""
    return sizes if any(n != 1 for n in sizes) else ()


@lru_cache(maxsize=1 << 16)
def _hashed(*parts: Any) -> int:
    """The same on every machine and in every process, which Python's own hash is not."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=6).digest(), "little")
