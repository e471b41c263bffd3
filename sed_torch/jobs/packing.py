"""Objects on their way to a worker process. Only what this run packed is ever unpacked."""

from __future__ import annotations

import importlib
import pickle
from dataclasses import dataclass
from typing import Any

from sed_torch.errors import MissingDependencyError, ModelError

__all__ = ["Packed", "dumps"]


@dataclass(frozen=True)
class Packed:
    """A pickled object, or the reason why there is none, which becomes part of the result.

    Attributes:
        data: the pickle; None if it could not be made.
        problem: why not.
    """

    data: bytes | None
    problem: str | None = None

    @classmethod
    def of(cls, target: Any) -> Packed:
        """Lambdas and classes of a notebook too, which plain pickle cannot send. What is packed stays as it is.

        Raises:
            MissingDependencyError: without joblib and cloudpickle.
        """
        if isinstance(target, Packed):
            return target
        by_value = _cloudpickle().dumps
        try:
            return cls(by_value(target))
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


def dumps(value: Any) -> bytes:
    """A pickle of what is importable, or else one that carries its functions and classes.

    Raises:
        MissingDependencyError: without joblib and cloudpickle, which that needs.
    """
    try:
        return pickle.dumps(value)
    except Exception:  # __reduce__ may raise anything
        return bytes(_cloudpickle().dumps(value))


def _cloudpickle() -> Any:
    # joblib 1.6 depends on it; earlier versions carry a copy.
    for name in ("cloudpickle", "joblib.externals.cloudpickle"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    raise MissingDependencyError("joblib", "rank", "sending modules to worker processes")
