"""Scoring many architectures: what serves every space, and the door to each space's own fast way."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from sed_torch.scoring import sed

if TYPE_CHECKING:
    from sed_torch.spaces.base import Scores, Space

__all__ = ["score_each", "score_many"]

A = TypeVar("A", bound=Hashable)


def score_many(
    space: Space[A] | str,
    archs: Sequence[A | str],
    *,
    image_size: int | None = None,
    num_classes: int | None = None,
) -> Scores:
    """SED of many architectures of a space in nats, higher is better; -inf for those without a live path.

    Args:
        space: a space or its name.
        archs: architectures or their strings.
        image_size: height and width of the input; the space's own when None.
        num_classes: outputs of the classifier; the space's own when None.

    Raises:
        SpaceError: if the space is unknown, or an architecture is not of it.
    """
    if isinstance(space, str):
        from sed_torch.spaces import get_space

        space = get_space(space)
    return space.score_many(archs, image_size=image_size, num_classes=num_classes)


def score_each(
    space: Space[A],
    archs: Sequence[A | str],
    *,
    image_size: int | None = None,
    num_classes: int | None = None,
) -> Scores:
    """One after the other, each distinct architecture once: works for any space that writes topologies."""
    known: dict[A, float] = {}
    scores = np.empty(len(archs))
    for i, item in enumerate(archs):
        arch = space.resolve(item)
        if arch not in known:
            known[arch] = sed(space.topology(arch, image_size=image_size, num_classes=num_classes))
        scores[i] = known[arch]
    return scores
