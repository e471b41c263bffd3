"""What a search found, as data and views of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from sed_torch import tables
from sed_torch._listed import Listed
from sed_torch._plain import revived
from sed_torch.errors import SearchError
from sed_torch.spaces import SPACES, Space

if TYPE_CHECKING:
    from torch import nn

__all__ = ["SCHEMA", "Candidate", "Improvement", "SearchResult", "Stop"]

SCHEMA = "sed_torch.search/1"

Stop = Literal["exhausted", "budget", "max_looks", "interrupted"]

_STOP_NOTE: Mapping[str, str] = {
    "exhausted": "every architecture was seen",
    "budget": "the time was over",
    "max_looks": "the number of looks was reached",
    "interrupted": "interrupted; this is the best until then",
}
_SHOWN_FRONT = 20


@dataclass(frozen=True, slots=True)
class Candidate:
    """An architecture that was looked at.

    Attributes:
        arch: its string.
        sed: the score in nats, higher is better.
        params: parameters, dead edges included.
        macs: multiply-accumulates a sample, likewise.
        depth: longest chain of live convolutions and linear layers.
        expected: accuracy that a calibration foretells, in its unit; None where none was asked.
        value: the architecture as the space has it; not part of comparisons or of :meth:`to_dict`.
    """

    arch: str
    sed: float
    params: int
    macs: float
    depth: int
    value: Any = field(default=None, repr=False, compare=False)
    expected: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        found = {name: getattr(self, name) for name in _FIELDS}
        return found if self.expected is None else {**found, "expected": self.expected}


_FIELDS = ("arch", "sed", "params", "macs", "depth")


@dataclass(frozen=True, slots=True)
class Improvement:
    """When a better one was found.

    Attributes:
        looks: architectures looked at by then.
        seconds: wall-clock seconds by then.
        best: the new best.
    """

    looks: int
    seconds: float
    best: Candidate

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"looks": self.looks, "seconds": self.seconds, **self.best.to_dict()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Improvement:
        """Inverse of :meth:`to_dict`."""
        return revived(cls, {**data, "best": data}, "an improvement of a search")


@dataclass(frozen=True, repr=False)
class SearchResult(tables.Tabular, Listed[Candidate]):
    """What a search found; ``len()``, ``for`` and ``[0]`` give its front.

    Attributes:
        space: name of the space.
        best: within the limits, the best by the first objective; of equals the best by the next.
        front: Pareto front: within the limits, those that no other one looked at beats in all objectives, best by
            the first objective first. Networks without a live path have no place in it.
        history: each time a better one was found.
        looks: different architectures looked at.
        feasible: how many of them are within the limits and have a live path.
        size: architectures in the space, or None where unknown.
        seconds: wall-clock seconds.
        stop: ``"exhausted"`` (nothing new is left), ``"budget"``, ``"max_looks"`` or ``"interrupted"``.
        constraints: maxima by name.
        objectives: names; ``"sed"`` and ``"expected"`` are the higher the better, counts are the lower the better.
        strategy: the one that was used.
        seed: of its random draws; with ``max_looks`` and a budget that is not the limit, it repeats the search.
        definition: name of the score's form.
        expects: what ``expected`` is, for display; None where no calibration was asked.
    """

    schema: ClassVar = SCHEMA
    kind: ClassVar = "a search"

    space: str
    best: Candidate
    front: tuple[Candidate, ...]
    history: tuple[Improvement, ...]
    looks: int
    feasible: int
    size: int | None
    seconds: float
    stop: Stop
    constraints: Mapping[str, float]
    objectives: tuple[str, ...]
    strategy: str
    seed: int
    definition: str
    expects: str | None = None

    def _items(self) -> tuple[Candidate, ...]:
        return self.front

    def to_dict(self) -> dict[str, Any]:
        """Plain data with a schema version."""
        return {
            "schema": SCHEMA,
            "space": self.space,
            "best": self.best.to_dict(),
            "front": [c.to_dict() for c in self.front],
            "history": [i.to_dict() for i in self.history],
            "looks": self.looks,
            "feasible": self.feasible,
            "size": self.size,
            "seconds": self.seconds,
            "stop": self.stop,
            "constraints": dict(self.constraints),
            "objectives": list(self.objectives),
            "strategy": self.strategy,
            "seed": self.seed,
            "definition": self.definition,
            **({} if self.expects is None else {"expects": self.expects}),
        }

    def build(self, candidate: Candidate | None = None, *, num_classes: int | None = None) -> nn.Module:
        """A network that was found, as published, with fresh weights.

        Args:
            candidate: one of :attr:`front` or of :attr:`history`; the best when None.
            num_classes: outputs of the classifier; the space's own when None.

        Raises:
            SearchError: the search was of a space of your own, which alone knows how to build its networks.
        """
        return self._space().build((candidate or self.best).arch, num_classes=num_classes)

    def to_code(self, candidate: Candidate | None = None) -> str:
        """A Python file with a function ``network()`` that builds a network that was found.

        Args:
            candidate: as for :meth:`build`.

        Raises:
            SearchError: as for :meth:`build`.
        """
        chosen, space = candidate or self.best, self._space()
        return _CODE.format(
            title=space.title,
            space=space.name,
            arch=chosen.arch,
            sed=chosen.sed,
            definition=self.definition,
            params=chosen.params,
            macs=chosen.macs,
            classes=space.num_classes,
            size=space.input_size,
        )

    def _space(self) -> Space[Any]:
        if self.space not in SPACES:
            raise SearchError(
                f"{self.space} is a space of your own: build its network from best.value (a candidate's architecture)"
            )
        return SPACES[self.space]

    def records(self) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
        """The Pareto front, one row a candidate."""
        expected = () if self.expects is None else ("expected",)
        return [c.to_dict() for c in self.front], (*_FIELDS, *expected)

    def view(self) -> tables.View:
        """The best and the Pareto front."""
        columns = tuple(c for c in _COLUMNS if c != "expected" or self.expects is not None)
        grid = tables.Grid(columns, tuple(self._rows()), spared=("depth", "MACs"))
        return tables.View(self._headline(), (), (grid,), tuple(self._notes()))

    def _headline(self) -> str:
        limits = " and ".join(
            f"{_SHORT.get(n, n)} ≤ {tables.quantity(v)}" for n, v in self.constraints.items()
        )
        of = f"Search of {self.space}" + (f" with {limits}" if limits else "")
        best, expected = self.best, self.best.expected
        accuracy = "" if expected is None else f"expected {expected:.2f}, "
        sizes = f"{tables.quantity(best.params)} params, {tables.quantity(best.macs)} MACs"
        return f"{of}: the best has {accuracy}SED {best.sed:.3f}, {sizes}"

    def _rows(self) -> list[dict[str, Any]]:
        step = max(1, -(-len(self.front) // _SHOWN_FRONT))
        shown = [("best", self.best), *(("front", c) for c in self.front[::step] if c != self.best)]
        return [
            {
                "": kind,
                "SED": f"{c.sed:.3f}",
                "expected": None if c.expected is None else f"{c.expected:.2f}",
                "params": tables.quantity(c.params),
                "MACs": tables.quantity(c.macs),
                "depth": c.depth,
                "architecture": c.arch,
            }
            for kind, c in shown
        ]

    def _notes(self) -> list[str]:
        of = f" of {self.size:,}" if self.size is not None and self.stop == "exhausted" else ""
        lines = [
            f"{self.looks:,}{of} architectures looked at in {self.seconds:.2f} s, {self.feasible:,} within the "
            f"limits and alive; {self.strategy}, seed {self.seed}",
            f"stopped: {_STOP_NOTE[self.stop]}",
            *self._below_limits(),
        ]
        if len(self.front) > _SHOWN_FRONT:
            step = -(-len(self.front) // _SHOWN_FRONT)
            lines.append(
                f"the front of {', '.join(self.objectives)} has {len(self.front)}; one in {step} is shown"
            )
        lines.append(f"SED in nats ({self.definition}), higher is better")
        if self.expects is not None:
            lines.append(
                f"expected: {self.expects}; networks unlike those that the calibration has seen have no place here"
            )
        return lines

    def _below_limits(self) -> list[str]:
        """Why the best leaves much of a limit unused."""
        lines = []
        for name, limit in self.constraints.items():
            share = getattr(self.best, name) / limit
            if share >= _NEARLY:
                continue
            better = "is expected to do better" if self.objectives[0] == "expected" else "scores higher"
            if self.objectives[0] not in ("sed", "expected"):
                why = f"{self.objectives[0]} comes first"
            elif self.stop == "exhausted":
                why = f"no larger one within the limits {better}"
            else:
                why = f"no larger one that was looked at {better}; a longer search may find one"
            used = tables.quantity(getattr(self.best, name))
            lines.append(f"the best has {used} {_SPELLED[name]}, {share:.0%} of the limit: {why}")
        return lines


_NEARLY = 0.9
_SHORT = {"macs": "MACs"}
_SPELLED = {"params": "parameters", "macs": "multiply-accumulates", "depth": "layers in its longest chain"}

_CODE = '''"""{title}: {arch}

SED {sed:.4f} nats ({definition}, higher is better), {params:,} parameters, {macs:,.0f} multiply-accumulates a sample.
Found by ``sed-torch search``; the weights are fresh. Input: {size}.
"""

from torch import nn

from sed_torch.spaces import get_space


def network(num_classes: int = {classes}) -> nn.Module:
    """The network as published, to be trained."""
    return get_space({space!r}).build({arch!r}, num_classes=num_classes)
'''

_COLUMNS = ("", "SED", "expected", "params", "MACs", "depth", "architecture")
