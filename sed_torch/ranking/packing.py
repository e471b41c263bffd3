"""Modules and factories on their way to a worker process. Only what this run packed is ever unpacked."""

from __future__ import annotations

import importlib
import pickle
from dataclasses import dataclass
from typing import Any

from sed_torch.errors import MissingDependencyError, ModelError

__all__ = ["Packed"]


@dataclass(frozen=True)
class Packed:
    """A pickled object, or the reason why there is none, which becomes the model's row.

    Attributes:
        data: the pickle; None if it could not be made.
        problem: why not.
    """

    data: bytes | None
    problem: str | None = None

    @classmethod
    def of(cls, target: Any) -> Packed:
        """Lambdas and classes of a notebook too, which plain pickle cannot send.

        Raises:
            MissingDependencyError: without joblib and cloudpickle.
        """
        dumps = _cloudpickle().dumps
        try:
            return cls(dumps(target))
        except Exception as error:  # __reduce__ may raise anything
            return cls(None, f"cannot be sent to a worker process: {type(error).__name__}: {error}")

    def unpack(self) -> Any:
        """The object.

        Raises:
            ModelError: it could not be packed, or not be unpacked here.
        """
        if self.data is None:
            raise ModelError(f"{self.problem}; use jobs=1 without limits, or a reference file.py:Class")
        try:
            return pickle.loads(self.data)
        except Exception as error:
            raise ModelError(f"cannot be unpacked in a worker: {type(error).__name__}: {error}") from error


def _cloudpickle() -> Any:
    # joblib 1.6 depends on it; earlier versions carry a copy.
    for name in ("cloudpickle", "joblib.externals.cloudpickle"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    raise MissingDependencyError("joblib", "rank", "sending modules to worker processes")
