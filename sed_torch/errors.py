"""The exception tree of ``sed_torch``.

::

    SedTorchError
    ├── ModelError            the model cannot be read as it is (lazy, sharded, ...)
    ├── InputError            an argument is not what was expected
    │   └── SearchError       a search has nothing to search (contradictory constraints, ...)
    ├── TraceError            the forward could not be followed
    │   ├── ShapeError        two shapes in the forward do not fit each other
    │   └── DataDependentError    control flow or a shape depends on values, not on shapes
    ├── UnsupportedOpError    strict=True and an operator has no rule
    ├── GraphError            a Graph or Topology breaks its own invariants
    ├── RuleError             a registered rule is malformed or registered twice
    ├── ModelReferenceError   a model reference (timm:NAME, file.py:Class, ...) cannot be resolved
    ├── SpaceError            an architecture string or genotype is not of its search space
    ├── DataError             a benchmark or result file is missing, truncated or alien
    ├── MissingDependencyError    an optional package is not installed
    └── CheckFailedError           check(..., raise_on=...) found something at or above that severity

Every message names the thing, says what was expected, and what to do.
"""

from __future__ import annotations

__all__ = [
    "CheckFailedError",
    "DataDependentError",
    "DataError",
    "GraphError",
    "InputError",
    "MissingDependencyError",
    "ModelError",
    "ModelReferenceError",
    "RuleError",
    "SearchError",
    "SedTorchError",
    "ShapeError",
    "SpaceError",
    "TraceError",
    "UnsupportedOpError",
]


class SedTorchError(Exception):
    """Root of every error that ``sed_torch`` raises on purpose."""


class ModelError(SedTorchError):
    """The module cannot be read as it is: lazy, sharded, or not an ``nn.Module``."""


class InputError(SedTorchError, ValueError):
    """An argument is none of what was expected: an ``input_size`` that describes no input, an unknown name, a number
    out of range. It is a ``ValueError`` too, which is what Python calls a wrong argument.
    """


class TraceError(SedTorchError):
    """The model's forward could not be followed on shapes alone.

    Attributes:
        module_path: dotted path of the module in which it happened, ``""`` for the root.
        source: ``file:line`` of the user's code, or None.
        frontends: the front-ends that were tried, each with the reason it gave up.
        table: the graph up to the failing node, one line a node, or ``""``.
        details: what torch said where it gave up, in its own words: of guards and symbols as a rule.
        guarded: whether the forward would have caught an exception raised there, or did.
    """

    details: tuple[str, ...] = ()
    guarded: bool = False

    def __init__(
        self,
        message: str,
        *,
        module_path: str = "",
        source: str | None = None,
        frontends: tuple[tuple[str, str], ...] = (),
        table: str = "",
    ) -> None:
        super().__init__(message)
        self.module_path = module_path
        self.source = source
        self.frontends = frontends
        self.table = table


class ShapeError(TraceError):
    """Two shapes in the forward do not fit each other."""


class DataDependentError(TraceError):
    """Control flow or a shape depends on tensor *values*, which do not exist without data.

    Attributes:
        chooses: whether the data would choose how many entries of a map go on, as a detector chooses boxes.
    """

    chooses: bool = False


class UnsupportedOpError(SedTorchError):
    """``strict=True`` and the model uses an operator for which there is no rule."""


class GraphError(SedTorchError):
    """A :class:`~sed_torch.Graph` or :class:`~sed_torch.Topology` breaks its invariants."""


class RuleError(SedTorchError):
    """A rule is malformed, or its spelling is registered already."""


class ModelReferenceError(SedTorchError):
    """A model reference such as ``timm:NAME`` or ``file.py:Class`` cannot be resolved."""


class SpaceError(SedTorchError):
    """An architecture encoding does not belong to its search space."""


class DataError(SedTorchError):
    """A benchmark or result file is missing, truncated, or not of the expected format."""


class SearchError(InputError):
    """A search cannot start, or nothing satisfies its constraints."""


class MissingDependencyError(SedTorchError):
    """An optional package is needed for this call and is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed. "
            f"Install it with: pip install 'sed-torch[{extra}]'"
        )
        self.package = package
        self.extra = extra


class CheckFailedError(SedTorchError):
    """``check(..., raise_on=...)`` found something at or above the given severity.

    Attributes:
        report: the full :class:`~sed_torch.CheckReport`.
    """

    def __init__(self, message: str, report: object) -> None:
        super().__init__(message)
        self.report = report
