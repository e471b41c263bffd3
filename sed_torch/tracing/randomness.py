"""Random numbers that a forward draws: those of torch's functions only where it asks for one, and none shows later."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sed_torch.tracing.turns import others_run

__all__ = ["Draw", "random_state_kept"]


class Draw:
    """Random numbers of a torch function, not drawn yet.

    Args:
        function: such as ``torch.rand`` or ``Tensor.uniform_``.
        args: what it is called with; a tensor that it writes into is not written to.
        kwargs: likewise by name.
        seed: of a generator of its own, so that no other is moved and the next draw differs.
        source: ``file:line`` that calls it.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        seed: int,
        source: str | None = None,
    ) -> None:
        self._function, self._args, self._kwargs, self._seed = function, args, kwargs, seed
        self._source = source

    def __str__(self) -> str:
        name = f"{getattr(self._function, '__name__', 'a draw')}()"
        return f"{name} in {self._source}" if self._source else name

    def __call__(self) -> Any:
        """The numbers, on the CPU.

        Raises:
            RuntimeError: what they are drawn with depends on data.
        """
        kwargs = {**self._kwargs, "generator": torch.Generator().manual_seed(self._seed)}
        if kwargs.get("device") is not None:
            kwargs["device"] = "cpu"
        args = [a.detach().clone() if isinstance(a, Tensor) else a for a in self._args]
        with torch.no_grad(), torch.device("cpu"):
            return self._function(*args, **kwargs)


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Put back the generators of ``random``, numpy and torch (CPU) where the block has moved them.

    Torch functions do not draw from them while tracing; ``random.random()`` and ``torch.manual_seed(0)`` in a
    forward are. While other threads run, nothing is put back: it would undo what *they* have drawn.
    """
    python, numpy, tensors = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        if not others_run():
            if random.getstate() != python:
                random.setstate(python)
            if not torch.equal(torch.get_rng_state(), tensors):
                torch.set_rng_state(tensors)
            np.random.set_state(numpy)
